"""The networks of BrainOmni: what their sensors, masks and numbers of parameters must be."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from made_data import halves, sensors
from replicortex.bundle import Bundle
from replicortex.components import Context, make
from replicortex.errors import InputError
from replicortex.shared import brain_judged
from replicortex.shared.brain_judged import rebuilt
from replicortex.shared.brain_tokens import correlation, cut, prepared, reconstruction_losses, tokenizer_network
from replicortex.shared.criss_cross import attend, criss_cross_block, rotary
from replicortex.shared.seanet import reflected, seanet

PAPER = make("methods", "brain_omni").paper_shapes["tokenizer"]
SMALL = {
    **PAPER,
    "window": 40,
    "n_filters": 4,
    "ratios": [4, 2],
    "kernel": 3,
    "dim": 16,
    "n_sources": 4,
    "codebook_size": 16,
    "n_codebooks": 2,
    "spread": 0.4,
    "keep_scale": True,
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def inputs(n=3, n_channels=7, n_times=80):
    present = torch.arange(n_channels) < torch.tensor([7, 5, 6])[:n, None]
    x = torch.randn(n, n_channels, n_times, dtype=torch.float64) * present[:, :, None]
    position = torch.randn(n, n_channels, 6, dtype=torch.float64)
    return x, position, torch.randint(3, (n, n_channels)), present


# ---- sensors


@pytest.mark.parametrize("named", [False, True])
def test_channels_have_no_order(named):
    """Whatever order channels come in, sources are the same, and what is rebuilt comes in that order."""
    network = tokenizer_network(**{**SMALL, "named_sources": named}).double().eval()
    x, position, kind, present = inputs()
    given = present & (torch.rand(present.shape) > 0.2)
    made, _, codes = network(x, position, kind, present, given)
    order = torch.randperm(x.shape[1])
    again, _, same = network(*(entry[:, order] for entry in (x, position, kind, present, given)))
    assert torch.equal(codes, same)
    torch.testing.assert_close(again, made[:, order], rtol=1e-10, atol=1e-10)


def test_padding_and_withheld_channels_are_not_seen():
    network = tokenizer_network(**SMALL).double().eval()
    x, position, kind, present = inputs()
    given = present.clone()
    given[:, 1] = False
    made, _, codes = network(x, position, kind, present, given)
    other = torch.where(given[:, :, None], x, torch.randn_like(x))
    again, _, same = network(other, position, kind, present, given)
    assert torch.equal(codes, same)
    torch.testing.assert_close(again, made, rtol=0, atol=0)
    assert not made[~present].any()
    fewer = network(*(entry[1:2, :5] for entry in (x, position, kind, present, given)))[0]
    torch.testing.assert_close(fewer, made[1:2, :5], rtol=1e-10, atol=1e-10)


def test_rebuilt_channels_depend_on_where_they_are_said_to_be_unless_the_network_is_not_told():
    x, position, kind, present = inputs()
    moved = position.clone()
    moved[:, 0] += 1
    changes = []
    for told in (True, False):
        network = tokenizer_network(**{**SMALL, "sensor_encoder": told}).double().eval()
        made = network(x, position, kind, present, present)[0]
        changes.append((network(x, moved, kind, present, present)[0] - made).abs().max().item())
    assert changes[0] > 1e-6
    assert changes[1] == 0


def test_the_control_swaps_places_within_types_and_leaves_none():
    present = np.array([True] * 9 + [False])
    kind = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 0])
    order = brain_judged._swapped(present, kind)
    assert sorted(order) == list(range(10))
    assert (order[present] != np.arange(10)[present]).all()
    np.testing.assert_array_equal(kind[order], kind)
    assert order[9] == 9
    assert brain_judged._first(present, 0.25).sum() == 2


def test_signals_are_scaled_by_type_and_row_alone():
    bundle = sensors(n_trials=16)
    made = prepared(bundle, 40.0)
    for row in (0, 8):
        here = bundle["present"][row].astype(bool)
        x = bundle["x"][row, here].astype(float)
        x = x - x.mean(axis=0)
        np.testing.assert_allclose(made["x"][row, here], x / x.std(), atol=1e-5)
        assert not made["x"][row, ~here].any()
    louder = dataclasses.replace(bundle, arrays={**bundle.arrays, "x": 7 * bundle["x"]})
    np.testing.assert_allclose(prepared(louder, 40.0)["x"], made["x"], atol=1e-5)
    assert prepared(bundle, 20.0)["x"].shape[2] == 40
    with pytest.raises(InputError, match="have no array 'position'"):
        prepared(Bundle({"x": bundle["x"]}, bundle.rows, bundle.axes), 40.0)


# ---- parts


def test_attention_is_that_of_torch():
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], dtype=torch.bool)
    heads = [entry.reshape(2, -1, 2, 4).transpose(1, 2) for entry in (query, key, value)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask[:, None, None])
    torch.testing.assert_close(attend(query, key, value, 2, mask=mask), wanted.transpose(1, 2).reshape(2, 3, 8))


def test_rotary_positions_tell_distances_alone():
    query, key = torch.randn(1, 1, 6).expand(1, 9, 6), torch.randn(1, 1, 6).expand(1, 9, 6)
    products = (rotary(query) @ rotary(key).transpose(1, 2))[0]
    for distance in range(-8, 9):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rotary(query).norm(dim=2), query.norm(dim=2))


def test_a_block_sees_its_row_and_column_and_nothing_else():
    block = criss_cross_block(8, 2, 0.0).double().eval()
    x = torch.randn(1, 4, 5, 8, dtype=torch.float64)
    other = x.clone()
    other[0, 1, 2] += 1
    changed = (block(other) - block(x)).abs().amax(dim=-1)[0] > 1e-12
    cross = torch.zeros(4, 5, dtype=torch.bool)
    cross[1], cross[:, 2] = True, True
    assert torch.equal(changed, cross)


def test_convolutions_keep_the_length_and_mirror_the_ends():
    x = torch.arange(6.0).reshape(1, 1, 6)
    torch.testing.assert_close(reflected(x, 2, 3), torch.nn.functional.pad(x, (2, 3), mode="reflect"))
    for n_times in (64, 128, 192):
        encoder, decoder = (seanet(part, 8, 4, [4, 2, 2], 5) for part in ("encoder", "decoder"))
        frames = encoder(torch.randn(2, 1, n_times))
        assert frames.shape == (2, 8, n_times // 16)
        assert decoder(frames).shape == (2, 1, n_times)


def test_convolutions_that_keep_the_scale_do():
    x = torch.randn(8, 1, 512)
    spread = [float(seanet("encoder", 32, 8, [4, 2, 2], 5, keep_scale=kept)(x).std(dim=2).mean()) for kept in (0, 1)]
    assert spread[0] < 0.05
    assert 0.2 < spread[1] < 5


def test_windows_overlap_and_are_filled_up():
    x = torch.arange(10.0)
    assert cut(x, 5).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert cut(x, 4, 0.25).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert cut(x, 8, 0.25).tolist()[1] == [6, 7, 8, 9, 0, 0, 0, 0]
    assert cut(x, 12).tolist() == [[*range(10), 0, 0]]


def test_the_losses_of_a_perfect_reconstruction_and_of_its_reverse():
    x = torch.randn(6, 64, dtype=torch.float64)
    same, reverse = reconstruction_losses(x, x), reconstruction_losses(-x, x)
    assert float(same["time"]) == 0
    assert float(same["correlation"]) == pytest.approx(np.exp(-1), rel=1e-5)
    assert float(reverse["correlation"]) == pytest.approx(np.exp(1), rel=1e-5)
    assert float(reverse["amplitude"]) == pytest.approx(0, abs=1e-9)
    # Half of the difference of angles, which is pi for each frequency but for the one or two that are real.
    assert float(reverse["phase"]) == pytest.approx(np.pi / 2, rel=0.05)
    y = torch.randn(6, 64, dtype=torch.float64)
    wanted = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(correlation(x, y), wanted, atol=1e-6)


# ---- numbers of parameters, in closed form


def of_seanet(part: str, dim: int, n: int, ratios: list[int], kernel: int) -> int:
    """Weight-normed convolutions have a norm for each output, or for each input where they are transposed."""

    def conv(n_in, n_out, width):
        return n_in * n_out * width + 2 * n_out

    total, most = 0, n * 2 ** len(ratios)
    lstm = 2 * (8 * most * most + 8 * most)
    width = n if part == "encoder" else most
    for ratio in reversed(ratios) if part == "encoder" else ratios:
        wide = width if part == "encoder" else width // 2
        total += conv(wide, wide // 2, 3) + conv(wide // 2, wide, 1) + conv(wide, wide, 1)
        total += conv(width, 2 * width, 2 * ratio) if part == "encoder" else 2 * ratio * width * wide + width + wide
        width = 2 * width if part == "encoder" else wide
    ends = conv(1, n, kernel) + conv(most, dim, kernel)
    ends = ends if part == "encoder" else conv(dim, most, kernel) + conv(n, 1, kernel)
    return total + lstm + ends


def of_tokenizer(p: dict) -> int:
    d = p["dim"]
    linear = d * d + d
    sensor = 3 * d + (7 * d // 2) + (d // 2 * d + d) + (8 * d * d + 5 * d) + d
    coders = sum(of_seanet(part, d, p["n_filters"], p["ratios"], p["kernel"]) for part in ("encoder", "decoder"))
    return sensor + coders + p["n_sources"] * d + 3 * linear + 3 * linear


def of_blocks(width: int, depth: int) -> int:
    half = width // 2
    attention = 2 * (3 * half * half + 3 * half + half * half + half)
    return depth * (attention + 8 * width * width + 5 * width + 2 * width)


@pytest.mark.parametrize(("width", "n_heads"), [(512, 16), (256, 8)])
def test_published_sizes_are_those_of_the_closed_form(width, n_heads):
    with torch.device("meta"):
        tokenizer = make("methods", "brain_tokenizer").network(n_types=3)
        method = make("methods", "brain_omni", {"width": width, "n_heads": n_heads})
        omni = method.network(**method.paper_shapes)
    assert sum(entry.numel() for entry in tokenizer.parameters()) == of_tokenizer(PAPER) == 5_050_338
    learned = sum(entry.numel() for entry in omni.parameters() if entry.requires_grad)
    projection = 256 * width + width if width != 256 else 0
    assert learned == of_blocks(width, 12) + 256 + projection + width * 2048 + 2048
    assert learned == {512: 32_707_328, 256: 8_424_704}[width]


def test_eegnet_has_its_size():
    method = make("methods", "eeg_conv")
    with torch.device("meta"):
        network = method.network(**method.paper_shapes)
    wanted = 8 * 64 + 2 * 8 + 16 * 64 + 2 * 16 + 16 * 16 + 16 * 16 + 2 * 16 + (16 * 4) * 2 + 2
    assert sum(entry.numel() for entry in network.parameters()) == wanted


# ---- the chain


def chain(train, *, untrained=False, sensor_encoder=True):
    models, parent = [], None
    for name in ("brain_tokenizer", "brain_omni", "brain_omni_classifier"):
        cls = type(make("methods", name))
        given = {"sensor_encoder": sensor_encoder} if name == "brain_tokenizer" else {}
        model = make("methods", name, {**cls.tiny, **given})
        model.context = Context(name, parent=parent, untrained=untrained and cls.twin)
        model.fit(train, seed=0)
        models.append(model)
        parent = model
    return models


def test_the_tokenizer_goes_unchanged_through_the_chain_and_codes_are_those_of_the_rows():
    train, test = halves(sensors())
    tokenizer, omni, classifier = chain(train)
    state = tokenizer.network_.state_dict()
    for network in (omni.network_.tokenizer, classifier.network_.backbone.tokenizer):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    blocks = omni.network_.blocks[0].state_dict()
    moved = classifier.network_.backbone.blocks[0].state_dict()
    assert any(not torch.equal(value, blocks[name]) for name, value in moved.items()), "blocks are fine-tuned"
    last = omni.network_.blocks[-1].state_dict()
    kept = classifier.network_.backbone.blocks[-1].state_dict()
    assert all(torch.equal(value, last[name]) for name, value in kept.items()), "the last block is not read"
    found = classifier.predict(test)
    arrays = prepared(test, tokenizer.sfreq)
    network = copy.deepcopy(tokenizer.network_).double()
    given = [torch.from_numpy(arrays[name]) for name in ("position", "sensor_type", "present")]
    _, codes = network.tokens(torch.from_numpy(arrays["x"]).double(), given[0].double(), *given[1:], 0.25)
    np.testing.assert_array_equal(found["codes"], codes)
    for name, values in rebuilt(network, arrays).items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_an_untrained_chain_trains_nothing_but_the_classifier():
    train, _ = halves(sensors(n_trials=16))
    tokenizer, omni, classifier = chain(train, untrained=True)
    assert tokenizer.history_ == omni.history_ == []
    assert not bool(tokenizer.network_.quantizer.rvq.layers[0]._codebook.inited)
    built = classifier.network(**classifier.shapes_).head.state_dict()
    assert any(not torch.equal(value, built[name]) for name, value in classifier.network_.head.state_dict().items())


def test_targets_do_not_enter_pretraining():
    train, _ = halves(sensors(n_trials=16))
    swapped = train.with_rows(target=train.rows["target"][::-1].copy())
    first, second = chain(train)[:2], chain(swapped)[:2]
    for one, other in zip(first, second, strict=True):
        assert one.dump() == other.dump()


def test_a_stage_without_what_it_starts_from_is_refused():
    train, _ = halves(sensors(n_trials=16))
    for name in ("brain_omni", "brain_omni_classifier"):
        with pytest.raises(InputError, match="give it init_from in the study card"):
            make("methods", name, type(make("methods", name)).tiny).fit(train, 0)


def test_a_montage_that_was_never_seen_gets_the_class_frequencies():
    bundle = sensors()
    seen = bundle.rows["montage"] == "eeg-8"
    train = bundle.take(seen).with_rows(target=bundle.rows["label"][seen], label=None)
    model = make("methods", "eeg_conv", type(make("methods", "eeg_conv")).tiny)
    model.fit(train, 0)
    score = model.predict(bundle.take(~seen).with_rows(label=None))["y_score"]
    np.testing.assert_allclose(np.exp(score), np.broadcast_to([0.5, 0.5], score.shape))


def test_released_weights_are_read_under_their_names(tmp_path):
    """A file as the release has it: weight-normed convolutions under torch's former names, tables of angles."""
    train, _ = halves(sensors(n_trials=16))
    tokenizer, omni, _ = chain(train)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

    def released(network):
        state = {}
        for name, value in network.state_dict().items():
            for new, former in old.items():
                name = name.replace(new, former)
            state[name] = value * 1.5 if value.is_floating_point() else value
        return state

    for model, extra in ((tokenizer, {}), (omni, {"blocks.0.time_attn.rope_embedding_layer.freqs": torch.ones(4)})):
        name = type(model).__module__.rpartition(".")[2]
        path = tmp_path / f"{name}.pt"
        torch.save({**released(model.network_), **extra}, path)
        again = make("methods", name, {**type(model).tiny, "weights": {"source": str(path), "licence": "MIT"}})
        again.context = Context(name, parent=tokenizer)
        again.fit(train, 0)
        for key, value in model.network_.state_dict().items():
            wanted = value * 1.5 if value.is_floating_point() else value
            torch.testing.assert_close(again.network_.state_dict()[key], wanted)


