"""A process that scores in batches keeps the memory of one batch for the next."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# The arrays of a batch are smaller than 4 MiB, above which numpy asks for huge pages.
BATCHES = """
import resource, sys
import numpy as np
from isthmus.allocation import raise_malloc_thresholds

if sys.argv[1] == "raised":
    raise_malloc_thresholds()
def batch():
    arrays = [np.ones(3 << 20, dtype=np.uint8) for _ in range(6)]
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(thresholds: str) -> int:
    # A Ray session of an earlier test hands its own thresholds on to the processes that follow.
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", BATCHES, thresholds],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_raised_thresholds_let_a_batch_use_the_memory_of_the_batch_before() -> None:
    assert page_faults("raised") < page_faults("as they are") / 10
