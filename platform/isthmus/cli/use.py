"""The commands `denoise` and `detect`, which apply a registered pair to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.parts import detect_parts, refuse_form, refuse_of_files
from isthmus.cli.report import check_report, write_report
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.jobs.detect import DetectResult
    from isthmus.jobs.points import PointsFound
    from isthmus.registry import Device
    from isthmus.spec import Settings

Model = Annotated[
    str,
    typer.Option("--model", help="The pair: NAME@ALIAS, NAME/VERSION, or NAME for its champion."),
]
Input = Annotated[
    str,
    typer.Argument(
        help="A file, a folder or a glob of tables, arrays, images or sounds; local or s3://.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Argument(help="The path of the results.", show_default=False)]
Results = Annotated[
    str,
    typer.Argument(
        help="The path of the results; with --address a folder, local or s3://.",
        show_default=False,
    ),
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Resample sounds to the sample rate of the pair.")
]
Query = Annotated[
    str | None,
    typer.Option(
        "--query",
        help="The query whose rows are read, if INPUT is a database; by default the trained one.",
        show_default=False,
    ),
]
AllowUnseen = Annotated[
    bool,
    typer.Option("--allow-unseen", help="Let rows with categories new to the pair be normal."),
]
Per = Annotated[
    Literal["auto", "point", "window"],
    typer.Option(
        "--per", help="What of series has a score: each point, or each window.", show_default=False
    ),
]
FalseAlarmRate = Annotated[
    float | None,
    typer.Option(
        "--false-alarm-rate",
        help="The share of normal rows that may be flagged; by default the pair's own, 0.01.",
        show_default=False,
    ),
]
ControlOption = Annotated[
    str,
    typer.Option(
        "--control",
        help="rate: of normal rows few are flagged. fdr: of the rows flagged in the file few are "
        "normal. online: the same over all files of a stream.",
    ),
]
Level = Annotated[
    float | None,
    typer.Option(
        "--level",
        help="The false discovery rate of --control fdr and online; by default 0.1.",
        show_default=False,
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="The file with the state of a stream (--control online).",
        show_default=False,
    ),
]
OnDevice = Annotated[
    str,
    typer.Option("--device", help="auto, cpu or gpu; auto is a GPU if there is one."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="A Ray cluster that scores a folder or a glob of files; auto is that of this machine.",
        show_default=False,
    ),
]
Form = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="The form of the parts with --address: parquet or csv; by default that of each file.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Stop at a row that cannot be read, instead of setting it aside."
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Say why each row is strange, in columns; for images, series and audio also in "
        "pictures of the strangest, in OUTPUT.heatmaps.",
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("--report", help="Write a page about the results too.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]


def denoise(
    model: Model,
    source: Input,
    output: Output,
    force: Force = False,
    resample: Resample = False,
    query: Query = None,
    device: OnDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Denoise every row of a file, and write the rows in the form of the input.

    Example: isthmus denoise --model digits@champion noisy.npz clean.npz
    """
    refuse_existing(output, force)
    from isthmus.cli.progress import rows_progress
    from isthmus.data import UseOptions
    from isthmus.jobs.denoise import denoise as run
    from isthmus.spec import Settings

    options = UseOptions(resample=resample, query=query)
    with rows_progress("denoising") as on_rows:
        result = run(
            *(model, source, output, Settings.from_environment(), on_rows),
            options=options,
            device=cast("Device", device),
        )
    if as_json:
        print_json(result)
        return
    out.print(
        f"{result.rows:,} rows denoised by {result.model} (pair {result.pair_id}): {result.output}"
    )


def detect(
    model: Model,
    source: Input,
    output: Results,
    force: Force = False,
    resample: Resample = False,
    query: Query = None,
    allow_unseen: AllowUnseen = False,
    false_alarm_rate: FalseAlarmRate = None,
    control: ControlOption = "rate",
    level: Level = None,
    state: State = None,
    strict: Strict = False,
    device: OnDevice = "auto",
    explain: Explain = False,
    report: Page = None,
    per: Per = "auto",
    address: Address = None,
    form: Form = None,
    as_json: AsJson = False,
) -> None:
    """Score every row of a file and find the anomalies; write csv, parquet or npz.

    With --address, a Ray cluster scores the files of a folder, each to a part in the folder OUTPUT.
    The parts that an interrupted command has done are kept by the same command.

    Example: isthmus detect --model digits@champion new.npz scores.csv
    """
    if as_json and report is not None:
        raise typer.BadParameter("--json and --report do not go together: make the page later")
    from isthmus.data import UseOptions
    from isthmus.jobs.controls import control_of
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    asked: dict[str, Any] = {
        "options": UseOptions(resample=resample, query=query, set_aside=not strict),
        "allow_unseen": allow_unseen,
        "control": control_of(control, false_alarm_rate, level, state),
        "device": cast("Device", device),
    }
    if address is not None:
        refuse_of_files(
            {"explain": explain, "report": report, "per": per != "auto", "json": as_json}
        )
        asked |= {"form": form, "force": force}
        detect_parts(model, source, output, settings, address, asked)
        return
    refuse_form(form)
    _refuse_outputs(Path(output), report, force)
    asked |= {"explain": explain, "per": per}
    result = _detect_file(model, source, output, settings, asked)
    (print_json if as_json else _summarise)(result)
    if report is not None:
        write_report(Path(output), report, settings)


def _refuse_outputs(output: Path, report: Path | None, force: bool) -> None:
    refuse_existing(output, force)
    if report is not None:
        refuse_existing(report, force)
        check_report(report, output)


def _detect_file(
    model: str, source: str, output: str, settings: "Settings", asked: dict[str, Any]
) -> "DetectResult":
    from isthmus.cli.progress import rows_progress
    from isthmus.jobs.detect import detect as run

    with rows_progress("detecting") as on_rows:
        return run(model, source, output, settings, on_rows, **asked)


def _summarise(result: "DetectResult") -> None:
    from isthmus.data import rejected_path

    what = "rows" if result.points is None else "steps"
    out.print(
        f"{result.anomalies:,} anomalies in {result.rows:,} {what} ({result.rule}) by "
        f"{result.model} (pair {result.pair_id}): {result.output}"
    )
    if result.rejected:
        out.print(
            f"  {result.rejected:,} rows cannot be read and are set aside: "
            f"{rejected_path(result.output)}"
        )
    if result.points is not None:
        _print_ranges(result.points)


def _print_ranges(points: "PointsFound") -> None:
    if points.unscored:
        out.print(
            f"  {points.unscored:,} steps have no score, as no whole window covers them; the "
            "column reason says why"
        )
    out.print(f"  {points.ranges:,} ranges of anomalous steps: {points.ranges_output}")


def refuse_existing(output: Path, force: bool) -> None:
    """Refuses an output that exists, unless it may be replaced."""
    from isthmus.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output} exists already; choose another output, or add --force")
