"""From stimuli to responses: single trials, ceilings, readouts and the transformer encoder against what is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

from replicortex.bundle import Bundle
from replicortex.components import Context, make
from replicortex.errors import InputError
from replicortex.methods.brain_encoder import sine
from replicortex.shared import ceilings
from replicortex.shared.encoding import RidgePath, search
from replicortex.shared.trial_responses import (
    canonical_response,
    drifts,
    least_squares_all,
    least_squares_separate,
    regressors,
)

# ---- single trials


def test_the_response_is_that_of_spm():
    from nilearn.glm.first_level.hemodynamic_models import compute_regressor, spm_hrf

    theirs = spm_hrf(1.0, oversampling=100)
    times = np.arange(len(theirs)) / 100
    ours = canonical_response(times)
    assert ours.max() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(ours / ours.sum(), theirs / theirs.sum(), atol=1e-5)
    frames = np.arange(0, 60, 1.5)
    events = np.array([[10.0, 23.0], [3.0, 3.0], [1.0, 1.0]])
    expected, _ = compute_regressor(events, "spm", frames, oversampling=200)
    found = regressors(events[0], events[1], frames).sum(axis=1)
    # Theirs steps on a grid, and shifts by up to one step of it.
    np.testing.assert_allclose(found / found.max(), expected[:, 0] / expected[:, 0].max(), atol=0.01)


def test_single_trials_are_recovered_and_separate_models_are_calmer_in_noise():
    generator = np.random.default_rng(0)
    times = np.arange(0, 420, 2.0)
    onsets = np.arange(5, 380, 4.0)
    trials = regressors(onsets, np.full(len(onsets), 3.0), times)
    nuisance = drifts(len(times), times[-1], 128)
    truth = generator.standard_normal((len(onsets), 5))
    clean = trials @ truth + nuisance @ generator.standard_normal((nuisance.shape[1], 5)) * 10
    np.testing.assert_allclose(least_squares_all(clean, trials, nuisance), truth, atol=1e-6)
    noisy = clean + 3 * generator.standard_normal(clean.shape)
    errors = [
        np.mean((fit(noisy, trials, nuisance) - truth) ** 2) for fit in (least_squares_all, least_squares_separate)
    ]
    assert errors[1] < errors[0]
    assert np.mean((least_squares_all(noisy, trials, nuisance, ridge=0.5) - truth) ** 2) < errors[0]


# ---- ceilings


def drawn(n_stimuli, n_repeats, snr, n_targets=400, seed=0):
    generator = np.random.default_rng(seed)
    stimulus = np.repeat(np.arange(n_stimuli), n_repeats)
    signal = np.sqrt(snr) * generator.standard_normal((n_stimuli, n_targets))
    noise = np.sqrt(1 - snr) * generator.standard_normal((len(stimulus), n_targets))
    return signal[stimulus] + noise, stimulus, signal


@pytest.mark.parametrize(("snr", "repeats"), [(0.5, 3), (0.1, 2), (0.05, 4)])
def test_both_ceilings_are_the_closed_form(snr, repeats):
    """Signal over signal plus noise of the mean, whether there is much of it or little."""
    values, stimulus, _ = drawn(600, repeats, snr, n_targets=150)
    signal, noise = ceilings.variances(values, stimulus)
    assert noise.mean() == pytest.approx(1 - snr, rel=0.01)
    # Estimates that would be below 0 stand as 0, which is the only bias.
    assert signal.mean() == pytest.approx(snr, rel=0.05)
    closed = snr / (snr + (1 - snr) / repeats)
    assert ceilings.explainable_share(values, stimulus, repeats).mean() == pytest.approx(closed, abs=0.02)
    assert ceilings.split_half(values, stimulus).mean() == pytest.approx(closed, abs=0.02)


def test_uneven_repeats_are_an_analysis_of_variance():
    """Against the textbook's sums of squares for one target, written out."""
    values = np.array([1.0, 2.0, 4.0, 7.0, 5.0, 3.0])[:, None]
    stimulus = np.array(["a", "a", "b", "b", "b", "c"])
    within = ((1 - 1.5) ** 2 + (2 - 1.5) ** 2 + (4 - 16 / 3) ** 2 + (7 - 16 / 3) ** 2 + (5 - 16 / 3) ** 2) / 3
    grand = 22 / 6
    between = (2 * (1.5 - grand) ** 2 + 3 * (16 / 3 - grand) ** 2 + (3 - grand) ** 2) / 2
    n0 = (6 - (4 + 9 + 1) / 6) / 2
    signal, noise = ceilings.variances(values, stimulus)
    assert noise[0] == pytest.approx(within)
    assert signal[0] == pytest.approx((between - within) / n0)
    assert np.isnan(ceilings.variances(values, np.arange(6))[0]).all()


