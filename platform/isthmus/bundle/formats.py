"""What `pair.json` looked like once, made into what it looks like now, a format at a time.

A pair that was registered is loaded forever. Whoever changes what is stored, `pair.json` itself
or the name or meaning of an option of a variant or a net (`plan.variant`, `plan.net`), of a data
or job field, or of a weight, raises `FORMAT`, adds the step from the format before, and stores
pairs of the new one with `python -m tests.fixtures.pairs.make`. Steps that are here never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from isthmus.errors import RegistryError

Raw = dict[str, Any]
FORMAT: Literal[2] = 2
"""What is written now."""


def upgrade(raw: object, where: str) -> Raw:
    """A `pair.json` of any released format in today's.

    Args:
        raw: The file's content.
        where: The file, for the message.

    Raises:
        RegistryError: If the file is of a later format, or of none.
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
    """Format 2 adds `threshold` and `onnx`, which may be missing; 1 wrote NaN as null."""
    metrics = {
        name: float("nan") if value is None else value for name, value in raw["metrics"].items()
    }
    return {**raw, "metrics": metrics}


# By the format that each begins with; to the next.
_STEPS: Mapping[int, Callable[[Raw], Raw]] = {1: _from_1}
