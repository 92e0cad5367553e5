# Cards, constraints and input functions. No rule stands here, and nothing is computed here.

import json
import os
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(workflow.basedir)
SCRIPTS = BASE / "scripts"
# First: the library beside these rules, not a copy that happens to be installed.
sys.path.insert(0, str(SCRIPTS))

from replicortex import bids
from replicortex.cards import Cards, bidsify_arguments, expand as expand_path, gather_plan
from replicortex.digest import code_digest
from replicortex.errors import InputError
from replicortex.files import digest_tree
from replicortex.job import failures, prefer_own_interpreter
from replicortex.patterns import Patterns, any_of

STARTED = time.time()
prefer_own_interpreter()


def refuse(function, *arguments, **named):
    """Call a function of the library; show bad input as one line, without a traceback."""
    try:
        return function(*arguments, **named)
    except InputError as error:
        raise WorkflowError(str(error)) from None


CARDS = refuse(Cards, BASE / "config", config, checked=workflow.is_main_process)
RUNS = CARDS.runs
PATTERNS = refuse(Patterns, CARDS)
DATASETS = PATTERNS.datasets
CONTAINERS = {
    path.stem: os.path.relpath(BASE / "containers" / f"{path.stem}.sif") for path in (BASE / "envs").glob("*.yaml")
}


def index_linked(dataset, preprocessings):
    """Refresh the index and the block lists of a linked dataset: one walk, and only what changed is written."""
    from replicortex.index import refresh_index

    folder = Path("results/datasets") / dataset
    refresh_index(CARDS.root(dataset), folder, fingerprint=CARDS.dataset(dataset).get("fingerprint", "auto"))
    for preprocessing in preprocessings:
        n_blocks = CARDS.n_blocks(dataset, preprocessing)
        bids.write_blocks(folder / "recordings.tsv", folder / "blocks" / preprocessing, n_blocks)


# Only the driver walks the datasets: jobs on a cluster read what it wrote.
if workflow.is_main_process:
    for name in DATASETS:
        if not CARDS.is_made(name):
            used = [run.preprocessing for run in RUNS.values() if run.dataset == name]
            refuse(index_linked, name, {recipe for last in used for recipe in CARDS.recipes(last)})


wildcard_constraints:
    dataset=any_of(DATASETS),
    preprocessing=any_of(PATTERNS.recipes),
    feature=any_of(PATTERNS.features),
    run=any_of(RUNS),
    method=any_of(PATTERNS.methods),
    figure=any_of(PATTERNS.figures),
    variant="observed|absent|null-[0-9]+",
    block="[0-9]+of[0-9]+",
    part="[0-9]+of[0-9]+",
    seed="[0-9]+",


# ---- params and resources


def script(name):
    """Path of a command, from the working directory, so that a logged line can be repeated there."""
    return os.path.relpath(SCRIPTS / f"{name}.py")


def code(stage, *components, family="signal"):
    """Digest of a stage, its components, all that they import, and the environment file of the rule."""
    return refuse(code_digest, [f"stages.{stage}", *components], [BASE / "envs" / f"{family}.yaml"])


def as_json(value):
    """One line of JSON: how parameters travel on a command line."""
    return json.dumps(value, sort_keys=True)


def grows(mem_mb):
    """Memory that grows with each attempt at a job."""
    return lambda wildcards, attempt: mem_mb * attempt


def of_method(resource, default):
    """Input function: a resource of a method; memory grows with each attempt."""

    def value(wildcards, attempt=1):
        asked = method_card(wildcards)["resources"].get(resource, default)
        return asked * attempt if resource == "mem_mb" else asked

    return value


# ---- what a wildcard stands for


def root_of(wildcards):
    """Folder of a run's or a wildcard's BIDS dataset."""
    return refuse(CARDS.root, getattr(wildcards, "dataset", None) or RUNS[wildcards.run].dataset)


def dataset_card(wildcards):
    """A dataset card."""
    return CARDS.dataset(wildcards.dataset)


def simulate_card(wildcards):
    """The `simulate` entry of a dataset card."""
    return {"params": {}, "truth": "planted", **dataset_card(wildcards)["simulate"]}


def source_of(wildcards, origin):
    """Folder of files that are not BIDS yet."""
    return refuse(expand_path, dataset_card(wildcards)[origin]["source"], f"config/datasets/{wildcards.dataset}.yaml")


def content_of(wildcards, origin):
    """Digest of that folder's content."""
    return refuse(digest_tree, source_of(wildcards, origin), f"results/datasets/{wildcards.dataset}/source.json")


def validation(wildcards):
    """What the BIDS validator may do with a dataset."""
    return dataset_card(wildcards).get("validation", CARDS.config["validation"])


def preprocessing_card(wildcards):
    """A preprocessing card."""
    return {"params": {}, **CARDS.card("preprocessing", wildcards.preprocessing)}


def files_of(kind):
    """Input function: the user's files that a preprocessing or feature card names; refused where not there."""
    name = {"preprocessing": "preprocessing", "features": "feature"}[kind]
    return lambda wildcards: refuse(CARDS.files, kind, wildcards[name])


def feature_card(wildcards):
    """A feature card."""
    return {"params": {}, **CARDS.card("features", wildcards.feature)}


def method_card(wildcards):
    """One method of a run, resolved."""
    return RUNS[wildcards.run].methods[wildcards.method]


def evaluation(wildcards):
    """The evaluation of a run, resolved."""
    return RUNS[wildcards.run].evaluation


# ---- inputs


def block_recordings(wildcards):
    """The recordings of a block: its own list for a linked dataset, the whole table for a made one."""
    listed = f"blocks/{wildcards.preprocessing}/{wildcards.block}.tsv"
    return f"results/datasets/{wildcards.dataset}/{'recordings.tsv' if CARDS.is_made(wildcards.dataset) else listed}"


def run_features(extension):
    """Input function: the feature files of a run's variant, one a block."""
    return lambda wildcards: CARDS.blocks(RUNS[wildcards.run], wildcards.variant, "features", extension)


def run_fits(name):
    """Input function: a file of every fit of a run's variant."""
    return lambda wildcards: RUNS[wildcards.run].fits(wildcards.variant, name)


def run_scores(wildcards):
    """The scores of all variants of a run."""
    return [f"results/runs/{wildcards.run}/{variant}/scores.tsv" for variant in RUNS[wildcards.run].variants]


def run_gates(wildcards):
    """What must be passed before a run may have verdicts: checks of its card, validation of its datasets."""
    run = RUNS[wildcards.run]
    checks = [f"results/runs/{run.name}/checks/{family}.json" for family in run.families]
    return [*checks, *(f"results/datasets/{dataset}/validation.json" for dataset in run.datasets)]


def truth_of(run, variant):
    """The truth of a run's variant, where there is one."""
    return f"results/datasets/{RUNS[run].dataset_of(variant)}/truth.json" if RUNS[run].simulated else []


def all_blocks(stage):
    """Input function: the tables of every block of every run after a stage."""
    return lambda wildcards: sorted(
        {path for run in RUNS.values() for variant in run.variants for path in CARDS.blocks(run, variant, stage, "tsv")}
    )


def all_figures(wildcards):
    """The figures of every run."""
    return [f"results/runs/{run.name}/figures/{figure}.svg" for run in RUNS.values() for figure in run.card["figures"]]


def all_quality(wildcards):
    """The tables of quality of every recipe that recordings go through."""
    return sorted({path for run in RUNS.values() for path in CARDS.quality(run)})
