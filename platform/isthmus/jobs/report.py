"""Makes a page of a file of scores: what was found, why it is strange, and whether it holds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from isthmus.data.storage.files import ending_of
from isthmus.errors import IsthmusError, RegistryError
from isthmus.registry import Pair, fetch_held_out, load
from isthmus.report import ScoresFile, check_page, gather, open_scores, write_page
from isthmus.spec import Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportResult:
    """The result of a report job.

    Attributes:
        page: The page.
        rows: The number of rows, or of steps of series, that it is about.
        is_of_steps: Whether each step of series has a score of its own.
        anomalies: The number of anomalies among them.
        lacks: The parts that the page lacks, and why; empty if it has everything.
    """

    page: Path
    rows: int
    is_of_steps: bool
    anomalies: int
    lacks: tuple[str, ...]


def page_beside(scores: Path) -> Path:
    """Returns the name of the page of a file of scores: `scores.html` for `scores.csv.gz`."""
    stem = scores.name[: len(scores.name) - len(ending_of(scores.name))]
    return scores.with_name(f"{stem}.html")


def report(scores: str | Path, page: str | Path, settings: Settings) -> ReportResult:
    """Makes a page of a file of scores.

    The pair and the input are found by what the scores say of them. If one of the two is not there
    any more, the page is made without it, and says so.

    Args:
        scores: A file that `isthmus detect` wrote.
        page: The path of the page, which appears whole or not at all.
        settings: The settings with the address of the registry.

    Raises:
        DataError: If the file holds no such scores, or if the page cannot be written.
    """
    check_page(Path(page))
    file = open_scores(Path(scores))
    notes: list[str] = []
    pair = _pair_of(file, settings, notes)
    held_out = None
    if pair is not None:
        try:
            held_out = fetch_held_out(pair.manifest, settings)
        except RegistryError as error:
            notes.append(str(error))
    content = gather(file, pair, held_out, notes)
    write_page(content, Path(page))
    lacks = tuple(content.notes)
    for note in lacks:
        _logger.info("%s: %s", page, note)
    summary = content.summary
    return ReportResult(Path(page), summary.rows, file.is_of_steps, summary.anomalies, lacks)


def _pair_of(file: ScoresFile, settings: Settings, notes: list[str]) -> Pair | None:
    """Returns the pair that made the scores; `None`, with a note, if it is not there any more."""
    said = file.provenance
    try:
        pair = load(said.model, settings)
    except IsthmusError as error:
        notes.append(
            f"The pair cannot be loaded, so this page is made of the scores alone: {error}"
        )
        return None
    if pair.manifest.pair_id != said.pair_id:
        notes.append(
            f"{said.model} is another pair now ({pair.manifest.pair_id}), so this page is made of "
            "the scores alone."
        )
        return None
    return pair
