"""The Methods section as the workflow writes it: from a finished run, and again only where something changed."""

from __future__ import annotations

import json
import re

from replicortex.files import read_tsv

TEXT = "results/runs/tiny/methods.md"
OUTPUTS = [TEXT, "results/runs/tiny/methods.html", "results/runs/tiny/references.bib"]


def test_the_text_is_true_and_follows_what_it_is_made_of(project):
    project.run(TEXT)
    run = project.folder / "results" / "runs" / "tiny"
    text = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", (project.folder / TEXT).read_text())

    targets = read_tsv(run / "observed" / "targets.tsv")
    n = len({row["subject"] for row in targets})
    assert n == 3
    assert "of three participants. All of them were used." in text
    assert f"{len(targets)} trials took part" in text
    folds = {(row["scheme"], row["fold"]) for row in read_tsv(run / "observed" / "splits.tsv")}
    alone = sum(scheme == "leave_one_subject_out" for scheme, _ in folds)
    assert "Across participants, each participant was held out in turn, and models were trained on all others" in text
    assert {3: "This made three folds"}[alone] in text
    budgets = json.loads((run / "checks" / "signal.json").read_text())["methods"]
    assert budgets["mdm"]["n_configurations"] == 2
    assert text.count("It tried two configurations.") == 2
    assert "amount of shrinkage towards the identity (two values spaced logarithmically" in text
    assert "sub-" not in text
    for path in OUTPUTS:
        assert str(project.folder) not in (project.folder / path).read_text()

    assert project.planned(TEXT) == {}
    bibliography = project.folder / "scripts" / "replicortex" / "data" / "references.bib"
    bibliography.write_text(bibliography.read_text().replace("multiple test procedure", "multiple test PROCEDURE"))
    assert project.planned(TEXT) == {"write_methods": 1}
    before = {path: (project.folder / path).read_bytes() for path in OUTPUTS}
    project.run(TEXT)
    after = {path: (project.folder / path).read_bytes() for path in OUTPUTS}
    assert before[TEXT] == after[TEXT]
    assert b"PROCEDURE" in after[OUTPUTS[1]]
    assert b"PROCEDURE" in after[OUTPUTS[2]]
