"""Explainers against captum, closed forms and conservation; metrics of maps against hand counts; the network."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch

from replicortex.bundle import Bundle
from replicortex.components import make, names
from replicortex.errors import InputError
from replicortex.explainers.lrp import _WORDS
from replicortex.methods.resnet3d import moments, resnet
from replicortex.shared.attributions import fused, ruled

SHAPE = (9, 8, 10)


def made(name, **params):
    return make("explainers", name, params)


def randomised(network, seed=0):
    """The network with weights, and statistics of its normalisation, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.named_parameters():
        if value.ndim == 1:
            value.data = torch.rand(value.shape, generator=generator) + 0.5 if "weight" in name else value
            value.data = torch.randn(value.shape, generator=generator) * 0.1 if "bias" in name else value.data
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean = torch.randn(module.running_mean.shape, generator=generator) * 0.3
            module.running_var = torch.rand(module.running_var.shape, generator=generator) + 0.5
    return network.eval()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "pooled"])
def network(request):
    torch.manual_seed(0)
    return randomised(resnet(10, 4, 3, (1, 1, 1), request.param))


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 1, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def baseline():
    return 0.3 * torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(2))


def for_captum(network):
    """The network with torch's own pooling, whose rules captum knows."""
    other = copy.deepcopy(network)
    if getattr(other.pool, "pools", False):
        other.pool = torch.nn.MaxPool3d(3, 2, 1)
    return other


def assert_same(found, expected):
    scale = expected.abs().max()
    assert scale > 0
    torch.testing.assert_close(found / scale, expected.detach() / scale, rtol=0, atol=2e-5)


# ---- captum


def test_gradients_are_captums(network, x):
    from captum.attr import InputXGradient, Saliency

    assert_same(made("gradient").explain(network, x, None), Saliency(network).attribute(x, abs=False))
    assert_same(made("input_x_gradient").explain(network, x, None), InputXGradient(network).attribute(x))


def test_smoothgrad_is_captums_on_the_same_noise(network, x, monkeypatch):
    from captum.attr import NoiseTunnel, Saliency

    explainer = made("smoothgrad", samples=4, noise=0.1)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(x.shape[1:], generator=generator) for _ in range(4)]
    # captum takes one size of noise for all inputs, and draws copy by copy for each of them: one input at a time.
    monkeypatch.setattr(torch, "normal", lambda mean, std: torch.stack(drawn).view(std.shape) * std)
    for row in x[:, None]:
        spread = float(0.1 * (row.max() - row.min()))
        tunnel = NoiseTunnel(Saliency(network))
        expected = tunnel.attribute(row, nt_type="smoothgrad", nt_samples=4, stdevs=spread, abs=False)
        assert_same(explainer.explain(network, row, None), expected)


def test_integrated_gradients_are_captums_and_sum_to_the_difference(network, x, baseline):
    from captum.attr import IntegratedGradients

    expected = IntegratedGradients(network).attribute(x, baseline, n_steps=12, method="gausslegendre")
    assert_same(made("integrated_gradients", steps=12).explain(network, x, baseline), expected)
    fine = made("integrated_gradients", steps=200).explain(network, x, baseline)
    with torch.no_grad():
        difference = network(x) - network(baseline)
    torch.testing.assert_close(fine.flatten(1).sum(dim=1), difference, rtol=0.02, atol=1e-3)


def test_guided_backprop_is_captums(network, x):
    from captum.attr import GuidedBackprop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = GuidedBackprop(for_captum(network)).attribute(x)
    assert_same(made("guided_backprop").explain(network, x, None), expected)


