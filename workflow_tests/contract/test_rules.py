"""What holds for every rule, and what the rules plan: read from the rules, and from dry runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from bids_trees import brainvision, grow
from project import DATASET, FEATURE, STUDY, Project, copy_sources
from replicortex.bids import n_blocks
from replicortex.cards import FAMILIES, merge
from source_code import ROOT, RULE_FILES, TRUTHFUL, stages_of

STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
#: Says what Snakemake made of the rules; appended to a copy of the Snakefile.
DESCRIBE = """

def described(rule):
    def known(value):
        return None if callable(value) else str(value)

    return {
        "target": not rule.output,
        "log": [str(path) for path in rule.log],
        "conda": known(rule.conda_env),
        "container": known(rule.container_img),
        "resources": sorted(name for name, value in rule.resources.items() if value is not None),
        "shell": rule.shellcmd,
        "other": [str(way) for way in (rule.script, rule.notebook, rule.wrapper, rule.cwl) if way],
        "is_run": rule.is_run,
    }


Path("rules.json").write_text(json.dumps({rule.name: described(rule) for rule in workflow.rules}))
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Every rule that is no mere target, as Snakemake understands it."""
    folder = copy_sources(tmp_path_factory.mktemp("rules") / "project")
    with (folder / "Snakefile").open("a") as stream:
        stream.write(DESCRIBE)
    Project(folder).run("--list-rules")
    found = json.loads((folder / "rules.json").read_text())
    return {name: rule for name, rule in found.items() if not rule["target"]}


def blocks_of_text() -> dict[str, str]:
    """The text of every rule that is written out, by its name."""
    text = "\n".join(path.read_text() for path in RULE_FILES)
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL))


def derived() -> dict[str, str]:
    """Rules that stand in for another one in another environment, and that one."""
    text = "\n".join(path.read_text() for path in RULE_FILES)
    return {new: old for old, new in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE)}


# ---- each rule


def test_every_rule_says_where_it_runs_and_what_it_needs(rules):
    assert rules
    for name, rule in rules.items():
        assert rule["log"], f"{name} has no log"
        family = Path(rule["conda"]).stem
        assert (ROOT / "envs" / f"{family}.yaml").is_file(), name
        if name in ("preprocess_on_host", "fetch_dataset", "describe_results"):
            assert rule["container"] == "None", "on the host: its container, the user's git, the driver's records"
        else:
            assert rule["container"].endswith(f"containers/{family}.sif"), name
        assert {"mem_mb", "runtime"} <= set(rule["resources"]), name
        assert "gpus" not in rule["resources"], f"{name}: the resource is called gpu"


def test_every_rule_states_its_threads_and_leaves_attempts_to_the_profile():
    """Snakemake fills in both where they are missing, so they are looked for on the page."""
    commands = {name: text for name, text in blocks_of_text().items() if "    shell:" in text}
    assert [name for name, text in commands.items() if "    threads: " not in text] == []
    assert [name for name, text in commands.items() if "    retries:" in text] == []


def test_every_rule_is_a_command_that_logs(rules):
    for name, rule in rules.items():
        assert rule["shell"], f"{name} is no command"
        assert not rule["is_run"], name
        assert rule["other"] == [], name
        assert rule["shell"].endswith(" > {log:q} 2>&1"), name
        assert rule["shell"].startswith("python {params.script:q} "), name


def test_every_file_on_a_command_line_is_quoted(rules):
    """What else comes from cards is tried with hostile ones below."""
    for name, rule in rules.items():
        unquoted = re.findall(r"\{(?:input|output|log)[^}:]*\}", rule["shell"])
        assert unquoted == [], name


def test_a_digest_is_of_the_code_and_the_environment_that_run():
    """The script's stage, and the environment file of the rule: else an edit would not be noticed."""
    for name, text in blocks_of_text().items():
        script = re.search(r'script\("(\w+)"\)', text)
        if "own_python" in text:  # a target for people, which always runs
            continue
        if not script:
            assert "shell:" not in text, f"{name} calls no script"
            continue
        code = re.search(r'[ (]code\(\s*"(\w+)"(.*?)^    shell:', text, re.DOTALL | re.MULTILINE)
        assert code, f"{name} has no digest of its code"
        assert {f"stages.{code[1]}"} == stages_of(ROOT / "scripts" / f"{script[1]}.py"), name
        family = re.search(r"family=(\S+?),?\s*\)", code[2])
        environment = re.search(r"envs/(\w+)\.yaml", text)[1]
        if family is None:
            assert environment == "signal", name
        elif family[1].startswith('"'):
            assert family[1] == f'"{environment}"', name


