"""Detects anomalies in many files on a Ray cluster: a part of the results for each file.

Ray Data hands the files to actors that have loaded the pair. A part appears whole, with its
provenance, and is scored again if the process that does it is killed; so each part is there exactly
once. What an interrupted job has done is kept by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import fs

from isthmus.data import Files, UseOptions, locate, open_files
from isthmus.data.files import ending_of, is_in_s3
from isthmus.data.parts_folder import PartsFolder
from isthmus.data.results import RESULT_ENDINGS
from isthmus.data.tables import first_line
from isthmus.errors import ClusterError, DataError, UsageError
from isthmus.jobs.controls import Control
from isthmus.jobs.inputs import refuse_replaced_input
from isthmus.jobs.part_scorer import Asked, PartOutcome, PartScorer, PartsPlan
from isthmus.jobs.parts import Parts
from isthmus.jobs.points import calibration_of
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.launch.session import ray_session
from isthmus.registry import Device, Pair
from isthmus.registry.carried import CarriedPair
from isthmus.registry.resolve import build, resolve
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password
from isthmus.types import DataKind

if TYPE_CHECKING:
    from ray.data import Dataset

OnParts = Callable[[int, int, int], None]
"""A function that is called with the parts done, all parts, and the rows done."""
FORMS = {"parquet": ".parquet", "csv": ".csv"}
"""The forms that parts can be asked for in, with the ending of each."""


@dataclass(frozen=True)
class DistributedDetectResult:
    """The result of a detection job on a cluster.

    Attributes:
        parts: Number of parts.
        kept: Number of those that an interrupted job had done.
        rows: Number of scored rows.
        anomalies: Number of rows that are anomalies.
        rejected: Number of rows that cannot be read, which are in `OUTPUT.rejected.csv`.
        threshold: Scores above it are anomalies.
        rule: What makes a row an anomaly, in words.
        output: The folder of the parts.
        model: The pair's name and version.
        pair_id: The id of the pair that scored them.
    """

    parts: int
    kept: int
    rows: int
    anomalies: int
    rejected: int
    threshold: float
    rule: str
    output: str
    model: str
    pair_id: str


def detect_on_cluster(
    model: str,
    source: str,
    output: str,
    settings: Settings,
    address: str,
    on_parts: OnParts | None = None,
    *,
    form: str | None = None,
    options: UseOptions | None = None,
    allow_unseen: bool = False,
    control: Control | None = None,
    device: Device = "auto",
    force: bool = False,
) -> DistributedDetectResult:
    """Scores the files of a folder or a glob with a registered pair, on a Ray cluster.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: A folder or a glob of tables or arrays, local or `s3://`. A local one has to be
            where all nodes of the cluster see it, as has a local output.
        output: The folder of the parts, local or `s3://bucket/prefix`. `summary.json` in it is
            written last, once all parts are there.
        settings: The settings with the address of the registry, which only this process asks.
        address: The address of the cluster; `auto` for the one that this machine belongs to.
        on_parts: Called whenever a part is done.
        form: `parquet` or `csv`; by default each part has the form of its file where results can
            have that, and else is a parquet. A part has the name of its file, and its own ending
            after that if it is another.
        options: What is asked for of the input, as in `detect`.
        allow_unseen: As in `detect`.
        control: The rate of false alarms that is kept, as in `detect`; false discoveries are not
            controlled, as that needs all rows at once.
        device: `auto` gives each worker a GPU if the cluster has any.
        force: Whether earlier results in the folder are removed first. Without it, the parts of
            an interrupted job of the same pair, input and options are kept.

    Raises:
        UsageError: If the folder holds other results, if a GPU is asked for and there is none, or
            if the pair has too few calibration rows for the rate.
        ModelNotFound: If there is no such pair.
        DataError: If a file cannot be read, or if no row can.
        ClusterError: If the cluster does not answer, or gives up.
    """
    if is_in_s3(source) == is_in_s3(output):
        refuse_replaced_input(source, output)
    resolved = resolve(model, settings)
    pair = build(resolved)
    asked = Asked(options or UseOptions(set_aside=True), allow_unseen, control or Control())
    threshold, rule = _threshold(pair, asked.control)
    plan = _plan(pair, source, output, form, asked)
    parts = Parts(
        plan,
        provenance_of(pair, source, job="detect", **asked.of_all(pair)),
    )
    with recorded(pair, "detect", settings) as record, ray_session(address, 1):
        on_gpus = _on_gpus(device, address)
        kept = parts.begin(force=force)
        outcomes = {each.number: each for each in kept}
        unread = [number for number in range(len(plan.names)) if number not in outcomes]
        carried = CarriedPair.of(resolved)
        rows = sum(each.rows for each in kept)
        for outcome in _scored(plan, carried, unread, on_gpus, address):
            outcomes[outcome.number] = outcome
            rows += outcome.rows
            if on_parts:
                on_parts(len(outcomes), len(plan.names), rows)
        total = parts.finish([outcomes[number] for number in sorted(outcomes)])
        record(Path(plan.output.address), total["rows"])
    return DistributedDetectResult(
        parts=len(plan.names),
        kept=len(kept),
        **total,
        threshold=threshold,
        rule=rule,
        output=output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


# -- what is to be done ---------------------------------------------------------------------------


def _threshold(pair: Pair, control: Control) -> tuple[float, str]:
    """Returns the score that anomalies exceed, and the rule in words."""
    if control.name != "rate":
        raise UsageError(
            f"the control {control.name} decides by all rows together, and --address scores each "
            "file by itself; leave one of them out"
        )
    calibration = calibration_of(pair)
    return control.threshold_of(pair, calibration), control.rule_of(pair, calibration)


def _plan(pair: Pair, source: str, output: str, form: str | None, asked: Asked) -> PartsPlan:
    """Finds the files, and settles the name and the provenance of the part of each."""
    if form is not None and form not in FORMS:
        raise UsageError(f'no form "{form}"; parts can be {" or ".join(FORMS)}')
    files = locate(source)
    kind = pair.manifest.data.kind
    if kind in (DataKind.IMAGES, DataKind.AUDIO) or not files.is_folder:
        what = f"{kind} pair" if files.is_folder else "single file"
        raise UsageError(
            f"{source}: --address scores a folder or a glob of tables, a part for each; for a "
            f"{what} leave it out"
        )
    addresses = [each if is_in_s3(each) else str(Path(each).absolute()) for each in files.addresses]
    files = Files(files.name, files.names, tuple(addresses), is_folder=True)
    # What does not fit is refused before Ray is connected.
    open_files(pair.manifest.data, files, pair.manifest.rows_taken, asked.options)
    names = tuple(_part_name(name, form) for name in files.names)
    noted = tuple(
        {**asked.of_part(), "file": name, "state": state}
        for name, state in zip(files.names, _states(files), strict=True)
    )
    return PartsPlan(source, files, names, noted, PartsFolder.at(output), asked)


def _part_name(name: str, form: str | None) -> str:
    ending = ending_of(name)
    if form is None:
        return name if ending in RESULT_ENDINGS else f"{name}{FORMS['parquet']}"
    return name if ending == FORMS[form] else f"{name}{FORMS[form]}"


def _states(files: Files) -> list[str]:
    """Returns a text for each file that changes when the file does: its size and its time."""
    if not is_in_s3(files.addresses[0]):
        found = fs.LocalFileSystem().get_file_info(list(files.addresses))
    else:
        from isthmus.data.s3 import connect_to

        paths = [address.removeprefix("s3://") for address in files.addresses]
        found = connect_to(paths[0].partition("/")[0]).get_file_info(paths)
    return [f"{each.size} bytes, {each.mtime_ns} ns" for each in found]


# -- Ray ------------------------------------------------------------------------------------------


def _on_gpus(device: Device, address: str) -> bool:
    """Returns whether each worker gets a GPU of the cluster that is connected."""
    import ray

    has_gpus = int(ray.cluster_resources().get("GPU", 0)) > 0
    if device == "gpu" and not has_gpus:
        raise UsageError(
            f"device gpu needs a GPU, and the cluster at {address} has none; choose auto or cpu"
        )
    return has_gpus and device != "cpu"


def _scored(
    plan: PartsPlan, pair: CarriedPair, numbers: Sequence[int], on_gpus: bool, address: str
) -> Iterator[PartOutcome]:
    """Yields what came of each part as it is done; a part whose worker dies is done again.

    Raises:
        DataError: The fault of the first file that has one; other parts that are done stay.
    """
    from ray.exceptions import RayError

    if not numbers:
        return
    try:
        with closing(_outcomes(_dataset(plan, pair, numbers, on_gpus))) as outcomes:
            for outcome in outcomes:
                if outcome.fault:
                    raise DataError(outcome.fault)
                yield outcome
    except RayError as error:
        raise ClusterError(
            f"{without_password(plan.source)}: the cluster at {address} gave up "
            f"({first_line(error)}); its log says more, and the same command goes on with "
            "the parts that are left"
        ) from error


def _outcomes(dataset: Dataset) -> Generator[PartOutcome]:
    for row in dataset.iter_rows():
        yield PartOutcome(**json.loads(row["outcome"]))


def _dataset(plan: PartsPlan, pair: CarriedPair, numbers: Sequence[int], on_gpus: bool) -> Dataset:
    """Returns the files as a dataset that is scored by actors, each file as a task of its own."""
    import ray
    from ray.data import ActorPoolStrategy, from_items

    has = ray.cluster_resources()
    most = int(has.get("GPU" if on_gpus else "CPU", 1))
    items = [{"number": number} for number in numbers]
    dataset = from_items(items, override_num_blocks=len(items)).map_batches(
        PartScorer,
        fn_constructor_args=(pair, "gpu" if on_gpus else "cpu", plan),
        batch_size=1,
        num_cpus=1,
        num_gpus=1 if on_gpus else 0,
        compute=ActorPoolStrategy(min_size=1, max_size=max(1, min(most, len(items)))),
    )
    dataset.context.enable_progress_bars = False
    return dataset