def judged(response, y_pred, stimulus):
    rows = {"row_id": np.arange(len(response)), "subject": np.full(len(response), "01")}
    return np.array([f"s{i:03d}" for i in stimulus]), Bundle({"y_pred": y_pred, "response": response}, rows)


def test_what_is_explained_is_one_at_the_ceiling_and_zero_by_chance():
    metric = make("metrics", "noise_normalised")
    response, stimulus, signal = drawn(100, 3, 0.5)
    assert metric.score(*judged(response, signal[stimulus], stimulus)) == pytest.approx(1, abs=0.03)
    blind = np.random.default_rng(1).standard_normal(signal.shape)
    assert metric.score(*judged(response, blind[stimulus], stimulus)) == pytest.approx(0, abs=0.02)
    assert metric.score(*judged(response, -signal[stimulus], stimulus)) < 0
    # Nothing to predict: noise alone has no ceiling.
    noise = np.random.default_rng(2).standard_normal(response.shape)
    few = metric.score(*judged(noise[:, :3], signal[stimulus][:, :3], stimulus))
    assert np.isnan(few) or abs(few) < 1
    assert np.isnan(metric.score(*judged(response[::3], signal[stimulus][::3], stimulus[::3])))
    correlation = make("metrics", "response_correlation")
    assert correlation.score(*judged(response, signal[stimulus], stimulus)) == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert correlation.score(*judged(response, np.ones_like(response), stimulus)) == 0


def test_the_peak_of_attention_is_looked_for_where_it_was_planted():
    metric = make("metrics", "routing_peak", {"expected_by_chance": 0.25})
    attention = np.full((4, 2, 4), 0.1)
    attention[[0, 1, 2, 3], 0, [2, 2, 1, 0]] = 1
    attention[:, 1, 3] = 1
    rows = {"row_id": np.arange(4), "subject": np.full(4, "01")}
    predictions = Bundle({"y_pred": np.zeros((4, 1)), "attention": attention}, rows, {"query": ["FFA", "PPA"]})
    target = np.array(["a", "a", "b", "c"])
    # a counts once, though it was shown twice: a and b hit, c misses; PPA hits c alone.
    truth = {"planted_token": {"FFA": {"a": 2, "b": 1, "c": 3}, "PPA": {"a": 0, "b": 0, "c": 3}}}
    assert metric.score_truth(target, predictions, truth) == pytest.approx(3 / 6)
    by_subject = {"planted_token": {"01": {"FFA": 2, "PPA": 3}}}
    assert metric.score_truth(target, predictions, by_subject) == pytest.approx(4 / 6)
    assert np.isnan(metric.score_truth(target, predictions, None))


# ---- linear readouts


def test_ridge_is_scikit_learns():
    generator = np.random.default_rng(0)
    for n, p in ((60, 20), (20, 60)):
        x, y = generator.standard_normal((n, p)), generator.standard_normal((n, 4))
        x[:, 3] = 5.0
        z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
        penalty = np.array([0.1, 1.0, 10.0, 300.0])
        weights, intercept = RidgePath(x).coefficients(y, penalty)
        for target in range(4):
            theirs = Ridge(alpha=penalty[target]).fit(z, y[:, target])
            np.testing.assert_allclose(x @ weights[:, target] + intercept[target], theirs.predict(z), atol=1e-6)


def test_penalties_are_those_of_cross_validation_and_own_ones_are_taken_only_if_they_pay():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((200, 30))
    weights = generator.standard_normal((30, 40))
    grid = np.geomspace(1e-1, 1e5, 25)
    # Half of the responses are signal, half are noise: they want penalties of their own.
    mixed = x @ weights + np.where(np.arange(40) < 20, 1.0, 60.0) * generator.standard_normal((200, 40))
    penalty, scores, gain = search(x, mixed, grid, 5, 0)
    assert gain > 0
    assert np.median(penalty[:20]) < np.median(penalty[20:])
    theirs = RidgeCV(alphas=grid).fit((x - x.mean(axis=0)) / x.std(axis=0), mixed[:, :20])
    assert 0.1 < np.median(penalty[:20]) / theirs.alpha_ < 10
    assert scores.shape == (25, 40)
    # All of one kind and hardly any signal: a penalty each would follow the noise of the folds.
    unit = weights / np.linalg.norm(weights, axis=0)
    alike = x @ unit + 3 * generator.standard_normal((200, 40))
    penalty, _, gain = search(x, alike, grid, 5, 0)
    assert gain < 0
    assert len(set(penalty)) == 1


