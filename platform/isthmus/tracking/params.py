"""Converts a job to MLflow parameters, with dotted names and short values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# MLflow's limit is 6000, but hundreds of column names do not help anyone who compares runs.
_LONGEST_VALUE = 500


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flattens nested options into dotted names and text values; unset values are left out.

    Args:
        content: Nested mappings of JSON values.
        prefix: The prefix of each name.

    Returns:
        For example `{"training.epochs": "100", "data.columns": '["a", "b"]'}`.
    """
    flat: dict[str, str] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{name}."))
        elif value not in (None, "", [], ()):
            flat[name] = _shortened(value if isinstance(value, str) else json.dumps(value))
    return flat


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
