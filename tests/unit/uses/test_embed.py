"""Latents of files: what the table holds, whose space they are in, and what lies beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import isthmus as package
from isthmus import aliases, registry
from isthmus.bundle.held_out import HeldOutSample
from isthmus.data import read_provenance
from isthmus.errors import DataError, UsageError
from isthmus.uses.embed import Embed
from tests import untrained

settings = untrained.settings

COLUMNS = list("abcdef")
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 6)), columns=COLUMNS)
ROWS = TABLE.to_numpy(dtype=np.float32)


@pytest.fixture(scope="module")
def versions(settings) -> tuple[str, str, str]:
    """A champion, a version with a map to its latents, and a pair without any."""
    data = {"path": "rows.csv", "columns": COLUMNS}
    first = untrained.untrained_pair("embedded", settings, 0, data=data)
    old = registry.register_pair(first, settings)
    aliases.promote("embedded", 1, settings)
    second = untrained.untrained_pair("embedded", settings, 1, data=data)
    found = registry.find_succession(
        "embedded", second.module, second.data, ROWS[:200], ROWS[200:], settings
    )
    new = registry.register_pair(replace(second, succession=found), settings)
    other = registry.register_pair(
        untrained.untrained_pair("foreign", settings, 2, data=data), settings
    )
    return str(old), str(new), str(other)


@pytest.fixture(autouse=True)
def in_folder(settings, here, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    TABLE.to_csv("rows.csv", index=False)


def latents_in(path: str) -> np.ndarray:
    """Reads latents as users do: with numpy or pandas, in whichever layout."""
    if path.endswith(".npz"):
        return np.load(path)["latent"]
    table = pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)
    if "latent" in table:
        return np.stack(table["latent"])
    return table[["z0", "z1"]].to_numpy()


@pytest.mark.parametrize("more", [{}, {"map": "pca"}, {"index": True}], ids=["", "map", "index"])
@pytest.mark.parametrize(
    ("output", "layout"),
    [
        ("z.parquet", "auto"),
        ("z.parquet", "columns"),
        ("z.feather", "auto"),
        ("z.csv", "auto"),
        ("z.npz", "auto"),
    ],
)
def test_the_table_holds_the_latents_of_the_rows_in_order(versions, output, layout, more):
    pair = package.load(versions[0])
    result = pair.embed("rows.csv", output, layout=layout, **more)
    if output.endswith(".feather"):
        pd.read_feather(output).to_parquet("copy.parquet")
        output = "copy.parquet"
    np.testing.assert_allclose(latents_in(output), pair.encode(ROWS).values, atol=1e-5)
    assert (result.rows, result.latent_dim, result.space) == (300, 2, versions[0])


def test_a_parquet_has_lists_of_one_size_and_the_rows_numbers(versions):
    package.load(versions[0]).embed("rows.csv", "z.parquet")
    table = pq.read_table("z.parquet")
    assert str(table.schema.field("latent").type) == "fixed_size_list<element: float>[2]"
    assert table.column("row").to_pylist() == list(range(300))
    said = read_provenance(Path("z.parquet"))
    assert said is not None
    assert said.pair_id == package.load(versions[0]).manifest.pair_id
    assert said.extra["space"] == versions[0]


def test_a_map_is_two_columns_and_a_picture(versions):
    result = package.load(versions[0]).embed("rows.csv", "z.parquet", map="pca")
    table = pd.read_parquet("z.parquet")
    assert abs(np.corrcoef(table["map_x"], table["map_y"])[0, 1]) < 1e-3
    assert table["map_x"].var() >= table["map_y"].var()
    assert result.map == Path("z.parquet.map.png")
    assert result.map.read_bytes().startswith(b"\x89PNG")


def test_latents_of_a_new_version_are_put_in_the_old_ones_space(versions, isthmus):
    old, new, _ = versions
    command = ("embed", "--model", new, "rows.csv", "z.parquet", "--compatible-with", old)
    told = isthmus(*command)
    assert told.code == 0, told.err
    expected = package.load(new, compatible_with=old).encode(ROWS).values
    np.testing.assert_allclose(latents_in("z.parquet"), expected, atol=1e-5)
    error = registry.resolve(new, package.api._settings()).manifest.compatibility.error
    assert f"in the space of {old} (pair " in told.out
    assert f"{100 * error:.2g} % of the variance of its latents is lost on held-out" in told.out
    said = read_provenance(Path("z.parquet"))
    assert said is not None
    assert said.extra["translation_error"] == pytest.approx(error)
    assert (said.model, said.extra["space"]) == (new, old)


@pytest.fixture(scope="module")
def chain(settings) -> list[str]:
    """Three versions, of which each has a map to the one before, and the held-out rows of each."""
    found: list[str] = []
    for seed in range(3):
        made = untrained.untrained_pair(
            "chained", settings, seed, data={"path": "rows.csv", "columns": COLUMNS}
        )
        succession = registry.find_succession(
            "chained", made.module, made.data, ROWS[:200], ROWS[200:], settings
        )
        nothing = np.empty(0)
        held_out = HeldOutSample(
            ROWS[200:], ROWS[:0], np.zeros(6, np.float32), np.ones(6, np.float32), nothing, 0
        )
        registered = registry.register_pair(
            replace(made, succession=succession, held_out=held_out), settings
        )
        aliases.promote("chained", registered.version, settings)
        found.append(str(registered))
    return found


def test_maps_of_versions_are_chained_and_their_error_is_that_of_the_whole_way(
    chain, settings, isthmus
):
    first, second, third = chain
    command = ("embed", "--model", third, "rows.csv", "z.parquet", "--compatible-with", first)
    told = isthmus(*command)
    assert told.code == 0, told.err
    pair = registry.load_compatible(third, first, settings)
    assert [(step.source, step.target) for step in pair.steps] == [(third, second), (second, first)]
    made, wanted = latents_in("z.parquet"), package.load(first).encode(ROWS).values
    np.testing.assert_allclose(made, pair.encode(ROWS).values, atol=1e-5)
    lost = (
        np.square(made[200:] - wanted[200:]).sum()
        / np.square(wanted[200:] - wanted[200:].mean(axis=0)).sum()
    )
    said = read_provenance(Path("z.parquet"))
    assert said is not None
    assert said.extra["translation_error"] == pytest.approx(lost, rel=1e-3)
    assert all(lost > step.error for step in pair.steps[1:])
    assert f"{100 * lost:.2g} % of the variance of its latents is lost on held-out" in told.out
    assert (said.model, said.extra["space"]) == (third, first)


def test_a_space_that_no_map_leads_to_is_refused_in_one_line(versions, isthmus):
    old, _, foreign = versions
    told = isthmus("embed", "--model", foreign, "rows.csv", "z.csv", "--compatible-with", old)
    assert told.code == 1
    assert told.err.startswith(f"no stored map leads from {foreign} to {old}: ")
    assert len(told.err.splitlines()) == 1
    assert not Path("z.csv").exists()


def test_search_finds_each_row_itself_and_says_which(versions, isthmus):
    package.load(versions[0]).embed("rows.csv", "z.parquet", index=True)
    TABLE.iloc[[7, 250]].to_csv("query.csv", index=False)
    told = isthmus("search", "--index", "z.parquet.index", "--row", "query.csv", "-k", 3, "--json")
    found = json.loads(told.out)
    columns = pd.DataFrame(found["columns"])
    assert list(columns) == ["row", "rank", "neighbour_row", "distance"]
    assert columns[columns["rank"] == 1]["neighbour_row"].tolist() == [7, 250]
    assert columns[columns["rank"] == 1]["distance"].max() < 1e-3
    assert (found["metric"], found["rows"], found["k"]) == ("l2", 2, 3)
    shown = isthmus("search", "--index", "z.parquet.index", "--row", "query.csv", "-k", 3)
    assert shown.out.startswith("3 nearest of each of 2 rows, l2 distance, by embedded/1 (pair ")
    assert "neighbour_row" in shown.out
    by_cosine = package.nearest("z.parquet.index", "query.csv", metric="cosine", output="near.csv")
    assert by_cosine.columns == {}
    assert len(pd.read_csv("near.csv")) == 2 * 10


def test_search_refuses_the_index_of_another_pair_by_name(versions, isthmus):
    old, new, _ = versions
    package.load(old).embed("rows.csv", "z.parquet", index=True)
    told = isthmus("search", "--index", "z.parquet.index", "--row", "rows.csv", "--model", new)
    assert told.code == 1
    assert f"z.parquet.index holds latents of {old} (pair " in told.err
    assert f"{new} is pair " in told.err


def test_latents_in_an_older_space_are_searched_with_the_older_pair(versions):
    old, new, _ = versions
    package.load(new).embed("rows.csv", "z.npz", index=True, compatible_with=old)
    assert package.nearest("z.npz.index", "rows.csv", k=1).model == old


REFUSED = {
    "a list in a csv": ("z.csv", {"layout": "list"}, UsageError, "a csv has no lists"),
    "columns in an npz": ("z.npz", {"layout": "columns"}, UsageError, "as one array"),
    "no table": ("z.txt", {}, DataError, "a table of results can be written as"),
}


@pytest.mark.parametrize(("output", "more", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_refused_before_the_work(versions, output, more, kind, said):
    with pytest.raises(kind, match=said):
        package.load(versions[0]).embed("rows.csv", output, **more)


def test_a_folder_in_the_place_of_the_index_is_not_touched(versions):
    Path("z.parquet.index").mkdir()
    Path("z.parquet.index/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files, which are not touched"):
        package.load(versions[0]).embed("rows.csv", "z.parquet", index=True)
    assert not Path("z.parquet").exists()
    assert Path("z.parquet.index/mine.txt").read_text() == "mine"


def test_a_fault_in_the_input_leaves_nothing_behind(versions):
    with Path("rows.csv").open("a") as file:
        file.write("1,2,3,4,5,nothing\n")
    before = sorted(Path().iterdir())
    with pytest.raises(DataError):
        package.load(versions[0]).embed("rows.csv", "z.parquet", index=True, map="pca", strict=True)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("option", ["index", "map"])
def test_what_needs_all_rows_is_refused_for_parts_of_a_cluster(option):
    with pytest.raises(UsageError, match=f"--{option} is made of all rows together, and --address"):
        Embed(**{option: True if option == "index" else "pca"}).check_parts()
