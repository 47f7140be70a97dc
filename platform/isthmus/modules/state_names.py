"""The names of an autoencoder's weights, within its LightningModule and alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

_PREFIX = "autoencoder."
T = TypeVar("T")


def names_in_autoencoder(state: Mapping[str, T]) -> dict[str, T]:
    """Returns the state of a module under the names that it has in the autoencoder itself."""
    return {name.removeprefix(_PREFIX): value for name, value in state.items()}


def names_in_module(state: Mapping[str, T]) -> dict[str, T]:
    """Returns a module's state, also if an earlier version has stored it.

    A variant was a LightningModule then, and its weights had the names of the autoencoder itself.
    """
    if all(name.startswith(_PREFIX) for name in state):
        return dict(state)
    return {_PREFIX + name: value for name, value in state.items()}
