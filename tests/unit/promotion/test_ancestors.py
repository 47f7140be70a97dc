"""Rows that a pair's weights have learned from in an earlier training are not held out."""

from __future__ import annotations

import isthmus
from isthmus.data.prepared.splits import split_block
from isthmus.promotion.heldout import find_held_out
from isthmus.promotion.seen import job_of
from isthmus.registry import Pair, fetch_held_out, load
from isthmus.spec import Settings
from tests.challengers import register, write_rows


def ignore(step: str) -> None:
    pass


def descendant(name: str, rows, settings: Settings, seed: int, of: Pair | None = None) -> Pair:
    start = None if of is None else of.manifest.pair_id
    made = register(name, rows, settings, 1, training={"seed": seed}, started_from=start)
    return load(str(made), settings)


def trained_on(rows, pair: Pair) -> int:
    seed = job_of(pair).training.seed
    return len(split_block(rows, pair.manifest.data, seed)["train"])


def test_rows_that_any_ancestor_was_trained_on_count_as_seen(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv", rows=4800)
    first = descendant("kin", rows, settings, 0)
    second = descendant("kin", rows, settings, 1, first)
    third = descendant("kin", rows, settings, 2, second)
    other = descendant("kin", rows, settings, 3)
    stored = fetch_held_out(third.manifest, settings).rows
    assert trained_on(stored, first) > len(stored) / 4
    # Alone, as the challenger, and as the champion.
    for met in (
        find_held_out(third, None, settings, ignore),
        find_held_out(third, other, settings, ignore),
        find_held_out(other, third, settings, ignore),
    ):
        assert len(met.rows) >= 10
        assert not trained_on(met.rows, first)
        assert not trained_on(met.rows, second)
        assert met.remark == ""
    alone = find_held_out(third, None, settings, ignore)
    assert len(alone.own.pca_errors) == len(alone.own.rows) == len(alone.rows)


def test_of_one_seed_an_ancestor_costs_no_rows(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv", rows=1200)
    first = descendant("heir", rows, settings, 0)
    second = descendant("heir", rows, settings, 0, first)
    met = find_held_out(second, None, settings, ignore)
    assert len(met.rows) == len(fetch_held_out(second.manifest, settings).rows)


def test_an_ancestor_that_was_deleted_is_said_to_be_unknown(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv", rows=1200)
    first = descendant("orphan", rows, settings, 0)
    second = descendant("orphan", rows, settings, 1, first)
    isthmus.delete("orphan/1", settings=settings)
    met = find_held_out(second, None, settings, ignore)
    assert len(met.rows) == len(fetch_held_out(second.manifest, settings).rows)
    assert f"which of the rows pair {first.manifest.pair_id} was trained on" in met.remark


def test_an_ancestor_of_other_data_costs_no_rows_and_is_said_to_be_unknown(settings, tmp_path):
    first = descendant("newer", write_rows(tmp_path / "may.csv", 1200, seed=0), settings, 0)
    june = write_rows(tmp_path / "june.csv", 1200, seed=1)
    second = descendant("newer", june, settings, 1, first)
    met = find_held_out(second, None, settings, ignore)
    assert len(met.rows) == len(fetch_held_out(second.manifest, settings).rows)
    assert "which of the rows newer/1 was trained on" in met.remark
