"""MindEye: its size, its losses by phase, its branches; retrieval in closed form; pictures in place of photos."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
import torch

from made_data import halves, responses, stimuli
from replicortex.bundle import Bundle
from replicortex.components import Context, load, make
from replicortex.errors import InputError
from replicortex.shared import image_scores, retrieval
from replicortex.shared import shape_pictures as shapes
from replicortex.shared.image_codes import ImageCode, decoded, encoded
from replicortex.shared.sim_embeddings import embedding_of, stored, values_of

TINY = load("methods", "mindeye").tiny


# ---- the network


def test_the_backbone_has_the_940_million_parameters_of_the_paper():
    method = make("methods", "mindeye")
    with torch.device("meta"):
        network = method.network(**method.paper_shapes)
    counted = {name: sum(p.numel() for p in getattr(network, name).parameters())
               for name in ("backbone", "projector", "prior")}  # fmt: skip
    voxels, hidden, values, width = 15724, 4096, 257 * 768, 768
    assert counted["backbone"] == (
        voxels * hidden + 3 * hidden + 4 * (hidden**2 + 3 * hidden) + hidden * values + values
    )
    assert counted["backbone"] == pytest.approx(940e6, rel=0.001)
    layers = [(width, 2048), (2048, 2048), (2048, width)]
    assert counted["projector"] == sum(2 * a + a * b + b for a, b in layers)
    attention = 2 * width * 768 + width * 128
    of_layer = attention + width * 8 * width + 4 * width * width + 2 * width
    assert counted["prior"] == 6 * of_layer + 100 * width + (2 * 257 + 1) * width + 257 * width + width + width**2


def step_terms(method, done: float, **given):
    torch.manual_seed(0)
    network = method.network(n_inputs=8, n_tokens=1, width=4).eval()
    network.steps.fill_(done)
    method._n_steps = 100
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(12, 8, generator=generator), torch.randn(12, 1, 4, generator=generator)
    return network, x, target, method.step(network, {"x": x, "target": target, **given})


def test_the_loss_is_bimixco_in_the_first_third_and_softclip_afterwards():
    method = make("methods", "mindeye", TINY)
    share, partner = torch.linspace(0.1, 1, 12), torch.roll(torch.arange(12), 1)
    mixing = {"share": share, "partner": partner}

    def expected(network, x, target, goal, temperature):
        similar = (
            torch.nn.functional.normalize(network(x)[1].flatten(1)) @ torch.nn.functional.normalize(target[:, 0]).T
        )
        rows, columns = goal
        both = [(similar / temperature, rows), (similar.T / temperature, columns)]
        return -sum((s.log_softmax(1) * g).sum(1).mean() for s, g in both) / 2

    network, x, target, terms = step_terms(method, 10, **mixing)
    mixed = share[:, None] * x + (1 - share[:, None]) * x[partner]
    goal = torch.diag(share)
    goal[torch.arange(12), partner] += 1 - share
    assert terms["contrastive"].item() == pytest.approx(
        expected(network, mixed, target, (goal, goal.T), method.temperature).item(), rel=1e-5
    )
    # At the end of training: nothing is mixed, and the temperature is the last one.
    network, x, target, terms = step_terms(method, 100, **mixing)
    unit = torch.nn.functional.normalize(target[:, 0])
    soft = (unit @ unit.T / method.last_temperature).softmax(1)
    assert terms["contrastive"].item() == pytest.approx(
        expected(network, x, target, (soft, soft), method.last_temperature).item(), rel=1e-5
    )


def test_the_twin_without_contrast_is_the_same_network_and_never_mixes():
    twin = make("methods", "mindeye", {**TINY, "loss": "mse"})
    mixing = {"share": torch.full((12,), 0.5), "partner": torch.roll(torch.arange(12), 1)}
    network, x, target, terms = step_terms(twin, 0, **mixing)
    assert terms["mse"].item() == pytest.approx(((network(x)[1] - target) ** 2).mean().item(), rel=1e-6)
    shapes_of = [{name: tuple(value.shape) for name, value in
                  make("methods", "mindeye", {**TINY, "loss": loss}).network(8, 1, 4).state_dict().items()}
                 for loss in ("mse", "contrastive")]  # fmt: skip
    assert shapes_of[0] == shapes_of[1]


def fitted(name: str, params=None, shown: Bundle | None = None):
    train, test = halves(responses())
    model = make("methods", name, {**load("methods", name).tiny, **(params or {})})
    model.context = Context(name, "made", stimuli=shown or stimuli())
    model.fit(train, seed=0)
    return model, test


def with_pictures() -> Bundle:
    """What is shown in ``responses``, with pictures whose colour the responses tell."""
    shown = stimuli()
    generator = np.random.default_rng(0)
    pixels = np.clip(
        0.5 + 0.6 * shown["pooled"][:, :3, None, None] + 0.02 * generator.standard_normal((40, 3, 8, 8)), 0, 1
    )
    return dataclasses.replace(shown, arrays={**shown.arrays, "pixels": pixels.astype(np.float32)})


@pytest.mark.parametrize("name", ["mindeye", "brain_diffuser"])
def test_pictures_are_handed_on_and_the_autoencoder_sees_training_pictures_alone(name, monkeypatch):
    shown, seen = with_pictures(), []
    fit = ImageCode.fit

    def watched(self, pictures, seed, context):
        seen.append(pictures)
        return fit(self, pictures, seed, context)

    monkeypatch.setattr(ImageCode, "fit", watched)
    params = {"code": {"width": 4, "halvings": 1, "epochs": 60, "batch_size": 4, "learning_rate": 4e-3}}
    params |= {"epochs": 80} if name == "mindeye" else {}
    model, test = fitted(name, params, shown)
    trained = sorted(set(halves(responses())[0].rows["target"]))
    np.testing.assert_array_equal(seen[0], shown["pixels"][np.isin(shown.rows["row_id"], trained)])
    predicted = model.predict(test)
    assert model.judged_on == ("pooled", "pixels")
    assert predicted["y_low_level"].shape == predicted["y_semantic"].shape == (len(test), 3, 8, 8)
    flat = {tuple(picture.reshape(-1).tolist()) for picture in seen[0]}
    assert {tuple(picture.reshape(-1).tolist()) for picture in predicted["y_semantic"]} <= flat
    # The low-level picture has the colours of what was seen.
    truth = dict(zip(responses().rows["row_id"], responses().rows["label"], strict=True))
    row = np.searchsorted(shown.rows["row_id"], [truth[name] for name in test.rows["row_id"]])
    colours = [values.mean(axis=(2, 3)) for values in (predicted["y_low_level"], shown["pixels"][row])]
    assert np.corrcoef(colours[0].ravel(), colours[1].ravel())[0, 1] > 0.8
    restored = make("methods", name, {**load("methods", name).tiny, **params})
    restored.context = model.context
    restored.restore(model.dump())
    for key, values in restored.predict(test).arrays.items():
        np.testing.assert_array_equal(values, predicted[key])


def test_an_untrained_twin_takes_no_step_and_knows_nothing():
    train, test = halves(responses())
    model = make("methods", "mindeye", TINY)
    model.context = Context("mindeye", "made", untrained=True, stimuli=stimuli())
    model.fit(train, seed=0)
    assert model.history_ == []
    assert float(model.network_.steps) == 0
    assert model.predict(test)["y_embedding"].shape == (len(test), 4)


def test_targets_do_not_depend_on_responses():
    """What is to be predicted is a function of what was shown: other responses leave it where it was (trap X7)."""
    train, _ = halves(responses())
    found = []
    for x in (train["x"], train["x"][::-1]):
        seen = {}
        model = make("methods", "mindeye", {**TINY, "epochs": 1})
        model.context = Context("mindeye", "made", stimuli=stimuli())
        step = model.step
        object.__setattr__(
            model, "step", lambda net, batch, seen=seen, step=step: (seen.update(batch), step(net, batch))[1]
        )
        model.fit(dataclasses.replace(train, arrays={**train.arrays, "x": np.ascontiguousarray(x)}), seed=0)
        found.append(seen["target"])
    torch.testing.assert_close(found[0], found[1])


def test_an_offset_of_a_session_is_no_secret_where_held_out_rows_are_standardised_by_themselves():
    """The reason why the transductive step is off: it takes out what no training row told (trap X2)."""
    train, test = halves(responses())
    moved = dataclasses.replace(test, arrays={"x": test["x"] + np.float32(20)})
    found = {}
    for transductive in (False, True):
        model = make(
            "methods", "brain_diffuser", {**load("methods", "brain_diffuser").tiny, "transductive": transductive}
        )
        model.context = Context("brain_diffuser", "made", stimuli=stimuli())
        model.fit(train, seed=0)
        found[transductive] = [model.predict(rows)["y_embedding"] for rows in (test, moved)]
        assert ("transductive" in model.described()) is transductive
    np.testing.assert_allclose(*found[True], rtol=1e-3, atol=1e-3)
    assert np.abs(found[False][0] - found[False][1]).max() > 1


def test_ridge_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    train, test = halves(responses(n_repeats=1))
    model = make(
        "methods", "brain_diffuser", {"target": "pooled", "lowest": 3.0, "highest": 3.0 + 1e-9, "n_penalties": 2}
    )
    model.context = Context("brain_diffuser", "made", stimuli=stimuli())
    model.fit(train, seed=0)
    x = train["x"].astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    y = stimuli()["pooled"][np.searchsorted(stimuli().rows["row_id"], train.rows["target"])]
    expected = Ridge(alpha=3.0).fit((x - mean) / scale, y).predict((test["x"] - mean) / scale)
    np.testing.assert_allclose(model.predict(test)["y_embedding"], expected, rtol=1e-4, atol=1e-5)


def test_responses_that_are_no_numbers_are_refused():
    train, _ = halves(responses())
    broken = train["x"].copy()
    broken[3, 2] = np.nan
    for name in ("mindeye", "brain_diffuser"):
        model = make("methods", name, load("methods", name).tiny)
        model.context = Context(name, "made", stimuli=stimuli())
        with pytest.raises(InputError, match="no numbers"):
            model.fit(dataclasses.replace(train, arrays={"x": broken}), seed=0)


# ---- retrieval


def judged(embedding, true, names=None, **arrays) -> tuple[np.ndarray, Bundle]:
    n = len(embedding)
    names = np.array([f"s{i:02d}" for i in range(n)]) if names is None else np.asarray(names)
    rows = {"row_id": np.array([f"r{i:03d}" for i in range(n)]), "subject": np.full(n, "01")}
    return names, Bundle({"y_embedding": embedding, "stimulus_tokens": true[:, None], **arrays}, rows)


def test_top_1_is_the_mean_over_all_galleries():
    generator = np.random.default_rng(0)
    true = generator.standard_normal((8, 4))
    names, predictions = judged(true + 1.2 * generator.standard_normal((8, 4)), true)
    similar = retrieval.likeness(predictions["y_embedding"], true)
    hits = [
        all(similar[i, i] > similar[i, j] for j in others)
        for i in range(8)
        for others in combinations([j for j in range(8) if j != i], 3)
    ]
    assert 0.2 < np.mean(hits) < 0.95
    found = make("metrics", "image_retrieval", {"gallery": 4}).score(names, predictions)
    assert found == pytest.approx(np.mean(hits), rel=1e-9)
    # The other direction looks for the response among responses.
    hits = [
        all(similar[i, i] > similar[j, i] for j in others)
        for i in range(8)
        for others in combinations([j for j in range(8) if j != i], 3)
    ]
    assert make("metrics", "brain_retrieval", {"gallery": 4}).score(names, predictions) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("name", ["image_retrieval", "brain_retrieval", "identification_2afc", "retrieval_rank"])
def test_retrieval_without_knowledge_is_at_chance_and_with_it_at_the_bound(name):
    metric = make("metrics", name, {"gallery": 10} if "gallery" in load("metrics", name).__annotations__ else {})
    generator = np.random.default_rng(0)
    true = generator.standard_normal((60, 8))
    values = [metric.score(*judged(generator.standard_normal((60, 8)), true)) for _ in range(40)]
    assert np.mean(values) == pytest.approx(metric.chance(np.arange(60)), abs=0.02)
    assert metric.score(*judged(true, true)) == (1.0 if metric.greater_is_better else 0.0)
    constant = metric.score(*judged(np.ones((60, 8)), true))
    assert not metric.greater_is_better or constant <= metric.chance(np.arange(60)) + 0.02


def test_a_gallery_larger_than_what_was_held_out_has_no_value():
    true = np.random.default_rng(0).standard_normal((9, 4))
    assert np.isnan(make("metrics", "image_retrieval", {"gallery": 10}).score(*judged(true, true)))


def test_repeats_are_averaged_or_one_is_taken():
    generator = np.random.default_rng(0)
    true = np.repeat(generator.standard_normal((30, 6)), 4, axis=0)
    names = np.repeat([f"s{i:02d}" for i in range(30)], 4)
    noisy = true + 1.5 * generator.standard_normal(true.shape)
    averaged, single = (
        make("metrics", "image_retrieval", {"gallery": 20, "repeats": how}).score(*judged(noisy, true, names))
        for how in ("average", "first")
    )
    means = noisy.reshape(30, 4, 6).mean(axis=1)
    assert averaged == pytest.approx(
        make("metrics", "image_retrieval", {"gallery": 20}).score(*judged(means, true[::4]))
    )
    alone = make("metrics", "image_retrieval", {"gallery": 20}).score(*judged(noisy[::4], true[::4]))
    assert single == pytest.approx(alone)
    assert averaged > single


def test_a_prediction_without_content_has_the_error_of_the_mean():
    """Trap X19: a raw error or cosine would praise it."""
    true = 3 + np.random.default_rng(0).standard_normal((50, 6))
    others = (true.sum(axis=0) - true) / 49
    metric = make("metrics", "embedding_error")
    assert metric.score(*judged(others, true)) == pytest.approx(1.0, rel=1e-9)
    assert retrieval.likeness(others, true).diagonal().mean() > 0.9
    assert metric.score(*judged(true, true)) == 0


def test_the_gain_by_the_prior_is_what_its_output_is_nearer():
    generator = np.random.default_rng(0)
    true = generator.standard_normal((50, 6))
    off = generator.standard_normal((50, 6))
    given = judged(true, true, y_backbone=true + 2 * off, y_prior=true + off)
    assert make("metrics", "prior_gain").score(*given) == pytest.approx(0.75, rel=1e-9)
    same = judged(true, true, y_backbone=true + off, y_prior=2 * (true + off))
    assert make("metrics", "prior_retrieval_change").score(*same) == pytest.approx(0, abs=1e-12)
    assert make("metrics", "prior_retrieval_change").score(*given) > 0
    for name in ("prior_gain", "prior_retrieval_change"):
        assert np.isnan(make("metrics", name).score(*judged(true, true)))


# ---- pictures


def test_factors_are_read_back_from_pictures():
    factors = shapes.draw_factors(150, 3)
    rows = [{name: factors[name][i] for name in shapes.FACTORS} for i in range(150)]
    pictures = np.stack([shapes.render(**row) for row in rows]).transpose(0, 3, 1, 2)
    assert ([shapes.SHAPES[i] for i in shapes.read_shape(pictures)] == factors["shape"]).mean() > 0.98
    places = shapes.read_place(pictures)
    for axis, name in enumerate(("row", "column")):
        assert np.abs(places[:, axis] - factors[name]).max() < 2.5
        assert np.corrcoef(places[:, axis], factors[name])[0, 1] > 0.98
    colours = shapes.read_colour(pictures)
    assert np.corrcoef(colours.ravel(), np.stack([shapes.colour(hue) for hue in factors["hue"]]).ravel())[0, 1] > 0.98
    # The embedding tells the shape first.
    embedding = shapes.embed(factors).reshape(150, -1)
    centred = embedding - embedding.mean(axis=0)
    within = sum(
        ((centred[factors["shape"] == s] - centred[factors["shape"] == s].mean(axis=0)) ** 2).sum()
        for s in shapes.SHAPES
    )
    assert 0.25 < within / (centred**2).sum() < 0.55


def test_exchanging_branches_breaks_the_factor_of_each():
    """Low-level pictures that keep place and colour, semantic ones that keep the shape: metrics tell which is which."""
    factors = shapes.draw_factors(60, 5)
    other = shapes.draw_factors(60, 6)

    def drawn(**given):
        mixed = {**other, **given}
        return np.stack([shapes.render(**{k: mixed[k][i] for k in shapes.FACTORS}) for i in range(60)]).transpose(
            0, 3, 1, 2
        )

    seen = drawn(**factors)
    low = drawn(row=factors["row"], column=factors["column"], hue=factors["hue"])
    semantic = drawn(shape=factors["shape"])
    names = ("low_level_position", "low_level_colour", "semantic_shape")
    rows = {"row_id": np.arange(60).astype(str), "subject": np.full(60, "01")}

    def values(low_level, semantic):
        bundle = Bundle({"y_low_level": low_level, "y_semantic": semantic, "stimulus_pixels": seen}, rows)
        return [make("metrics", name).score(np.arange(60).astype(str), bundle) for name in names]

    right, exchanged = values(low, semantic), values(semantic, low)
    assert min(right) > 0.6
    np.testing.assert_allclose(exchanged, [-value for value in right])
    assert np.isnan(make("metrics", "semantic_shape").score(np.arange(60), Bundle({}, rows)))


def test_pixels_and_structure_are_compared_as_others_do():
    generator = np.random.default_rng(0)
    made, seen = generator.uniform(size=(2, 3, 3, 24, 24))
    expected = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(made, seen, strict=True)])
    assert image_scores.pixel_correlation(made, seen).mean() == pytest.approx(expected, abs=1e-12)
    assert image_scores.structural_similarity(seen, seen).mean() == pytest.approx(1)
    assert image_scores.structural_similarity(made, seen).mean() < 0.3
    # By hand in one window: 11 x 11 places, weights of the Gaussian.
    grey = [np.tensordot([0.2125, 0.7154, 0.0721], x[0], axes=1) for x in (made, seen)]
    far = np.arange(-5, 6)
    weight = np.exp(-(far[:, None] ** 2 + far**2) / (2 * 1.5**2))
    weight /= weight.sum()
    total = []
    for i in range(5, 19):
        for j in range(5, 19):
            a, b = (x[i - 5 : i + 6, j - 5 : j + 6] for x in grey)
            mean = [(weight * x).sum() for x in (a, b)]
            n = 121 / 120
            spread = [n * ((weight * x * x).sum() - m * m) for x, m in zip((a, b), mean, strict=True)]
            both = n * ((weight * a * b).sum() - mean[0] * mean[1])
            total.append((2 * mean[0] * mean[1] + 1e-4) * (2 * both + 9e-4)
                         / ((mean[0] ** 2 + mean[1] ** 2 + 1e-4) * (sum(spread) + 9e-4)))  # fmt: skip
    assert image_scores.structural_similarity(made[:1], seen[:1])[0] == pytest.approx(np.mean(total), abs=1e-9)


def test_an_autoencoder_learns_pictures():
    factors = shapes.draw_factors(64, 0)
    pictures = np.stack([shapes.render(**{k: factors[k][i] for k in shapes.FACTORS}) for i in range(64)])
    pictures = pictures.transpose(0, 3, 1, 2).astype(np.float32)
    code = ImageCode(width=8, halvings=2, epochs=40, batch_size=8, learning_rate=4e-3)
    network = code.fit(pictures, 0, None)
    codes = encoded(network, pictures)
    assert codes.shape == (64, 4, 8, 8)
    error = ((decoded(network, codes) - pictures) ** 2).mean() / ((pictures - pictures.mean(axis=0)) ** 2).mean()
    assert error < 0.75


# ---- what is simulated


def test_embeddings_have_the_eigenvalues_that_are_stated():
    values = stored(np.random.default_rng(0).standard_normal((20000, 24)))
    found = embedding_of(values).var(axis=0)
    np.testing.assert_allclose(found, np.arange(1, 25) ** -0.7, rtol=0.05)


def test_what_files_hold_is_what_was_drawn(tmp_path):
    from replicortex.shared.pictures import read_picture
    from replicortex.shared.sim_embeddings import write_values

    values = stored(np.random.default_rng(0).standard_normal((3, 24)))
    for number, one in enumerate(values):
        write_values(tmp_path / f"{number}.png", one)
        np.testing.assert_allclose(values_of(read_picture(tmp_path, f"{number}.png")), one, atol=1e-6)


@pytest.mark.parametrize("code", ["linear", "saturated", "even", "power"])
def test_a_code_carries_the_embedding_and_only_power_is_free_of_phase(code):
    simulator = make("simulators", "embedded_responses", {"code": code, "n_things": 400})
    embedding = embedding_of(np.random.default_rng(0).standard_normal((400, 24)))
    first, again = (simulator._trials(embedding, 0, 1, np.random.default_rng(seed)) for seed in (1, 2))
    power = [np.log(np.abs(np.fft.rfft(x, axis=2)[:, :, 3:10]) ** 2 + 1e-9).reshape(400, -1) for x in (first, again)]
    repeated = np.corrcoef(first.ravel(), again.ravel())[0, 1]
    if code == "power":
        assert abs(repeated) < 0.05
        assert np.corrcoef(power[0].ravel(), power[1].ravel())[0, 1] > 0.3
    else:
        assert repeated == pytest.approx(1)
    # Linear codes are linear in the embedding; squares are not.
    flat = first.reshape(400, -1)
    fitted_part = embedding @ np.linalg.lstsq(embedding, flat - flat.mean(axis=0), rcond=None)[0]
    share = fitted_part.var() / flat.var()
    assert {"linear": share > 0.99, "saturated": share > 0.7, "even": share < 0.3, "power": share < 0.3}[code]


def test_jitter_moves_trials_and_costs_a_linear_model():
    embedding = embedding_of(np.random.default_rng(0).standard_normal((400, 24)))
    shares = []
    for jitter in (0, 5):
        simulator = make("simulators", "embedded_responses", {"code": "linear", "jitter": jitter})
        flat = simulator._trials(embedding, 0, 1, np.random.default_rng(1)).reshape(400, -1)
        fitted_part = embedding @ np.linalg.lstsq(embedding, flat - flat.mean(axis=0), rcond=None)[0]
        shares.append(fitted_part.var() / flat.var())
    assert shares[0] > 0.99
    assert shares[1] < 0.6
