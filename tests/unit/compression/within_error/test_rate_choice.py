"""Within a maximum error, a pair of several rates predicts at the rate of the smallest file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus.compression.decompressing import decompress
from isthmus.compression.header import inspect
from isthmus.errors import UsageError
from isthmus.registry import Pair
from isthmus.uses.compress import Compress, CompressResult
from tests import untrained
from tests.using import applied

settings = untrained.settings
_RATES = [0.001, 0.02, 0.5]


def related(rows: int) -> np.ndarray:
    """Returns rows whose 12 columns follow from 2 numbers, beside noise."""
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, size=(rows, 2))
    bent = np.sin(hidden @ rng.normal(size=(2, 12)) * 2)
    return (bent + rng.normal(scale=0.01, size=bent.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Returns a pair of three rates that was trained for some seconds."""
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    rows = related(6000)[:4000]
    np.save(path, rows)
    pair = untrained.pair_of(str(path), variant={"name": "hyperprior", "rate": _RATES})
    module, scaled = pair.module.train(), pair.module.scaling(torch.from_numpy(rows))
    optimizer = torch.optim.Adam(module.parameters())
    steps = 800
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        some = scaled[torch.randint(len(scaled), (256,), generator=torch.manual_seed(step))]
        optimizer.zero_grad()
        module.loss(some).total.backward()
        optimizer.step()
        schedule.step()
    module.eval()
    return Pair(pair.detector, pair.manifest, "rows/1", untrained.code_tables_of(module, rows))


def compressed(pair: Pair, max_error: str, quality: float | None = None) -> CompressResult:
    use = Compress(max_error=max_error, quality=quality)
    use.check(pair)
    result: CompressResult = applied(use, pair, "rows.npy", "out.isth")
    return result


def predictors(result: CompressResult) -> set[str]:
    return {used for column in result.columns for used in column.predictors}


@pytest.fixture
def rows(here: Path) -> np.ndarray:
    made = related(6000)[4000:]
    np.save("rows.npy", made)
    return made


def test_quality_sets_the_rate_of_the_predictions(trained, rows, settings):
    sizes = {}
    for quality in (0, 50):
        done = compressed(trained, "0.02", quality)
        assert inspect("out.isth").header.quality == quality
        assert "the pair" in predictors(done)
        decompress("out.isth", "again.npy", settings, pair=trained, force=True)
        assert np.abs(np.load("again.npy") - rows).max() <= 0.02 + 1e-7
        sizes[quality] = done.size_bytes
    assert sizes[50] < 0.99 * sizes[0]


@pytest.mark.parametrize("max_error", ["0.01", "0.05"])
def test_without_a_quality_it_is_that_of_the_smallest_file(trained, rows, settings, max_error):
    sizes = {each: compressed(trained, max_error, each).size_bytes for each in (0, 50, 100)}
    chosen = compressed(trained, max_error)
    assert chosen.size_bytes <= 1.005 * min(sizes.values()) < 0.98 * max(sizes.values())
    assert inspect("out.isth").header.quality not in (None, 100)
    decompress("out.isth", "again.npy", settings, pair=trained)
    assert np.abs(np.load("again.npy") - rows).max() <= float(max_error) + 1e-7


def test_a_file_is_decoded_at_its_own_quality(trained, rows, settings, monkeypatch):
    compressed(trained, "0.02", 100)
    monkeypatch.setattr("isthmus.variants.hyperprior._USUAL_QUALITY", 0.0)
    decompress("out.isth", "again.npy", settings, pair=trained)
    assert np.abs(np.load("again.npy") - rows).max() <= 0.02 + 1e-7


def test_rows_that_the_pair_does_not_take_have_the_usual_quality(trained, here):
    np.save("rows.npy", np.arange(20.0).reshape(10, 2))
    compressed(trained, "0")
    assert inspect("out.isth").header.quality == 75


def test_a_quality_of_a_pair_of_one_rate_is_refused(here):
    np.save("rows.npy", related(100))
    pair = untrained.pair_of("rows.npy", variant="fsq")
    with pytest.raises(UsageError, match="quality=50: the variant fsq has one rate"):
        compressed(pair, "0.1", 50)