def test_deeplift_is_captums(x, baseline):
    """Without pooling: behind a maximum captum's contributions do not sum up to the difference, see the next test."""
    from captum.attr import DeepLift

    torch.manual_seed(0)
    network = randomised(resnet(10, 4, 3, (1, 1, 1), False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = DeepLift(network).attribute(x, baseline.expand_as(x))
    assert_same(made("deeplift").explain(network, x, baseline), expected)


def test_deeplift_sums_to_the_difference(network, x, baseline):
    found = made("deeplift").explain(network, x, baseline).flatten(1).sum(dim=1)
    with torch.no_grad():
        torch.testing.assert_close(found, network(x) - network(baseline), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_gradcam_is_captums(network, x, layer):
    from captum.attr import LayerAttribution, LayerGradCam

    found = LayerGradCam(network, getattr(network, f"layer{layer}")).attribute(x, relu_attributions=True)
    expected = LayerAttribution.interpolate(found, SHAPE, "trilinear")
    mine = made("gradcam", layer=layer).explain(network, x, None)
    torch.testing.assert_close(mine, expected.detach(), rtol=1e-4, atol=1e-6)


def test_occlusion_is_captums(network, x, baseline):
    from captum.attr import FeatureAblation

    regions = torch.randint(0, 4, (3, *SHAPE), generator=torch.Generator().manual_seed(3))
    found = made("occlusion").explain(network, x, baseline, regions)
    for row in range(3):
        mask = regions[row : row + 1, None]
        expected = FeatureAblation(network).attribute(x[row : row + 1], baseline, feature_mask=mask)
        sizes = torch.stack([(mask == label).sum() for label in range(4)])[mask]
        expected = torch.where(mask > 0, expected / sizes, 0.0)
        assert_same(found[row : row + 1], expected)


# ---- relevance


def without_bias(seed=0):
    """Convolutions and rectifiers with a sum of two branches, and no bias anywhere."""
    torch.manual_seed(seed)
    return resnet(10, 4, 3, (2, 2, 2), False).eval()


def chain(seed=0):
    """The same without the sum: there the rules for one sign lose nothing."""
    torch.manual_seed(seed)
    pool = type(resnet(10, 1, 3, (1, 1, 1), False).mean)()
    layers = [torch.nn.Conv3d(1, 6, 3, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Conv3d(6, 8, 3, bias=False)]
    layers += [torch.nn.ReLU(), pool, torch.nn.Linear(8, 1, bias=False), torch.nn.Flatten(0)]
    return torch.nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_gamma_box"])
def test_relevance_is_conserved_over_a_sum_of_branches(composite, x):
    network = without_bias().double()
    network.head.bias.data.zero_()
    found = made("lrp", composite=composite, epsilon=1e-12).explain(network, x.double(), None)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), network(x.double()).detach(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("composite", _WORDS)
def test_relevance_is_conserved_without_biases(composite, x):
    network = chain()
    found = made("lrp", composite=composite, epsilon=1e-12).explain(network, x.double(), None)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), network(x.double()).detach(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_alpha2_beta1_flat"])
def test_flat_rules_know_no_weight_of_the_first_layer(composite, x):
    """What the units of the first layer hold is shared evenly among the voxels that each of them sees."""
    network = chain()
    held = made("lrp", composite=composite.removesuffix("_flat"), epsilon=1e-12)
    units = torch.nn.functional.relu(network[0](x.double())).detach()
    above = torch.nn.Sequential(torch.nn.Identity(), *list(network)[2:])
    relevance = held.explain(above, units, None).sum(dim=1, keepdim=True)
    size = torch.nn.functional.conv3d(torch.ones(1, 1, *SHAPE).double(), torch.ones(1, 1, 3, 3, 3).double(), None, 2, 1)
    expected = torch.nn.functional.conv_transpose3d(
        relevance / size, torch.ones(1, 1, 3, 3, 3).double(), None, 2, 1, output_padding=[(n - 1) % 2 for n in SHAPE]
    )
    found = made("lrp", composite=composite, epsilon=1e-12).explain(network, x.double(), None)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_epsilon_without_biases_is_input_times_gradient(x):
    network = without_bias()
    network.head.bias.data.zero_()
    network.double()
    found = made("lrp", composite="epsilon", epsilon=1e-14).explain(network, x.double(), None)
    torch.testing.assert_close(
        found, made("input_x_gradient").explain(network, x.double(), None), rtol=1e-6, atol=1e-12
    )


class Two(torch.nn.Module):
    """Two voxels, two units with a rectifier, one output."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, (2, 1, 1), bias=False)
        self.conv.weight.data = torch.tensor([[[[[1.0]], [[-2.0]]]], [[[[3.0]], [[1.0]]]]])
        self.relu = torch.nn.ReLU()
        self.second = torch.nn.Conv3d(2, 1, 1, bias=False)
        self.second.weight.data = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1, 1)

    def forward(self, x):
        return self.second(self.relu(self.conv(x))).flatten(1)[:, 0]


def test_rules_by_hand():
    """x = (3, 1): units 3 - 2 = 1 and 9 + 1 = 10, output 2 * 1 - 10 = -8."""
    network, x = Two().double(), torch.tensor([3.0, 1.0]).double().view(1, 1, 2, 1, 1)
    assert network(x).item() == -8

    def relevance(composite, **params):
        return made("lrp", composite=composite, epsilon=1e-13, **params).explain(network, x, None).flatten().tolist()

    # Epsilon: units get 2 and -10; the first is 3 and -2 of 1, the second 9 and 1 of 10.
    assert relevance("epsilon") == pytest.approx([2 * 3 - 10 * 0.9, 2 * -2 - 10 * 0.1])
    # z-plus: only the first unit contributes to the output with a positive sign and gets all; of it only voxel 0.
    assert relevance("epsilon_plus") == pytest.approx([-8, 0])
    # alpha2 beta1: units get 2 * -8 and -(-8) = 8; voxels: 2 * (-16) - 0 and -(-16) of the first (+3, -2); of the
    # second, which has no negative part, 2 * 8 * (0.9, 0.1).
    assert relevance("epsilon_alpha2_beta1") == pytest.approx([-32 + 14.4, 16 + 1.6])
    # Gamma 1 in the second layer: weights 4 and -1 give 4 - 10 = -6; units get 4/-6 and -10/-6 of -8.
    # Box from 1 to 3 in the first: z = x w - 1 w+ - 3 w-: unit 1: 1 - 1 + 6 = 6 (voxel 0: 2, voxel 1: 4), unit 2:
    # 10 - 4 = 6 (voxel 0: 6, voxel 1: 0).
    first, second = -8 * 4 / -6, -8 * -10 / -6
    expected = [first * 2 / 6 + second, first * 4 / 6]
    assert relevance("epsilon_gamma_box", gamma=1.0) == pytest.approx(expected)


def test_normalisation_becomes_part_of_the_convolutions(network, x):
    plain = fused(network)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in plain.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(x), network(x), rtol=1e-4, atol=1e-5)


# ---- the mechanism


@pytest.mark.parametrize("name", names("explainers"))
def test_a_network_is_left_as_it_was(name, network, x, baseline):
    regions = torch.ones(3, *SHAPE, dtype=torch.int64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        output = network(x)
    made(name).explain(network, x, baseline, regions)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any("forward" in vars(module) for module in network.modules())
    with torch.no_grad():
        assert torch.equal(network(x), output)


@pytest.mark.parametrize("name", names("explainers"))
def test_a_map_does_not_depend_on_what_is_explained_beside(name, network, x, baseline):
    regions = torch.randint(0, 4, (3, *SHAPE), generator=torch.Generator().manual_seed(5))
    explainer = made(name)
    alone = [explainer.explain(network, x[i : i + 1], baseline, regions[i : i + 1]) for i in range(len(x))]
    assert_same(explainer.explain(network, x, baseline, regions), torch.cat(alone))


def test_rules_end_where_an_error_does(network, x):
    with pytest.raises(ZeroDivisionError), ruled(network, {"relu": lambda module, inputs, incoming: inputs}):
        raise ZeroDivisionError
    assert "forward" not in vars(network.relu)


def test_what_an_explainer_lacks_is_said(network, x):
    with pytest.raises(InputError, match="no layer7"):
        made("gradcam", layer=7).explain(network, x, None)
    with pytest.raises(InputError, match="no array 'regions'"):
        made("occlusion").explain(network, x, x[:1])


# ---- the network


@pytest.mark.parametrize("depth", [10, 18, 50])
def test_the_number_of_parameters_in_closed_form(depth):
    blocks = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    total, before = 343 * 64 + 2 * 64, 64
    for stage, n_blocks in enumerate(blocks):
        planes = 64 * 2**stage
        after = 4 * planes if depth == 50 else planes
        for block in range(n_blocks):
            if depth == 50:
                total += before * planes + 27 * planes**2 + planes * after + 2 * (planes + planes + after)
            else:
                total += 27 * before * planes + 27 * planes**2 + 2 * (planes + planes)
            if block == 0 and (stage or before != after):
                total += before * after + 2 * after
            before = after
    total += before + 1
    with torch.device("meta"):
        network = make("methods", "resnet3d", {"depth": depth}).network(channels=1)
    assert sum(value.numel() for value in network.parameters()) == total


def test_the_maximum_is_torchs_forwards_and_backwards():
    pool = resnet(10, 2, 3, (1, 1, 1), True).pool
    for shape in ((2, 3, 7, 8, 9), (1, 2, 16, 5, 6)):
        x = torch.randn(shape, requires_grad=True)
        mine, theirs = pool(x), torch.nn.functional.max_pool3d(x, 3, 2, 1)
        assert torch.equal(mine, theirs)
        weights = torch.randn(mine.shape)
        one = torch.autograd.grad((mine * weights).sum(), x)[0]
        torch.testing.assert_close(one, torch.autograd.grad((theirs * weights).sum(), x)[0])


def test_moments_are_those_of_all_voxels():
    x = np.random.default_rng(0).normal(3, 2, (70, 4, 5, 3)).astype(np.float32)
    assert moments(x) == pytest.approx([x.mean(dtype=float), x.std(dtype=float)], rel=1e-6)


def test_the_target_is_what_other_regions_do_not_tell():
    """With all components the regression is that on all other phenotypes; the region's own stays out."""
    generator = np.random.default_rng(0)
    values = generator.standard_normal((50, 4))
    target = values @ [5.0, 1.0, 2.0, -1.0] + 7
    rows = {"row_id": np.arange(50), "subject": np.arange(50), "target": target}
    bundle = Bundle({"phenotypes": values}, rows, {"region": ["own", "a", "b", "c"]})
    model = make("methods", "resnet3d", {"region": ["own"], "components": 10})
    model.expected_ = model._regress(bundle, target)
    design = np.column_stack([np.ones(50), values[:, 1:]])
    expected = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(model._expected(bundle), expected, rtol=1e-9)
    # One component tells less, and nothing of rows that it was not fitted on enters it.
    model.components = 1
    model.expected_ = model._regress(bundle.take(np.arange(40)), target[:40])
    assert np.var(target - model._expected(bundle)) > np.var(target - expected)
    with pytest.raises(InputError, match="no region 'owm'"):
        make("methods", "resnet3d", {"region": ["owm"]})._phenotypes(bundle)


def test_folds_start_from_different_weights_and_a_twin_takes_no_step():
    from made_data import volumes
    from replicortex.components import Context

    bundle = volumes(n=20)
    train = bundle.with_rows(target=bundle.rows["label"], label=None)

    def weights(rows, **context):
        model = make("methods", "resnet3d", {**type(make("methods", "resnet3d", {})).tiny, "steps": 2})
        model.context = Context("resnet3d", "made", **context)
        model.fit(train.take(rows), seed=0)
        return model

    one, two = (weights(np.arange(*ends), untrained=True) for ends in ((0, 10), (10, 20)))
    assert not torch.equal(one.network_.conv.weight, two.network_.conv.weight)
    assert torch.equal(one.network_.conv.weight, weights(np.arange(10), untrained=True).network_.conv.weight)
    assert not torch.equal(one.network_.conv.weight, weights(np.arange(10)).network_.conv.weight)
    assert one.chosen() == {}