def test_what_all_rules_share_stays_small_and_holds_no_rule():
    text = (ROOT / "rules" / "common.smk").read_text()
    assert len(text.splitlines()) <= 250
    assert not re.search(r"^(use )?rule ", text, re.MULTILINE)


def test_the_rules_are_formatted_and_linted(tmp_path):
    formatter = [str(Path(sys.executable).parent / "snakefmt"), "--check", *map(str, RULE_FILES)]
    done = subprocess.run(formatter, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    done = Project(tmp_path).snakemake("--snakefile", str(ROOT / "Snakefile"), "--lint")
    assert done.returncode == 0, done.stdout
    assert "good condition" in done.stdout


# ---- what is planned


class Job(NamedTuple):
    """One job of a dry run."""

    rule: str
    fields: dict[str, str]
    command: str


def jobs(text: str) -> list[Job]:
    """Return the jobs that a dry run with ``--printshellcmds`` shows."""
    found = []
    for block in re.split(r"^(?:local)?rule (?=\w+:$)", text, flags=re.MULTILINE)[1:]:
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        command = re.search(r"^Shell command: (.*)$", block, re.MULTILINE)
        found.append(Job(block.partition(":")[0], fields, command[1]))
    return found


def card(kind: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / kind / f"{name}.yaml").read_text())


def expected(config: dict[str, Any], scale: str) -> dict[str, int]:
    """Count the jobs of a configuration from its cards alone."""
    made, recipes, features, stimuli = set(), {}, {}, set()
    once = ("all", "collect_claims", "collect_status", "build_site", "describe_results")
    counts = dict.fromkeys(once, 1)

    def add(rule: str, number: int) -> None:
        counts[rule] = counts.get(rule, 0) + number

    for entry in config["runs"]:
        entry = {"study": entry} if isinstance(entry, str) else entry
        study = card("studies", entry["study"])
        study = merge(merge(study, study["scale"][scale]), entry.get("params", {}))
        name, recipe, feature = (entry.get(key, study[key]) for key in ("dataset", "preprocessing", "feature"))
        dataset, evaluation = card("datasets", name), study["evaluation"]
        controlled = any(claim["under_null"] != "n/a" for claim in study["claims"])
        n_variants = 1 + evaluation.get("null_variants", 5) + controlled
        twins = {name, *([f"{name}-absent"] if controlled else [])}
        made |= twins
        subjects = dataset["simulate"]["params"].get("n_subjects", 1)
        cost = card("preprocessing", recipe).get("seconds_per_subject", 10)
        blocks = dataset.get("blocks") or n_blocks(subjects, cost)
        modality = card("preprocessing", recipe)["modality"]
        recipes |= {(twin, recipe): (f"preprocess_{modality}", blocks) for twin in twins}
        for before in card("preprocessing", recipe).get("after", "").split():
            cost = card("preprocessing", before).get("seconds_per_subject", 10)
            number = dataset.get("blocks") or n_blocks(subjects, cost)
            kind = card("preprocessing", before)["modality"]
            recipes |= {(twin, before): (f"preprocess_{kind}", number) for twin in twins}
        rule = "extract_features" + ("_mri" if FAMILIES[modality] == "mri" else "")
        features |= {(twin, recipe, feature): (rule, blocks) for twin in twins}
        stimuli |= {(twin, entry.get("stimuli", study["stimuli"])) for twin in twins if "stimuli" in study}
        fits = n_variants * len(evaluation.get("seeds", [0])) * evaluation.get("parts", 1)
        families = [method["family"] for method in study["methods"].values()]
        family_of_features = FAMILIES[modality]
        for method in study["methods"].values():
            # On a cluster, what takes hours does not share a job with others.
            long = "_long" if method.get("resources", {}).get("runtime", 0) > 60 else ""
            add(f"fit{long}" if method["family"] == "signal" else f"fit_{method['family']}", fits)
        for family in {"signal", family_of_features, *families}:
            add("check_study" if family == "signal" else f"check_study_{family}", 1)
        for rule in ("make_splits", "check_leaks", "score_predictions"):
            add(rule, n_variants)
        told = ["collect_choices", "collect_numbers", "write_methods", "describe_run"]
        told += ["collect_generated"] if evaluation["task"] == "generate" else []
        for rule in ("summarize_run", "judge_claims", *told):
            add(rule, 1)
        add("plot_figure", len(study["figures"]))
    for rule in ("index_dataset", "validate_dataset"):
        add(rule, len(made))
    for _ in {twin for twin, _ in stimuli}:
        add("make_stimuli", 1)
    for _, name in stimuli:
        family = card("stimuli", name).get("family", "signal")
        add("extract_stimuli" if family == "signal" else f"extract_stimuli_{family}", 1)
    for name in made:
        family = card("datasets", name.removesuffix("-absent"))["simulate"].get("family", "signal")
        add("simulate_dataset" if family == "signal" else f"simulate_dataset_{family}", 1)
    add("collect_quality", len(recipes))
    for _, recipe in recipes:
        family = FAMILIES[card("preprocessing", recipe)["modality"]]
        add("show_quality" if family == "signal" else f"show_quality_{family}", 1)
    add("collect_features", len(features))
    for rule, blocks in [*recipes.values(), *features.values()]:
        add(rule, blocks)
    return counts


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Project:
    """An empty folder to run the project in, its rules as they are."""
    return Project(tmp_path_factory.mktemp("empty"))


