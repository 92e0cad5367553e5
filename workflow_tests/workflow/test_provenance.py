"""What ran, and the research object of it: on a finished run, judged by the validator of RO-Crate."""

from __future__ import annotations

import getpass
import hashlib
import importlib.resources
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import urllib3
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import ValidationResult, ValidationSettings

from project import Project
from replicortex.files import read_tsv
from replicortex.history import DONE, FAILED, behind, cost, jobs

CRATE = "results/ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = "https://bioschemas.org/"
#: Terms of the context of RO-Crate 1.1 that later ones, of which rocrate ships one, say in another way.
OF_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
    "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
}
RAISING = '''"""A method that can not be fitted."""

from __future__ import annotations

from ..components import component
from .mdm import Mdm


@component
class Raising(Mdm):
    """As MDM, but for the fit."""

    def fit(self, *arguments, **named):
        """Fail."""
        raise RuntimeError("of no use")
'''


@pytest.fixture(scope="module")
def described(finished, tmp_path_factory) -> Project:
    """The finished project with its research object; not changed."""
    project = finished.copy(tmp_path_factory.mktemp("described") / "project")
    project.run("--config", "runs=[tiny]", "--", CRATE)
    return project


@pytest.fixture(scope="module")
def crate(described) -> dict[str, dict]:
    """Its entities, by identifier."""
    graph = json.loads((described.folder / CRATE).read_text())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}


@pytest.fixture(scope="module")
def validate(tmp_path_factory):
    """Judge a crate without network: the one file that the validator would fetch is put into its cache."""
    cache = tmp_path_factory.mktemp("cache") / "http"
    content = json.loads(importlib.resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_text())
    content["@context"] |= OF_1_1
    body = json.dumps(content).encode()

    class Served(requests.adapters.BaseAdapter):
        def send(self, request, **_):
            answer = requests.Response()
            answer.status_code, answer.reason, answer.url, answer.request = 200, "OK", request.url, request
            answer.headers["Content-Type"] = "application/ld+json"
            answer.raw = urllib3.HTTPResponse(io.BytesIO(body), status=200, preload_content=False)
            return answer

        def close(self):
            pass

    with CachedSession(str(cache)) as session:
        session.mount("https://", Served())
        session.get(CONTEXT)

    def judge(severity: str, **what) -> ValidationResult:
        settings = ValidationSettings(
            **what,
            profile_identifier="provenance-run-crate",
            requirement_severity=severity,
            offline=True,
            cache_path=cache,
        )
        return services.validate(settings)

    return judge


def issues(result: ValidationResult, *severities: str) -> list[str]:
    return [
        f"{issue.check.identifier}: {issue.message}"
        for issue in result.get_issues()
        if issue.severity.name in severities
    ]


def ids(value: object) -> list[str]:
    """The identifiers that a property names."""
    return [entry["@id"] for entry in (value if isinstance(value, list) else [value] if value else [])]


# ---- what ran


def test_the_history_of_a_run_is_what_its_benchmarks_say(finished):
    history = jobs(finished.folder)
    assert {job.status for job in history} == {DONE}
    tables = sorted((finished.folder / "results/benchmarks").rglob("*.tsv"))
    taken = [float(read_tsv(path)[-1]["s"]) for path in tables]
    assert len(history) == len(tables), "a job of every rule leaves a benchmark that bears the name of its log"
    assert cost(history).hours * 3600 == pytest.approx(sum(taken))
    for job in history:
        assert job.ended >= job.started, job.name
        assert all((finished.folder / path).exists() for path in job.outputs), job.name
        assert job.gpu is False
    made = {path for job in history for path in job.outputs}
    order = {job.name: number for number, job in enumerate(history)}
    for job in history:
        for earlier in behind(history, set(job.inputs) & made):
            assert order[earlier.name] < order[job.name]


