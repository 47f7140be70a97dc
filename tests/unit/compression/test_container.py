"""The file of chunks: whole, or refused with the place of the damage; nothing is believed."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from pathlib import Path

import pytest

from isthmus.compression.container import FORMAT, MAGIC, ChunkKind, ContainerReader, ContainerWriter
from isthmus.errors import DataError

CONTENTS = [b"first" * 40, b"", bytes(range(256)) * 8]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    stream = io.BytesIO()
    writer = ContainerWriter(stream, b'{"a": 1}')
    for content in CONTENTS:
        writer.add(ChunkKind.ROWS, content)
    writer.finish()
    path = tmp_path / "a.isth"
    path.write_bytes(stream.getvalue())
    return path


def read(path: Path, *, salvage: bool = False) -> tuple[list[bytes], list[str]]:
    with ContainerReader(path, "a.isth") as reader:
        assert reader.header == b'{"a": 1}'
        return [each.content for each in reader.chunks(salvage=salvage)], reader.damages


def test_chunks_come_back_in_order(file):
    assert read(file) == (CONTENTS, [])
    assert read(file, salvage=True) == (CONTENTS, [])


def test_the_layout_is_that_of_the_documents(file):
    whole = file.read_bytes()
    assert whole.startswith(MAGIC + struct.pack("<HI", 1, 8) + b'{"a": 1}')
    assert whole[23:27] == struct.pack("<I", zlib.crc32(whole[:23]))
    frame = b"ISCH" + struct.pack("<BIQ", 1, 0, 200)
    assert whole[27:48] == frame + struct.pack("<I", zlib.crc32(frame))
    assert whole[248:252] == struct.pack("<I", zlib.crc32(CONTENTS[0]))


def test_every_shorter_file_is_refused_and_salvaged_as_far_as_it_goes(file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError) as refused:
            read(file)
        assert str(refused.value).startswith("a.isth: ")
        assert "\n" not in str(refused.value)
    file.write_bytes(whole[:-1])
    found, damages = read(file, salvage=True)
    assert found == CONTENTS
    assert damages


def test_every_changed_byte_is_found(file):
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DataError):
            read(file)


def test_a_damaged_chunk_costs_only_itself(file):
    whole = bytearray(file.read_bytes())
    whole[60] ^= 1
    file.write_bytes(bytes(whole))
    found, damages = read(file, salvage=True)
    assert found == CONTENTS[1:]
    assert damages[0] == "is damaged at byte 27: the checksum of chunk 0 is wrong"


def test_what_follows_the_end_and_chunks_in_another_order_are_refused(file):
    whole = file.read_bytes()
    file.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="it goes on after its end"):
        read(file)
    second = whole.index(b"ISCH", 30)
    third = whole.index(b"ISCH", second + 1)
    file.write_bytes(whole[:27] + whole[second:third] + whole[27:second] + whole[third:])
    with pytest.raises(DataError, match="chunk 1 where 0 should be"):
        read(file)


@pytest.mark.parametrize("where", ["header", "chunk"])
def test_a_size_of_2_to_the_40_takes_no_memory(file, where):
    whole = bytearray(file.read_bytes())
    if where == "header":
        struct.pack_into("<I", whole, len(MAGIC) + 2, 2**32 - 1)
    else:
        struct.pack_into("<Q", whole, 27 + 9, 2**40)
        struct.pack_into("<I", whole, 27 + 17, zlib.crc32(whole[27 : 27 + 17]))
    file.write_bytes(bytes(whole))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"to have 4,294,967,295 bytes|1,099,511,627,776 bytes"):
        read(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_later_format_asks_for_an_upgrade(file):
    whole = bytearray(file.read_bytes())
    struct.pack_into("<H", whole, len(MAGIC), FORMAT + 1)
    file.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=f"is of format {FORMAT + 1}, and this Isthmus reads up to"):
        read(file)