def of_the_source(*arguments: str) -> tuple[str, ...]:
    """Arguments that plan with the project's own rules in another folder."""
    return "--snakefile", str(ROOT / "Snakefile"), *arguments


@pytest.fixture(scope="module")
def plan(here) -> list[Job]:
    """The jobs that the configuration shipped asks for."""
    return jobs(here.run(*of_the_source("--dry-run", "--printshellcmds")))


def shipped() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def test_the_configuration_shipped_plans_the_jobs_that_its_cards_ask_for(plan):
    assert Counter(job.rule for job in plan) == expected(shipped(), shipped()["scale"])


def test_the_paper_scale_plans_the_jobs_that_its_cards_ask_for(here):
    arguments = of_the_source("--quiet", "rules", "--config", "scale=paper")
    assert here.planned(*arguments) == expected(shipped(), "paper")


def test_a_dry_run_leaves_nothing(here, plan):
    assert plan
    assert {path.name for path in here.folder.iterdir()} <= {".snakemake"}


def test_a_truth_goes_to_what_scores_and_nowhere_else(plan):
    taking = {script_of(job) for job in plan if "truth.json" in job.fields.get("input", "")}
    assert taking
    taking |= {script_of(job) for job in plan if "truth.json" in job.command}
    assert set().union(*map(stages_of, taking)) <= TRUTHFUL


def script_of(job: Job) -> Path:
    """The script of a job, which a rule calls by its path from the working directory."""
    return ROOT / "scripts" / Path(shlex.split(job.command)[1]).name


