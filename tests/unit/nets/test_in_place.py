"""A net whose nonlinearities overwrite their input computes what it did, and is still a net."""

from __future__ import annotations

import io
import pickle
from copy import deepcopy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from isthmus import nets
from isthmus.nets._in_place import _InPlace
from isthmus.nets._net import Activation
from isthmus.overwriting import overwriting
from tests.unit.training.fitting import SHAPES, kind_of
from tests.unit.variants.building import build


def changed(name: str, activation: str | None = None) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A net with its two halves in a row, the same in place, and rows for it."""
    found = nets.get(name)
    shape = SHAPES[kind_of(name, nets)]
    has = activation is not None and "activation" in found.Config.model_fields
    made = found(found.Config(**{"activation": activation} if has else {}), shape)
    latent_dim = made.nearest_latent_dim(4)
    torch.manual_seed(0)
    net = nn.Sequential(made.encoder(latent_dim), made.decoder(latent_dim)).eval()
    in_place = deepcopy(net)
    nets.act_in_place(in_place)
    return net, in_place, torch.randn(5, *shape)


@pytest.mark.parametrize("name", nets.names())
def test_each_net_gives_the_same_and_leaves_its_rows_alone(name):
    net, in_place, rows = changed(name)
    before = rows.clone()
    with torch.inference_mode(), overwriting():
        assert torch.equal(in_place(rows), net(rows))
        assert torch.equal(in_place(rows), net(rows))  # nothing of the first pass is left
    assert torch.equal(rows, before)
    assert net.state_dict().keys() == in_place.state_dict().keys()


@pytest.mark.parametrize("activation", Activation)
def test_each_nonlinearity_is_replaced_and_gives_the_same(activation):
    net, in_place, rows = changed("dense", activation)
    assert any(isinstance(each, _InPlace) for each in in_place.modules())
    with torch.inference_mode(), overwriting():
        assert torch.equal(in_place(rows), net(rows))


def test_who_looks_into_it_sees_what_each_layer_gave():
    net, in_place, rows = changed("dense")
    seen: dict[nn.Module, list[torch.Tensor]] = {net: [], in_place: []}
    for each, kept in seen.items():
        for layer in each.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(lambda *found, kept=kept: kept.append(found[-1]))
        with torch.inference_mode():
            each(rows)
    for mine, wanted in zip(seen[in_place], seen[net], strict=True):
        assert torch.equal(mine, wanted)


def test_another_function_is_not_taken_for_gelu():
    net = nn.Sequential(nn.Linear(3, 3), nn.GELU(approximate="tanh"))
    nets.act_in_place(net)
    assert type(net[1]) is nn.GELU


def test_it_can_still_be_trained():
    net, in_place, rows = changed("dense", Activation.SILU)
    for each in (net, in_place):
        each(rows).square().sum().backward()
    for mine, wanted in zip(in_place.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine.grad, wanted.grad)


def test_it_can_still_be_pickled():
    net, in_place, rows = changed("dense")
    again = pickle.loads(pickle.dumps(in_place))
    with torch.inference_mode():
        assert torch.equal(again(rows), net(rows))


@pytest.mark.filterwarnings("ignore")
def test_it_can_still_be_compiled_to_torchscript():
    net, in_place, rows = changed("dense")
    assert torch.equal(torch.jit.script(in_place)(rows), net(rows))


@pytest.mark.filterwarnings("ignore")
def test_it_can_still_be_exported():
    net, in_place, rows = changed("conv")
    file = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(in_place, (rows,), file, dynamo=False)
        wanted = net(rows).numpy()
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: rows.numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_a_shortcut_adds_to_is_not_overwritten():
    module = build("plain", (12,), net_options={"hidden": [8, 8, 8, 8], "residual": True}).eval()
    in_place = deepcopy(module)
    nets.act_in_place(in_place)
    rows = torch.randn(5, 12)
    before = rows.clone()
    with torch.inference_mode():
        wanted = module.score(rows)
        with overwriting():
            assert torch.equal(in_place.score(rows), wanted)
    assert torch.equal(rows, before)
