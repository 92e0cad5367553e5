"""Figures show what the tables hold, and no text of theirs covers another."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from planted_scores import NULLS, better, planted_scores, run_folder
from planted_volumes import planted_volumes
from replicortex.components import names
from replicortex.files import read_json, read_tsv
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
    spec = folder / f"{name}.json"
    draw_figure(name, params, **run, spec=spec)
    return read_tsv(spec.with_suffix(".tsv"))


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


@pytest.mark.parametrize("name", names("figures"))
@pytest.mark.parametrize("make_run", [few, many])
def test_no_text_covers_another_or_leaves_the_figure(figures, tmp_path, name, make_run):
    volumes = {"generated": planted_volumes(tmp_path)} if name == "generated_images" else {}
    draw(name, tmp_path, make_run(tmp_path) | volumes)
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


def test_null_distribution_shows_networks_with_random_weights(figures, tmp_path):
    scores = planted_scores({"b": 0.7, "a": 0.8}, n_subjects=5, variants=["observed", *NULLS, "random-1", "random-2"])
    run = run_folder(tmp_path, scores, [better(), better("b", "a")], labels=[("b", "Baseline"), ("a", "Ours")])
    table = draw("null_distribution", tmp_path, run)
    (axes,) = figures[0].axes
    drawn = [entry.get_offsets() for entry in axes.collections if entry.get_label() == "random weights"]
    for place, method in enumerate(("b", "a")):
        means = [float(r["mean"]) for r in table if r["method"] == method and r["variant"].startswith("random-")]
        assert len(means) == 2
        np.testing.assert_allclose(sorted(drawn[place][:, 0]), sorted(means))
        assert set(np.round(drawn[place][:, 1])) == {place}
    assert (
        "2 networks that kept random weights (triangles)" in read_json(tmp_path / "null_distribution.json")["caption"]
    )


def test_claims_board_says_the_verdicts_in_words(figures, tmp_path):
    draw("claims_board", tmp_path, few(tmp_path))
    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert "Ours better than Baseline" in texts
    assert "Baseline better than Ours" in texts
    assert texts.count("\N{CHECK MARK} holds") == 1
    assert texts.count("\N{BALLOT X} fails") == 5
    assert texts.count("as expected") == 4


def test_claims_forest_shows_effects_and_what_they_must_exceed(figures, tmp_path):
    run = few(tmp_path)
    table = draw("claims_forest", tmp_path, run)
    (axes,) = figures[0].axes
    claims = read_json(run["claims"])["claims"]
    drawn = {entry.get_label(): [] for entry in axes.collections}
    for entry in axes.collections:
        drawn[entry.get_label()] += entry.get_offsets().tolist()
    for label, variant in (("observed, 95 % interval", "observed"), ("permuted labels", "null")):
        effects = [claim["results"][variant]["effect"] for claim in claims]
        np.testing.assert_allclose([x for x, _ in drawn[label]], effects)
        assert [round(y) for _, y in drawn[label]] == [0, 1]
    assert len(drawn["each permutation"]) == len(NULLS) * len(claims)
    lines = [entry.get_segments()[0] for entry in axes.collections if entry.get_label() == "must exceed"]
    assert {x for line in lines for x, _ in line} == {0.0}
    assert {row["criterion_low"] for row in table} == {"0.0"}
    texts = [text.get_text() for text in axes.texts]
    assert [text for text in texts if text in ("holds", "fails")] == ["holds", "fails"]


def test_chosen_parameters_has_a_bar_as_long_as_the_share_of_folds(figures, tmp_path):
    run = few(tmp_path)
    table = draw("chosen_parameters", tmp_path, run)
    (axes,) = figures[0].axes
    choices = [row for row in read_tsv(run["choices"]) if row["parameter"] in ("kernel", "penalty")]
    # Twenty folds: penalties 1, 10, ..., 1e7 take turns by fold; losses, scores and lists are no choices.
    assert {row["parameter"] for row in table} == {"kernel", "penalty"}
    for row in table:
        same = [entry for entry in choices if all(entry[key] == row[key] for key in ("method", "parameter"))]
        share = sum(entry["value"] == row["value"] for entry in same) / len(same)
        assert float(row["share"]) == pytest.approx(share)
    bars = {}
    for bar in axes.patches:
        bars.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append(bar.get_width())
    assert [len(bars[place]) for place in range(4)] == [1, 6, 1, 6]
    assert all(sum(widths) == pytest.approx(100) for widths in bars.values())


@pytest.mark.parametrize(
    ("text", "lines", "shown"),
    [
        ("short name", 1, "short name"),
        ("Mutual information, Gaussian, of all", 1, "Mutual … of all"),
        ("Mutual information, Gaussian", 2, "Mutual information,\nGaussian"),
    ],
)
def test_long_names_lose_words_in_the_middle(text, lines, shown):
    assert style.wrapped(text, 20, lines) == shown


def test_many_methods_fit_on_a_page(figures, tmp_path):
    draw("null_distribution", tmp_path, many(tmp_path))
    assert figures[0].get_figheight() * 2.54 < 24
