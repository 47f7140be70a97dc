"""Readable names of runs."""

from __future__ import annotations

import secrets

_WORDS = (
    *("auk", "crane", "curlew", "dunlin", "eider", "finch", "gannet", "heron", "ibis"),
    *("jackdaw", "kestrel", "lapwing", "merlin", "nightjar", "osprey", "petrel", "quail"),
    *("robin", "siskin", "tern", "wagtail", "wren"),
)


def run_name(job: str) -> str:
    """Returns a short name that is easy to say. It is random even if training sets a seed."""
    return f"{job}-{secrets.choice(_WORDS)}-{secrets.randbelow(900) + 100}"
