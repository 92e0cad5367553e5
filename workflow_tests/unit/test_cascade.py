"""3MT: what a missing modality does to the cascade, exactly; modality dropout; every pattern of modalities."""

from __future__ import annotations

import copy
import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv, write_text
from replicortex.shared.modalities import Inputs, patterns, scored_patterns
from replicortex.shared.modality_tokens import coarse, dropped, embedding, volume_channels

NAMES = ["alpha", "beta", "gamma"]
KINDS = {"alpha": "numbers", "beta": "category", "gamma": "volume"}
SHAPES = {"alpha": [5], "beta": [3], "gamma": [8, 7, 6]}
PLAIN = {"session": "n/a", "run": "n/a", "suffix": "morph"}
SMALL = {"width": 16, "n_tokens": 3, "layers": 2, "heads": 4, "epochs": 2}


def built(**params):
    method = make("methods", "cascaded_multimodal", {**SMALL, **params})
    torch.manual_seed(0)
    return method.network(kinds=KINDS, shapes=SHAPES, n_classes=2).double().eval()


def values(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *SHAPES[name], generator=generator, dtype=torch.float64) for name in NAMES]


def flags(n, *there):
    return torch.tensor([[name in there for name in NAMES]] * n)


# ---- the cascade


@pytest.mark.parametrize("number", range(3))
@torch.no_grad()
def test_all_but_one_modality_dropped_is_the_path_of_that_one(number):
    """The query, the modality's own blocks and the last classifier, written out; other modalities may hold anything."""
    network, inputs = built(), values()
    scores, told = network(inputs, flags(4, NAMES[number]))
    query = network.query.expand(4, 1, -1)
    tokens = network.embeddings[number](inputs[number])
    for block in network.stages[number]:
        query = block(query, tokens)
    assert torch.equal(scores, network.head(network.norm(query[:, 0])))
    assert torch.equal(told[:, number], network.auxiliary[number](query[:, 0]))
    other = [value if index == number else torch.full_like(value, 1e3) for index, value in enumerate(inputs)]
    assert torch.equal(network(other, flags(4, NAMES[number]))[0], scores)
    # The network that knows of this modality alone, with the same weights.
    alone = make("methods", "cascaded_multimodal", SMALL)
    name = NAMES[number]
    alone = alone.network(kinds={name: KINDS[name]}, shapes={name: SHAPES[name]}, n_classes=2).double().eval()
    weights = network.state_dict()
    numbered = re.compile(r"^(embeddings|stages|auxiliary)\.0\.")
    alone.load_state_dict({key: weights[numbered.sub(rf"\1.{number}.", key)] for key in alone.state_dict()})
    assert torch.equal(alone([inputs[number]], torch.ones(4, 1, dtype=torch.bool))[0], scores)


