"""A job as MLflow's parameters: dotted names and short values, as one would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# MLflow's limit is 6000; a list of hundreds of column names helps nobody who compares runs.
_LONGEST_VALUE = 500


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names and values as text; what is not set is left out.

    Args:
        content: Nested mappings of JSON values.
        prefix: Put before each name.

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
