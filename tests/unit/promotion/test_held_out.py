"""Versions are judged on rows that were stored with them, and that neither was trained on."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from isthmus import promotion
from isthmus.bundle.held_out import HeldOutSample, Places, read_held_out, write_held_out
from isthmus.data import StoredRows, read_rows
from isthmus.data.prepared.splits import hash_rows, split_block
from isthmus.errors import DataError
from isthmus.jobs import held_out
from isthmus.jobs.held_out import draw_sample
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.promotion.heldout import find_held_out
from isthmus.promotion.seen import job_of
from isthmus.registry import fetch_held_out, load
from isthmus.tracking import fit_pca, open_store
from tests.challengers import BAD_STEPS, GOOD_STEPS, register, write_rows


def ignore(step: str) -> None:
    pass


def kept_file(name: str, settings) -> Path:
    """Where the store keeps a version's sample."""
    run = open_store(settings).get_run(load(name, settings).manifest.run_id)
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return root / "held_out" / "rows.safetensors"


def test_a_version_is_judged_after_its_data_are_gone(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_rows(Path("rows.csv"))
    for steps in (GOOD_STEPS, BAD_STEPS):
        register("moved", file, settings, steps)
    before = promotion.judge("moved", 2, 1, settings)
    file.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert promotion.promote("moved", 1, settings).verdict.outcome == "passed"
    after = promotion.judge("moved", 2, 1, settings)
    assert after.outcome == "refused"
    assert (after.rows, str(after.checks[0])) == (before.rows, str(before.checks[0]))
    assert "AUROC" in {check.name for check in after.checks}  # the labelled others are kept too


def test_a_damaged_or_missing_sample_is_told_in_a_line(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    for seed in (0, 1):
        register("broken", rows, settings, GOOD_STEPS, training={"seed": seed})
    file = kept_file("broken/2", settings)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = promotion.judge("broken", 2, 1, settings)
    assert damaged.outcome == "cannot be judged"
    assert "held_out/rows.safetensors" in damaged.obstacle
    assert "damaged" in damaged.obstacle
    assert len(damaged.obstacle.splitlines()) == 1
    # As a champion, it only gives no rows of its own.
    beside = promotion.judge("broken", 1, 2, settings)
    assert beside.outcome != "cannot be judged"
    assert "rows of the challenger's alone" in beside.reason
    file.unlink()
    missing = promotion.judge("broken", 2, 1, settings)
    assert missing.outcome == "cannot be judged"
    assert "are missing; restore the artifact" in missing.obstacle


def test_versions_of_two_seeds_meet_on_rows_of_both_that_neither_was_trained_on(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    for seed in (0, 1):
        register("seeds", rows, settings, 1, training={"seed": seed})
    new, old = load("seeds/2", settings), load("seeds/1", settings)
    both = find_held_out(new, old, settings, ignore)
    alone = find_held_out(new, None, settings, ignore)
    assert len(both.rows) < len(alone.rows)
    for pair in (new, old):
        job = job_of(pair)
        parts = split_block(both.rows, pair.manifest.data, job.training.seed)
        assert not len(parts["train"])
    samples = [fetch_held_out(pair.manifest, settings).rows for pair in (new, old)]
    own, theirs = ({row.tobytes() for row in sample} for sample in samples)
    met = [row.tobytes() for row in both.rows]
    assert len(set(met)) == len(met)
    assert set(met) <= own | theirs
    assert set(met) - own  # the champion's gave some
    assert set(met) - theirs
    # PCA is met on all rows that the challenger was not trained on.
    assert len(both.own.pca_errors) == len(alone.rows)


def test_a_champion_of_fewer_rows_meets_a_challenger_of_more(settings, tmp_path):
    register("grown", write_rows(tmp_path / "rows.csv", rows=1200), settings, 1)
    register("grown", write_rows(tmp_path / "rows.csv", rows=2400), settings, 1)
    new, old = load("grown/2", settings), load("grown/1", settings)
    met = find_held_out(new, old, settings, ignore)
    sizes = [fetch_held_out(pair.manifest, settings).rows for pair in (new, old)]
    assert len(met.rows) >= max(map(len, sizes))


def test_the_stored_figures_of_pca_are_those_of_the_rows(settings, tmp_path):
    register("figures", write_rows(tmp_path / "rows.csv"), settings, 1)
    pair = load("figures/1", settings)
    sample = fetch_held_out(pair.manifest, settings)
    job = job_of(pair)
    again = prepare(job)
    pca = fit_pca(again.first_view, pair.module.code_size)
    scaled = (sample.rows - again.scaled.offset) / again.scaled.scale
    np.testing.assert_allclose(sample.pca_errors, pca.errors(scaled), rtol=1e-4)
    assert sample.pca_components == 2
    kept = read_rows(job.data.model_copy(update={"keep_labels": (1,)}))[0].values
    assert {row.tobytes() for row in sample.others} == {row.tobytes() for row in kept}


def test_a_sample_is_bounded_and_the_same_every_time(monkeypatch, tmp_path):
    monkeypatch.setattr(held_out, "_MOST_BYTES", 6 * 4 * 100)
    job = check_job({"name": "b", "data": str(write_rows(tmp_path / "rows.csv")), "latent_dim": 2})
    prepared = prepare(job)
    pca = fit_pca(prepared.first_view, 2)
    first, again = draw_sample(prepared, pca), draw_sample(prepared, pca)
    assert first.rows.nbytes <= 6 * 4 * 100
    assert len(first.rows) >= 80
    np.testing.assert_array_equal(first.rows, again.rows)
    # Rows of a large table, which are in a file, give the same.
    (tmp_path / "test.float32").write_bytes(prepared.test.tobytes())
    stored = StoredRows(tmp_path / "test.float32", prepared.test.shape)
    np.testing.assert_array_equal(draw_sample(replace(prepared, test=stored), pca).rows, first.rows)
    assert held_out.most_rows((3, 2000, 2000)) == 1


def test_rows_of_other_labels_are_drawn_while_they_are_read(monkeypatch, tmp_path):
    """The same sample as of all of them at once, and hardly more of them in memory."""
    file = write_rows(tmp_path / "rows.csv")
    labels = {"labels": "label", "keep_labels": [0], "exclude": ["label"]}
    job = check_job({"name": "b", "data": {"path": str(file), **labels}, "latent_dim": 2})
    prepared = prepare(job)
    everything = draw_sample(prepared, None).others
    assert len(everything) > 200
    monkeypatch.setattr(held_out, "_MOST_ROWS", 40)
    at_once = []

    class Watched(held_out.KeptLabels):
        def blocks(self, *, carry=False):
            for block in super().blocks(carry=carry):
                for first in range(0, len(block.values), 7):
                    part = block.take(np.arange(first, min(first + 7, len(block.values))))
                    at_once.append(weakref.ref(part.values))
                    assert sum(each() is not None for each in at_once) <= 3
                    yield part

    monkeypatch.setattr(held_out, "KeptLabels", Watched)
    drawn = draw_sample(prepared, None).others
    assert len(drawn) == 40
    lowest = np.sort(np.argsort(hash_rows(everything, job.training.seed))[:40])
    np.testing.assert_array_equal(drawn, everything[lowest])
    assert len(at_once) > 30


def test_a_sample_comes_back_as_it_was_written(tmp_path):
    rows = np.random.default_rng(0).standard_normal((5, 1, 8)).astype(np.float32)
    places = Places("time", np.arange(5), np.array([40]), 2**64 - 1)
    ones = np.ones((1, 1), dtype=np.float32)
    sample = HeldOutSample(rows[::-1], rows[:0], ones, ones, np.arange(5.0), 3, places)
    back = read_held_out(write_held_out(sample, tmp_path))
    np.testing.assert_array_equal(back.rows, rows[::-1])
    assert (back.pca_components, back.others.shape, back.places.origin) == (3, (0, 1, 8), 2**64 - 1)
    assert back.places.by == "time"


def signal(steps: int, seed: int = 0) -> pd.DataFrame:
    noise = np.random.default_rng(seed).standard_normal((steps, 2))
    return pd.DataFrame(np.sin(np.arange(steps) / 9)[:, None] + 0.1 * noise, columns=["a", "b"])


SERIES = {"window": 8, "stride": 8, "labels": None, "keep_labels": None, "exclude": []}


def test_a_series_that_has_grown_is_judged_on_steps_that_neither_was_trained_on(settings, tmp_path):
    file = tmp_path / "series.csv"
    for steps in (2000, 4000):
        signal(4000).head(steps).to_csv(file, index=False)
        register("series", file, settings, 1, data=SERIES, latent_dim=2)
    new, old = load("series/2", settings), load("series/1", settings)
    met = find_held_out(new, old, settings, ignore)
    sample = fetch_held_out(new.manifest, settings)
    assert len(met.rows) == len(sample.rows)
    # The other way round, the newer has trained on what the older held out: its own rows are left.
    back = find_held_out(old, new, settings, ignore)
    np.testing.assert_array_equal(back.rows, sample.rows)
    # Of another signal, nothing tells what the champion was trained on.
    signal(4000, seed=1).to_csv(file, index=False)
    register("series", file, settings, 1, data=SERIES, latent_dim=2)
    with pytest.raises(DataError, match="only 0 are certain to be new to series/2"):
        find_held_out(load("series/3", settings), new, settings, ignore)


def test_sounds_are_judged_on_files_that_neither_was_trained_on(settings, tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "sounds"
    folder.mkdir()
    for first, last, seed in ((0, 60, 0), (60, 90, 1)):
        for number in range(first, last):
            soundfile.write(folder / f"{number}.wav", generator.uniform(-0.5, 0.5, 160), 8000)
        data = {**SERIES, "window": 16, "stride": 16}
        register("sounds", folder, settings, 1, data=data, training={"seed": seed})
    new, old = load("sounds/2", settings), load("sounds/1", settings)
    met = {row.tobytes() for row in find_held_out(new, old, settings, ignore).rows}
    rows, _ = read_rows(job_of(new).data)
    for pair in (new, old):
        is_trained = np.isin(rows.groups, fetch_held_out(pair.manifest, settings).places.trained)
        assert is_trained.any()
        assert not met & {row.tobytes() for row in rows.values[is_trained]}
    assert len(met) >= 10