#: Parses each line of standard input as its command would, and ends before the command does anything.
PARSE = """
import argparse, json, runpy, sys

parse = argparse.ArgumentParser.parse_args

def only_parse(parser, *_):
    parse(parser)
    raise SystemExit(0)

argparse.ArgumentParser.parse_args = only_parse
sys.path.insert(0, sys.argv[1])
for sys.argv in json.load(sys.stdin):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


def test_commands_parse_the_lines_that_the_rules_write(plan):
    """One job of every rule: its command takes these options, and has all that it needs."""
    one_of_each = {job.rule: job for job in plan if job.rule != "all"}.values()
    lines = [[str(script_of(job)), *shlex.split(job.command.rpartition(" > ")[0])[2:]] for job in one_of_each]
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "scripts")],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(lines) > 10


# ---- the shape of the graph


def shape(planned: list[Job], name: str, study: dict[str, Any]) -> set[str]:
    """Rules that make the results of a study, among jobs that may be those of many.

    A rule that stands in for another in another environment, or for another input, counts as that one: the graph is the
    same whatever the method, the modality, and the origin of the data.
    """
    recipes = {study["preprocessing"], *card("preprocessing", study["preprocessing"]).get("after", "").split()}
    its = {
        "run": {name},
        "dataset": {study["dataset"], f"{study['dataset']}-absent"},
        "preprocessing": recipes,
        "feature": {study["feature"]},
    }
    stands_for = derived() | {"bidsify_dataset": "simulate_dataset", "gather_dataset": "simulate_dataset"}
    found = set()
    for job in planned:
        wildcards = dict(re.findall(r"(\w+)=([^,]+)", job.fields.get("wildcards", "")))
        if all(wildcards[key] in its[key] for key in its.keys() & wildcards.keys()):
            rule = stands_for.get(job.rule, job.rule)
            found.add("preprocess" if rule.startswith("preprocess_") else rule)
    return found


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Project:
    """A copy of the project with one more study, which has a method of another environment."""
    project = Project(copy_sources(tmp_path_factory.mktemp("other") / "project"))
    methods = {**STUDY["methods"], "net": {"role": "baseline", "family": "torch", "component": "mdm"}}
    dataset = {key: value for key, value in DATASET.items() if key != "root"}
    simulate = {"simulator": "motor_imagery_eeg", "params": {"n_subjects": 2}}
    project.card("studies", "tiny", STUDY, methods=methods)
    project.card("features", "tiny", FEATURE)
    project.card("datasets", "tiny", dataset, simulate=simulate)
    project.card("", "config", {"runs": ["tiny"]})
    return project


@pytest.fixture(scope="module")
def tiny(other) -> list[Job]:
    """The jobs of that study."""
    return jobs(other.run("--dry-run", "--printshellcmds"))


def test_the_graph_has_the_same_shape_whichever_study_runs(here, tiny):
    planned = jobs(here.run(*of_the_source("--dry-run", "--printshellcmds", "--config", f"runs={STUDIES}")))
    same = shape(tiny, "tiny", {**STUDY, "feature": "tiny", "dataset": "tiny"})
    assert {"simulate_dataset", "preprocess", "extract_features", "fit", "judge_claims", "build_site"} <= same
    for name in STUDIES:
        told = card("studies", name)
        # A study about what was shown has its table and its features besides, one that generates a table of that, and
        # nothing else.
        more = {"make_stimuli", "extract_stimuli"} if "stimuli" in told else set()
        more |= {"collect_generated"} if told["evaluation"]["task"] == "generate" else set()
        assert shape(planned, name, told) == same | more, name


def test_a_method_of_another_family_runs_in_its_environment_on_a_gpu(tiny, rules):
    counts = Counter(job.rule for job in tiny)
    variants = ["observed", "null-1", "absent"]
    assert (counts["fit"], counts["fit_torch"]) == (2 * len(variants), len(variants))
    assert (counts["check_study"], counts["check_study_torch"]) == (1, 1)
    for job in tiny:
        if job.rule.startswith("fit"):
            is_net = "method=net" in job.fields["wildcards"]
            assert job.rule == ("fit_torch" if is_net else "fit")
            assert ("gpu=1" in job.fields["resources"]) == is_net
    assert Path(rules["fit_torch"]["conda"]).name == "torch.yaml"


# ---- hostile cards

HOSTILE = "a'; touch pwned; $(touch pwned) `touch pwned` > pwned & \"*"


def test_what_cards_say_stays_one_word_on_a_command_line(tmp_path):
    """Whatever text a card may hold, it is quoted: the line is what joining its own words gives."""
    project = Project(copy_sources(tmp_path / "project"))
    grow(project.folder / HOSTILE, brainvision("sub-01/eeg/sub-01_task-x"))
    params = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}
    classes = {"left_hand": [HOSTILE], "right_hand": [HOSTILE]}
    common = {"title": HOSTILE, "licence": HOSTILE, "classes": classes, "filters": {"subject": [HOSTILE]}}
    bidsify = {
        "source": HOSTILE,
        "pattern": HOSTILE,
        "task": HOSTILE,
        "runs": [HOSTILE],
        "events": {HOSTILE: HOSTILE},
        "montage": HOSTILE,
    }
    origins = {
        "linked": {"root": HOSTILE},
        "made": {"simulate": {"simulator": "motor_imagery_eeg", "params": {**params, "n_subjects": 2}}},
        "brought": {"bidsify": bidsify},
    }
    for name, origin in origins.items():
        project.card("datasets", name, {**common, **origin})
    project.card("preprocessing", "average_reference", params=params)
    project.card("features", "tiny", FEATURE, params=params)
    evaluation = STUDY["evaluation"] | {"classes": [HOSTILE, "b"], "exchangeable": [HOSTILE]}
    evaluation |= {"schemes": {"within_session": params}, "metrics": {"roc_auc": params}}
    methods = {
        name: {**method, "params": params, "label": HOSTILE, "component": name}
        for name, method in STUDY["methods"].items()
    }
    paper = {"title": HOSTILE, "doi": HOSTILE, "year": 2026}
    project.card("studies", "tiny", STUDY, evaluation=evaluation, methods=methods, paper=paper,
                 figures={"paired_scores": params})  # fmt: skip
    project.card("", "config", {"runs": [{"study": "tiny", "dataset": name} for name in origins]})
    found = jobs(project.run("--dry-run", "--printshellcmds"))
    for job in found:
        line = job.command.rpartition(" > logs/")[0]
        # A switch that is off leaves two spaces.
        assert re.sub(" +", " ", line) == shlex.join(shlex.split(line)), job.rule
    hostile = {job.rule for job in found if "touch pwned" in job.command}
    assert {"simulate_dataset", "bidsify_dataset", "preprocess_eeg", "extract_features", "fit"} <= hostile
