"""What every variant promises, over every net that it accepts: a new one is covered unseen."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from isthmus import nets, variants
from isthmus.compression.symbols import CodedSymbols
from isthmus.core import Autoencoder, CodedAutoencoder
from isthmus.spec import ModelPlan, PluginSpec
from isthmus.spec.losses import refusal
from isthmus.types import DataKind, ReconstructionLoss, Shape
from tests.by_hand import Optimizers

SHAPES: dict[DataKind, Shape] = {
    DataKind.TABULAR: (11,),
    # Odd and unequal sides, several channels: what halves evenly hides faults.
    DataKind.IMAGES: (3, 9, 14),
    DataKind.SERIES: (2, 17),
    DataKind.AUDIO: (1, 64),
}


def takes(variant: str, net: str, kind: DataKind) -> bool:
    chosen, made = variants.get(variant), nets.get(net)
    can_be_large = chosen.CODES_MAPS if made.ONE_MAP else chosen.TAKES_SKIPS
    copies = made.HAS_SKIPS and not can_be_large
    return kind in chosen.KINDS and kind in made.KINDS and not copies


def combination(variant: str, net: str, kind: DataKind) -> Any:
    # The nets that `auto` chooses in the fast tests, all others in the whole run.
    marks = () if net == nets.for_kind(kind).name or net == "dense" else (pytest.mark.slow,)
    return pytest.param(variant, net, kind, id=f"{variant}-{net}-{kind}", marks=marks)


COMBINATIONS = [
    combination(variant, net, kind)
    for variant, net, kind in product(variants.names(), nets.names(), DataKind)
    if takes(variant, net, kind)
]
# Each variant and net on one kind of data: training takes time, for one.
TRAINED = [
    combination(variant, net, next(kind for kind in DataKind if takes(variant, net, kind)))
    for variant, net in product(variants.names(), nets.names())
    if any(takes(variant, net, kind) for kind in DataKind)
]
every_combination = pytest.mark.parametrize(("variant", "net", "kind"), COMBINATIONS)
# Names and seeds of weights are the same whatever the kind of data.
every_net = pytest.mark.parametrize(("variant", "net", "kind"), TRAINED)
ROWS = 8
# Of a latent of 4, two make a codebook's vector; and 4 is less than any row has.
LATENT_DIM = 4
MOST_STEPS = 150


def build(
    variant: str,
    net: str,
    kind: DataKind,
    seed: int = 0,
    reconstruction: ReconstructionLoss = ReconstructionLoss.MSE,
) -> Autoencoder:
    torch.manual_seed(seed)
    net_spec = PluginSpec(name=net, options=nets.config(net)().model_dump(mode="json"))
    plan = ModelPlan(
        kind=kind,
        row_shape=SHAPES[kind],
        latent_dim=nets.made_for(net_spec, SHAPES[kind]).fixed_latent_dim() or LATENT_DIM,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)().model_dump(mode="json")
        ),
        net=net_spec,
        reconstruction=reconstruction,
    )
    return variants.build(plan)


def batch_of(kind: DataKind, seed: int = 1) -> torch.Tensor:
    return torch.rand(ROWS, *SHAPES[kind], generator=torch.Generator().manual_seed(seed))


def training_batch_of(variant: str, kind: DataKind, scale: float = 1.0) -> torch.Tensor:
    """What the variant's loss takes: a batch, or two views of each of its rows."""
    views = [batch_of(kind, seed) * scale for seed in range(1, variants.get(variant).VIEWS + 1)]
    return views[0] if len(views) == 1 else torch.stack(views, dim=1)


def losses_for(variant: str, net: str, kind: DataKind) -> list[ReconstructionLoss]:
    """All losses that suit, with the net that `auto` chooses; one with the others."""
    if net != nets.for_kind(kind).name:
        return [ReconstructionLoss.MSE]
    elementwise_only = variants.get(variant).NEEDS_ELEMENTWISE_LOSS
    return [
        loss
        for loss in ReconstructionLoss
        if refusal(loss, kind, SHAPES[kind]) is None
        and not (elementwise_only and not loss.is_elementwise)
    ]


@every_combination
def test_a_row_goes_to_a_latent_and_back_in_its_own_shape(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind).eval(), batch_of(kind)
    z = module.encode(x)
    assert z.shape == (ROWS, module.plan.latent_dim)
    assert module.decode(z).shape == x.shape
    assert module.score(x).shape == (ROWS,)
    assert torch.equal(module.reconstruct(x), module.decode(module.encode(x)))


@pytest.mark.parametrize(
    ("variant", "net", "kind", "reconstruction"),
    [
        pytest.param(
            *combination.values, loss, id=f"{combination.id}-{loss}", marks=combination.marks
        )
        for combination in COMBINATIONS
        for loss in losses_for(*combination.values)
    ],
)
def test_every_parameter_gets_a_finite_gradient(
    variant: str, net: str, kind: DataKind, reconstruction: ReconstructionLoss
) -> None:
    module = build(variant, net, kind, reconstruction=reconstruction)
    output = module.loss(training_batch_of(variant, kind))
    output.total.backward()
    assert output.total.shape == ()
    assert "reconstruction" in output.parts
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} is not trained"
        assert torch.isfinite(parameter.grad).all(), name


