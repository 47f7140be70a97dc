"""The downstream jobs as functions, for tests that say much of what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.data import UseOptions
from isthmus.detection.controls import Control
from isthmus.execution.reference_rows import ReferenceRows, no_reference_rows
from isthmus.execution.request import Request
from isthmus.execution.running import run
from isthmus.execution.task import Task
from isthmus.execution.use import Use, UseResult
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.uses.denoise import Denoise
from isthmus.uses.detect import Detect, DetectResult


def applied(
    use: Use,
    pair: Pair,
    source: str,
    output: str | Path,
    on_rows: Callable[[int, int | None], None] | None = None,
    *,
    options: UseOptions | None = None,
    held_out: ReferenceRows = no_reference_rows,
) -> Any:
    """Does a job with a pair that is in no registry, in place of an earlier output."""
    from isthmus.execution.inputs import refuse_replaced_input

    refuse_replaced_input(source, output)
    options = options or UseOptions(set_aside=True)
    return use.work(Task(pair, source, Path(output), options, on_rows, held_out))


def detector(control: Control | None = None, **asked: Any) -> Detect:
    """Returns a detection that keeps the rate of a control."""
    if control is not None:
        asked |= {
            "control": control.name,
            "false_alarm_rate": control.rate,
            "level": control.level,
            "state": control.state,
        }
    return Detect(**asked)


def detect_with(
    pair: Pair, source: str, output: str | Path, on_rows: Any = None, **asked: Any
) -> DetectResult:
    """Detects with a pair that is in no registry."""
    of_task = {each: asked.pop(each) for each in ("options", "held_out") if each in asked}
    return applied(detector(**asked), pair, source, output, on_rows, **of_task)


def denoise_with(
    pair: Pair, source: str, output: str | Path, on_rows: Any = None, **asked: Any
) -> UseResult:
    """Denoises with a pair that is in no registry."""
    return applied(Denoise(), pair, source, output, on_rows, **asked)


def detect(
    model: str, source: str, output: str | Path, settings: Settings, **asked: Any
) -> DetectResult:
    """Detects with a registered pair, in place of an earlier output."""
    return run(detector(**asked), model, source, output, settings, Request(force=True))  # type: ignore[return-value]


def denoise(model: str, source: str, output: str | Path, settings: Settings) -> UseResult:
    """Denoises with a registered pair, in place of an earlier output."""
    return run(Denoise(), model, source, output, settings, Request(force=True))