def test_csp_of_a_montage_is_that_of_its_channels_and_unseen_montages_get_the_class_frequencies():
    bundle = sensors()
    seen = bundle.rows["montage"] == "meg-6"
    params = {"n_filters": [2], "n_shrinkages": 1}
    train, test = halves(bundle)
    model = make("methods", "montage_csp", params)
    model.fit(train, 0)
    score = model.predict(test)["y_score"]
    # The same by the method for one montage, on the six channels that are there.
    mine, others = train.rows["montage"] == "meg-6", test.rows["montage"] == "meg-6"
    spread = train["x"][mine, :6].std(axis=2)
    spread = np.sqrt((spread**2).mean(axis=0))[None, :, None]

    def cut_to(rows, here):
        part = rows.take(np.flatnonzero(here))
        return Bundle({"x": part["x"][:, :6] / spread}, part.rows, {**part.axes, "channel": list(range(6))})

    alone = make("methods", "csp_lda", {**params, "n_inner": 2})
    alone.fit(cut_to(train, mine), 0)
    wanted = alone.predict(cut_to(test, others))["y_score"][:, 1]
    np.testing.assert_allclose(score[others, 1] - score[others, 0], wanted, rtol=1e-4, atol=1e-4)
    model.fit(train.take(np.flatnonzero(mine)), 0)
    unseen = model.predict(bundle.take(np.flatnonzero(~seen)).with_rows(label=None))["y_score"]
    frequency = [np.mean(train.rows["target"][mine] == name) for name in np.unique(train.rows["target"])]
    np.testing.assert_allclose(np.exp(unseen), np.broadcast_to(frequency, unseen.shape))


