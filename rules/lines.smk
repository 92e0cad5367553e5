# What a fit starts from, and what was shown in its recordings.


def stimuli_card(wildcards):
    """A card of stimuli."""
    return {"params": {}, **CARDS.card("stimuli", wildcards.stimuli)}


def fitted(wildcards, **other):
    """The models, and the record, of another fit of the same run."""
    path = "results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}".format(**{**wildcards, **other})
    return [f"{path}/{name}" for name in ("models.zip", "fit.json")]


def of_parent(wildcards):
    """The fit of the method that a method starts from."""
    parent = method_card(wildcards).get("init_from")
    return fitted(wildcards, method=parent) if parent else []


def of_observed(wildcards):
    """For a stage of a null variant: the same of the observed targets, which it may not have to be fitted again for."""
    taken_over = method_card(wildcards)["role"] == "stage" and wildcards.variant.startswith("null-")
    return fitted(wildcards, variant="observed") if taken_over else []


def waited_for(wildcards):
    """Priority of a fit: how many fits in a line wait for it, and what a paper proposes before its baselines.

    What takes long begins first, or it is all that is left, on one core. Below zero, that of all other jobs: what gets
    data ready, which fits of other datasets wait for, is not held up.
    """
    if is_untrained(wildcards):
        # It takes no time.
        return -100
    run = RUNS[wildcards.run]
    waiting = max(run.line(name).index(wildcards.method) for name in run.methods if wildcards.method in run.line(name))
    return 2 * waiting + (method_card(wildcards)["role"] == "proposed") - 99


def presented(wildcards):
    """The table of what was shown when in a dataset, where its card says how to know."""
    return CARDS.presented(wildcards.dataset)


def run_stimuli(wildcards):
    """The features of what was shown in a run's variant, where anything was."""
    return CARDS.stimuli_of(RUNS[wildcards.run], wildcards.variant)


def line_of(wildcards):
    """The card of a method, and of those that it starts from."""
    run = RUNS[wildcards.run]
    return [run.methods[name] for name in run.line(wildcards.method)]


def is_untrained(wildcards):
    """Whether a fit is of a network that is left as it was initialised."""
    return wildcards.variant.startswith("random-") and method_card(wildcards)["twin"]
