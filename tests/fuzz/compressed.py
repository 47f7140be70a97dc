"""Compressed files of every kind of rows, and the pairs that read them."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image

from isthmus.compression.decompressing import open_compressed, write_rows
from isthmus.compression.header import inspect
from isthmus.errors import DataError
from isthmus.registry import Pair
from isthmus.uses.compress import Compress
from tests.untrained import pair_of, plant_frame
from tests.using import applied


def files() -> tuple[bytes, ...]:
    """Returns a small file of each kind."""
    return tuple(content for content, _ in _made().values())


def feed(path: Path) -> None:
    """Reads a file as inspect does, and decodes it: strictly, and what is whole of it."""
    header = inspect(str(path)).header
    _, pair = _made()[str(header.kind)]
    output = path.with_name(
        f"output{'' if header.form.form in _FOLDERS else _ENDINGS[header.kind]}"
    )
    strict: DataError | None = None
    for salvage in (False, True):
        try:
            with open_compressed(str(path), salvage=salvage) as opened:
                write_rows(opened, pair, output)
        except DataError as error:
            strict = strict or error
    if strict is not None:
        raise strict


_FOLDERS = ("folder", "images", "sounds")
_ENDINGS = {"tabular": ".csv", "series": ".csv", "images": ".npy", "audio": ".wav"}


@cache
def _made() -> dict[str, tuple[bytes, Pair]]:
    """Makes the inputs, the pairs and their files, by kind."""
    generator = np.random.default_rng(0)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("images").mkdir()
            for number in range(5):
                pixels = generator.integers(0, 256, size=(9 + number, 8)).astype(np.uint8)
                Image.fromarray(pixels).save(f"images/{number}.png")
            Path("sounds").mkdir()
            for number in range(2):
                samples = generator.uniform(-0.5, 0.5, 900)
                soundfile.write(f"sounds/{number}.wav", samples, 8000)
            plant_frame(generator, 80).to_csv("plant.csv", index=False)
            steps = pd.DataFrame(generator.normal(size=(90, 2)), columns=["a", "b"])
            steps.to_csv("steps.csv", index=False)
            return {
                "tabular": _of("plant.csv", categories=["colour"]),
                "series": _of("steps.csv", kind="series", window=10),
                "images": _of("images", image_size=[8, 8]),
                "audio": _of("sounds", window=64),
            }
        finally:
            os.chdir(here)


def _of(source: str, **data: object) -> tuple[bytes, Pair]:
    pair = pair_of(source, variant="fsq", **data)
    use = Compress()
    use.check(pair)
    applied(use, pair, source, "out.isth")
    content = Path("out.isth").read_bytes()
    return content, pair
