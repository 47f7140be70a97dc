"""The commands of the downstream jobs: each is made of what its job declares."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.report import check_report, write_report
from isthmus.cli.terminal import out
from isthmus.declarations import declaration

if TYPE_CHECKING:
    from isthmus.execution.request import Request
    from isthmus.execution.use import Use, UseResult
    from isthmus.spec import Settings, SpecModel

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="The pair: NAME@ALIAS, NAME/VERSION, or NAME for its champion.",
        autocompletion=completion.references,
    ),
]
Input = Annotated[
    str,
    typer.Argument(
        help="A file, a folder or a glob of tables, arrays, images or sounds; local or s3://.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Argument(
        help="The path of the results, local or s3://; with --address a folder.",
        show_default=False,
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("--report", help="Write a page about the results too.", show_default=False),
]
_HELP = """{summary}

    With --address, a Ray cluster works on the files of a folder, each to a part in the folder
    OUTPUT. The parts that an interrupted command has done are kept by the same command.

    Example: {example}
    """


def command_of(name: str) -> Callable[..., None]:
    """Returns the command of a downstream job, without importing the job.

    Its options are those that all jobs share, then those of the job's own.
    """
    from isthmus.execution.request import Request

    declared = declaration("uses", name)
    own: type[SpecModel] = declared.value("Config")

    def command(model: str, source: str, output: str, as_json: bool, **options: Any) -> None:
        page: Path | None = options.pop("report", None)
        request = Request(**{each: options.pop(each) for each in Request.model_fields})
        if page is not None:
            _check_page(page, output, request, as_json)
        from isthmus import uses
        from isthmus.spec import Settings

        settings, use = Settings.from_environment(), uses.get(name)(**options)
        result = _run(use, model, source, output, settings, request)
        if as_json:
            print_json(result)
        else:
            first, *more = use.summary(result)
            out.print(first)
            for line in more:
                out.print(f"  {line}")
        if page is not None:
            write_report(Path(output), page, settings)

    parameters = [
        _parameter("model", Model),
        _parameter("source", Input),
        _parameter("output", Output),
        *_options(Request),
        *_options(own),
        *([_parameter("report", Page, None)] if declared.value("HAS_REPORT") else []),
        _parameter("as_json", AsJson, False),
    ]
    command.__name__ = name
    command.__doc__ = _HELP.format(
        summary=declared.value("SUMMARY"), example=declared.value("EXAMPLE")
    )
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _options(model: "type[SpecModel]") -> list[inspect.Parameter]:
    """Returns the fields of a section as options of a command."""
    found = []
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split())
        shows_default = field.default is not None and not isinstance(field.default, bool | str)
        option = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=shows_default)
        found.append(_parameter(name, Annotated[field.annotation, option], field.default))
    return found


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _run(
    use: "Use", model: str, source: str, output: str, settings: "Settings", request: "Request"
) -> "UseResult":
    from isthmus.cli.progress import parts_progress, rows_progress
    from isthmus.execution.running import run

    asked = (use, model, source, output, settings, request)
    if request.address is not None:
        with parts_progress(use.DOING) as on_parts:
            return run(*asked, on_parts=on_parts)
    with rows_progress(use.DOING) as on_rows:
        return run(*asked, on_rows=on_rows)


def _check_page(page: Path, output: str, request: "Request", as_json: bool) -> None:
    """Refuses a page about the results that could not be made, before the work."""
    from isthmus.data.storage.files import is_in_s3
    from isthmus.errors import UsageError

    if as_json:
        raise typer.BadParameter("--json and --report do not go together: make the page later")
    if request.address is not None or is_in_s3(output):
        what = "--address" if request.address is not None else "an output in S3"
        raise UsageError(f"--report does not go with {what}; leave one of them out")
    if page.exists() and not request.force:
        raise UsageError(f"{page} exists already; choose another output, or add --force")
    check_report(page, Path(output))
