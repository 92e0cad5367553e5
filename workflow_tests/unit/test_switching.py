"""Switching networks of spiking neurons against other ways to compute the same, and planted ones (6 s)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import poisson

from replicortex.bundle import Bundle
from replicortex.components import load, make
from replicortex.errors import InputError
from replicortex.methods.onehot_hmm_glm import OneHotPrior
from replicortex.shared.switching import (
    Fitting,
    Free,
    _Run,
    exponential_basis,
    fit_glm,
    history,
    log_emission,
    rate,
    trials_of,
)

BASIS = exponential_basis(5, 1.0)


def bundle(counts, lengths=None, subject="01"):
    """Rows of trials of counts (n_trials, n_bins, n_neurons), the last trial first."""
    lengths = lengths or [counts.shape[1]] * len(counts)
    place = [(i, t) for i in reversed(range(len(counts))) for t in range(lengths[i])]
    n = len(place)
    rows = {
        "row_id": np.array([f"row{k}" for k in range(n)]),
        "subject": np.full(n, subject),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "segment": np.array([f"trial{i + 1}" for i, _ in place]),
        "onset": np.array([100.0 * i + 0.05 * t for i, t in place]),
    }
    x = np.array([counts[i, t] for i, t in place], dtype=np.float32)
    axes = {"neuron": [f"unit{j}" for j in range(x.shape[1])], "bin_s": [0.05]}
    return Bundle({"x": x}, rows, axes, {"fitted": []})


def simulated(contrast="coupling", truth="planted", n_trials=6, n_bins=500, n_neurons=8, n_states=2, seed=7):
    size = {"n_trials": n_trials, "n_bins": n_bins, "n_neurons": n_neurons, "n_states": n_states}
    simulator = make("simulators", "switching_glm", {"contrast": contrast, "concentration": 1.0, **size})
    return simulator, *simulator.session(1, truth, seed)


def plan(**changed):
    given = {"n_states": 2, "link": "sigmoid", "basis": BASIS, "state_bias": True, "self_coupling": True,
             "restarts": 1, "warm_up": 3, "iterations": 5, "steps": 3, "learning_rate": 0.02, "std": 1 / 3}  # fmt: skip
    return Fitting(**{**given, **changed})


# ---- counts and likelihoods


def test_rows_find_their_bins_whatever_their_order():
    counts = np.random.default_rng(0).poisson(1.0, (3, 6, 2)).astype(float)
    made = bundle(counts, lengths=[6, 4, 1])
    trials = trials_of(made.take(np.random.default_rng(1).permutation(len(made))))
    assert trials.lengths.tolist() == [6, 4, 1]
    for i, length in enumerate([6, 4, 1]):
        np.testing.assert_array_equal(trials.counts[i, :length], counts[i, :length])
        assert not trials.counts[i, length:].any()
    np.testing.assert_array_equal(
        trials.rows(trials.counts)[trials.trial == 1], counts[1, trials.bin[trials.trial == 1]]
    )


def test_the_past_is_a_sum_over_bins_before_in_the_same_trial():
    counts = np.random.default_rng(2).poisson(1.0, (2, 9, 3)).astype(float)
    expected = [
        [sum((BASIS[k - 1] * counts[i, t - k] for k in range(1, 6) if t >= k), np.zeros(3)) for t in range(9)]
        for i in range(2)
    ]
    np.testing.assert_allclose(history(counts, BASIS), expected, atol=1e-15)
    assert BASIS.sum() == pytest.approx(1)


@pytest.mark.parametrize("link", ["sigmoid", "softplus", "exp"])
def test_emissions_are_poisson(link):
    generator = np.random.default_rng(3)
    counts, past = generator.poisson(1.0, (2, 5, 3)), generator.random((2, 5, 3))
    bias, weights = generator.standard_normal((2, 3)), generator.standard_normal((2, 3, 3))
    found = log_emission(counts, past, bias, weights, link)
    drive = np.einsum("ntj,sij->ntsi", past, weights) + bias
    function = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "softplus": lambda a: np.log1p(np.exp(a)), "exp": np.exp}
    expected = poisson.logpmf(counts[:, :, None], function[link](drive)).sum(axis=3)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("link", ["sigmoid", "softplus"])
def test_one_state_is_fitted_to_the_greatest_posterior(link):
    generator = np.random.default_rng(4)
    past = generator.random((400, 3))
    counts = generator.poisson(rate(past @ generator.standard_normal((3, 3)).T - 0.5, link))
    bias, weights = fit_glm(past, counts, link, 0.5)

    def negative(value, observed):
        expected = rate(value[0] + past @ value[1:], link)
        return -poisson.logpmf(observed, expected).sum() + 2 * (value[1:] ** 2).sum()

    for neuron in range(3):
        other = minimize(negative, np.zeros(4), args=(counts[:, neuron],), tol=1e-10).x
        np.testing.assert_allclose(np.r_[bias[neuron], weights[neuron]], other, atol=2e-5)
    assert not np.diag(fit_glm(past, counts, link, 0.5, itself=False)[1]).round(9).any()


# ---- gradients


@pytest.mark.parametrize("link", ["sigmoid", "softplus"])
def test_gradients_are_those_that_autograd_finds(link):
    torch = pytest.importorskip("torch")
    _, counts, _ = simulated(n_trials=2, n_bins=40, n_neurons=3)
    trials = trials_of(bundle(counts))
    run = _Run(plan(link=link), trials)
    generator = np.random.default_rng(5)
    bias, weights = generator.standard_normal((2, 3)), generator.standard_normal((2, 3, 3))
    states = generator.dirichlet([1, 1], 80).T[:, :, None]
    found = run.gradient(*(values.astype(np.float32) for values in (bias, weights, states)))
    past, observed = (torch.tensor(rows, dtype=torch.float64) for rows in (run.rows_past, run.rows_counts))
    free = [torch.tensor(values, requires_grad=True) for values in (bias, weights)]
    drive = torch.einsum("tj,sij->sti", past, free[1]) + free[0][:, None]
    expected = torch.sigmoid(drive) if link == "sigmoid" else torch.nn.functional.softplus(drive)
    (torch.tensor(states) * (observed * expected.log() - expected)).sum().backward()
    for one, other in zip(found, free, strict=True):
        np.testing.assert_allclose(one, other.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_the_one_hot_prior_has_the_density_of_the_gumbel_softmax_distribution():
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(6)
    coupling = OneHotPrior(0.2)
    coupling.values = {
        "choice": generator.standard_normal((2, 3, 3, 3)),
        "prior": generator.standard_normal((3, 3, 3)),
        "strength": generator.standard_normal((2, 3, 3)),
    }
    free = {name: torch.tensor(values, requires_grad=True) for name, values in coupling.values.items()}
    chosen = torch.softmax(free["choice"], -1)
    density = torch.distributions.RelaxedOneHotCategorical(torch.tensor(0.2).double(), logits=free["prior"])
    log_prior = density.log_prob(chosen).sum()
    constant = 2 * 9 * (np.log(2) + 2 * np.log(0.2))
    assert coupling.log_prior() + constant == pytest.approx(float(log_prior.detach()), rel=1e-6)
    weights = (chosen[..., 2] - chosen[..., 0]) * torch.nn.functional.softplus(free["strength"])
    np.testing.assert_allclose(coupling.weights(), weights.detach().numpy(), rtol=1e-6)
    by_weights = generator.standard_normal((2, 3, 3))
    (log_prior + (torch.tensor(by_weights) * weights).sum()).backward()
    for name, value in coupling.gradient(by_weights).items():
        np.testing.assert_allclose(value, free[name].grad.numpy(), rtol=1e-5, atol=1e-5)


# ---- fits


def test_without_a_prior_the_likelihood_does_not_fall():
    _, counts, _ = simulated(n_trials=3, n_bins=200)
    network, _ = plan(warm_up=1, iterations=25).fit(trials_of(bundle(counts)), Free(), 0)
    steps = np.diff(network.log_likelihood[2:])
    assert steps.min() > -0.5
    assert network.log_likelihood[-1] > network.log_likelihood[2] + 10


@pytest.fixture(scope="module")
def fitted():
    simulator, counts, states = simulated()
    train, test = (bundle(part) for part in (counts[:4], counts[4:]))
    params = {"n_states": 2, "restarts": 2, "warm_up": 15, "iterations": 30}
    models = {}
    for name, given in {"onehot_hmm_glm": params, "hmm_glm": params, "poisson_glm": {}, "poisson_hmm": params}.items():
        models[name] = make("methods", name, given)
        models[name].fit(train, 0)
    facts = {"n_states": 2, "states": {"01": ["".join("ab"[s] for s in trial) for trial in states[4:]]}}
    wiring = simulator.wiring(1, 7)
    facts |= {"weights": {"01": wiring.weights.tolist()}, "adjacency": {"01": wiring.adjacency.tolist()}}
    return models, test, facts


def test_planted_states_and_weights_are_found(fitted):
    models, test, facts = fitted
    predicted = models["onehot_hmm_glm"].predict(test)
    found = {name: value.tolist() for name, value in models["onehot_hmm_glm"].found().items()}
    fold = {"found": found, "seen": [{"subjects": ["01"]}]}
    assert make("metrics", "state_accuracy", {"expected_by_chance": 0.5}).score_truth(None, predicted, facts) > 0.85
    assert make("metrics", "weight_correlation").score_fit(fold, facts) > 0.75
    assert make("metrics", "adjacency_auc").score_fit(fold, facts) > 0.8
    bits = {name: make("metrics", "bits_per_spike").score(None, model.predict(test)) for name, model in models.items()}
    assert bits["onehot_hmm_glm"] == max(bits.values()) > 0.02
    # Its weights are hard choices: most of them nothing.
    assert np.mean(np.array(found["weights"]) == 0) > 0.5


def test_a_bin_does_not_know_what_comes_later(fitted):
    models, test, _ = fitted
    later = test.rows["onset"] % 100 >= 10
    changed = Bundle({"x": np.where(later[:, None], 1.0, test["x"])}, test.rows, test.axes)
    for model in models.values():
        before = (m.predict(b)["log_likelihood"][~later] for m, b in ((model, test), (model, changed)))
        np.testing.assert_allclose(*before, atol=1e-9)


def test_models_without_parts_are_what_is_left(fitted):
    models, test, _ = fitted
    one = models["poisson_glm"].predict(test)
    np.testing.assert_allclose(one["log_likelihood"], one["log_likelihood_one_state"], atol=1e-9)
    assert not one["states"].any()
    rates = models["poisson_hmm"].predict(test)
    np.testing.assert_allclose(rates["log_likelihood_reference"], rates["log_likelihood_one_state"], atol=1e-6)
    expected = poisson.logpmf(test["x"], models["poisson_glm"].rate_).sum(axis=1)
    np.testing.assert_allclose(one["log_likelihood_reference"], expected, atol=1e-9)


def test_a_neuron_without_self_coupling_has_none():
    _, counts, _ = simulated(n_trials=2, n_bins=100)
    size = {"n_states": 2, "restarts": 1, "warm_up": 2, "iterations": 3, "self_coupling": False, "state_bias": True}
    for name in ("onehot_hmm_glm", "hmm_glm"):
        model = make("methods", name, size)
        model.fit(bundle(counts), 0)
        assert not np.diagonal(model.weights_, axis1=1, axis2=2).any()
        assert not np.allclose(model.bias_[0], model.bias_[1])


def test_what_is_no_count_and_neurons_that_are_not_the_same_are_refused():
    _, counts, _ = simulated(n_trials=2, n_bins=30, n_neurons=3)
    model, made = make("methods", "poisson_glm"), bundle(counts)
    with pytest.raises(InputError, match="no counts of spikes"):
        model.fit(Bundle({"x": made["x"] + 0.5}, made.rows, made.axes), 0)
    two = np.where(np.arange(len(made)) % 2, "01", "02")
    with pytest.raises(InputError, match="2 sessions, whose neurons are not the same"):
        model.fit(made.with_rows(subject=two), 0)
    model.fit(made, 0)
    with pytest.raises(InputError, match="2 neurons are held out, 3 were fitted"):
        model.predict(Bundle({"x": made["x"][:, :2]}, made.rows))


# ---- simulation


def test_counts_survive_the_file_and_the_bins(tmp_path):
    simulator = make("simulators", "switching_glm", load("simulators", "switching_glm").tiny)
    facts = simulator.simulate(tmp_path, "planted", 3)
    counts, states = simulator.session(2, "planted", 3)
    path = "sub-02/ephys/sub-02_task-rest_ephys.nwb"
    recording = {"recording": "sub-02_task-rest", "path": path, "subject": "02", "suffix": "ephys"}
    recording |= dict.fromkeys(("session", "run", "task"), "")
    (tmp_path / "out").mkdir()
    engine = make("preprocessing", "spike_counts", {"width": 0.05})
    table = engine.preprocess(recording, tmp_path, tmp_path / "out")["MainFile"]
    made = make("features", "count_trials").extract(recording, tmp_path / "out" / table, {})
    np.testing.assert_array_equal(made["x"], counts.reshape(-1, 4))
    np.testing.assert_array_equal(trials_of(made).counts, counts)
    assert ["".join("ab"[s] for s in trial) for trial in states] == facts["states"]["02"]
    assert np.unique(made.rows["segment"]).tolist() == ["trial1", "trial2", "trial3"]
    wider = make("features", "count_trials", {"slots": 6}).extract(recording, tmp_path / "out" / table, {})
    assert wider["x"].shape[1] == 6
    assert not wider["x"][:, 4:].any()
    with pytest.raises(InputError, match="has 4 neurons, more than three slots"):
        make("features", "count_trials", {"slots": 3}).extract(recording, tmp_path / "out" / table, {})


@pytest.mark.parametrize("contrast", ["coupling", "single", "bias"])
def test_each_contrast_is_what_it_says(contrast):
    simulator, counts, states = simulated(contrast, n_trials=20)
    wiring, absent = simulator.wiring(1, 7), simulated(contrast, "absent", n_trials=20)
    np.testing.assert_array_equal(absent[2], states)
    same_weights = len(np.unique(wiring.weights, axis=0)) == 1
    same_bias = len(np.unique(wiring.bias, axis=0)) == 1
    expected = {"coupling": (False, True), "single": (True, True), "bias": (True, False)}
    assert (same_weights, same_bias) == expected[contrast]
    if contrast != "single":
        assert np.mean(np.diff(states, axis=1) == 0) == pytest.approx(0.98, abs=0.01)
    # Without the effect the past and the state say nothing: the mean count is that of the bias.
    rates = 1 / (1 + np.exp(-wiring.bias.mean(axis=0)))
    np.testing.assert_allclose(absent[1].mean(axis=(0, 1)), rates, atol=0.03)
    lagged = np.corrcoef(counts[:, 1:].reshape(-1, 8).T, history(counts, BASIS)[:, 1:].reshape(-1, 8).T)[:8, 8:]
    nothing = np.corrcoef(absent[1][:, 1:].reshape(-1, 8).T, absent[1][:, :-1].reshape(-1, 8).T)[:8, 8:]
    assert np.abs(lagged).max() > 0.1 > 2 * np.abs(nothing).max()


def test_the_planted_network_is_likelier_than_any_other():
    simulator, counts, _ = simulated()
    wiring = simulator.wiring(1, 7)
    weaker = type(wiring)(wiring.prior, wiring.adjacency, 0.7 * wiring.weights, wiring.bias)
    assert simulator._likelihood(counts, wiring).sum() > simulator._likelihood(counts, weaker).sum() + 10


# ---- metrics


def test_metrics_in_closed_form():
    rows = {"row_id": np.arange(6), "subject": np.full(6, "01"), "segment": np.repeat(["trial2", "trial1"], 3)}
    arrays = {"states": np.array([1, 1, 0, 2, 0, 1]), "bin": np.array([0, 1, 2, 2, 1, 0])}
    predicted = Bundle({**arrays, "log_likelihood": np.full(6, -1.0), "log_likelihood_reference": np.full(6, -2.0),
                        "log_likelihood_one_state": np.full(6, -0.5), "n_events": np.full(6, 2.0)}, rows)  # fmt: skip
    accuracy = make("metrics", "state_accuracy", {"expected_by_chance": 0.5})
    truth = {"n_states": 2, "states": {"01": ["aba", "aab"]}}
    # Planted a a b, a b a against 1 1 0, 2 0 1: a is 1 and b is 0, and the third state is none.
    assert accuracy.score_truth(None, predicted, truth) == pytest.approx(5 / 6)
    assert np.isnan(accuracy.score_truth(None, predicted, {**truth, "n_states": 1}))
    assert np.isnan(accuracy.score_truth(None, predicted, None))
    assert make("metrics", "bits_per_spike").score(None, predicted) == pytest.approx(0.5 / np.log(2))
    assert make("metrics", "states_gain").score(None, predicted) == pytest.approx(-0.25 / np.log(2))
    planted = np.random.default_rng(8).standard_normal((2, 3, 3))
    adjacency = np.where(np.abs(planted) > 0.5, 1, 0)
    truth = {"weights": {"01": (planted * adjacency).tolist()}, "adjacency": {"01": adjacency.tolist()}}
    found = {"weights": 2 * planted[::-1], "connected": np.abs(planted[::-1])}
    fold = {"found": {name: value.tolist() for name, value in found.items()}, "seen": [{"subjects": ["01"]}]}
    expected = np.corrcoef((planted * adjacency).ravel(), planted.ravel())[0, 1]
    assert make("metrics", "weight_correlation").score_fit(fold, truth) == pytest.approx(expected)
    assert make("metrics", "adjacency_auc").score_fit(fold, truth) == pytest.approx(1.0)
    for name in ("weight_correlation", "adjacency_auc"):
        two = {**fold, "seen": [{"subjects": ["01", "02"]}]}
        assert np.isnan(make("metrics", name).score_fit(two, truth))


# ---- the real recording


def test_the_songbird_has_74_neurons(real_data, tmp_path):
    from replicortex.shared.nwb import read_nwb

    reader = make("readers", "songbird_spikes")
    assert reader.read(real_data / "spikes-songbird", tmp_path)[0]["participant_id"] == "sub-01"
    recording = read_nwb(tmp_path / "sub-01" / "ephys" / "sub-01_task-song_ephys.nwb")
    assert (len(recording.spike_times), sum(map(len, recording.spike_times))) == (74, 3336)
    lines = [line.split() for line in (real_data / "spikes-songbird" / "songbird_spikes.txt").read_text().splitlines()]
    first = sorted(float(time) for neuron, time in lines if float(neuron) == 1)
    np.testing.assert_array_equal(recording.spike_times[0], first)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1 0.1\n2", "other than two numbers"),
        ("1 0.1 3\n2 0.1 3", "other than two numbers"),
        ("1 nan", "a neuron or a time that is none"),
        ("1.5 0.2", "a neuron or a time that is none"),
        ("1 -3", "a neuron or a time that is none"),
        ("one 0.2", "other than two numbers"),
        ("\x00\xff", "other than two numbers"),
        ("", "other than two numbers"),
    ],
)
def test_a_damaged_list_of_spikes_is_refused_in_one_line(text, fault, tmp_path):
    (tmp_path / "songbird_spikes.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=fault) as caught:
        make("readers", "songbird_spikes").read(tmp_path, tmp_path / "bids")
    assert "\n" not in str(caught.value)


def test_a_list_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret.txt").write_text("1 0.1\n")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "songbird_spikes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match="leads out of its folder"):
        make("readers", "songbird_spikes").read(tmp_path / "source", tmp_path / "bids")
