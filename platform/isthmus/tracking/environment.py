"""The environment of a run (code, libraries, machine), recorded so that it can be reproduced."""

from __future__ import annotations

import getpass
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from isthmus.resources import cpus, memory_limit_bytes

_COMMAND_TIMEOUT_S = 5.0
_LIBRARIES = ("torch", "pytorch-lightning", "ray", "mlflow", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Returns Python, the machine, its GPUs, the git commit and all installed distributions."""
    commit, is_dirty = _git_state()
    return {
        "isthmus": _version("isthmus"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "user": _user(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "cpu": _cpu_name(),
        "cpu_cores": cpus(),
        "memory_bytes": memory_limit_bytes(),
        "gpus": _gpus(),
        "git_commit": commit,
        "git_has_changes": is_dirty,
        "libraries": _installed(),
    }


def environment_tags() -> dict[str, str]:
    """Returns the facts about the environment by which people search runs; it takes little time."""
    commit, is_dirty = _git_state()
    tags = {
        # MLflow's own tags, which its UI shows at the top of a run.
        "mlflow.user": _user(),
        "mlflow.source.name": "isthmus",
        "mlflow.source.type": "LOCAL",
        "isthmus.version": _version("isthmus"),
        "isthmus.python": platform.python_version(),
        "isthmus.host": platform.node(),
        "isthmus.cpu": f"{cpus()} cores, {_cpu_name()}",
        "isthmus.gpu": ", ".join(_gpus()) or "none",
        "isthmus.libraries": ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES),
    }
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["isthmus.git_has_changes"] = str(is_dirty).lower()
    return tags


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def _installed() -> dict[str, str]:
    found = {each.name: each.version for each in metadata.distributions() if each.name}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container without a user database


@cache
def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _gpus() -> tuple[str, ...]:
    output = _output_of("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return tuple(line.strip() for line in output.splitlines() if line.strip())


def _git_state() -> tuple[str | None, bool]:
    """Returns the git commit of the working directory, and whether tracked files differ from it."""
    commit = _output_of("git", "rev-parse", "HEAD").strip()
    if not commit:
        return None, False
    return commit, bool(_output_of("git", "status", "--porcelain", "--untracked-files=no").strip())


def _output_of(program: str, *arguments: str) -> str:
    """Returns a program's output; empty if the program is missing, fails or takes too long."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 (our own arguments)
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