def test_a_job_that_fails_is_in_the_history_with_its_reason(project):
    (project.folder / "scripts/replicortex/methods/raising.py").write_text(RAISING)
    card = project.card("studies", "tiny")
    methods = {**card["methods"], "raising": {"role": "baseline", "family": "signal"}}
    project.card("studies", "tiny", methods=methods)
    name = "results/runs/tiny/observed/raising/seed-0_part-0of1/fit.json"
    assert project.snakemake("--", name).returncode == 1
    failed = [job for job in jobs(project.folder) if job.status != DONE]
    assert [(job.rule, job.target, job.status) for job in failed] == [
        ("fit", "tiny/observed/raising/seed-0_part-0of1", FAILED)
    ]
    assert failed[0].reason == "RuntimeError: of no use"
    assert cost(failed).n_jobs == 0


# ---- the research object


def test_the_crate_is_valid(described, validate):
    """What the profile and all that it builds on require is there; of what they recommend, what somebody gave."""
    result = validate("RECOMMENDED", rocrate_uri=str(described.folder / "results"))
    checked = {check.identifier.rpartition("_")[0] for check in result.executed_checks}
    assert {f"{name}-run-crate-0.5" for name in ("process", "workflow", "provenance")} <= checked
    assert {"ro-crate-1.1", "workflow-ro-crate-1.0"} <= checked
    assert issues(result, "REQUIRED") == []
    # Nobody says who ran it, and where the workflow is published.
    known = ("agent", "author", "publisher", "SoftwareApplication id SHOULD", "Application SHOULD have a url")
    assert [text for text in issues(result, "RECOMMENDED") if not any(word in text for word in known)] == []


@pytest.mark.parametrize(
    ("identifier", "without", "profile"),
    [
        ("./", "license", "ro-crate-1.1"),
        ("./", "mainEntity", "workflow-ro-crate"),
        ("#run", "instrument", "process-run-crate"),
        ("#step/make_splits", "workExample", "provenance-run-crate"),
    ],
)
def test_the_validator_sees_what_is_missing(described, validate, identifier, without, profile):
    """The test of the test: offline, it judges what it is said to judge."""
    changed = json.loads((described.folder / CRATE).read_text())
    (entity,) = (entity for entity in changed["@graph"] if entity["@id"] == identifier)
    del entity[without]
    result = validate("REQUIRED", rocrate_uri=str(described.folder), metadata_dict=changed, metadata_only=True)
    assert any(text.startswith(profile) for text in issues(result, "REQUIRED"))


def test_every_file_is_what_the_crate_says(described, crate):
    files = [entity for entity in crate.values() if "File" in entity["@type"]]
    assert len(files) > 50
    for entity in files:
        content = (described.folder / "results" / entity["@id"]).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest(), entity["@id"]
        assert int(entity["contentSize"]) == len(content)
        assert "/" in entity["encodingFormat"]
    for entity in crate.values():
        if entity["@type"] == "Dataset" and entity["@id"].endswith("/"):
            assert (described.folder / "results" / entity["@id"]).is_dir()
    named = {entity["@id"] for entity in files}
    figures = (described.folder / "results/runs/tiny/figures").iterdir()
    assert {"claims.tsv", "runs/tiny/claims.json", "runs/tiny/scores.tsv", "README.md"} <= named
    assert {f"runs/tiny/figures/{path.name}" for path in figures} <= named


def test_every_job_is_an_action_with_what_it_took_and_made(described, crate):
    history = [job for job in jobs(described.folder) if job.rule != "describe_results"]
    actions = {key: entity for key, entity in crate.items() if entity["@type"] == "CreateAction" and key != "#run"}
    assert set(actions) == {f"#job/{job.rule}" + (f"/{job.target}" if job.target else "") for job in history}
    maker = {output: action for key, action in actions.items() for output in ids(action["result"])}
    for job in history:
        action = actions[f"#job/{job.rule}" + (f"/{job.target}" if job.target else "")]
        results = {path.rstrip("/") for path in ids(action["result"])}
        assert results >= {path.removeprefix("results/") for path in job.outputs}
        assert action["startTime"] <= action["endTime"]
        # What it was made from: each of its inputs that another job made.
        before = {path.removeprefix("results/") for path in job.inputs}
        assert {path for path in before if path in maker} <= set(ids(action.get("object")))
        script = crate[ids(action["instrument"])[0]]
        assert script["@id"] == f"workflow/scripts/{re.match(r'python scripts/(.*?[.]py)', job.command)[1]}"
    organized = crate["#organize"]
    controlled = {ids(crate[control]["object"])[0] for control in ids(organized["object"])}
    assert controlled == set(actions)
    assert ids(organized["result"]) == ["#run"]
    assert "claims.tsv" in ids(crate["#run"]["result"])


