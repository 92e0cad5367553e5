"""Adding one method and one study touches two files, and every test that runs over all files takes them up."""

from __future__ import annotations

import subprocess
import sys

METHOD = '''"""Minimum distance to mean with the log-Euclidean metric.

Arsigny et al. (2007), doi:10.1137/050637996

Reproduced: nearest log-Euclidean class mean. Differs: nothing.
"""

from __future__ import annotations

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.riemann import MinimumDistance, oas_covariances


@component
class AnotherMetric(Method):
    """Minimum log-Euclidean distance to the class means of the trials' covariances."""

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    metric: str = "logeuclid"

    def fit(self, train: Bundle, seed: int) -> None:
        self.estimator_ = MinimumDistance(self.metric).fit(oas_covariances(train["x"]), train.rows["target"])

    def predict(self, test: Bundle) -> Bundle:
        return classified(test, self.estimator_.scores(oas_covariances(test["x"])), self.estimator_.classes_)
'''


def test_a_method_and_a_study_are_two_files(project):
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    (project.folder / "scripts/replicortex/methods/another_metric.py").write_text(METHOD)
    card = project.card("studies", "tiny")
    card["methods"]["another_metric"] = {"role": "proposed", "family": "signal"}
    card["claims"][0]["method"] = "another_metric"
    project.card("studies", "another_metric", card)
    added = {path for path in project.folder.rglob("*") if path.is_file()} - before.keys()
    assert {path.name for path in added} == {"another_metric.py", "another_metric.yaml"}
    assert all(path.read_bytes() == content for path, content in before.items())

    project.run("--config", "runs=[another_metric]")
    claims = (project.folder / "results/claims.tsv").read_text().splitlines()
    header, first = (line.split("\t") for line in claims[:2])
    row = dict(zip(header, first, strict=True))
    assert (row["run"], row["method"], row["variant"]) == ("another_metric", "another_metric", "observed")

    # The contract tests find the new file by themselves.
    listed = subprocess.run(
        [sys.executable, "-c", "from replicortex.components import names; print(*names('methods'))"],
        cwd=project.folder / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "another_metric" in listed.stdout.split()
