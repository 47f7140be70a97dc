"""`detect --explain` with numbers that overflow, large ones that vary little, and constants."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from isthmus.jobs.detect import detect_with
from isthmus.registry import fetch_held_out, load
from isthmus.spec import Settings
from tests.challengers import register
from tests.strange import NO_LABELS


def plant_rows(count: int, seed: int) -> pd.DataFrame:
    """Seven features of two dimensions: one is 1e8 and a bit, two are constant."""
    generator = np.random.default_rng(seed)
    a, b = generator.uniform(-1, 1, (2, count))
    columns = {"a": a, "b": b, "sum": a + b, "product": a * b, "large": 1e8 + a}
    return pd.DataFrame({**columns, "three": np.full(count, 3.0), "tenth": np.full(count, 0.1)})


class Plant:
    """A pair that was trained on such rows, with or without a category among them."""

    def __init__(self, settings: Settings, folder, name: str, categories: tuple[str, ...]) -> None:
        self.categories = categories
        rows = self.rows(1500, 0)
        rows.to_csv(folder / "train.csv", index=False)
        data = {**NO_LABELS, "categories": list(categories)}
        pair = register(name, folder / "train.csv", settings, data=data)
        self.pair = load(f"{pair.name}/{pair.version}", settings)
        self.held_out = fetch_held_out(self.pair.manifest, settings)

    def rows(self, count: int, seed: int) -> pd.DataFrame:
        rows = plant_rows(count, seed)
        for name in self.categories:
            rows[name] = np.where(rows["a"] > 0, "hot", "cold")
        return rows

    def explained(self, rows: pd.DataFrame, output: str = "o.csv", **asked) -> pd.DataFrame:
        rows.to_csv("new.csv", index=False)
        held_out = lambda: self.held_out  # noqa: E731
        detect_with(self.pair, "new.csv", output, explain=True, held_out=held_out, **asked)
        return pd.read_parquet(output) if output.endswith("parquet") else pd.read_csv(output)


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plant]:
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("registry"))
    made = {"numbers": (), "categories": ("mode",)}
    return {
        name: Plant(settings, tmp_path_factory.mktemp(name), name, categories)
        for name, categories in made.items()
    }


@pytest.mark.parametrize("value", [1e12, -1e20, 1e30, 3e38])
@pytest.mark.parametrize("name", ["a", "b", "product", "three"])
def test_a_number_that_overflows_is_what_is_named_first(here, plants, name, value):
    rows = plants["numbers"].rows(40, 3)
    rows.loc[7, name] = value
    found = plants["numbers"].explained(rows)
    assert found.loc[7, "feature_1"] == name
    assert found.loc[7, "value_1"] == pytest.approx(value)
    assert found.loc[7, "share_1"] > 0.9
    shares = found.filter(like="share_").loc[7]
    assert np.isfinite(shares).all()
    assert np.isfinite(found.loc[7, "reconstruction_1"])


def test_two_numbers_that_overflow_are_both_named(here, plants):
    rows = plants["numbers"].rows(40, 3)
    rows.loc[7, "b"], rows.loc[7, "sum"] = 1e30, -1e25
    found = plants["numbers"].explained(rows).loc[7]
    assert [found["feature_1"], found["feature_2"]] == ["b", "sum"]
