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
from replicortex.driver import begin
from replicortex.errors import InputError
from replicortex.files import digest_tree
from replicortex.images import containers
from replicortex.job import failures, prefer_own_interpreter
from replicortex.numbered import compact
from replicortex.patterns import Patterns, any_of
from replicortex.pins import check_pins
from replicortex.planning import collect_rarely, remember_signatures

STARTED = time.time()
prefer_own_interpreter()
collect_rarely()


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
CONTAINERS = refuse(containers, BASE, CARDS, DATASETS, workflow, WorkflowError)


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
    refuse(check_pins, BASE / "envs")
    refuse(CARDS.check_cache, workflow.workflow_settings.cache)
    begin(workflow, WorkflowError)
    for name in DATASETS:
        if not CARDS.is_made(name):
            used = [run.preprocessing for run in RUNS.values() if run.dataset == name]
            refuse(index_linked, name, {recipe for last in used for recipe in CARDS.recipes(last)})


wildcard_constraints:
    dataset=any_of(DATASETS),
    preprocessing=any_of(PATTERNS.recipes),
    feature=any_of(PATTERNS.features),
    stimuli=any_of(PATTERNS.stimuli),
    run=any_of(RUNS),
    method=any_of(PATTERNS.methods),
    figure=any_of(PATTERNS.figures),
    variant="observed|absent|(null|random)-[0-9]+",
    block="[0-9]+of[0-9]+",
    part="[0-9]+of[0-9]+",
    seed="[0-9]+",


# ---- params and outputs


def script(name):
    """Path of a command, from the working directory, so that a logged line can be repeated there."""
    return os.path.relpath(SCRIPTS / f"{name}.py")


def code(stage, *components, family="signal"):
    """Digest of a stage, its components, all that they import, and the environment file of the rule, if it counts."""
    files = [BASE / "envs" / f"{family}.yaml"] if family else []
    return refuse(code_digest, [f"stages.{stage}", *components], files)


def as_json(value):
    """One line of JSON: how parameters travel on a command line."""
    return json.dumps(value, sort_keys=True)


def reported(path, **told):
    """A table by subject: in the report, unless a dataset of the runs is restricted."""
    return path if CARDS.restricted else report(path, **told)


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
    name = {"preprocessing": "preprocessing", "features": "feature", "stimuli": "stimuli"}[kind]
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


def made_dataset(wildcards):
    """What says that a dataset is there: its description, or the record of what was fetched."""
    name = "fetched.json" if CARDS.is_fetched(wildcards.dataset) else "bids/dataset_description.json"
    return f"results/datasets/{wildcards.dataset}/{name}"


def block_recordings(wildcards):
    """The recordings of a block: its own list for a linked dataset, the whole table for a made one."""
    listed = f"blocks/{wildcards.preprocessing}/{wildcards.block}.tsv"
    return f"results/datasets/{wildcards.dataset}/{'recordings.tsv' if CARDS.is_made(wildcards.dataset) else listed}"


def feature_blocks(extension):
    """Input function: the files of all blocks of a feature."""
    return lambda wildcards: CARDS.feature_blocks(**wildcards, extension=extension)


def run_features(wildcards):
    """The table of the feature bundles of a run's variant."""
    return CARDS.features_of(RUNS[wildcards.run], wildcards.variant)


def run_bundles(wildcards):
    """These bundles, for a command line."""
    return compact(CARDS.blocks(RUNS[wildcards.run], wildcards.variant, "features", "npz"))


def shortly(name=None):
    """Params function: an input that is many files, for a command line; without a name all inputs."""
    return lambda wildcards, input: compact(input if name is None else input.get(name, []))


def run_fits(name, scored=False):
    """Input function: a file of every fit of a run's variant, or of those that are scored."""
    return lambda wildcards: RUNS[wildcards.run].fits(wildcards.variant, name, scored=scored)


def scores_of_networks(wildcards):
    """The scores of all variants, fold by fold, where a claim of the run is about networks."""
    claims = RUNS[wildcards.run].card["claims"]
    return run_scores(wildcards) if any(claim["kind"] == "beats_twins" for claim in claims) else []


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
    return lambda wildcards: CARDS.all_blocks(stage, "tsv")


def all_figures(wildcards):
    """The figures of every run, and the numbers that a text about it would quote."""
    names = [(run.name, f"figures/{figure}.svg") for run in RUNS.values() for figure in run.card["figures"]]
    return [f"results/runs/{run}/{name}" for run, name in [*names, *((run, "numbers.tsv") for run in RUNS)]]


def all_quality(wildcards):
    """The tables of quality of every recipe that recordings go through."""
    return sorted({path for run in RUNS.values() for path in CARDS.quality(run)})


def all_displays(wildcards):
    """The displays that go with these tables, of modalities that have one."""
    return [path.removesuffix(".tsv") + ".displays" for path in all_quality(wildcards) if CARDS.is_displayed(path)]
