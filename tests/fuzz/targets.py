"""What is fuzzed: valid files of each format, and the door that files of it come in by."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from pydantic import BaseModel

from isthmus.data import Provenance, RowSource
from isthmus.data.kinds.audio import Audio
from isthmus.data.media.image_files import open_image_files
from isthmus.data.media.pixels import IMAGE_ENDINGS
from isthmus.data.storage.files import find_files
from isthmus.spec import Catalog, DataSpec, load_job
from tests.fuzz import compressed

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(40, 3))
_PROVENANCE = Provenance("pair", "fuzz/1", "2025-01-01T00:00:00Z")


@dataclass(frozen=True)
class Target:
    """Files of one format.

    Attributes:
        ending: Their ending.
        make: Makes some that are valid.
        feed: Reads one; raises an `IsthmusError` or nothing.
    """

    ending: str
    make: Callable[[], tuple[bytes, ...]]
    feed: Callable[[Path], None]


# -- images and sounds --------------------------------------------------------------------------


def feed_image(path: Path) -> None:
    """Reads an image and writes it again, in its own size and in another."""
    for size in (None, (8, 8)):
        files = find_files(str(path), IMAGE_ENDINGS)
        read_and_write(open_image_files(files, DataSpec(path=str(path), image_size=size))[0], path)


def feed_sound(path: Path) -> None:
    """Reads a sound and writes it again."""
    files = find_files(str(path), Audio.ENDINGS)
    read_and_write(Audio.open(files, DataSpec(path=str(path), window=64))[0], path)


def read_and_write(source: RowSource, path: Path) -> None:
    output = path.with_name(f"output{path.suffix}")
    with source.open_output(output, _PROVENANCE) as write:
        for block in source.blocks():
            assert np.isfinite(block.values).all()
            write(block, block.values)


def images(form: str, *modes: str, **options: Any) -> Callable[[], tuple[bytes, ...]]:
    def make() -> tuple[bytes, ...]:
        return tuple(image(form, mode, **options) for mode in modes)

    return make


def image(form: str, mode: str, **options: Any) -> bytes:
    noise = RNG.integers(0, 256, size=(13, 17, 3)).astype(np.uint8)
    deep = RNG.integers(0, 65536, size=(13, 17)).astype(np.uint16)
    picture = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(noise).convert(mode)
    stream = io.BytesIO()
    if mode == "P" and form == "PNG":
        options["transparency"] = 3
    picture.save(stream, form, **options)
    return stream.getvalue()


def pngs() -> tuple[bytes, ...]:
    import imagecodecs

    deep = RNG.integers(0, 65536, size=(13, 17, 3)).astype(np.uint16)
    return (*images("PNG", "1", "L", "P", "RGB", "RGBA", "I;16")(), imagecodecs.png_encode(deep))


def sounds(form: str, *subtypes: str | None) -> Callable[[], tuple[bytes, ...]]:
    def make() -> tuple[bytes, ...]:
        return tuple(sound(form, subtype, channels) for subtype in subtypes for channels in (1, 2))

    return make


def sound(form: str, subtype: str | None, channels: int) -> bytes:
    stream = io.BytesIO()
    noise = RNG.uniform(-0.9, 0.9, size=(500, channels))
    soundfile.write(stream, noise, 8000, subtype, format=form)
    return stream.getvalue()


# -- tables and arrays --------------------------------------------------------------------------


def feed_rows(path: Path) -> None:
    """Reads rows to train on."""
    from isthmus.data import open_rows

    for block in open_rows(DataSpec(path=str(path)))[0].blocks():
        assert np.isfinite(block.values).all()


def feed_numbers(path: Path) -> None:
    """Reads three columns of a table with others, and the rows between those that are damaged."""
    from isthmus.data import UseOptions, open_input, open_rows

    fields = DataSpec(path=str(path), columns=("a", "b", "c"))
    source, resolved = open_rows(fields)
    for set_aside in (False, True):
        options = UseOptions(set_aside=set_aside)
        for block in open_input(resolved, str(path), source.schema, options).blocks(carry=True):
            assert np.isfinite(block.values).all()


def csvs() -> tuple[bytes, ...]:
    lines = [",".join(f"{number:.5g}" for number in row) for row in NUMBERS]
    plain = "a,b,c\n" + "\n".join(lines) + "\n"
    quoted = '"flow, l/s";"level, m";c\n' + plain.split("\n", 1)[1].replace(",", ";")
    return plain.encode(), quoted.encode(), plain.replace("\n", "\r\n").encode("utf-8-sig")


def jsonls() -> tuple[bytes, ...]:
    rows = [dict(zip("abc", map(float, row), strict=True)) for row in NUMBERS]
    plain = "".join(f"{json.dumps(row)}\n" for row in rows)
    nested = [
        {**row, "d": {"at": [[1], [], [place]], "x": "ä\n"}} for place, row in enumerate(rows)
    ]
    return plain.encode(), "".join(f"{json.dumps(row)}\r\n" for row in nested).encode()


def parquets() -> tuple[bytes, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: NUMBERS[:, at] for at, name in enumerate("abc")})
    made = []
    for compression in ("none", "snappy", "zstd"):
        stream = io.BytesIO()
        pq.write_table(table, stream, compression=compression, row_group_size=15)
        made.append(stream.getvalue())
    return tuple(made)


def npzs() -> tuple[bytes, ...]:
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, x=NUMBERS, y=np.arange(40))
    np.savez_compressed(packed, x=NUMBERS.astype(np.float32))
    return plain.getvalue(), packed.getvalue()


# -- job files ----------------------------------------------------------------------------------


class NoOptions(BaseModel):
    """The options of variants, nets and scores that have none."""


CATALOG = Catalog(
    variants=("plain", "vae"),
    nets=("conv", "dense"),
    scores=("own",),
    variant_config=lambda _: NoOptions,
    net_config=lambda _: NoOptions,
    score_config=lambda _: NoOptions,
    net_sizes=lambda _: None,
)


def feed_job(path: Path) -> None:
    """Reads a job file."""
    load_job(path, [], CATALOG)


def jobs() -> tuple[bytes, ...]:
    plain = """\
