"""Refuses a file whose first bytes show another format than the ending of its name."""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import DataError

LOOKED_AT_BYTES = 64
_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"BZh": ("bzip2", ".bz2"),
    b"\x28\xb5\x2f\xfd": ("zstandard", ".zst"),
}
_TEXTS = (".csv", ".tsv", ".jsonl", ".ndjson")
_OTHERS = {
    b"PK\x03\x04": "a zip or an xlsx; save it as csv",
    b"PAR1": "a parquet; call it .parquet",
    b"ARROW1": "an Arrow file; call it .feather",
    b"\x93NUMPY": "an array; call it .npy",
    b"\x89HDF": "an HDF5 file; call it .h5",
    b"SQLite format 3": "a database; name it as sqlite:///PATH",
    b"\x89PNG": "a png image",
    b"\xff\xd8\xff": "a jpeg image",
    b"II*\0": "a tif image",
    b"MM\0*": "a tif image",
    b"RIFF": "a wav or a webp",
    b"fLaC": "a flac sound",
    b"OggS": "an ogg sound",
    b"%PDF": "a pdf",
}
_OWN: dict[str, tuple[bytes, ...]] = {
    ".parquet": (b"PAR1",),
    ".pq": (b"PAR1",),
    ".feather": (b"ARROW1",),
    ".arrow": (b"ARROW1",),
}


def refuse_other_format(path: Path, name: str, ending: str) -> None:
    """Refuses a file that is not of the format of its ending, by its first bytes.

    Args:
        path: The file.
        name: The name for messages.
        ending: The ending, with that of its compression.

    Raises:
        DataError: If it is of another format, which is named.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT_BYTES)
    except OSError:
        return  # who reads it tells what is wrong
    base, compression = ending, ""
    for sign, (_, each) in _COMPRESSIONS.items():
        if ending.endswith(each):
            base, compression = ending.removesuffix(each), each
            if start.startswith(sign):
                return
    if start.startswith(_OWN.get(ending, ())):
        return
    what = named(start, base)
    if what is not None:
        raise DataError(f"{name}: is {what}")
    if compression and _is_text(start):
        raise DataError(f"{name}: is not compressed; call it {base}")
    if ending in _OWN and _is_text(start):
        raise DataError(
            f"{name}: is damaged or no {ending[1:]} file, for it begins as a text; call it .csv or "
            ".jsonl if it is a table"
        )


def named(start: bytes, base: str) -> str | None:
    """Returns what begins with such bytes, and what to do; `None` if it is a text, or not known.

    Args:
        start: The first bytes.
        base: The ending of the file without that of a compression.
    """
    if _is_text(start):
        return None
    for sign, (method, ending) in _COMPRESSIONS.items():
        if start.startswith(sign):
            advice = f"call it {base}{ending}" if base in _TEXTS else "unpack it"
            return f"{method} data; {advice}"
    found = next((what for sign, what in _OTHERS.items() if start.startswith(sign)), None)
    return found if found is None or ";" in found else f"{found}, and no table"


def _is_text(start: bytes) -> bool:
    """Returns whether bytes have no control character; a table may begin with PAR1,PAR2."""
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
