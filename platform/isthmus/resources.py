"""The CPUs, memory and GPUs that this process may use, which can be less than the host has.

A container's limits are those of its control groups (cgroups, version 1 or 2). The limits of all
parent groups count too, and so do those at the root of the mounted tree: inside a container the
process's path may be a path of the host, which does not exist there.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/memory.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
"""The mount point of the control groups."""
OWN_CGROUPS = Path("/proc/self/cgroup")
"""The file that names the control groups of this process."""

_VERSION_2 = ""  # version 2 has one tree, listed without a controller's name
_PREFIXES_OF_GPUS = ("GPU-", "MIG-")


def cpus() -> int:
    """Returns how many CPUs this process may keep busy, at least 1.

    This is the number of CPUs in its affinity mask, or the CPU quota of its control groups, rounded
    up, if that is lower.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # Rounded up: half a CPU can keep a thread busy half of the time.
    return max(1, min([allowed, *(-(-quota_us // period_us) for quota_us, period_us in _quotas())]))


def threads(processes_here: int = 1) -> int:
    """Returns how many threads each of several equal processes on this machine should use.

    Args:
        processes_here: The number of processes that share the CPUs, at least 1.

    Returns:
        `OMP_NUM_THREADS` if it is set to a positive number, else an equal share of `cpus()`; at
        least 1.
    """
    # OpenMP accepts a list, whose first number is for the outermost parallel region.
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return max(1, cpus() // processes_here)


def memory_limit_bytes() -> int:
    """Returns how many bytes of memory this process and its control group may use at most."""
    total: int = psutil.virtual_memory().total
    return min([total, *(limit for limit, _ in _memory())])


def free_memory_bytes() -> int:
    """Returns how many bytes can be allocated before the kernel kills a process, 0 or more.

    File pages that the kernel reclaims first count as free, on the machine and in each control
    group.
    """
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *(limit - used for limit, used in _memory())]))


def in_units(size_bytes: float) -> str:
    """Returns an amount of memory in words: `1.5 GiB`, `265 MiB`, `12 KiB`."""
    if size_bytes >= 1 << 30:
        return f"{size_bytes / (1 << 30):,.1f} GiB"
    if size_bytes >= 1 << 20:
        return f"{size_bytes / (1 << 20):.0f} MiB"
    return f"{size_bytes / (1 << 10):.0f} KiB"


def visible_gpus() -> int | None:
    """Returns how many GPUs `CUDA_VISIBLE_DEVICES` names, or `None` if it is not set.

    Like CUDA, it counts up to the first entry that names no GPU: an empty value and `-1` mean none.
    It does not check whether the machine has those GPUs.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return None
    count = 0
    for name in names.split(","):
        if not (name.strip().isdecimal() or name.strip().startswith(_PREFIXES_OF_GPUS)):
            break
        count += 1
    return count


def _quotas() -> Iterator[tuple[int, int]]:
    """Yields the CPU quotas of this process: microseconds of CPU time, and of the period."""
    for folder in _groups_with("cpu"):
        words = [
            *_words(folder / "cpu.max"),
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        # `max` in version 2 and -1 in version 1 mean that there is no quota.
        if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
            yield int(words[0]), int(words[1])


def _memory() -> Iterator[tuple[int, int]]:
    """Yields the memory limits of this process, each with the memory used under it, in bytes."""
    for folder in _groups_with("memory"):
        # The names of version 2, then those of version 1, which counts a group's own pages as
        # `inactive_file` and those of all its child groups as `total_inactive_file`.
        for limit_file, usage_file, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = (_number(folder / name) for name in (limit_file, usage_file))
            if limit is not None:
                words = _words(folder / "memory.stat")
                pages = dict(zip(words[::2], words[1::2], strict=False)).get(inactive, "0")
                yield limit, max(0, (usage or 0) - int(pages))


def _groups_with(controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control groups, each followed by its parent groups."""
    seen = set()
    for tree, path in _own_groups(controller):
        relative = PurePosixPath(path.lstrip("/"))
        inside = () if ".." in relative.parts else (relative, *relative.parents)
        for folder in (*(tree / each for each in inside), tree):
            if folder not in seen and folder.is_dir():
                seen.add(folder)
                yield folder


def _own_groups(controller: str) -> Iterator[tuple[Path, str]]:
    """Yields each root where a controller may be mounted, with the process's path below it."""
    paths: dict[str, str] = {}
    for line in _text(OWN_CGROUPS).splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        paths |= dict.fromkeys(controllers.split(","), path) | {controllers: path}
    # Version 1 mounts a tree per controller, or one for several controllers with a link for each.
    for name, path in paths.items():
        if controller in name.split(","):
            yield CGROUP_ROOT / name, path
    # Version 2 is mounted at the root, or beside the trees of version 1.
    for tree in (CGROUP_ROOT, CGROUP_ROOT / "unified"):
        yield tree, paths.get(_VERSION_2, "/")


def _number(file: Path) -> int | None:
    words = _words(file)
    return int(words[0]) if words and words[0].isdecimal() else None


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""  # there is no such controller, or this system has no control groups
