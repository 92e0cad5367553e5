"""What a research object tells of jobs and cards: how many are told of as one, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from replicortex.history import JobRecord
from replicortex.stages.provenance import MOST_ACTIONS, actions, encoding_of, options, script_of, stamp
from replicortex.stages.snapshot import is_shareable, portable

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def made(rule: str, targets: list[str]) -> list[JobRecord]:
    return [
        JobRecord(rule, target, started=NOON + timedelta(seconds=number), ended=NOON + timedelta(seconds=number + 1))
        for number, target in enumerate(targets)
    ]


def test_few_jobs_are_an_action_each():
    history = made("fit", [f"run/{number}" for number in range(MOST_ACTIONS)]) + made("collect", [""])
    assert {action.name for action in actions(history)} == {job.name for job in history}


def test_of_many_jobs_those_that_begin_alike_are_one_action():
    """Of 40 runs with 4 variants of 8 fits each, a run is told of as one; no job is lost or told of twice."""
    targets = [f"r{run}/{variant}/{fit}" for run in range(40) for variant in range(4) for fit in range(8)]
    history = made("fit", targets)
    found = actions(history)
    assert [action.name for action in found] == [f"fit r{run}" for run in range(40)]
    assert sorted(job.name for action in found for job in action.jobs) == sorted(job.name for job in history)
    # Few runs of many fits: as much of their names as leaves at most the limit.
    found = actions(made("fit", [target for target in targets if int(target.split("/")[0][1:]) < 5]))
    assert len(found) == 5 * 4
    # So many that even the first parts of their names are too many: all as one.
    assert [action.name for action in actions(made("index", [f"d{n}" for n in range(MOST_ACTIONS + 1)]))] == ["index"]


def test_actions_have_addresses_whatever_their_names():
    (action,) = actions(made("fit", ["a b/<script>?#"]))
    assert action.id == "#job/fit/a%20b/%3Cscript%3E%3F%23"


def test_options_of_a_command_are_read_as_the_shell_reads_them():
    command = (
        "python ../x/scripts/fit.py --features 'a b' c --params '{\"k\": \"--x\"}' --flag --code 1 > logs/fit.log 2>&1"
    )
    expected = {"features": ["a b", "c"], "params": ['{"k": "--x"}'], "flag": [], "code": ["1"]}
    assert options(command) == expected
    assert script_of(command) == "fit.py"
    assert options("python fit.py --params 'no end") == {}
    assert script_of("cp a b") is None


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("0.5", True),
        ("1/2", True),
        ('{"k": ["a/b", "https://doi.org/10.1/x"]}', True),
        ("/data/study", False),
        ('{"folder": "/data/study"}', False),
        ("--root=/data", False),
        ("~/data", False),
        ("file:///data", False),
        ("C:\\data", False),
        ("sub-01_task-rest", False),
    ],
)
def test_paths_and_subjects_are_not_told(text, is_told):
    assert is_shareable(text) == is_told


def test_a_card_is_told_without_what_is_of_a_machine_or_a_person():
    card = {
        "title": "T",
        "root": "/data/x",
        "filters": {"subject": ["01"], "task": ["rest"]},
        "files": {"template": "~/t.nii.gz"},
        "datalad": {"url": "https://me:secret@host.org/d.git", "version": "1"},
        "sources": ["ssh://me@host/d", "${HERE}/x", 3, None],
    }
    assert portable(card, "my_eeg") == {
        "title": "T",
        "root": "${MY_EEG_ROOT}",
        "filters": {"task": ["rest"]},
        "files": {"template": "${MY_EEG_FILES_TEMPLATE}"},
        "datalad": {"url": "https://host.org/d.git", "version": "1"},
        "sources": ["${MY_EEG_SOURCES_1}", "${HERE}/x", 3, None],
    }


def test_times_are_written_as_the_profiles_ask():
    moment = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert stamp(moment) == "2026-01-01T12:00:00.123+00:00"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tsv", "text/tab-separated-values"), ("a.svg", "image/svg+xml"), ("a.json", "application/json"),
     ("a.pdf", "application/pdf"), ("a", "application/octet-stream")],
)  # fmt: skip
def test_media_types_are_those_of_the_names(name, kind):
    assert encoding_of(name) == kind
