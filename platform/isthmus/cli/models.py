"""`models`, `promote`: what the registry holds, and which version the jobs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.terminal import age, out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from isthmus.registry import VersionSummary

_SHOWN = {
    "validation_loss": "validation",
    "test_reconstruction_mse": "test error",
    "test_pca_mse": "PCA's",
}


def models(
    name: Annotated[
        str | None, typer.Argument(help="Of one pair; by default all.", show_default=False)
    ] = None,
) -> None:
    """List pairs, versions, aliases, metrics and age.

    Example: isthmus models digits
    """
    from isthmus import api

    if name is not None:
        out.print(_table(api.versions(name)))
        return
    found = api.models()
    if not found:
        out.print("No models yet. Train one: isthmus train JOB.yaml")
        return
    out.print(_table(version for model in found for version in model.versions))


def promote(
    name: Annotated[str, typer.Argument(help="The pair's name.", show_default=False)],
    version: Annotated[int, typer.Argument(help="The pair's version.", show_default=False)],
    alias: Annotated[str, typer.Option(help="The alias to give it.")] = "champion",
) -> None:
    """Give a version an alias; jobs that ask for NAME@champion use it from now on.

    Example: isthmus promote digits 3
    """
    from isthmus import api

    done = api.promote(name, version, alias=alias)
    before = f" (before: version {done.previous})" if done.previous else ""
    out.print(f"{done.name}@{done.alias} is now [bold]{done.name}/{done.version}[/bold]{before}")


def _table(versions: Iterable[VersionSummary]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("pair", "aliases", "variant", "net", "latent", *_SHOWN.values(), "age", "run"):
        table.add_column(column, no_wrap=True)
    for version in versions:
        table.add_row(
            f"{version.name}/{version.version}",
            ", ".join(version.aliases),
            version.variant,
            version.net,
            str(version.latent_dim),
            *(_figure(version.metrics.get(name)) for name in _SHOWN),
            age(version.created),
            version.run_id[:8],
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
