"""Second views of rows: those that do not fit the first are named, and the split goes by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from isthmus.data import (
    Rows,
    open_partner,
    open_rows,
    read_opened,
    read_partner_rows,
    split_patches,
)
from isthmus.data.prepared.splits import joined_by_either
from isthmus.errors import DataError
from isthmus.spec import DataSpec

RNG = np.random.default_rng(0)


def views(**fields: Any) -> tuple[Rows, Rows]:
    source, data = open_rows(DataSpec(**fields))
    rows = read_opened(source, data)
    partners = read_partner_rows(data, rows)
    assert partners is not None
    return rows, partners


def sounds(folder: str, lengths: list[int]) -> None:
    Path(folder).mkdir()
    for number, length in enumerate(lengths):
        soundfile.write(f"{folder}/{number}.wav", RNG.uniform(-0.9, 0.9, length), 8000)


# -- lengths -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noisy", "clean", "short"),
    [
        ([512, 768, 512], [512, 512, 768], "refuse"),  # as many windows in all
        ([512, 600, 512], [512, 640, 512], "refuse"),  # as many windows of each file
        ([512, 100], [512, 200], "pad"),
    ],
)
def test_a_clean_sound_of_another_length_is_named(
    in_tmp: Path, noisy: list[int], clean: list[int], short: str
) -> None:
    sounds("noisy", noisy)
    sounds("clean", clean)
    with pytest.raises(
        DataError,
        match=f"^1.wav of clean: has {clean[1]} samples, and 1.wav of noisy has {noisy[1]}; both",
    ):
        views(path="noisy", clean_path="clean", window=256, stride=256, short_files=short)


def test_clean_sounds_of_the_same_lengths_are_paired(in_tmp: Path) -> None:
    sounds("noisy", [512, 768])
    sounds("clean", [512, 768])
    rows, partners = views(path="noisy", clean_path="clean", window=256, stride=256)
    assert len(rows) == len(partners) == 5


def test_a_clean_series_of_another_length_is_told(in_tmp: Path) -> None:
    for name, length in (("noisy", 610), ("clean", 620)):
        table = [f"{value:.6f}" for value in RNG.normal(size=length)]
        Path(f"{name}.csv").write_text("\n".join(["flow", *table]))
    with pytest.raises(
        DataError, match=r"^clean.csv: has 620 steps, and noisy.csv has 610; both must begin"
    ):
        views(path="noisy.csv", clean_path="clean.csv", window=64, stride=32)


@pytest.mark.parametrize("window", [64, None])
def test_windows_of_a_clean_series_begin_where_those_of_training_do(
    in_tmp: Path, window: int | None
) -> None:
    flow = np.sin(np.arange(2000) / 9)
    np.savetxt("clean.csv", flow, header="flow", comments="", fmt="%.6f")
    np.savetxt("noisy.csv", flow + 1, header="flow", comments="", fmt="%.6f")
    fields = {"path": "noisy.csv", "clean_path": "clean.csv", "window": window, "kind": "series"}
    rows, partners = views(**fields)
    assert len(rows) > 1900 - rows.values.shape[-1]  # so few steps that one begins at each
    np.testing.assert_allclose(rows.values, partners.values + 1, atol=1e-5)


# -- the split ---------------------------------------------------------------------------------


def shots(pairs: list[tuple[int, int]]) -> None:
    """Writes arrays of noisy photos; those of one number are equal."""
    made = RNG.integers(0, 256, (2, 100, 20, 20)).astype(np.uint8)
    for view, name in enumerate(("noisy", "second")):
        np.save(f"{name}.npy", np.stack([made[view][pair[view]] for pair in pairs]))


def parts_of(**fields: Any) -> list[set[bytes]]:
    source, data = open_rows(DataSpec(path="noisy.npy", patch=20, kind="images", **fields))
    found = split_patches(source, open_partner(data, source.schema), data, 0)
    trained = found.train.views[1]
    parts = [part.partners for part in (found.validation, found.test)]
    assert all(part is not None for part in parts)
    return [
        {trained[number].tobytes() for number in found.train.numbers},
        *({row.astype(np.uint8).tobytes() for row in part} for part in parts if part is not None),
    ]


def is_apart(parts: list[set[bytes]]) -> bool:
    return sum(len(part) for part in parts) == len(set.union(*parts))


def test_all_noisy_patches_of_one_clean_image_are_in_one_part(in_tmp: Path) -> None:
    shots([(shot, shot // 6) for shot in range(60)])
    assert is_apart(parts_of(clean_path="second.npy"))


def test_pairs_that_share_a_noisy_image_are_in_one_part(in_tmp: Path) -> None:
    shots([(shot, shot // 6) for shot in range(60)])
    assert is_apart(parts_of(paired_path="second.npy"))


def test_pairs_are_joined_through_others() -> None:
    first, second = np.array([5, 6, 7, -1]), np.array([6, 9, 7, 2])
    assert joined_by_either(first, second).tolist() == [5, 5, 7, -1]
    assert joined_by_either(first).tolist() == first.tolist()


def test_places_of_patches_tell_the_clean_images_that_were_trained_on(in_tmp: Path) -> None:
    shots([(shot, shot // 6) for shot in range(60)])
    source, data = open_rows(
        DataSpec(path="noisy.npy", clean_path="second.npy", patch=20, kind="images")
    )
    found = split_patches(source, open_partner(data, source.schema), data, 0)
    assert not np.isin(found.test.contents, found.trained_contents).any()
    assert len(np.unique(found.test.contents)) < len(found.test.contents)


# -- equal views -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["clean_path", "paired_path"])
def test_a_second_view_that_is_the_first_is_refused(in_tmp: Path, field: str) -> None:
    sounds("noisy", [512, 600])
    with pytest.raises(DataError, match=rf"^data\.{field}: noisy holds the same as noisy; name"):
        views(path="noisy", kind="audio", window=256, **{field: "noisy"})


def test_clean_images_that_are_the_noisy_ones_are_refused(in_tmp: Path) -> None:
    shots([(0, 0), (1, 1), (2, 2), (3, 3)])
    with pytest.raises(
        DataError, match=r"^data\.clean_path: noisy.npy holds the same as noisy.npy"
    ):
        parts_of(clean_path="noisy.npy")
