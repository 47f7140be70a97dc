"""Damage to files: bytes flipped, set, cut, inserted, repeated."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

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
)


@dataclass(frozen=True)
class Mutation:
    """One change of a file.

    Attributes:
        what: The change.
        at: The position of the byte where it begins; from the end if it is negative.
        length: The number of bytes that are repeated or cut out.
        put: The bytes that are set or inserted, or by whose first byte one is flipped.
    """

    what: Literal["flip", "set", "truncate", "insert", "duplicate", "cut"]
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


def damaged(valid: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Gives files that were valid before one to five changes."""
    # Headers are short, and decide most.
    positions = st.one_of(st.integers(0, 127), st.integers(-64, -1), st.integers(0, 2**20))
    puts = st.one_of(st.sampled_from(_EXTREMES), st.binary(min_size=1, max_size=12))
    whats = st.sampled_from(("flip", "set", "truncate", "insert", "duplicate", "cut"))
    mutations = st.lists(
        st.builds(Mutation, whats, positions, st.integers(1, 300), puts), min_size=1, max_size=5
    )
    return st.builds(_damage, st.sampled_from(valid), mutations, st.booleans())


def _damage(valid: bytes, mutations: list[Mutation], with_right_checks: bool) -> bytes:
    for mutation in mutations:
        valid = mutation.applied_to(valid)
    return _with_right_checks(valid) if with_right_checks else valid


def _with_right_checks(content: bytes) -> bytes:
    """Corrects the checksums of a png, at which readers stop else before they meet the damage."""
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
