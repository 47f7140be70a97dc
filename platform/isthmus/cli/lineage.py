"""The command `lineage`, which shows what something was made from and what was made from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.terminal import age, out
from isthmus.errors import printable

if TYPE_CHECKING:
    from rich.tree import Tree

    from isthmus.registry.lineage import Lineage, LinkedOutput, LinkedPair, LinkedRun

_MOST_OUTPUTS = 10
_PIPE_WIDTH = 2000


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            help="A file of results, NAME/VERSION, NAME@ALIAS, a run, or a data fingerprint.",
            show_default=False,
            autocompletion=completion.references,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what something was made from, and what was made from it: data, runs, pairs, outputs.

    Example: isthmus lineage clean.npz
    """
    from isthmus import api

    found = api.lineage(what)
    if as_json:
        print_json(found)
        return
    # A terminal wraps long lines within the tree, but a pipe has no width.
    out.print(_tree(found), soft_wrap=False, width=None if out.has_width else _PIPE_WIDTH)


def _tree(found: "Lineage") -> "Tree":
    from rich.tree import Tree

    if found.loose is not None:
        tree = Tree("data and run are not in this store")
        _add_pair(tree, found.loose, found.asked)
        return tree
    tree = Tree(
        _asked(f"data {found.data} ({(found.fingerprint or '')[:12]})", found, found.fingerprint)
    )
    for linked in found.runs:
        _add_run(tree, linked, found)
    return tree


def _add_run(tree: "Tree", linked: "LinkedRun", found: "Lineage") -> None:
    run = linked.run
    line = f"run {run.name} ({run.run_id[:8]}), {run.status.lower()}, {age(run.started)} ago"
    if run.start_pair_id is not None:
        gone = ", deleted since" if linked.is_start_deleted else ""
        line += f", started from {run.start or 'a pair'} (pair {run.start_pair_id}{gone})"
    branch = tree.add(_asked(line, found, run.run_id))
    for pair in linked.pairs:
        _add_pair(branch, pair, found.asked)


def _add_pair(tree: "Tree", pair: "LinkedPair", asked: str) -> None:
    names = ", ".join(pair.names) or "not in this registry"
    gone = pair.deleted
    state = f"; deleted {gone.at} by {gone.by}" if gone is not None else ""
    branch = tree.add(_marked(f"{names} (pair {pair.pair_id}){state}", asked == pair.pair_id))
    for successor in pair.successors[:_MOST_OUTPUTS]:
        branch.add(_marked(f"{successor} was trained from it", is_asked=False))
    for output in pair.outputs[:_MOST_OUTPUTS]:
        branch.add(_marked(_output(output), asked == output.record.path))
    if len(pair.outputs) > _MOST_OUTPUTS:
        branch.add(f"... and {len(pair.outputs) - _MOST_OUTPUTS:,} older (--json shows all)")


def _output(output: "LinkedOutput") -> str:
    record = output.record
    rows = f", {record.rows:,} rows" if record.rows else ""
    where = f" on {record.host}" if output.state == "elsewhere" else ""
    moved = f", now {output.found}" if output.found else ""
    return (
        f"{_short(record.path)}{where}: {record.job} of {_short(record.source)}{rows}, "
        f"{record.created}; {output.state}{moved}"
    )


def _short(path: str) -> str:
    """Returns a path relative to the current folder if it lies in it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _asked(line: str, found: "Lineage", what: str | None) -> str:
    return _marked(line, what == found.asked)


def _marked(line: str, is_asked: bool) -> str:
    from rich.markup import escape

    line = escape(printable(line))
    return f"[bold]{line}[/bold]  <- asked for" if is_asked else line
