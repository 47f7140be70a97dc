"""The commands `models`, `promote`, `rollback` and `history`, for registered pairs."""

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.numbers import whole_number
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import age, err, out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from isthmus.aliases import Promotion
    from isthmus.registry import VersionSummary

_WHY = "The reason, which the history keeps."
_SHOWN = {
    "validation/loss": "validation",
    "test/reconstruction_mse": "test error",
    "test/pca_mse": "PCA's",
}


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The pair to list; by default all pairs.",
            show_default=False,
            autocompletion=completion.pairs,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every version, not only the newest 10.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List pairs, versions, aliases, metrics and age.

    Example: isthmus models digits
    """
    from isthmus import api
    from isthmus.registry import NEWEST

    if name is not None:
        shown = [api.versions(name, all_versions=every)]
    else:
        shown = [model.versions for model in api.models(all_versions=every)]
    if as_json:
        print_json([version for versions in shown for version in versions])
        return
    if not shown:
        from isthmus.spec import Settings
        from isthmus.tracking.store import shown as shown_uri

        uri = shown_uri(Settings.from_environment().tracking_uri)
        out.paragraph(f"No models in {uri} yet. Train one: isthmus train JOB.yaml")
        return
    _show(version for versions in shown for version in versions)
    for versions in shown:
        if not every and len(versions) >= NEWEST and versions[-1].version > 1:
            oldest = versions[-1]
            out.print(f"Older than version {oldest.version}: isthmus models {oldest.name} --all")


def promote(
    name: Annotated[
        str,
        typer.Argument(
            help="The pair's name.", show_default=False, autocompletion=completion.pairs
        ),
    ],
    version: Annotated[
        int,
        typer.Argument(help="The pair's version.", show_default=False, parser=whole_number),
    ],
    alias: Annotated[
        str, typer.Option(help="The alias to give the version.", autocompletion=completion.aliases)
    ] = "champion",
    why: Annotated[str, typer.Option(help=_WHY, show_default=False)] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote a version that the gate refuses; needs --why.")
    ] = False,
    undecided: Annotated[
        bool,
        typer.Option("--undecided", help="Promote it also where the gate cannot tell from so few."),
    ] = False,
) -> None:
    """Give a version an alias; jobs that ask for NAME@champion use it from now on.

    A version must pass the gate to become champion; isthmus gate NAME/VERSION shows the verdict.
    Where so few rows cannot tell, look at the figures and say --undecided.

    Example: isthmus promote digits 3
    """
    from isthmus.promotion import promote as run
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    with err.status("asking the registry") as status:
        promoted = run(
            *(name, version, settings, alias),
            why=why,
            force=force,
            undecided=undecided,
            on_step=status.update,
        )
    done, verdict = promoted.promotion, promoted.verdict
    _say(done)
    if verdict is not None:
        out.print(f"  the gate: {verdict.outcome}; {verdict.reason}", markup=False)


def rollback(
    name: Annotated[
        str,
        typer.Argument(
            help="The pair's name.", show_default=False, autocompletion=completion.pairs
        ),
    ],
    why: Annotated[str, typer.Option(help=_WHY, show_default=False)] = "",
) -> None:
    """Make the previous champion champion again; calling it twice goes back further.

    Example: isthmus rollback digits --why "too many false alarms"
    """
    from isthmus import api

    _say(api.rollback(name, why=why))


def history(
    name: Annotated[
        str,
        typer.Argument(
            help="The pair's name.", show_default=False, autocompletion=completion.pairs
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show who gave which version an alias, when and why; newest first.

    Example: isthmus history digits
    """
    from isthmus import api

    events = api.history(name)
    if as_json:
        print_json(events)
        return
    if not events:
        out.print(f"{name} was never promoted. Promote a version: isthmus promote {name} VERSION")
        return
    table = Rows(("when", "who", "by", "alias", "from", "to", "why"), prose=6)
    for event in reversed(events):
        table.add(
            event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            event.actor,
            event.source,
            event.alias,
            _version(event.from_version, event.deleted),
            _version(event.to_version, event.deleted),
            event.why,
        )
    table.show()


def _version(version: int | None, deleted: "Sequence[int]") -> str:
    if version is None:
        return "-"
    return f"{version} (deleted)" if version in deleted else str(version)


def _say(done: "Promotion") -> None:
    before = f" (before: version {done.previous})" if done.previous else ""
    out.print(f"{done.name}@{done.alias} is now [bold]{done.name}/{done.version}[/bold]{before}")


def _show(versions: "Iterable[VersionSummary]") -> None:
    table = Rows(
        ("pair", "aliases", "variant", "net", "latent", *_SHOWN.values(), "age", "run"), lead=2
    )
    for version in versions:
        table.add(
            f"{version.name}/{version.version}",
            ", ".join(version.aliases),
            version.variant,
            version.net,
            str(version.latent_dim),
            *(_figure(version.metrics.get(name)) for name in _SHOWN),
            age(version.created),
            version.run_id[:8],
        )
    table.show()


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