@torch.no_grad()
def test_rows_of_one_batch_lack_different_modalities():
    network, inputs = built(), values(8)
    present = torch.tensor(list(itertools.product([False, True], repeat=3)))
    together = network(inputs, present)[0]
    alone = torch.cat([network([v[[i]] for v in inputs], present[[i]])[0] for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    # Without any modality the query alone speaks.
    torch.testing.assert_close(together[0], network.head(network.norm(network.query))[0], rtol=0, atol=1e-12)
    assert len({tuple(row) for row in together.tolist()}) == 8


@torch.no_grad()
def test_zeros_in_place_of_a_stage_hide_the_modality_but_change_the_query():
    network, inputs = built(absent="zeros"), values()
    scores = network(inputs, flags(4, "alpha", "gamma"))[0]
    other = [inputs[0], torch.randn_like(inputs[1]), inputs[2]]
    assert torch.equal(network(other, flags(4, "alpha", "gamma"))[0], scores)
    skipping = built(absent="skip")
    skipping.load_state_dict(network.state_dict())
    assert not torch.allclose(skipping(inputs, flags(4, "alpha", "gamma"))[0], scores)


@torch.no_grad()
def test_the_order_of_the_cascade_matters():
    """Stages do not commute: the same weights in another order say something else."""
    network, inputs = built(), values()
    turned = copy.deepcopy(network)
    for part in ("embeddings", "stages", "auxiliary"):
        setattr(turned, part, torch.nn.ModuleList(list(getattr(network, part))[::-1]))
    first, second = network(inputs, flags(4, *NAMES))[0], turned(inputs[::-1], flags(4, *NAMES))[0]
    assert (first - second).abs().max() > 1e-3
    # With one modality at hand there is no order.
    one = [net(vals, flag)[0] for net, vals, flag in
           ((network, inputs, flags(4, "alpha")), (turned, inputs[::-1], flags(4, "alpha").flip(1)))]  # fmt: skip
    assert torch.equal(*one)


def closed_form(width, layers, n_tokens, n_classes):
    attention, norms = 4 * width * (width + 1), 4 * 2 * width
    block = 2 * attention + norms + 4 * width * (width + 1) + width * (4 * width + 1)
    tokens = min(n_tokens, SHAPES["alpha"][0]) * width
    numbers = width * (SHAPES["alpha"][0] + 1) + tokens * (width + 1)
    category = SHAPES["beta"][0] * width
    channels = volume_channels(SHAPES["gamma"])
    convolutions = sum(27 * a * b + 2 * b for a, b in itertools.pairwise([1, *channels]))
    volume = convolutions + width * (channels[-1] + 1) + math.prod(coarse(SHAPES["gamma"])) * width
    auxiliary = 3 * n_classes * (width + 1)
    return numbers + category + volume + 3 * layers * block + auxiliary + width + 2 * width + n_classes * (width + 1)


def test_the_number_of_parameters_is_that_of_the_closed_form():
    for width, layers, n_tokens in ((16, 2, 3), (512, 2, 8), (32, 1, 1)):
        method = make("methods", "cascaded_multimodal", {"width": width, "layers": layers, "n_tokens": n_tokens})
        with torch.device("meta"):
            network = method.network(kinds=KINDS, shapes=SHAPES, n_classes=2)
        found = sum(parameter.numel() for parameter in network.parameters())
        assert found == closed_form(width, layers, n_tokens, 2)


def test_a_category_is_a_row_of_a_table_and_a_volume_keeps_its_places():
    torch.manual_seed(0)
    category = embedding("category", [3], 16, 4)
    coded = torch.eye(3)
    assert torch.equal(category(coded)[:, 0], category.table.weight.T)
    volume = embedding("volume", [16, 16, 16], 16, 4)
    x = torch.zeros(1, 16, 16, 16)
    x[0, 3, 3, 3] = 1.0
    assert volume(x).shape == (1, math.prod(coarse([16, 16, 16])), 16)
    assert (volume(x) - volume(x.flip(1))).abs().max() > 1e-3


# ---- modality dropout


def test_modalities_are_dropped_at_the_stated_rate_and_never_all():
    """Of 3 modalities at rate p: kept with 1 - p, and with p^3 / 3 more since the last one is spared."""
    torch.manual_seed(0)
    present = torch.ones(40_000, 3, dtype=torch.bool)
    kept = dropped(present, 0.4)
    assert bool(kept.any(dim=1).all())
    expected = 0.6 + 0.4**3 / 3
    np.testing.assert_allclose(
        kept.double().mean(dim=0), expected, atol=4 * np.sqrt(expected * (1 - expected) / 40_000)
    )
    both = (kept[:, 0] & kept[:, 1]).double().mean().item()
    assert abs(both - 0.36) < 0.01
    lacking = torch.tensor([[True, False, True]] * 1000)
    assert not dropped(lacking, 0.9)[:, 1].any()
    assert bool(dropped(lacking, 0.9).any(dim=1).all())
    nothing = torch.zeros(10, 3, dtype=torch.bool)
    assert not dropped(nothing, 0.5).any()
    assert torch.equal(dropped(lacking, 0.0), lacking)


# ---- inputs and patterns


def table(n=60, seed=0, missing=0.0):
    generator = np.random.default_rng(seed)
    label = np.arange(n) % 2
    arrays = {}
    for number, name in enumerate(("a", "b")):
        x = generator.normal(5, 2, (n, 4)) + 2.0 * (2 - number) * label[:, None]
        here = generator.random(n) >= missing
        arrays[name], arrays[f"present_{name}"] = np.where(here[:, None], x, 0.0).astype(np.float32), here
    rows = {
        "row_id": np.array([f"s{i}" for i in range(n)]),
        "subject": np.array([f"{i}" for i in range(n)]),
        "sex": np.where(generator.random(n) < 0.2, "n/a", np.where(label, "F", "M")),
        "score": np.where(generator.random(n) < 0.2, np.nan, generator.normal(0, 1, n)),
        "target": np.where(label, "patient", "control"),
    }
    return Bundle(arrays, rows, {}, {"fitted": []})


def test_inputs_are_standardised_by_the_rows_that_have_them():
    bundle = table(missing=0.3)
    inputs = Inputs(columns=["sex", "score"]).fit(bundle)
    arrays, present = inputs.transform(bundle)
    assert inputs.names_ == ["a", "b", "sex", "score"]
    assert [inputs.kinds_[name] for name in inputs.names_] == ["numbers", "numbers", "category", "numbers"]
    np.testing.assert_array_equal(present[:, 2], bundle.rows["sex"] != "n/a")
    for number in (0, 1, 3):
        here = arrays[number][present[:, number]]
        np.testing.assert_allclose(here.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(here.std(axis=0), 1, atol=1e-5)
        assert not arrays[number][~present[:, number]].any()
    new = bundle.with_rows(sex=np.full(60, "unheard of"))
    assert not inputs.transform(new)[0][2].any()
    assert Inputs(["sex"], order=["sex", "b"]).fit(bundle).names_ == ["sex", "b"]
    with pytest.raises(InputError, match=r"'bb'.*did you mean 'b'"):
        Inputs(order=["bb"]).fit(bundle)
    with pytest.raises(InputError, match="no training row has it"):
        Inputs(["score"]).fit(bundle.with_rows(score=np.full(60, np.nan)))


def test_patterns_are_all_subsets_and_fewer_where_there_are_many():
    assert patterns(3) == [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]
    assert len(patterns(6)) == 63
    assert [len(pattern) for pattern in patterns(8)] == [8] + [7] * 8 + [1] * 8


@pytest.mark.parametrize("name", ["cascaded_multimodal", "mask_token_transformer", "late_fusion", "imputed_fusion"])
def test_the_scores_of_a_pattern_are_those_of_rows_that_have_it_alone(name):
    bundle = table(missing=0.3)
    method = make("methods", name, {"columns": ["sex"], **({"epochs": 2, "width": 16} if "ca" in name or "mask" in name
                                                          else {"penalties": [10.0]})})  # fmt: skip
    method.fit(bundle, 0)
    test = table(seed=1).with_rows(target=None)
    made = method.predict(test)
    assert made.axes["modality"] == ["a", "b", "sex"]
    lacking = Bundle({**test.arrays, "present_b": np.zeros(len(test), dtype=bool)}, test.rows, test.axes, test.meta)
    np.testing.assert_array_equal(made["y_score_a+sex"], method.predict(lacking)["y_score"])
    nobody = test.with_rows(sex=np.full(len(test), "n/a"))
    np.testing.assert_array_equal(made["y_score_a+b"], method.predict(nobody)["y_score"])
    whole = np.asarray(made["present"], dtype=bool).all(axis=1)
    np.testing.assert_array_equal(made["y_score_a+b+sex"][whole], made["y_score"][whole])
    # A pattern is judged on the rows that have all of it.
    areas = scored_patterns(table(seed=1).rows["target"], made)
    rows = np.asarray(made["present"], dtype=bool)[:, 2]
    expected = roc_auc_score(table(seed=1).rows["target"][rows] == "patient",
                             np.diff(made["y_score_a+sex"][rows], axis=1)[:, 0])  # fmt: skip
    assert areas[("a", "sex")] == pytest.approx(expected, abs=1e-12)


def test_late_fusion_averages_probabilities_of_what_is_there():
    method = make("methods", "late_fusion", {"penalties": [1.0]})
    method.fit(table(), 0)
    test = table(seed=1).with_rows(target=None)
    made = method.predict(test)
    p = {name: np.exp(made[f"y_score_{name}"]) for name in ("a", "b", "a+b")}
    np.testing.assert_allclose(p["a"].sum(axis=1), 1)
    np.testing.assert_allclose(p["a+b"], (p["a"] + p["b"]) / 2, rtol=1e-12)


def test_complete_cases_are_those_that_lack_nothing():
    bundle = table(missing=0.4)
    whole = bundle["present_a"] & bundle["present_b"]
    method = make("methods", "imputed_fusion", {"rows": "complete", "penalties": [1.0]})
    method.fit(bundle, 0)
    assert method.chosen()["n_rows"] == whole.sum() < len(bundle)


# ---- the simulator


def test_the_best_decision_is_that_of_a_discriminant_of_many_people():
    """Closed form against linear discriminants of 20,000 people, pattern by pattern."""
    simulator = make("simulators", "multimodal_table", {"n_variables": 5})
    best = simulator.attainable(3)
    for name, index in simulator.information.items():
        assert best[name] == pytest.approx(norm.cdf(index / np.sqrt(2)), abs=1e-12)
    effects, loadings = simulator.directions(3)
    generator = np.random.default_rng(0)
    y, nuisance = np.arange(20_000) % 2, generator.standard_normal(20_000)
    x = {name: generator.standard_normal((20_000, 5)) + (y[:, None] - 0.5) * effects[name]
         + nuisance[:, None] * loadings[name] for name in effects}  # fmt: skip
    for pattern in ("volume", "volume+perfusion", "thickness+metabolism+perfusion", "+".join(effects)):
        both = np.hstack([x[name] for name in pattern.split("+")])
        half = LinearDiscriminantAnalysis().fit(both[:10_000], y[:10_000])
        area = roc_auc_score(y[10_000:], half.decision_function(both[10_000:]))
        assert area == pytest.approx(best[pattern], abs=0.012)
    assert best["+".join(effects)] > max(best[name] for name in effects) + 0.05


def test_modalities_are_missing_at_the_stated_rate_and_a_table_says_so(tmp_path):
    params = {"n_subjects": 300, "n_variables": 2, "missing": 0.33}
    simulator = make("simulators", "multimodal_table", params)
    facts = simulator.simulate(tmp_path, "planted", 0)
    assert facts["contrast"] == "incomplete"
    assert len(facts["attainable"]) == 15
    feature = make("features", "modalities", {"modalities": {name: f"{name}_*" for name in simulator.information}})
    made = []
    for path in sorted(tmp_path.glob("sub-*/anat/*.tsv")):
        row = {"path": path.name, "recording": path.stem, "subject": path.name[4:7], **PLAIN}
        made.append(feature.extract(row, path, {}))
    present = np.array([[bundle[f"present_{name}"][0] for name in simulator.information] for bundle in made])
    # One of four is spared where all would be missing.
    np.testing.assert_allclose(present.mean(), 0.67 + 0.33**4 / 4, atol=0.03)
    assert present.any(axis=1).all()
    first = made[0]
    for number, name in enumerate(simulator.information):
        lines = [row["value"] for row in read_tsv(next(tmp_path.glob("sub-001/anat/*.tsv")))
                 if row["variable"].startswith(name)]  # fmt: skip
        assert (lines == ["n/a", "n/a"]) is not bool(present[0, number])
        shown = first["x"][0, 2 * number : 2 * number + 2]
        np.testing.assert_array_equal(np.isnan(shown), not present[0, number])
        assert first.axes[f"{name}_variable"] == [f"{name}_01", f"{name}_02"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a_1\t1\na_1\t2", "gives 'a_1' twice"),
        ("b_1\t1", "no variable of modality a"),
        ("a_1\tmuch", "a_1 is 'much', no number"),
        ("a_1\tn/a\nb_1\t2", "none of the modalities"),
    ],
)
def test_a_table_that_is_not_of_these_modalities_is_refused_in_one_line(tmp_path, lines, message):
    path = tmp_path / "sub-01_desc-x_morph.tsv"
    write_text(path, f"variable\tvalue\n{lines}\n")
    row = {"path": path.name, "recording": "sub-01", "subject": "01", **PLAIN}
    with pytest.raises(InputError, match=re.escape(message)):
        make("features", "modalities", {"modalities": {"a": ["a_*"]}}).extract(row, path, {})