def test_eegnet_works_at_its_own_rate():
    """What lies above half of its rate is not there for it, and rows are resampled each by itself."""
    train, test = halves(sensors())
    model = make("methods", "eeg_conv", {**type(make("methods", "eeg_conv")).tiny, "sfreq": 20.0, "epochs": 2})
    model.fit(train, 0)
    assert (model.shapes_["n_times"], model.shapes_["sfreq"]) == (40, 20.0)
    whole = model.predict(test)["y_score"]
    fast = np.sin(2 * np.pi * 15 * np.arange(80) / 40).astype(np.float32)
    louder = dataclasses.replace(test, arrays={**test.arrays, "x": test["x"] + 50 * fast})
    np.testing.assert_allclose(model.predict(louder)["y_score"], whole, atol=1e-3)
    np.testing.assert_allclose(model.predict(test.take(np.arange(3)))["y_score"], whole[:3], atol=1e-9)


def test_the_mask_stands_for_a_token_as_it_is_whatever_tokens_are_multiplied_by():
    """A mask that is multiplied too drowns the query that tells which source is hidden."""
    networks = []
    for scale in (1.0, 6.0):
        method = make("methods", "brain_omni", {**type(make("methods", "brain_omni")).tiny, "token_scale": scale})
        torch.manual_seed(0)
        networks.append(method.network(tokenizer={**SMALL}).eval())
    codes = torch.randint(16, (2, 4, 5, 2))
    hidden = torch.ones(2, 4, 5, dtype=torch.bool)
    logits = [one.predict(one.tokens(codes), hidden, one.mask_token.expand(2, 4, 5, -1)) for one in networks]
    torch.testing.assert_close(*logits)
    torch.testing.assert_close(networks[1].tokens(codes), 6 * networks[0].tokens(codes))


def test_only_hidden_tokens_are_judged_in_pretraining():
    """The loss is the mean cross-entropy of the codes that were hidden, by hand."""
    method = make("methods", "brain_omni", type(make("methods", "brain_omni")).tiny)
    network = method.network(tokenizer={**SMALL}).eval()
    codes = torch.randint(16, (3, 4, 5, 2))
    torch.manual_seed(1)
    found = method.step(network, {"codes": codes})
    torch.manual_seed(1)
    logits, masked = network(codes, method.mask_share, method.swap_share)
    assert logits.shape == (int(masked.sum()), 2, 16)
    assert 0.2 < masked.double().mean() < 0.8
    probability = logits.softmax(dim=-1).gather(-1, codes[masked][..., None])
    torch.testing.assert_close(found["masked"], -probability.log().mean())