def test_a_fit_names_its_parameters_and_a_derivative_its_raw_data(crate):
    fit = crate["#job/fit/tiny/observed/mdm/seed-0_part-0of1"]
    values = {crate[key]["name"]: crate[key]["value"] for key in ids(fit["object"]) if key.startswith("#parameter/")}
    assert json.loads(values["params"]) == {"n_inner": 2, "n_shrinkages": 2}
    assert (values["method"], values["variant"], values["seed"]) == ("mdm", "observed", "0")
    block = crate["#job/preprocess_eeg/tiny/average_reference/0of2"]
    assert "derivatives/tiny/average_reference/" in ids(block["result"])
    assert "#dataset/tiny" in ids(block["object"]), "linked data are named, and not by their place"
    assert crate[ids(crate["#dataset/tiny"]["license"])[0]]["name"] == "CC0"
    features = crate["#job/extract_features/tiny/average_reference/tiny/0of2"]
    assert "derivatives/tiny/average_reference/" in ids(features["object"])


def test_nothing_of_the_machine_and_nobody_is_in_it(described):
    private = [str(described.folder), f"{Path.home()}/", sys.prefix, platform.node(), "sub-0"]
    private += [getpass.getuser()] if getpass.getuser() not in ("root", "user") else []
    told = [described.folder / CRATE, described.folder / "results/README.md"]
    told += [path for path in (described.folder / "results/workflow/config").rglob("*") if path.is_file()]
    for path in told:
        text = path.read_text()
        # A folder of the crate may be called as one of the machine: `workflow/scripts/x.py/root`.
        found = [word for word in private if len(word) > 3 and re.search(rf"(?<![\w.]){re.escape(word)}", text)]
        assert found == [], path


def test_the_workflow_in_the_crate_plans_the_same_run(described, tmp_path):
    shutil.copytree(described.folder / "data", tmp_path / "data")
    again = Project(tmp_path)
    copied = str(described.folder / "results/workflow/Snakefile")
    target = "results/claims.tsv"
    planned = again.planned("--quiet", "rules", "--snakefile", copied, "--", target)
    assert planned == described.planned("--quiet", "rules", "--forceall", "--", target)
    assert planned["fit"] == 4


def test_paths_and_people_in_cards_are_left_out_of_the_copy(project):
    """A card that names a place, a subject and an address that signs in: none is told, and the copy is still a card."""
    data = project.folder / "data"
    project.card("datasets", "tiny", root=str(data), filters={"subject": ["01", "02"], "task": ["imagery"]})
    project.card("", "config", mirrors={"openneuro": "https://me:secret@mirror.intern/{accession}"})
    records = [path for path in (project.folder / ".snakemake/metadata").rglob("*") if path.is_file()]
    for path in records:
        path.write_text(path.read_text().replace("--root data ", f"--root {data} "))
    assert any(f"--root {data} " in path.read_text() for path in records)
    given = ["--project", ".", "--out", CRATE, "--workflow", "results/workflow", "--snakemake", "9.27"]
    subprocess.run(
        [sys.executable, "scripts/describe_results.py", *given],
        cwd=project.folder,
        check=True,
        timeout=300,
    )
    assert "#dataset/tiny" in (project.folder / CRATE).read_text()
    copied = project.folder / "results/workflow/config"
    text = "\n".join(path.read_text() for path in copied.rglob("*.yaml") if "schemas" not in path.parts)
    text += (project.folder / CRATE).read_text()
    assert [word for word in (str(project.folder), "secret", "mirror.intern") if word in text] == []
    tiny = (copied / "datasets/tiny.yaml").read_text()
    assert "${TINY_ROOT}" in tiny
    assert "subject" not in tiny
    assert "imagery" in tiny
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(copied.parent / "Snakefile"), "--dry-run", "--quiet"],
        env={**os.environ, "TINY_ROOT": str(data)},
        cwd=project.folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
