"""Runs a downstream job on many files on a Ray cluster: a part of the results for each file.

Ray Data hands the files to actors that have loaded the pair. A part appears whole, with its
provenance, and is done again if the process that does it is killed; so each part is there exactly
once. What an interrupted job has done is kept by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import fs

from isthmus.data import Files, UseOptions, locate, open_files
from isthmus.data.outputs.parts_folder import PartsFolder
from isthmus.data.storage.files import is_in_s3
from isthmus.errors import ClusterError, DataError, UsageError, first_line
from isthmus.execution.inputs import refuse_replaced_input
from isthmus.execution.part_worker import PartOutcome, PartsPlan, PartWorker
from isthmus.execution.parts import Parts
from isthmus.execution.provenance import how_read, provenance_of, recording
from isthmus.execution.request import Request
from isthmus.execution.task import options_of
from isthmus.execution.use import Use, UseResult
from isthmus.kinds import facts_of
from isthmus.launch.session import ray_session
from isthmus.registry import Pair
from isthmus.registry.carried import CarriedPair
from isthmus.registry.device import check_device
from isthmus.registry.loading import build, resolve
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password

if TYPE_CHECKING:
    from ray.data import Dataset

OnParts = Callable[[int, int, int], None]
"""A function that is called with the parts done, all parts, and the rows done."""


def run_on_cluster(
    use: Use,
    model: str,
    source: str,
    output: str,
    settings: Settings,
    request: Request,
    on_parts: OnParts | None = None,
) -> UseResult:
    """Runs a job on the files of a folder or a glob with a registered pair, on a Ray cluster.

    Args:
        use: The job.
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: A folder or a glob of files, local or `s3://`. A local one has to be where all
            nodes of the cluster see it, as has a local output.
        output: The folder of the parts, local or `s3://bucket/prefix`. `summary.json` in it is
            written last, once all parts are there.
        settings: The settings with the address of the registry, which only this process asks.
        request: The request. `address` is that of the cluster. Without `force`, the parts of
            an interrupted job of the same pair, input and options are kept.
        on_parts: Called whenever a part is done.

    Raises:
        UsageError: If the folder holds other results, if a GPU is asked for and there is none, or
            if the job needs all rows at once.
        ModelNotFound: If there is no such pair.
        DataError: If a file cannot be read, or if no row can.
        ClusterError: If the cluster does not answer, or gives up.
    """
    address = request.address or "auto"
    use.check_parts()
    check_device(request.device)
    if is_in_s3(source) == is_in_s3(output):
        refuse_replaced_input(source, output)
    resolved = resolve(model, settings)
    pair = use.adapted(build(resolved), settings)
    use.check(pair)
    said = _said(use, pair, request)
    plan = _plan(use, pair, source, output, request, said)
    parts = Parts(plan, provenance_of(pair, source, job=use.name(), **said))
    with recording(pair, use.name(), settings) as recorder, ray_session(address, 1):
        on_gpus = _on_gpus(request.device, address)
        kept = parts.begin(force=request.force)
        outcomes = {each.number: each for each in kept}
        undone = [number for number in range(len(plan.names)) if number not in outcomes]
        carried = CarriedPair.of(resolved, pair)
        rows = sum(each.counts["rows"] for each in kept)
        for outcome in _done(plan, carried, undone, on_gpus, address):
            outcomes[outcome.number] = outcome
            rows += outcome.counts["rows"]
            if on_parts:
                on_parts(len(outcomes), len(plan.names), rows)
        total = parts.finish([outcomes[number] for number in sorted(outcomes)])
        if plan.output.is_local:
            recorder.record(recorder.of(Path(plan.output.address), output, total["rows"]))
    result = use.result(pair, output, total)
    return replace(result, parts=len(plan.names), kept=len(kept))


# -- what is to be done ---------------------------------------------------------------------------


def _said(use: Use, pair: Pair, request: Request) -> dict[str, object]:
    """Returns what the provenance says of the options; parts that say otherwise are not kept."""
    options = options_of(request)
    return {
        **use.noted(pair),
        **how_read(options),
        **use.config.model_dump(mode="json", exclude_none=True),
        "set_aside": options.set_aside,
    }


def _plan(
    use: Use,
    pair: Pair,
    source: str,
    output: str,
    request: Request,
    said: Mapping[str, object],
) -> PartsPlan:
    """Finds the files, and settles the name and the provenance of the part of each."""
    kind = pair.manifest.data.kind
    found = locate(source)
    if kind not in use.OUTPUT.PARTS_OF or not found.is_folder:
        what = f"{kind} pair" if found.is_folder else "single file"
        raise UsageError(
            f"{source}: --address works on a folder or a glob of files, a part for each; for a "
            f"{what} leave it out"
        )
    names = tuple(use.OUTPUT.part_name(name, request.form) for name in found.names)
    addresses = [each if is_in_s3(each) else str(Path(each).absolute()) for each in found.addresses]
    files = Files(found.name, found.names, tuple(addresses), is_folder=True)
    folder, options = PartsFolder.at(output), options_of(request)
    _refuse_unfit(use, pair, files, folder, options)
    noted = tuple(
        {**said, "file": name, "state": state}
        for name, state in zip(files.names, _states(files), strict=True)
    )
    return PartsPlan(use, source, files, names, noted, folder, options)


def _refuse_unfit(
    use: Use, pair: Pair, files: Files, folder: PartsFolder, options: UseOptions
) -> None:
    """Refuses what does not fit before Ray is connected: files, or the form of their parts."""
    manifest = pair.manifest
    if not facts_of(manifest.data.kind).from_tables:
        # Each has a header to be read, perhaps in S3: the workers do that.
        files = replace(files, names=files.names[:1], addresses=files.addresses[:1])
    options = replace(options, blends=use.OUTPUT.BLENDS)
    opened = open_files(manifest.data, files, manifest.rows_taken, options)
    use.OUTPUT.check_parts(opened, Path(folder.address))


def _states(files: Files) -> list[str]:
    """Returns a text for each file that changes when the file does: its size and its time."""
    if not is_in_s3(files.addresses[0]):
        found = fs.LocalFileSystem().get_file_info(list(files.addresses))
    else:
        from isthmus.data.storage.s3 import connect_to

        paths = [address.removeprefix("s3://").rstrip("/") for address in files.addresses]
        found = connect_to(paths[0].partition("/")[0]).get_file_info(paths)
    return [f"{each.size} bytes, {each.mtime_ns} ns" for each in found]


# -- Ray ------------------------------------------------------------------------------------------


def _on_gpus(device: str, address: str) -> bool:
    """Returns whether each worker gets a GPU of the cluster that is connected."""
    import ray

    has_gpus = int(ray.cluster_resources().get("GPU", 0)) > 0
    if device == "gpu" and not has_gpus:
        raise UsageError(
            f"device gpu needs a GPU, and the cluster at {address} has none; choose auto or cpu"
        )
    return has_gpus and device != "cpu"


def _done(
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
    """Returns the files as a dataset that actors work on, each file as a task of its own."""
    import ray
    from ray.data import ActorPoolStrategy, from_items

    has = ray.cluster_resources()
    most = int(has.get("GPU" if on_gpus else "CPU", 1))
    items = [{"number": number} for number in numbers]
    dataset = from_items(items, override_num_blocks=len(items)).map_batches(
        PartWorker,
        fn_constructor_args=(pair, "gpu" if on_gpus else "cpu", plan),
        batch_size=1,
        num_cpus=1,
        num_gpus=1 if on_gpus else 0,
        compute=ActorPoolStrategy(min_size=1, max_size=max(1, min(most, len(items)))),
    )
    dataset.context.enable_progress_bars = False
    return dataset
