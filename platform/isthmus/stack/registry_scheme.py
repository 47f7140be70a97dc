"""The URI `isthmus:DATABASE`, with which MLflow's server opens its registry through our store.

MLflow finds `open_registry_store` by the entry point in pyproject.toml, in each process that
imports MLflow's client, so this module imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.stack.registry_store import RegistryStore

_SCHEME = "isthmus:"


def registry_uri(database: str) -> str:
    """Returns a server's `--registry-store-uri` for a database such as `sqlite:///mlflow.db`."""
    return f"{_SCHEME}{database}"


def open_registry_store(store_uri: str) -> RegistryStore:
    """Opens the store of an `isthmus:DATABASE` URI."""
    from isthmus.stack.registry_store import RegistryStore

    return RegistryStore(store_uri.removeprefix(_SCHEME))
