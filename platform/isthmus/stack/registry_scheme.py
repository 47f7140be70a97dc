"""`isthmus:DATABASE`, by which MLflow's server opens its registry through our store.

MLflow finds `open_registry_store` by pyproject's entry point, in each process that imports MLflow's
client: so this module imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.stack.registry_store import RegistryStore

_SCHEME = "isthmus:"


def registry_uri(database: str) -> str:
    """What a server's `--registry-store-uri` is, of a database such as `sqlite:///mlflow.db`."""
    return f"{_SCHEME}{database}"


def open_registry_store(store_uri: str) -> RegistryStore:
    """The store of an `isthmus:DATABASE`."""
    from isthmus.stack.registry_store import RegistryStore

    return RegistryStore(store_uri.removeprefix(_SCHEME))
