"""Files that were made to do harm: small ones that claim, or unfold to, what no memory holds."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from tests.fuzz.targets import sound


def png_of_2_to_the_31_pixels() -> bytes:
    """A png of 65,536 x 32,768 white points, all of which are in it."""
    lines = zlib.compressobj(9)
    line = bytes(2**16 // 8 + 1)
    body = b"".join(lines.compress(line) for _ in range(2**15)) + lines.flush()
    header = struct.pack(">IIBBBBB", 2**16, 2**15, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )  # fmt: skip


def npz_with(header_shape: tuple[int, ...], data_bytes: int) -> bytes:
    """An npz whose array claims a shape and holds so many bytes of zeros, packed."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": header_shape}
        np.lib.format.write_array_header_2_0(member, header)
        for _ in range(0, data_bytes, 2**20):
            member.write(bytes(2**20))
    return stream.getvalue()


def zip_bomb() -> bytes:
    """An npz of 42 kB that holds 43 MB, and claims 4 TiB."""
    return npz_with((2**40,), 42 * 2**20)


def npz_that_unfolds() -> bytes:
    """An npz of 1 MB that holds 1 GiB, as it says."""
    return npz_with((2**24, 16), 2**30)


def yaml_of_nested_lists() -> bytes:
    """A job file of a few lines that are 9^9 values when they are written out."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        lines.append(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]")
    return "\n".join([*lines, "name: bomb", "data: {path: x.csv, keep_labels: *l8}"]).encode()


def yaml_of_nested_mappings() -> bytes:
    """The same, with fields within fields."""
    lines = ["m0: &m0 {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}"]
    for level in range(1, 9):
        fields = ", ".join(f"{name}: *m{level - 1}" for name in "abcdefghi")
        lines.append(f"m{level}: &m{level} {{{fields}}}")
    return "\n".join([*lines, "name: bomb", "data: *m8", "training: *m8"]).encode()


def yaml_nested_deeply() -> bytes:
    """A job file of brackets within brackets."""
    return b"name: deep\ndata: " + b"[" * 100_000 + b"]" * 100_000


def jsonl_nested_deeply() -> bytes:
    """Rows of numbers with one that has lists within lists."""
    row = b'{"a": 1, "b": 2, "c": 3}\n'
    return row * 40 + b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


def jsonl_nested_over_lines() -> bytes:
    """The same, with each list on a line of its own."""
    return b'{"a": ' + b"[\n" * 100_000 + b"]\n" * 100_000 + b"}\n"


def flac_of_2_to_the_35_samples() -> bytes:
    """A flac whose header claims as many samples as it can."""
    content = bytearray(sound("FLAC", "PCM_16", 1))
    content[21] |= 0x08
    return bytes(content)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a png of 2^31 pixels": ("png", png_of_2_to_the_31_pixels),
    "a flac of 2^35 samples": ("flac", flac_of_2_to_the_35_samples),
    "a zip bomb": ("npz", zip_bomb),
    "an npz that unfolds to 1 GiB": ("npz", npz_that_unfolds),
    "a jsonl nested deeply": ("jsonl", jsonl_nested_deeply),
    "a jsonl nested over lines": ("jsonl", jsonl_nested_over_lines),
    "a yaml of nested lists": ("yaml", yaml_of_nested_lists),
    "a yaml of nested mappings": ("yaml", yaml_of_nested_mappings),
    "a yaml nested deeply": ("yaml", yaml_nested_deeply),
}
"""The name of the target that each is for, and what makes it."""
