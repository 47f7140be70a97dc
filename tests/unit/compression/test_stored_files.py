"""Files of every format version are decoded symbol for symbol, in all settings of a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.compression.container import FORMAT
from isthmus.compression.symbols import CodedSymbols
from isthmus.core import IntTable

FOLDER = Path(__file__).parents[2] / "fixtures" / "compressed"
STORED = sorted(path.parent for path in FOLDER.glob("format-*/*/rows.isth"))
ESCAPES = sorted(FOLDER.glob("format-*/escapes.npz"))

DECODE = """
import sys
from pathlib import Path

import numpy as np
import torch

from isthmus.compression.coder import Coder, opened_chunk
from isthmus.compression.container import ChunkKind, ContainerReader
from isthmus.registry import ResolvedPair, build
from isthmus.bundle.manifest import read_manifest

# A pair is float32, and is loaded as that.
coders = {}
for folder in map(Path, sys.argv[1:]):
    stored = folder / "pair"
    pair = build(ResolvedPair("stored/1", 1, read_manifest(stored), stored))
    coders[folder] = Coder(pair)
for threads in (1, 2):
    for mkldnn in (True, False):
        for dtype in (torch.float32, torch.float64):
            torch.set_num_threads(threads)
            torch.backends.mkldnn.enabled = mkldnn
            torch.set_default_dtype(dtype)
            for folder, coder in coders.items():
                with ContainerReader(folder / "rows.isth", "rows.isth") as reader:
                    chunks = [each for each in reader.chunks() if each.kind == ChunkKind.ROWS]
                for chunk in chunks:
                    _, _, rows, coded = opened_chunk(chunk.content)
                    found = coder.symbols(coded, rows)
                    expected = np.load(folder / "symbols.npz")
                    assert len(found) == len(expected.files)
                    for name, stream in zip(expected.files, found, strict=True):
                        assert np.array_equal(expected[name], stream), folder
                    assert coder.decode(coded, rows).shape[0] == rows
print("decoded")
"""


def test_a_file_of_every_format_is_stored() -> None:
    formats = {path.parent.name for path in STORED}
    assert formats == {f"format-{number}" for number in range(1, FORMAT + 1)}
    assert len(ESCAPES) == FORMAT


@pytest.mark.parametrize("threads", ["1", "2"])
def test_stored_files_decode_symbol_for_symbol_whatever_the_settings(threads: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECODE, *map(str, STORED)],
        env={**os.environ, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "decoded", done.stderr[-2000:]


@pytest.mark.parametrize("file", ESCAPES, ids=lambda path: path.parent.name)
def test_stored_symbols_are_coded_as_the_stored_bytes_and_back(file: Path) -> None:
    stored = np.load(file)
    tables = [
        IntTable(int(offset), frequencies)
        for offset, frequencies in zip(stored["offsets"], stored["frequencies"], strict=True)
    ]
    coded, numbers = CodedSymbols(tables), stored["numbers"]
    content = stored["coded"].tobytes()
    assert coded.to_bytes([stored["symbols"]], lambda _: numbers) == content
    (found,) = coded.from_bytes(content, 1, lambda _: numbers)
    np.testing.assert_array_equal(found, stored["symbols"])
