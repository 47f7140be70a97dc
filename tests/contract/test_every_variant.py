"""What every variant promises, over every net that it accepts: a new one is covered unseen."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from isthmus import nets, variants
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, PluginSpec, TrainingSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape

SHAPES: dict[DataKind, Shape] = {
    DataKind.TABULAR: (11,),
    # Odd and unequal sides, several channels: what halves evenly hides faults.
    DataKind.IMAGES: (3, 9, 14),
    DataKind.SERIES: (2, 17),
    DataKind.AUDIO: (1, 64),
}
COMBINATIONS = [
    pytest.param(variant, net, kind, id=f"{variant}-{net}-{kind}")
    for variant, net in product(variants.names(), nets.names())
    for kind in nets.get(net).KINDS
]
every_combination = pytest.mark.parametrize(("variant", "net", "kind"), COMBINATIONS)
ROWS = 8
LATENT_DIM = 3


def build(
    variant: str,
    net: str,
    kind: DataKind,
    seed: int = 0,
    reconstruction: ReconstructionLoss = ReconstructionLoss.MSE,
) -> Autoencoder:
    torch.manual_seed(seed)
    plan = ModelPlan(
        kind=kind,
        row_shape=SHAPES[kind],
        latent_dim=LATENT_DIM,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)().model_dump(mode="json")
        ),
        net=PluginSpec(name=net, options=nets.config(net)().model_dump(mode="json")),
        reconstruction=reconstruction,
    )
    return variants.build(plan)


def batch_of(kind: DataKind, seed: int = 1) -> torch.Tensor:
    return torch.rand(ROWS, *SHAPES[kind], generator=torch.Generator().manual_seed(seed))


@every_combination
def test_a_row_goes_to_a_latent_and_back_in_its_own_shape(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind).eval(), batch_of(kind)
    z = module.encode(x)
    assert z.shape == (ROWS, LATENT_DIM)
    assert module.decode(z).shape == x.shape
    assert module.score(x).shape == (ROWS,)
    assert torch.equal(module.reconstruct(x), module.decode(module.encode(x)))


@every_combination
@pytest.mark.parametrize("reconstruction", list(ReconstructionLoss), ids=str)
def test_every_parameter_gets_a_finite_gradient(
    variant: str, net: str, kind: DataKind, reconstruction: ReconstructionLoss
) -> None:
    module = build(variant, net, kind, reconstruction=reconstruction)
    output = module.loss(batch_of(kind))
    output.total.backward()
    assert output.total.shape == ()
    assert "reconstruction" in output.parts
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} is not trained"
        assert torch.isfinite(parameter.grad).all(), name


@every_combination
def test_the_loss_of_one_batch_falls_by_half_when_it_is_trained_on(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind), batch_of(kind) * 4
    module.configure_training(TrainingSpec(learning_rate=3e-3))
    optimizer = module.configure_optimizers()
    with torch.no_grad():
        before = torch.stack([module.loss(x).total for _ in range(4)]).mean()
    for _ in range(150):
        optimizer.zero_grad()
        module.loss(x).total.backward()
        optimizer.step()
    with torch.no_grad():
        after = torch.stack([module.loss(x).total for _ in range(4)]).mean()
    assert after < before / 2


@every_combination
def test_saved_and_loaded_weights_reconstruct_the_same_bit_for_bit(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind).eval(), batch_of(kind)
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    module.calibration.fit(module.score(x))
    twin = build(variant, net, kind, seed=99).eval()
    assert not torch.equal(twin.reconstruct(x), module.reconstruct(x))
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin.reconstruct(x), module.reconstruct(x))
    assert torch.equal(twin.calibration.threshold, module.calibration.threshold)


@every_combination
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    variant: str, net: str, kind: DataKind
) -> None:
    first, same, other = (build(variant, net, kind, seed=seed) for seed in (5, 5, 6))
    pairs = list(zip(first.parameters(), same.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


@every_combination
def test_the_two_halves_between_them_hold_every_weight(
    variant: str, net: str, kind: DataKind
) -> None:
    module = build(variant, net, kind)
    held = {*module.ENCODER_PARTS, *module.DECODER_PARTS}
    assert {name.partition(".")[0] for name in module.state_dict()} <= held


@every_combination
def test_an_encoder_alone_encodes_as_the_whole_does(variant: str, net: str, kind: DataKind) -> None:
    module, twin, x = (
        build(variant, net, kind).eval(),
        build(variant, net, kind, seed=99).eval(),
        batch_of(kind),
    )
    half = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name.partition(".")[0] in module.ENCODER_PARTS
    }
    twin.load_state_dict(half, strict=False)
    assert torch.equal(twin.encode(x), module.encode(x))


@pytest.mark.parametrize("variant", variants.names())
def test_a_variant_says_in_one_line_when_to_pick_it_and_cites_its_source(variant: str) -> None:
    found = variants.get(variant)
    assert found.SUMMARY
    assert "\n" not in found.SUMMARY
    assert found.__doc__ is not None
    assert "Source:" in found.__doc__


@pytest.mark.parametrize(
    ("room", "name"),
    [(variants, name) for name in variants.names()] + [(nets, name) for name in nets.names()],
    ids=lambda value: value if isinstance(value, str) else value.__name__.split(".")[-1],
)
def test_every_option_has_a_default_and_a_docstring(room: object, name: str) -> None:
    config = room.config(name)  # type: ignore[attr-defined]
    config()
    for field, info in config.model_fields.items():
        assert info.description, f"{name}.{field} has no docstring"