def world(kind, n=300, side=4, n_channels=6, n_units=4, seed=0, noise=0.3):
    """Pictures, and the responses of two areas: to the object of its kind, or to a place."""
    generator = np.random.default_rng(seed)
    p = side**2
    tokens = generator.standard_normal((n, p, n_channels)).astype(np.float32)
    tokens[:, :, -2:] *= 0.3
    place = np.stack([generator.permutation(p)[:2] for _ in range(n)])
    for area in range(2):
        tokens[np.arange(n), place[:, area], n_channels - 2 + area] += 3
    fixed = np.array([5, 10])
    weights = generator.standard_normal((2, n_channels - 2, n_units))
    source = place if kind == "routed" else np.tile(fixed, (n, 1))
    clean = [tokens[np.arange(n), source[:, area], :-2] @ weights[area] for area in range(2)]
    x = np.concatenate(clean, axis=1)
    x = x / x.std(axis=0) + noise * generator.standard_normal(x.shape)
    names = np.array([f"s{i:03d}" for i in range(n)])
    position = [[i // side, i % side] for i in range(p)]
    shown = Bundle({"tokens": tokens, "pooled": tokens.mean(axis=1)}, {"row_id": names, "subject": np.full(n, "n/a")},
                   {"position": position})  # fmt: skip
    rows = {"row_id": np.char.add("r", names), "subject": np.full(n, "01"), "target": names}
    parts = [area for area in ("A", "B") for _ in range(n_units)]
    axes = {"response": [f"{area}{i}" for i, area in enumerate(parts)]}
    bundle = Bundle({"x": x.astype(np.float32)}, rows, axes, {"parts": parts, "fitted": []})
    return shown, bundle, source


def predicted(method, params, kind, **given):
    shown, bundle, source = world(kind, **given)
    model = make("methods", method, params)
    model.context = Context(method, "made", stimuli=shown)
    model.fit(bundle.take(np.arange(220)), 0)
    test = bundle.take(np.arange(220, len(bundle)))
    made = model.predict(dataclasses.replace(test, arrays={}))
    return model, made, ceilings.correlations(made["y_pred"], test["x"]).mean(), source[220:]


def test_a_static_field_is_found_by_its_place():
    model, _, r, _ = predicted("encoder_gaussian", {"side": 4, "sizes": [0.05, 1.0]}, "static")
    assert r > 0.9
    fields = model._fields(np.array([[i // 4, i % 4] for i in range(16)]) / 3)
    np.testing.assert_array_equal(fields[model.field_].argmax(axis=1), [5] * 4 + [10] * 4)
    model, _, r, _ = predicted("encoder_factorised", {}, "static")
    assert r > 0.9
    np.testing.assert_array_equal(np.abs(model.mask_).argmax(axis=1), [5] * 4 + [10] * 4)
    for method in ("encoder_gaussian", "encoder_factorised"):
        assert predicted(method, {}, "routed")[2] < 0.5


def test_a_factorised_model_with_the_strongest_penalty_is_the_mean_over_places():
    model, _, _, _ = predicted("encoder_factorised", {"penalties": [1e6]}, "static")
    np.testing.assert_allclose(model.mask_, 0.25, atol=1e-3)


# ---- the transformer encoder

SMALL = {"width": 32, "n_heads": 2, "feedforward": 32, "dropout": 0.0, "epochs": 40, "batch_size": 20,
         "learning_rate": 4e-3, "clip": 1.0, "validation": 0.0}  # fmt: skip


def test_attention_is_routed_to_the_object_that_drives_an_area():
    _, made, r, source = predicted("brain_encoder", SMALL, "routed")
    assert r > 0.85
    assert made.axes["query"] == ["A", "B"]
    assert (made["attention"].argmax(axis=2) == source).mean() > 0.95
    np.testing.assert_allclose(made["attention"].sum(axis=2), 1, atol=1e-5)


def network(**given):
    model = make("methods", "brain_encoder", {**SMALL, **given})
    torch.manual_seed(0)
    return model.network(n_channels=6, n_queries=2, parts=[0, 1, 1, 0, 1]).eval()


def test_tokens_have_no_order_but_that_of_their_places():
    net, generator = network(), torch.Generator().manual_seed(0)
    tokens, places = torch.randn(3, 9, 6, generator=generator), torch.rand(9, 2, generator=generator)
    order = torch.randperm(9, generator=generator)
    y, attention = net(tokens, places)
    y_permuted, attention_permuted = net(tokens[:, order], places[order])
    torch.testing.assert_close(y_permuted, y, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attention_permuted, attention[:, :, order], rtol=1e-5, atol=1e-6)
    # Places count: the same tokens elsewhere are another picture.
    assert not torch.allclose(net(tokens[:, order], places)[0], y, atol=1e-4)


def test_a_response_is_read_from_the_query_of_its_part_alone():
    net = network()
    tokens, places = torch.randn(2, 9, 6), torch.rand(9, 2)
    y, _ = net(tokens, places)
    for response, part in enumerate([0, 1, 1, 0, 1]):
        (gradient,) = torch.autograd.grad(y[:, response].sum(), net.query, retain_graph=True)
        assert gradient[part].abs().sum() > 0
        assert gradient[1 - part].abs().sum() == 0
    # Written out: cross-attention of one head of torch, residual perceptron, norm, readout.
    x = torch.nn.functional.multi_head_attention_forward(
        net.query.expand(2, -1, -1).transpose(0, 1), (net.project(tokens) + sine(places, 32)).transpose(0, 1),
        net.project(tokens).transpose(0, 1), 32, 2, net.attention.in_proj_weight, net.attention.in_proj_bias, None,
        None, False, 0.0, net.attention.out_proj.weight, net.attention.out_proj.bias, training=False,
    )[0].transpose(0, 1)  # fmt: skip
    x = net.norm(x + net.perceptron(net.inner_norm(x)))
    expected = (x[:, [0, 1, 1, 0, 1]] * net.readout).sum(dim=2) + net.bias
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


def test_places_are_encoded_as_in_detr():
    """The formula of the paper, written as a loop, of a 2 x 3 map with places normalised to one picture."""
    places = torch.tensor([[i / 2, j / 2] for i in range(2) for j in range(3)])
    found = sine(places, 8)
    for number, (row, column) in enumerate(places.tolist()):
        expected = []
        for value in (row, column):
            for i in range(2):
                angle = 2 * np.pi * value / 10000 ** (2 * i / 4)
                expected += [np.sin(angle), np.cos(angle)]
        np.testing.assert_allclose(found[number], expected, atol=1e-6)


def test_the_published_size_is_its_closed_form():
    model = make("methods", "brain_encoder")
    with torch.device("meta"):
        net = model.network(**model.paper_shapes)
    d, f, q, r = 768, 1024, 50, 39548
    closed = 4 * d * (d + 1) + 2 * d * f + d + f + 4 * d + q * d + r * (d + 1)
    assert sum(values.numel() for values in net.parameters()) == closed == model.published.n_parameters


def test_queries_may_be_shared_or_of_single_responses():
    for queries, n in (("one", 1), ("part", 2), ("response", 8)):
        model, made, _, _ = predicted("brain_encoder", {**SMALL, "queries": queries, "epochs": 1}, "routed")
        assert made["attention"].shape[1:] == (n, 16)
        assert model.shapes_["n_queries"] == n


def test_a_twin_takes_no_step_and_what_was_not_given_is_refused():
    shown, bundle, _ = world("routed")
    model = make("methods", "brain_encoder", SMALL)
    model.context = Context("b", "made", stimuli=shown, untrained=True)
    model.fit(bundle, 0)
    assert model.chosen() == {"epochs": 0}
    model.context = Context("b", "made")
    with pytest.raises(InputError, match="needs features of what was shown"):
        model.fit(bundle, 0)
    model.context = Context("b", "made", stimuli=shown.take(np.arange(10)))
    with pytest.raises(InputError, match="s010 was shown and has no features"):
        model.fit(bundle, 0)
    with pytest.raises(InputError, match="no multiple of 4"):
        make("methods", "brain_encoder", {"width": 30})


def test_correlations_are_numpys_and_rounding_is_no_spread():
    generator = np.random.default_rng(0)
    a, b = generator.normal(100, 1, (2, 30, 4))
    a[:, 1], b[:, 2] = 0.1 + 0.2, 1e6 * (1 + 1e-16 * generator.standard_normal(30))
    # A constant whose values differ in the last digit, as sums in another order do.
    a[:, 3] = 16 + 3.5e-15 * generator.integers(-1, 2, 30)
    expected = [np.corrcoef(a[:, 0], b[:, 0])[0, 1], 0, 0, 0]
    np.testing.assert_allclose(ceilings.correlations(a, b), expected, atol=1e-12)
    # Small differences of large numbers are spread all the same.
    small = 1e6 + 1e-3 * a[:, :1]
    assert ceilings.correlations(small, a[:, :1])[0] > 0.999
