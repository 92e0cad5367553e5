# What jobs ask for, in terms that every site knows; a profile maps them to partitions.


def grows(mem_mb):
    """Memory that grows with each attempt at a job."""
    return lambda wildcards, attempt: mem_mb * attempt


def lasts(minutes, block=False):
    """Time limit that grows fourfold with each attempt: on a cluster, jobs that ask for little start soon."""
    return lambda wildcards, attempt: max(minutes, CARDS.minutes(**wildcards) if block else 0) * 4 ** (attempt - 1)


def of_method(resource, default):
    """Input function: a resource of a method; memory and time grow with each attempt."""

    def value(wildcards, attempt=1):
        asked = method_card(wildcards)["resources"].get(resource, default)
        return asked * {"mem_mb": attempt, "runtime": 4 ** (attempt - 1)}.get(resource, 1)

    return value
