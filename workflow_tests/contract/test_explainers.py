"""What every explainer must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import pytest
import torch

from replicortex.components import load, make, names
from replicortex.errors import InputError
from replicortex.methods.resnet3d import resnet

SHAPE = (8, 7, 9)


@pytest.fixture(scope="module", params=names("explainers"))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = resnet(10, 4, 3, (1, 1, 1), False)
    with torch.no_grad():
        network(torch.randn(16, 1, *SHAPE))
    return network.eval()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 1, *SHAPE, generator=generator)
    return x, torch.zeros(1, 1, *SHAPE), torch.randint(0, 4, (3, *SHAPE), generator=generator)


def made(name):
    return make("explainers", name, load("explainers", name).tiny)


def test_a_map_of_each_input_that_is_finite_and_not_flat(name, network, data):
    found = made(name).explain(network, *data)
    assert found.shape == data[0].shape
    assert torch.isfinite(found).all()
    assert not found.requires_grad
    assert all(one.unique().numel() > 2 for one in found)


def test_the_same_twice_and_each_by_itself(name, network, data):
    x, baseline, regions = data
    explainer = made(name)
    whole = explainer.explain(network, x, baseline, regions)
    assert torch.equal(whole, explainer.explain(network, x, baseline, regions))
    alone = explainer.explain(network, x[1:2], baseline, regions[1:2])
    torch.testing.assert_close(alone, whole[1:2], rtol=1e-3, atol=1e-5 * float(whole.abs().max()))


def test_input_and_generators_are_left_alone(name, network, data):
    before = [entry.clone() for entry in data]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    made(name).explain(network, *data)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one, other) for one, other in zip(data, before, strict=True))
    assert all(value.grad is None for value in network.parameters())


def test_works_where_gradients_are_off(name, network, data):
    with torch.no_grad():
        found = made(name).explain(network, *data)
    assert found.abs().max() > 0


def test_finds_the_place_that_a_network_looks_at(name):
    """A network whose output is the mean of one corner: its voxels are above all others."""

    class Corner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1 = torch.nn.Conv3d(1, 1, 1, bias=False)
            self.layer1.weight.data.fill_(1.0)
            self.relu = torch.nn.ReLU()
            self.layer4 = torch.nn.Identity()
            self.head = torch.nn.Linear(512, 1, bias=False)
            weight = torch.zeros(8, 8, 8)
            weight[:4, :4, :4] = 1 / 64
            self.head.weight.data = weight.view(1, -1)

        def forward(self, x):
            return self.head(self.layer4(self.relu(self.layer1(x))).flatten(1))[:, 0]

    x = 1 + torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    regions = torch.ones(2, 8, 8, 8, dtype=torch.int64)
    regions[:, :4, :4, :4] = 2
    found = made(name).explain(Corner().eval(), x, torch.zeros(1, 1, 8, 8, 8), regions)[:, 0].abs()
    inside = found[:, :4, :4, :4].mean(dim=(1, 2, 3))
    if name == "gradcam":
        # One weight for the whole channel: it can not tell places apart here, which is its known fault.
        assert torch.allclose(found, found * 0 + x[:, 0] / 512, rtol=0.01)
    else:
        assert (inside > 10 * found[:, 4:].mean(dim=(1, 2, 3))).all()


def test_refuses_unknown_parameters(name):
    with pytest.raises(InputError, match="unknown parameter"):
        make("explainers", name, {"no_such_parameter": 1})