name: cells
data: {path: cells.csv, exclude: [id], labels: kind, keep_labels: [0, "b"]}
variant: {name: vae}
net: dense
latent_dim: 8
training:
  epochs: 150
  learning_rate: 1e-3
  global_batch_size: 64
"""
    anchored = "name: a\ndata: {path: &p x.csv, labels: *p}\nvariant: plain\nlatent_dim: 2\n"
    return plain.encode(), anchored.encode()


TARGETS = {
    "png": Target(".png", pngs, feed_image),
    "jpg": Target(".jpg", images("JPEG", "L", "RGB", "CMYK"), feed_image),
    "tif": Target(".tif", images("TIFF", "1", "L", "RGB", "P", "I;16"), feed_image),
    "tif, compressed": Target(
        ".tif", images("TIFF", "L", "RGB", compression="tiff_lzw"), feed_image
    ),
    "bmp": Target(".bmp", images("BMP", "1", "L", "P", "RGB"), feed_image),
    "webp": Target(".webp", images("WEBP", "RGB", "RGBA"), feed_image),
    "wav": Target(".wav", sounds("WAV", "PCM_16", "PCM_24", "FLOAT"), feed_sound),
    "flac": Target(".flac", sounds("FLAC", "PCM_16"), feed_sound),
    "aiff": Target(".aiff", sounds("AIFF", "PCM_16", "FLOAT"), feed_sound),
    "ogg": Target(".ogg", sounds("OGG", "VORBIS"), feed_sound),
    "mp3": Target(".mp3", sounds("MP3", None), feed_sound),
    "csv": Target(".csv", csvs, feed_rows),
    "jsonl": Target(".jsonl", jsonls, feed_numbers),
    "parquet": Target(".parquet", parquets, feed_rows),
    "npz": Target(".npz", npzs, feed_rows),
    "yaml": Target(".yaml", jobs, feed_job),
    "isth": Target(".isth", compressed.files, compressed.feed),
}