@every_net
def test_the_reconstruction_loss_of_one_batch_falls_by_half_when_it_is_trained_on(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind), training_batch_of(variant, kind, scale=4.0)
    optimizer = Optimizers(module)
    before = reconstruction_of(module, x)
    for step in range(1, MOST_STEPS + 1):
        optimizer.zero_grad()
        module.loss(x).total.backward()
        optimizer.step()
        if step % 15 == 0 and reconstruction_of(module, x) < before / 2:
            return
    pytest.fail(f"from {before:.3g} to {reconstruction_of(module, x):.3g} in {MOST_STEPS} steps")


def reconstruction_of(module: Autoencoder, x: torch.Tensor) -> float:
    """The term that all variants share, as validation sees it; other terms may rise meanwhile.

    Of a net that begins with hardly any error, and with many bits, it is their sum.
    """
    module.eval()
    begins_exact = nets.get(module.plan.net.name).ONE_MAP
    with torch.no_grad():
        losses = [module.loss(x) for _ in range(4)]
    found = torch.stack(
        [each.total if begins_exact else each.parts["reconstruction"] for each in losses]
    ).mean()
    module.train()
    return float(found)


@every_combination
def test_saved_and_loaded_weights_reconstruct_the_same_bit_for_bit(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind).eval(), batch_of(kind)
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    twin = build(variant, net, kind, seed=99).eval()
    assert not torch.equal(twin.reconstruct(x), module.reconstruct(x))
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin.reconstruct(x), module.reconstruct(x))


@every_net
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    variant: str, net: str, kind: DataKind
) -> None:
    first, same, other = (build(variant, net, kind, seed=seed) for seed in (5, 5, 6))
    pairs = list(zip(first.parameters(), same.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


@every_net
def test_the_two_halves_between_them_hold_every_weight(
    variant: str, net: str, kind: DataKind
) -> None:
    module = build(variant, net, kind)
    held = {*module.ENCODER_PARTS, *module.DECODER_PARTS, *module.TRAINING_PARTS}
    assert {name.partition(".")[0] for name in module.state_dict()} <= held


@every_net
def test_what_is_registered_scores_as_what_was_trained(
    variant: str, net: str, kind: DataKind
) -> None:
    module, twin, x = (
        build(variant, net, kind),
        build(variant, net, kind, seed=99).eval(),
        batch_of(kind),
    )
    module.loss(training_batch_of(variant, kind))  # sets what is learned from the first batch
    held = {*module.ENCODER_PARTS, *module.DECODER_PARTS}
    state = module.state_dict()
    halves = {name: state[name] for name in state if name.partition(".")[0] in held}
    twin.load_halves(halves)
    assert torch.equal(twin.score(x), module.eval().score(x))
    restored = variants.restore(module.plan, halves).eval()
    assert torch.equal(restored.score(x), module.score(x))
    assert not any(tensor.is_meta for tensor in restored.state_dict().values())


@every_net
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


CODED = [
    combination
    for combination in COMBINATIONS
    if issubclass(variants.get(combination.values[0]), CodedAutoencoder)
]


@pytest.mark.parametrize(("variant", "net", "kind"), CODED)
def test_symbols_become_bytes_and_the_same_symbols_and_the_reconstruction_again(
    variant: str, net: str, kind: DataKind
) -> None:
    module, x = build(variant, net, kind), batch_of(kind)
    assert isinstance(module, CodedAutoencoder)
    module.loss(x)  # sets what is learned from the first batch
    module.eval()
    with torch.inference_mode():
        streams = module.symbols(x)
        coded = CodedSymbols(module.code_tables(streams))

        def numbers_of(before: Any) -> Any:
            return module.table_numbers([torch.from_numpy(each) for each in before], ROWS).numpy()

        content = coded.to_bytes([stream.numpy() for stream in streams], numbers_of)
        again = coded.from_bytes(content, module.streams, numbers_of)
        rows = module.rows_of([torch.from_numpy(each) for each in again])
        if nets.get(net).ONE_MAP:
            # Means are predicted in whole numbers for files: some values are rounded otherwise.
            assert (rows - module.reconstruct(x)).abs().mean() < 0.01 * x.std()
        else:
            assert torch.equal(rows, module.reconstruct(x))
    for before, after in zip(streams, again, strict=True):
        assert before.dtype == torch.int64
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("variant", variants.names())
def test_a_variant_says_in_one_line_when_to_pick_it_and_cites_its_source(variant: str) -> None:
    found = variants.get(variant)
    assert found.SUMMARY
    assert "\n" not in found.SUMMARY
    assert found.__doc__ is not None
    assert "Source:" in found.__doc__


@pytest.mark.parametrize(
    "variant", [name for name in variants.names() if variants.get(name).VIEWS == 1]
)
def test_its_own_figures_are_finite_numbers(variant: str) -> None:
    kind = variants.get(variant).KINDS[0]
    module, x = build(variant, nets.for_kind(kind).name, kind), batch_of(kind)
    module.loss(x)
    with torch.no_grad():
        metrics = module.eval().metrics(x)
    assert "explained_variance" in metrics
    assert all(isinstance(value, float) for value in metrics.values()), metrics


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
