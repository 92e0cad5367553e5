"""Figures show what the tables hold, and no text of theirs covers another."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from planted_scores import NULLS, better, planted_scores, run_folder
from replicortex.files import read_tsv
from replicortex.shared import style
from replicortex.stages.figures import draw_figure

LONG = "Temporal convolution network with attention over sensors, number"


@pytest.fixture
def figures(monkeypatch):
    """Keep every figure that is drawn."""
    kept = []
    drawing = style.drawing

    @contextlib.contextmanager
    def keeping(*args):
        with drawing(*args) as figure:
            yield figure
            kept.append(figure)

    monkeypatch.setattr(style, "drawing", keeping)
    return kept


def draw(name, folder, run, **params):
    table = folder / f"{name}.tsv"
    draw_figure(name, params, **run, table=table, picture=folder / f"{name}.svg")
    return read_tsv(table)


def few(folder):
    scores = planted_scores({"b": 0.7, "a": 0.8}, n_subjects=5, variants=["observed", "absent", *NULLS])
    return run_folder(folder, scores, [better(), better("b", "a")], labels=[("b", "Baseline"), ("a", "Ours")])


def many(folder):
    methods = [f"m{i:02d}" for i in range(12)]
    schemes = ("within_session", "leave_one_subject_out")
    variants = ["observed", "absent", "null-1", "null-2"]
    scores = planted_scores(
        dict.fromkeys(methods, 0.7), n_subjects=70, n_sessions=1, schemes=schemes, variants=variants
    )
    claims = [better(a, b, name=f"{a}_{b}", min_effect=0.001) for a, b in itertools.pairwise(methods)]
    return run_folder(folder, scores, claims, labels={name: f"{LONG} {name}" for name in methods})


def ticks_out_of_view(axes):
    """Return labels of ticks beyond the ends of the scale or of no scale, which are made but not drawn."""
    if not axes.axison:
        return [*axes.get_xticklabels(), *axes.get_yticklabels()]
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
    return [label for label, x in ticks if not low <= x <= high]


@pytest.mark.parametrize("name", ["paired_scores", "null_distribution", "claims_board"])
@pytest.mark.parametrize("make_run", [few, many])
def test_no_text_covers_another_or_leaves_the_figure(figures, tmp_path, name, make_run):
    draw(name, tmp_path, make_run(tmp_path))
    (figure,) = figures
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    unseen = [label for axes in figure.axes for label in ticks_out_of_view(axes)]
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in unseen
    ]
    assert len(boxes) > 10
    assert all(text.get_fontsize() >= 5 for text in figure.findobj(Text))
    width, height = figure.bbox.width, figure.bbox.height
    outside = [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    # Boxes include the leading above small letters: a fifth of a line may be shared without ink touching.
    touching = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.2 * min(a.height, b.height)
    ]
    assert outside == []
    assert touching == []


def test_paired_scores_shows_every_subject_and_the_mean(figures, tmp_path):
    table = draw("paired_scores", tmp_path, few(tmp_path))
    (axes,) = figures[0].axes
    dots, means = (
        next(entry for entry in axes.collections if entry.get_label() == label)
        for label in ("subject", "mean, 95 % interval")
    )
    for method, row in (("b", 0), ("a", 1)):
        drawn = sorted(x for x, y in dots.get_offsets() if round(y) == row)
        subjects = sorted(float(r["value"]) for r in table if (r["method"], r["what"]) == (method, "subject"))
        np.testing.assert_allclose(drawn, subjects)
        np.testing.assert_allclose(means.get_offsets()[row][0], np.mean(subjects))
    # The study's order, not the alphabet's.
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Baseline", "Ours"]
    # One line a subject joins its scores.
    joined = [line for line in axes.lines if line.get_label() != "chance" and len(set(line.get_xdata())) > 1]
    assert len([line for line in joined if line.get_linewidth() == 0.4]) == 5


def test_null_distribution_shows_every_control(figures, tmp_path):
    table = draw("null_distribution", tmp_path, few(tmp_path))
    (axes,) = figures[0].axes
    ticks = [entry.get_offsets() for entry in axes.collections if entry.get_label() == "permuted labels"]
    for place, method in enumerate(("b", "a")):
        nulls = [float(r["mean"]) for r in table if r["method"] == method and r["variant"].startswith("null-")]
        assert len(nulls) == len(NULLS)
        np.testing.assert_allclose(sorted(ticks[place][:, 0]), sorted(nulls))
    assert sum(text.get_text() == "p = 0.25" for text in axes.texts) == 2


def test_claims_board_says_the_verdicts_in_words(figures, tmp_path):
    draw("claims_board", tmp_path, few(tmp_path))
    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert "Ours better than Baseline" in texts
    assert "Baseline better than Ours" in texts
    assert texts.count("\N{CHECK MARK} holds") == 1
    assert texts.count("\N{BALLOT X} fails") == 5
    assert texts.count("as expected") == 4
