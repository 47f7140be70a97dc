"""What every variant promises of rows that nobody has measured: a new one is covered unseen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import nets, variants
from isthmus.declarations import declaration
from isthmus.errors import DataError, UsageError
from isthmus.registry import Latents, Pair
from isthmus.scores import detector_of
from isthmus.spec import DataSpec, ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape
from tests.untrained import code_tables_of, manifest_of

SHAPES: dict[DataKind, Shape] = {
    DataKind.TABULAR: (9,),
    DataKind.IMAGES: (1, 8, 8),
    DataKind.SERIES: (2, 16),
    DataKind.AUDIO: (1, 64),
}
CENTRE = 1000.0

every_variant = pytest.mark.parametrize("variant", variants.names())
sampling = pytest.mark.parametrize(
    "variant", [name for name in variants.names() if variants.get(name).PRIOR != "none"]
)
continuous = pytest.mark.parametrize(
    "variant", [name for name in variants.names() if variants.get(name).PRIOR != "tables"]
)


def pair_of(variant: str, latent_dim: int = 4) -> Pair:
    """A pair of drawn weights, whose rows lie around a number in data units."""
    kind = next(kind for kind in DataKind if kind in variants.get(variant).KINDS)
    net = nets.for_kind(kind)
    plan = ModelPlan(
        kind=kind,
        row_shape=SHAPES[kind],
        latent_dim=latent_dim,
        variant=PluginSpec(name=variant, options=variants.config(variant)().model_dump()),
        net=net,
        reconstruction=ReconstructionLoss.MSE,
    )
    torch.manual_seed(0)
    module = variants.build(plan).eval()
    module.scaling.fit(torch.tensor(CENTRE), torch.tensor(2.0))
    rows = rows_for(module.plan.row_shape, 50)
    data = DataSpec(path="rows.npz", kind=kind)
    tables = code_tables_of(module, rows)
    return Pair(detector_of(module), manifest_of(module, data), "plant/1", tables)


def rows_for(shape: Shape, count: int) -> np.ndarray:
    drawn = np.random.default_rng(1).normal(CENTRE, 2.0, (count, *shape))
    return drawn.astype(np.float32)


@sampling
def test_rows_are_sampled_in_data_units_and_a_seed_gives_the_same_again(variant: str) -> None:
    pair = pair_of(variant)
    rows = pair.sample(20, seed=3)
    assert rows.shape == (20, *pair.manifest.plan.row_shape)
    assert np.isfinite(rows).all()
    assert abs(rows.mean() - CENTRE) < CENTRE / 10
    assert np.array_equal(rows, pair.sample(20, seed=3))
    assert not np.array_equal(rows, pair.sample(20, seed=4))
    assert not np.array_equal(pair.sample(20), pair.sample(20))
    assert len(np.unique(rows.reshape(20, -1), axis=0)) > 1


@every_variant
def test_a_variant_without_a_prior_says_in_one_line_which_have_one(variant: str) -> None:
    pair = pair_of(variant)
    if pair.module.PRIOR == "none":
        with pytest.raises(UsageError, match="has no prior over latents") as caught:
            pair.sample(3)
        assert "vae" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert declaration("variants", variant).value("PRIOR") == pair.module.PRIOR


@continuous
def test_the_way_between_two_rows_begins_and_ends_at_their_reconstructions(variant: str) -> None:
    pair = pair_of(variant)
    rows = rows_for(pair.manifest.plan.row_shape, 2)
    way = pair.interpolate(rows[0], rows[1], steps=5)
    assert way.shape == (5, *rows.shape[1:])
    assert np.allclose(way[[0, -1]], pair.reconstruct(rows), rtol=1e-5)
    between = [np.abs(way[i + 1] - way[i]).max() for i in range(4)]
    assert min(between) > 0
    latents = pair.encode(rows)
    ends = [Latents(latents.values[i : i + 1], latents.pair_id) for i in range(2)]
    assert np.array_equal(pair.interpolate(*ends, steps=5), way)


@pytest.mark.parametrize(
    "variant", [name for name in variants.names() if variants.get(name).PRIOR == "tables"]
)
def test_there_is_no_way_between_codes(variant: str) -> None:
    pair = pair_of(variant)
    rows = rows_for(pair.manifest.plan.row_shape, 2)
    with pytest.raises(UsageError, match="nothing between two of them"):
        pair.interpolate(rows[0], rows[1])


@pytest.mark.parametrize("value", [2.5, "3", True, None])
def test_what_is_no_whole_number_is_refused_in_one_line(value: object) -> None:
    pair = pair_of("vae")
    rows = rows_for(pair.manifest.plan.row_shape, 2)
    for refused in (
        lambda: pair.sample(value),  # type: ignore[arg-type]
        lambda: pair.interpolate(rows[0], rows[1], steps=value),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"=.* is no whole number; use one, as in") as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert len(pair.sample(np.int64(3), seed=np.int64(1))) == 3  # type: ignore[arg-type]


def test_the_way_under_a_normal_prior_keeps_to_its_shell() -> None:
    pair = pair_of("vae")
    a, b = (np.eye(4, dtype=np.float32)[[i]] * 2 for i in range(2))
    pair_id = pair.manifest.pair_id
    way = pair.interpolate(Latents(a, pair_id), Latents(b, pair_id), steps=3)
    on_the_arc = Latents(np.array([[2**0.5, 2**0.5, 0, 0]], np.float32), pair_id)
    assert np.allclose(way[1], pair.decode(on_the_arc)[0], rtol=1e-5)
    straight = pair_of("plain").interpolate(Latents(a, pair_id), Latents(b, pair_id), steps=3)
    middle = Latents(np.array([[1, 1, 0, 0]], np.float32), pair_id)
    assert np.allclose(straight[1], pair_of("plain").decode(middle)[0], rtol=1e-5)


def test_latents_are_drawn_from_what_the_prior_says() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = pair_of("vae").module.sample_latents(4000, generator)
    assert normal.mean(dim=0).abs().max() < 0.1
    assert (normal.std(dim=0) - 1).abs().max() < 0.1
    mixture = pair_of("dagmm").module
    mixture.mixture.mass_K.copy_(torch.tensor([3.0, 1.0]))
    mixture.mixture.mean_KF[0], mixture.mixture.mean_KF[1] = 20.0, -20.0
    drawn = mixture.sample_latents(4000, generator)
    assert abs(float((drawn[:, 0] > 0).float().mean()) - 0.75) < 0.05
    book = pair_of("fsq")
    seen = book.module.symbols(torch.from_numpy(rows_for(SHAPES[book.manifest.plan.kind], 50)))[0]
    codes = book.module.indices_of(book.module.sample_latents(4000, generator, book.code_tables))
    # One is added to each count of 50 rows, over at most 8 levels.
    share = (seen[:, 0] == seen[0, 0]).sum() + 1
    expected = float(share) / (50 + book.module.alphabet()[0])
    assert abs(float((codes[:, 0] == seen[0, 0]).float().mean()) - expected) < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pair: pair.sample(0), "asks for no row; use a number from 1"),
        (lambda pair: pair.sample(2, seed=-1), "seed=-1 is out of range"),
        (lambda pair: pair.interpolate(rows_for((9,), 1), rows_for((9,), 1), steps=1), "steps=1"),
    ],
    ids=["rows", "seed", "steps"],
)
def test_a_number_out_of_range_is_told_in_one_line(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(pair_of("vae"))


def test_a_way_between_several_rows_is_refused() -> None:
    with pytest.raises(DataError, match="from one row to one other, and got 2"):
        pair_of("vae").interpolate(rows_for((9,), 2), rows_for((9,), 1))
