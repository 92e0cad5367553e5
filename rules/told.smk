# What figures, numbers, texts, pages and the research object are made from. No rule stands here.

import snakemake

from replicortex.described import described


def observed_fits(wildcards):
    """The records of all fits of a run on the data as they are."""
    return RUNS[wildcards.run].fits("observed", "fit.json")


def observed_blocks(stage):
    """Input function: the tables of a run's blocks after a stage, of the data as they are."""
    return lambda wildcards: CARDS.blocks(RUNS[wildcards.run], "observed", stage, "tsv")


def observed_dataset(name):
    """Input function: a file of a run's dataset."""
    return lambda wildcards: f"results/datasets/{RUNS[wildcards.run].dataset}/{name}"


def observed(name):
    """Input function: a file of the observed variant of a run."""
    return lambda wildcards: f"results/runs/{wildcards.run}/observed/{name}"


def about(wildcards):
    """What the numbers of a run say of it and its dataset that stands on cards."""
    run, card = RUNS[wildcards.run], CARDS.dataset(RUNS[wildcards.run].dataset)
    variables = [*run.target, *run.evaluation["covariates"]]
    return {
        "task": run.evaluation["task"],
        "target": run.evaluation.get("target"),
        "columns": [card.get("variables", {}).get(name, {"column": name})["column"] for name in variables],
        "seeds": len(run.evaluation["seeds"]),
        "null_variants": run.evaluation["null_variants"],
        "version": CARDS.published(run.dataset)["version"] if CARDS.is_fetched(run.dataset) else None,
        "restricted": card.get("restricted", False),
    }


def told(wildcards):
    """What the cards say of a run, for its text."""
    run = RUNS[wildcards.run]
    dataset = CARDS.dataset(run.dataset)
    return {
        **{key: dataset.get(key, {}) for key in ("variables", "filters", "openneuro")},
        **{key: dataset[key] for key in ("title", "licence")},
        "citation": dataset.get("citation", ""),
        "restricted": dataset.get("restricted", False),
        "dataset": run.dataset,
        "simulated": run.simulated,
        "paper": run.card["paper"],
        "deviations": run.card["deviations"],
        # A list: the order is that of the card, and JSON does not keep that of its keys here.
        "methods": [[name, method["label"], method["role"]] for name, method in run.methods.items()],
        "evaluation": run.evaluation,
        "scored_together": run.scored_together,
        "scale": CARDS.config["scale"],
        "seed": CARDS.config["seed"],
        "snakemake": snakemake.__version__,
    }


def all_texts(wildcards):
    """The Methods section of every run."""
    return [f"results/runs/{run}/methods.md" for run in RUNS]


def all_pages(wildcards):
    """What the pages show, of every run and dataset."""
    names = ("card.json", "summary.tsv", "numbers.tsv", "methods.html", "references.bib")
    of_runs = [f"results/runs/{run}/{name}" for run in RUNS for name in names]
    return [*of_runs, *all_figures(wildcards), *all_quality(wildcards), *all_displays(wildcards)]


def look():
    """Digest of the templates, style and script of the pages: no module imports them."""
    paths = (SCRIPTS / "replicortex" / "site").rglob("*")
    return refuse(code_digest, [], sorted(path for path in paths if path.suffix in (".j2", ".css", ".js")))


def all_told(wildcards):
    """What the research object is of: it waits for the last results."""
    seen = [*all_figures(wildcards), *all_texts(wildcards), *all_quality(wildcards), *all_displays(wildcards)]
    return ["results/claims.tsv", "results/status.tsv", "results/site", *seen]
