"""Upgrades a `pair.json` of an older format to the present one, one format at a time.

A pair that was registered must be loadable forever. This concerns `pair.json` itself, the name and
meaning of an option of a variant or a net (`plan.variant`, `plan.net`), data and job fields, and
weights. Anyone who changes one of them raises `FORMAT`, adds the step from the previous format, and
stores pairs of the new one with `python -m tests.fixtures.pairs.make`. Existing steps never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from isthmus.errors import RegistryError

Raw = dict[str, Any]
FORMAT: Literal[5] = 5
"""The format that is written now."""


def upgrade(raw: object, where: str) -> Raw:
    """Returns a `pair.json` of any released format in the present format.

    Args:
        raw: The content of the file.
        where: The path of the file, for error messages.

    Raises:
        RegistryError: If the format is newer than this Isthmus, or is missing.
    """
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or type(version) is not int or version < 1:
        raise RegistryError(
            f"{where} is damaged: it has no format_version; restore it, or register the pair again"
        )
    if version > FORMAT:
        raise RegistryError(
            f"{where} is of format {version}, and this Isthmus reads up to {FORMAT}; upgrade "
            f"isthmus to {raw.get('isthmus_version', 'a later version')} or later"
        )
    while version < FORMAT:
        raw = {**_STEPS[version](raw), "format_version": version + 1}
        version += 1
    return raw


def _from_1(raw: Raw) -> Raw:
    """Upgrades from format 1, which wrote NaN as null.

    Format 2 also adds `threshold` and `onnx`, which may be missing.
    """
    metrics = {
        name: float("nan") if value is None else value for name, value in raw["metrics"].items()
    }
    return {**raw, "metrics": metrics}


def _from_2(raw: Raw) -> Raw:
    """Upgrades from format 2, whose pairs scored as their variant does.

    Its weights held 1001 quantiles of the scores of the validation rows.
    """
    return {**raw, "detector": {"scoring": {"name": "own"}}}


def _from_3(raw: Raw) -> Raw:
    """Upgrades from format 3, whose metrics had names such as `test_psnr_db`."""

    def renamed(name: str) -> str:
        part, _, rest = name.partition("_")
        is_of_part = part in ("train", "validation", "test") and rest != "files"
        return f"{part}/{rest}" if is_of_part else name

    return {**raw, "metrics": {renamed(name): each for name, each in raw["metrics"].items()}}


def _from_4(raw: Raw) -> Raw:
    """Upgrades from format 4, where `own` was the squared error for vae and its kin too.

    Their scores are calibrated as what they were, so they stay that.
    """
    detector = raw.get("detector", {"scoring": {"name": "own"}})
    if detector["scoring"]["name"] != "own":
        return raw
    return {**raw, "detector": {**detector, "scoring": {**detector["scoring"], "bound": False}}}


# Each step is listed under its old format and leads to the next one.
_STEPS: Mapping[int, Callable[[Raw], Raw]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
}
