"""The undercomplete autoencoder, with and without tied weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn

from isthmus import variants
from isthmus.types import DataKind
from tests.unit.variants.building import build, plan_of, trained


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_pair_reaches_the_error_of_pca_within_one_percent(tied: bool) -> None:
    """Baldi & Hornik 1989, "Neural Networks and Principal Component Analysis", Neural Networks 2:
    the least error of a linear autoencoder is that of the principal components."""
    rows = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    pca = PCA(8).fit(rows.numpy())
    least = (rows.numpy() - pca.inverse_transform(pca.transform(rows.numpy()))) ** 2
    module = build("plain", (64,), latent_dim=8, net_options={"hidden": ()}, tied=tied)
    steps = 1500
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        module.loss(rows[torch.randint(len(rows), (256,))]).total.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        ratio = module.reconstruction_error(rows).mean().item() / least.mean()
    assert 1.0 - 1e-4 <= ratio <= 1.01


# -- tied weights ---------------------------------------------------------------------------------

TIED: dict[str, Any] = {"tied": True, "net_options": {"hidden": (7, 5)}}


def test_tied_weights_are_one_matrix_of_which_the_decoder_uses_the_transpose() -> None:
    module = build("plain", (9,), **TIED)
    state = module.state_dict()
    encoder = [state[f"encoder.{layer}.weight"] for layer in (1, 3, 5)]
    decoder = [state[f"decoder.{layer}.weight"] for layer in (4, 2, 0)]
    assert [a.data_ptr() for a in encoder] == [b.data_ptr() for b in decoder]
    untied = sum(
        p.numel() for p in build("plain", (9,), net_options=TIED["net_options"]).parameters()
    )
    matrices = sum(weight.numel() for weight in encoder)
    assert sum(p.numel() for p in module.parameters()) == untied - matrices
    z = torch.randn(4, 3)
    bias = state["decoder.0.bias"]
    expected = nn.functional.gelu(z @ encoder[2] + bias) @ encoder[1] + state["decoder.2.bias"]
    expected = nn.functional.gelu(expected) @ encoder[0] + state["decoder.4.bias"]
    torch.testing.assert_close(module.decoder(z), expected)


def test_a_tied_matrix_learns_from_both_halves() -> None:
    module, x = build("plain", (9,), net_options={"hidden": ()}, tied=True), torch.randn(6, 9)
    module.loss(x).total.backward()
    w = module.encoder[1].weight.detach().requires_grad_()
    v = w.detach().clone().requires_grad_()
    z = x @ w.t() + module.encoder[1].bias
    loss = (z @ v + module.decoder[0].bias - x).square().sum(dim=1).mean()
    loss.backward()
    torch.testing.assert_close(module.encoder[1].weight.grad, w.grad + v.grad)


def test_tied_halves_load_together_and_alone() -> None:
    module, x = trained(build("plain", (9,), **TIED), torch.randn(64, 9), 5), torch.randn(4, 9)
    state = module.state_dict()
    halves = {
        half: {name: state[name] for name in state if name.partition(".")[0] in parts}
        for half, parts in (("encoder", module.ENCODER_PARTS), ("decoder", module.DECODER_PARTS))
    }
    for half in halves.values():  # what safetensors refuses to write
        assert len({tensor.data_ptr() for tensor in half.values()}) == len(half)
    whole, encoder, decoder = (build("plain", (9,), seed=9, **TIED).eval() for _ in range(3))
    whole.load_halves({**halves["encoder"], **halves["decoder"]})
    assert torch.equal(whole.reconstruct(x), module.reconstruct(x))
    assert torch.equal(whole.score(x), module.score(x))
    assert whole.encoder[1].weight is whole.decoder[4].weight
    encoder.load_state_dict(halves["encoder"], strict=False)
    assert torch.equal(encoder.encode(x), module.encode(x))
    decoder.load_state_dict(halves["decoder"], strict=False)
    assert torch.equal(decoder.decode(module.encode(x)), module.decode(module.encode(x)))


def test_tied_weights_learn_images_as_well() -> None:
    module = build("plain", (1, 5, 6), DataKind.IMAGES, tied=True)
    x = torch.rand(8, 1, 5, 6)
    before = float(module.loss(x).total.detach())
    assert float(trained(module, x, 150, batch=8).loss(x).total.detach()) < before / 2


def test_weights_are_tied_only_where_the_decoder_mirrors_the_encoder() -> None:
    plain = variants.get("plain")
    assert plain.refusal(plan_of("plain", (9,), **TIED)) is None
    normed = plan_of("plain", (9,), tied=True, net_options={"normalization": "layer"})
    assert plain.refusal(normed) is None
    refused = plan_of("plain", (1, 8, 8), DataKind.IMAGES, net="conv", tied=True)
    why = plain.refusal(refused)
    assert why is not None
    assert "conv" in why
    assert "dense" in why
    assert plain.refusal(plan_of("plain", (1, 8, 8), DataKind.IMAGES, net="conv")) is None
    with pytest.raises(ValueError, match="mirror"):
        variants.build(refused)


def test_asking_whether_weights_can_be_tied_draws_nothing() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    variants.get("plain").refusal(plan_of("plain", (9,), **TIED))
    assert torch.equal(torch.rand(4), expected)
