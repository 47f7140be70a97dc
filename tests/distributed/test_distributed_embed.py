"""Latents of many files, made by the workers of a cluster: the same as in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import aliases, registry
from isthmus.data import read_provenance
from isthmus.execution.request import Request
from isthmus.execution.running import run
from isthmus.uses.embed import Embed, EmbedResult
from tests import untrained

settings = untrained.settings

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

COLUMNS = list("abcdef")
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 6)), columns=COLUMNS)
ROWS = TABLE.to_numpy(dtype=np.float32)


def test_maps_to_an_older_space_go_with_the_pair_to_the_workers(settings, here) -> None:
    data = {"path": "rows.csv", "columns": COLUMNS}
    versions = []
    for seed in range(2):
        made = untrained.untrained_pair("carried", settings, seed, data=data)
        found = registry.find_succession(
            "carried", made.module, made.data, ROWS[:200], ROWS[200:], settings
        )
        pair = registry.register_pair(replace(made, succession=found), settings)
        aliases.promote("carried", pair.version, settings)
        versions.append(str(pair))
    old, new = versions
    Path("in").mkdir()
    for number in range(3):
        TABLE[100 * number : 100 * (number + 1)].to_parquet(f"in/{number}.parquet")
    job, request = Embed(compatible_with=old), Request(address="auto")
    result = run(job, new, "in", "out", settings, request)
    assert isinstance(result, EmbedResult)
    error = registry.resolve(new, settings).manifest.compatibility.error
    assert (result.rows, result.space) == (300, old)
    assert result.translation_error == pytest.approx(error)
    parts = [Path(f"out/{number}.parquet") for number in range(3)]
    made = np.concatenate([np.stack(pd.read_parquet(part)["latent"]) for part in parts])
    expected = registry.load_compatible(new, old, settings).encode(ROWS).values
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert not np.allclose(made, registry.load(new, settings).encode(ROWS).values, atol=1e-3)
    for part in parts:
        said = read_provenance(part)
        assert said is not None
        assert (said.model, said.extra["space"]) == (new, old)
        assert said.extra["translation_error"] == pytest.approx(error)
