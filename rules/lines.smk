# What a fit starts from, and what was shown in its recordings.


def stimuli_card(wildcards):
    """A card of stimuli."""
    return {"params": {}, **CARDS.card("stimuli", wildcards.stimuli)}


def of_parent(wildcards):
    """The models, and the record, of the method that a method starts from."""
    found = f"results/runs/{{run}}/{{variant}}/{method_card(wildcards).get('init_from')}/seed-{{seed}}_part-{{part}}"
    names = ("models.zip", "fit.json") if "init_from" in method_card(wildcards) else ()
    return [f"{found.format(**wildcards)}/{name}" for name in names]


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
