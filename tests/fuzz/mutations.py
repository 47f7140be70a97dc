"""Damage to files: bytes flipped, set, cut, inserted, repeated, swapped."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from isthmus.compression.container import MAGIC

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Where formats keep sizes and counts, the ends of the ranges of whole numbers do most harm.
_EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0" * 8,
    (2**40).to_bytes(8, "little"),
    b"1099511627776",
)


@dataclass(frozen=True)
class Mutation:
    """One change of a file.

    Attributes:
        what: The change.
        at: The position of the byte where it begins; from the end if it is negative.
        length: The number of bytes that are repeated, cut out, or swapped with as many.
        put: The bytes that are set or inserted, or by whose first byte one is flipped.
    """

    what: Literal["flip", "set", "truncate", "insert", "duplicate", "cut", "swap"]
    at: int
    length: int
    put: bytes

    def applied_to(self, content: bytes) -> bytes:
        """Returns the content with this change."""
        if not content:
            return self.put
        at = self.at % len(content)
        before, after = content[:at], content[at:]
        match self.what:
            case "flip":
                return before + bytes([after[0] ^ (self.put[0] or 1)]) + after[1:]
            case "set":
                return before + self.put + after[len(self.put) :]
            case "truncate":
                return before
            case "insert":
                return before + self.put + after
            case "duplicate":
                return before + after[: self.length] + after
            case "cut":
                return before + after[self.length :]
            case "swap":
                first, second = after[: self.length], after[self.length : 2 * self.length]
                return before + second + first + after[2 * self.length :]


def damaged(valid: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Gives files that were valid before one to five changes."""
    # Headers are short, and decide most.
    positions = st.one_of(st.integers(0, 127), st.integers(-64, -1), st.integers(0, 2**20))
    puts = st.one_of(st.sampled_from(_EXTREMES), st.binary(min_size=1, max_size=12))
    whats = st.sampled_from(("flip", "set", "truncate", "insert", "duplicate", "cut", "swap"))
    mutations = st.lists(
        st.builds(Mutation, whats, positions, st.integers(1, 300), puts), min_size=1, max_size=5
    )
    return st.builds(_damage, st.sampled_from(valid), mutations, st.booleans())


def _damage(valid: bytes, mutations: list[Mutation], with_right_checks: bool) -> bytes:
    for mutation in mutations:
        valid = mutation.applied_to(valid)
    return _with_right_checks(valid) if with_right_checks else valid


def _with_right_checks(content: bytes) -> bytes:
    """Corrects checksums, at which readers stop else before they meet the damage."""
    if content.startswith(MAGIC):
        return _compressed_with_right_checks(content)
    if not content.startswith(_PNG_SIGNATURE):
        return content
    corrected, at = _PNG_SIGNATURE, len(_PNG_SIGNATURE)
    while at + 12 <= len(content):
        end = at + 8 + struct.unpack(">I", content[at : at + 4])[0]
        if end + 4 > len(content):
            break
        corrected += content[at:end] + struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return corrected + content[at:]


def _compressed_with_right_checks(content: bytes) -> bytes:
    """Corrects the checksums and the lengths of a compressed file, as far as it has chunks."""
    frame, mark = struct.Struct("<4sBIQ"), b"ISCH"
    first = content.find(mark)
    if first < 0:
        return content
    header = content[len(MAGIC) + 6 : first - 4]
    start = content[: len(MAGIC) + 2] + struct.pack("<I", len(header)) + header
    corrected = start + struct.pack("<I", zlib.crc32(start))
    parts = content[first:].split(mark)[1:]
    for part in parts:
        if len(part) < frame.size + 4:
            continue
        kind, number, _ = struct.unpack_from("<BIQ", part)
        body = part[frame.size - len(mark) + 4 : -4]
        if kind == 255 and len(body) == 36:
            body = body[:4] + hashlib.sha256(corrected).digest()
        start = frame.pack(mark, kind, number, len(body))
        corrected += start + struct.pack("<I", zlib.crc32(start))
        corrected += body + struct.pack("<I", zlib.crc32(body))
    return corrected
