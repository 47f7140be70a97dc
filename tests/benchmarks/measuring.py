"""Ratios of two ways to do the same work, measured in turns in one run.

Turns, because a machine's speed drifts: each pair has a ratio of its own, and what is reported is
their median, with the least and the greatest.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

from isthmus.progress.reporter import EpochReport

Better = Literal["higher", "lower"]


def compare(
    name: str,
    ours: Callable[[], float],
    reference: Callable[[], float],
    target: float | None,
    *,
    better: Better = "higher",
    pairs: int = 5,
    unit: str = "rows/s",
    holds: Callable[[], bool] = lambda: True,
    **more: Any,
) -> bool:
    """Measures both in turns and prints a JSON line.

    Args:
        name: The name of the benchmark.
        ours: Does the work once and gives its figure.
        reference: The same, the other way.
        target: The ratio to reach, or to stay below; `None` for none.
        better: Whether a higher ratio is better.
        pairs: Turns.
        unit: The unit of both figures.
        holds: Asked at the end whether what makes the two comparable is so.
        **more: What else the line says.

    Returns:
        Whether the median reached the target.
    """
    figures = [(ours(), reference()) for _ in range(pairs)]
    ratios = [mine / theirs for mine, theirs in figures]
    middle = median(ratios)
    return tell(
        name,
        ratio=middle,
        target=target,
        met=target is None
        or ((middle >= target if better == "higher" else middle <= target) and holds()),
        better=better,
        least=min(ratios),
        greatest=max(ratios),
        unit=unit,
        ours=[mine for mine, _ in figures],
        reference=[theirs for _, theirs in figures],
        **more,
    )


def tell(name: str, *, met: bool | None, **figures: Any) -> bool:
    """Prints a benchmark's JSON line; gives back whether it met its target (`None`: not run)."""
    line = {"name": name, **{key: _short(value) for key, value in figures.items()}, "met": met}
    print(json.dumps(line), flush=True)
    return met is not False


class Clock:
    """A reporter that notes when training began and when each epoch ended."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began_s = 0.0

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        self._began_s = time.perf_counter()

    def on_rows(self, epoch: int, done: int) -> None:
        pass

    def on_epoch(self, report: EpochReport) -> None:
        self.seconds = time.perf_counter() - self._began_s


def machine() -> dict[str, Any]:
    """What the figures are of."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def wanted(names: tuple[str, ...]) -> list[str]:
    """Which of a file's benchmarks its command line asks for; all by default."""
    asked = sys.argv[1:]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r} here; there are {', '.join(names)}")
    return asked or list(names)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return value


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
