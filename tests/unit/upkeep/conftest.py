"""A registry of this folder's tests."""

from tests.untrained import register, settings, trained

__all__ = ["register", "settings", "trained"]
