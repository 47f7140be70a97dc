"""Gathers the content of a page from the scores, the pair and the input, as far as they exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from isthmus.bundle.held_out import HeldOutSample
from isthmus.drift import (
    DriftReport,
    LatentDrift,
    compare_latents,
    compare_with_held_out,
    summaries_of,
)
from isthmus.errors import DataError
from isthmus.explanations import Contributions
from isthmus.kinds import facts_of
from isthmus.registry import Pair
from isthmus.report.cards import Card, cards_of, plain_cards
from isthmus.report.charts import distribution_pair, histogram, p_value_plot, rate_curve
from isthmus.report.input_rows import InputRows, read_input, truth_of
from isthmus.report.scores_file import ScoresFile
from isthmus.report.summary import ScoresSummary, summarise

MOST_STRANGE = 12
_MOST_DRIFT_LINES = 12
_MOST_LATENTS = 1_000


@dataclass(frozen=True)
class DriftLine:
    """The drift of one feature, with both distributions as SVG."""

    name: str
    statistic: float
    p_value: str
    adjusted_p_value: str
    is_drifted: bool
    chart: Markup


@dataclass(frozen=True)
class DriftSection:
    """The drift of the input.

    Attributes:
        report: The comparison of the features.
        lines: The features that drifted most.
        latents: The comparison of the latents.
        is_series: Whether neighbouring rows are alike, which the latents' p-value does not know.
    """

    report: DriftReport
    lines: Sequence[DriftLine]
    latents: LatentDrift
    is_series: bool


@dataclass(frozen=True)
class RatesSection:
    """The quality of the scores by the input's labels, with its charts."""

    auroc: float
    average_precision: float
    labelled: int
    anomalies: int
    roc: Markup
    precision_recall: Markup


@dataclass(frozen=True)
class PageContent:
    """Everything that a page shows.

    Attributes:
        file: The scores.
        summary: The summary that the scores alone allow.
        pair: The pair; `None` if it is not there any more.
        histogram: The histogram of the scores.
        p_value_plot: The p-values against uniform ones.
        cards: The strangest rows.
        drift: The drift of the input, if it could be measured.
        rates: ROC and precision-recall, if the input has labels.
        notes: The parts that the page lacks, and why.
    """

    file: ScoresFile
    summary: ScoresSummary
    pair: Pair | None
    histogram: Markup
    p_value_plot: Markup
    cards: Sequence[Card]
    drift: DriftSection | None = None
    rates: RatesSection | None = None
    notes: Sequence[str] = ()


def gather(
    file: ScoresFile, pair: Pair | None, held_out: HeldOutSample | None, notes: Sequence[str] = ()
) -> PageContent:
    """Gathers what a page shows.

    Args:
        file: The scores.
        pair: The pair that made them; `None` if there is none any more.
        held_out: The pair's held-out rows, if there are any.
        notes: The parts that the page lacks so far, and why.

    Raises:
        DataError: If the scores cannot be read, or are none.
    """
    summary = summarise(file, MOST_STRANGE)
    if summary is None:
        raise DataError(f"{file.path}: holds no rows; detect in an input that has some")
    content = PageContent(
        file=file,
        summary=summary,
        pair=pair,
        histogram=histogram(summary.sample.scores, summary.sample.anomalies, file.threshold),
        p_value_plot=p_value_plot(summary.sample.p_values),
        cards=plain_cards(summary.strangest),
        notes=notes,
    )
    if pair is None:
        return content
    try:
        rows = read_input(file, pair, summary)
    except DataError as error:
        note = (
            f"The input cannot be read any more, so this page is made of the scores alone: {error}"
        )
        return replace(content, notes=[*notes, note])
    cards = content.cards if rows.peaks is None else plain_cards(rows.peaks)
    drift = _drift(rows, pair, held_out)
    more = [] if drift else [_no_drift(held_out)]
    return replace(
        content,
        cards=cards_of(cards, rows.strange, Contributions(pair, held_out)),
        drift=drift,
        rates=_rates(summary, truth_of(file, pair, summary, rows)),
        notes=[*notes, *more],
    )


def _no_drift(held_out: HeldOutSample | None) -> str:
    if held_out is None:
        return (
            "The version has no held-out rows stored with it, so drift is not measured; errors of "
            "features are compared in scaled units."
        )
    return "There are too few rows to measure drift."


def _drift(rows: InputRows, pair: Pair, held_out: HeldOutSample | None) -> DriftSection | None:
    if held_out is None:
        return None
    schema = pair.manifest.rows_taken
    sample = rows.sample
    report = compare_with_held_out(sample.rows, sample.flags, held_out.rows, schema)
    if report is None:
        return None
    compared = sample.rows[~sample.flags] if report.anomalies_left_out else sample.rows
    reference, found = summaries_of(held_out.rows, schema), summaries_of(compared, schema)
    by_name = {name: place for place, name in enumerate(found.names)}
    drifted = {each.name for each in report.drifted}
    most = sorted(report.features, key=lambda each: -each.statistic)[:_MOST_DRIFT_LINES]
    lines = [
        DriftLine(
            name=each.name,
            statistic=each.statistic,
            p_value=f"{each.p_value:.2g}",
            adjusted_p_value=f"{each.adjusted_p_value:.2g}",
            is_drifted=each.name in drifted,
            chart=distribution_pair(
                reference.values[:, by_name[each.name]],
                found.values[:, by_name[each.name]],
                f"Distribution of {each.name} in training and in the input",
            ),
        )
        for each in most
    ]
    latents = compare_latents(
        pair.encode(_spread(held_out.rows), as_read=True).values,
        pair.encode(compared, as_read=True).values,
    )
    are_windows = facts_of(schema.kind).are_windows
    return DriftSection(report, lines, latents, are_windows)


def _spread(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns enough of the held-out rows to compare latents, evenly spaced."""
    return np.ascontiguousarray(rows[:: max(1, len(rows) // _MOST_LATENTS)])


def _rates(summary: ScoresSummary, truth: NDArray[np.bool_] | None) -> RatesSection | None:
    if truth is None:
        return None
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    highest = np.finfo(np.float64).max
    scores = np.nan_to_num(summary.sample.scores, nan=highest, posinf=highest)
    false_rate, true_rate, _ = roc_curve(truth, scores)
    precision, recall, _ = precision_recall_curve(truth, scores)
    return RatesSection(
        auroc=float(roc_auc_score(truth, scores)),
        average_precision=float(average_precision_score(truth, scores)),
        labelled=len(truth),
        anomalies=int(truth.sum()),
        roc=rate_curve(
            false_rate, true_rate, "false-positive rate", "true-positive rate", diagonal=True
        ),
        precision_recall=rate_curve(recall, precision, "recall", "precision", diagonal=False),
    )
