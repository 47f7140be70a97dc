"""The pairs of each kind, with inputs in which the strange rows are known."""

from __future__ import annotations

from tests.strange import strange

__all__ = ["strange"]
