"""What a process may use is what its container gives it, not what the host has."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from isthmus import resources
from tests.architecture.source import PACKAGE, fresh_python, modules, place, tree

GIB = 2**30
UNLIMITED_IN_V1 = str(2**63 - 4096)
Fake = Callable[[str, Mapping[str, str]], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes this process one of a machine of 8 CPUs and 16 GiB, in control groups of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    memory = SimpleNamespace(total=16 * GIB, available=12 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(resources, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def make(own: str, files: Mapping[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")

    return make


CPUS = {
    "no control groups": ("", {}, 8),
    "v2 without a quota": ("0::/\n", {"cpu.max": "max 100000"}, 8),
    "v2 rounded up": ("0::/\n", {"cpu.max": "150000 100000"}, 2),
    "v2 less than one": ("0::/\n", {"cpu.max": "20000 100000"}, 1),
    "v2 more than there are": ("0::/\n", {"cpu.max": "6400000 100000"}, 8),
    "v2 of a group that holds ours": (
        "0::/pods/pod/own\n",
        {"pods/cpu.max": "300000 100000", "pods/pod/own/cpu.max": "max 100000"},
        3,
    ),
    "v2 at the root of a container": (
        "0::/not/mounted/here\n",
        {"cpu.max": "200000 100000"},
        2,
    ),
    "v2 outside of our namespace": ("0::/../../other\n", {"cpu.max": "200000 100000"}, 2),
    "v2 beside v1": ("4:memory:/\n0::/a\n", {"unified/a/cpu.max": "400000 100000"}, 4),
    "v1 without a quota": (
        "3:cpu,cpuacct:/\n",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        8,
    ),
    "v1 of its own folder": (
        "1:cpu:/a/b\n",
        {"cpu/a/b/cpu.cfs_quota_us": "250000", "cpu/a/b/cpu.cfs_period_us": "100000"},
        3,
    ),
    "v1 of two controllers, of a group that holds ours": (
        "3:cpu,cpuacct:/a/b\n",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "10000"},
        5,
    ),
    "v1 at the root of a container": (
        "3:cpu:/docker/4f\n",
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        1,
    ),
}


@pytest.mark.parametrize(("own", "files", "expected"), CPUS.values(), ids=CPUS.keys())
def test_the_cpus_are_those_of_the_smallest_quota(
    fake: Fake, own: str, files: dict[str, str], expected: int
) -> None:
    fake(own, files)
    assert resources.cpus() == expected


def test_the_cpus_are_at_most_those_that_the_process_is_allowed_on(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("0::/\n", {"cpu.max": "400000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert resources.cpus() == 1


MEMORY = {
    "no control groups": ("", {}, 16 * GIB, 12 * GIB),
    "v2 without a limit": ("0::/a\n", {"a/memory.max": "max"}, 16 * GIB, 12 * GIB),
    "v2 with file pages that can be given up": (
        "0::/a\n",
        {
            "a/memory.max": str(4 * GIB),
            "a/memory.current": str(3 * GIB),
            "a/memory.stat": f"anon 5\ninactive_file {2 * GIB}\nactive_file 7",
        },
        4 * GIB,
        3 * GIB,
    ),
    "v2 of a group that holds ours, which others fill": (
        "0::/a/b\n",
        {
            "a/memory.max": str(6 * GIB),
            "a/memory.current": str(5 * GIB),
            "a/b/memory.max": str(4 * GIB),
            "a/b/memory.current": str(GIB),
        },
        4 * GIB,
        GIB,
    ),
    "v2 over its limit": (
        "0::/\n",
        {"memory.max": str(GIB), "memory.current": str(2 * GIB)},
        GIB,
        0,
    ),
    "v1 without a limit": (
        "4:memory:/a\n",
        {
            "memory/a/memory.limit_in_bytes": UNLIMITED_IN_V1,
            "memory/a/memory.usage_in_bytes": str(GIB),
        },
        16 * GIB,
        12 * GIB,
    ),
    "v1 with file pages that can be given up": (
        "4:memory:/a/b\n",
        {
            "memory/a/memory.limit_in_bytes": str(3 * GIB),
            "memory/a/memory.usage_in_bytes": str(2 * GIB),
            "memory/a/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB}",
            "memory/a/b/memory.limit_in_bytes": UNLIMITED_IN_V1,
        },
        3 * GIB,
        2 * GIB,
    ),
}


@pytest.mark.parametrize(("own", "files", "limit", "free"), MEMORY.values(), ids=MEMORY.keys())
def test_the_memory_is_that_of_the_smallest_limit_less_what_is_used(
    fake: Fake, own: str, files: dict[str, str], limit: int, free: int
) -> None:
    fake(own, files)
    assert resources.memory_limit_bytes() == limit
    assert resources.free_memory_bytes() == free


def test_this_machines_own_groups_can_be_read() -> None:
    assert 1 <= resources.cpus() <= (os.cpu_count() or 1)
    assert 0 < resources.free_memory_bytes() <= resources.memory_limit_bytes()
    assert resources.memory_limit_bytes() <= psutil.virtual_memory().total


def test_processes_share_the_cpus_between_them(fake: Fake) -> None:
    fake("", {})
    assert [resources.threads(each) for each in (1, 3, 8, 9)] == [8, 2, 1, 1]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("3", 3), (" 6 ", 6), ("5,2", 5), ("0", 4), ("-1", 4), ("many", 4), ("", 4)],
)
def test_omp_num_threads_wins_if_it_is_a_number_of_threads(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, wanted: str, expected: int
) -> None:
    fake("", {})
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert resources.threads(2) == expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, None),
        ("", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("0", 1),
        ("1,3", 2),
        ("0,-1,2", 1),
        ("GPU-8932f937-d72c,MIG-1a2b", 2),
    ],
)
def test_the_gpus_are_those_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, named: str | None, expected: int | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert resources.visible_gpus() == expected


def test_asking_loads_neither_torch_nor_ray_nor_mlflow() -> None:
    loaded = fresh_python(
        "import sys; from isthmus import resources as r\n"
        "r.cpus(), r.threads(), r.free_memory_bytes(), r.visible_gpus()\n"
        "print([name for name in ('torch', 'ray', 'mlflow') if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_nothing_else_asks_what_the_host_has() -> None:
    asked = {"cpu_count", "virtual_memory", "sched_getaffinity", "SC_PHYS_PAGES"}
    wrong = [
        place(path, node)
        for path in modules()
        if path != PACKAGE / "resources.py"
        for node in ast.walk(tree(path))
        if getattr(node, "attr", getattr(node, "value", None)) in asked
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 KiB"), (300 << 10, "300 KiB"), (265 << 20, "265 MiB"), (3 << 29, "1.5 GiB")],
)
def test_memory_is_told_in_a_unit_that_can_be_read(size_bytes: int, words: str) -> None:
    assert resources.in_units(size_bytes) == words
