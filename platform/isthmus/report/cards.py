"""The strangest rows as a person knows them: pictures, curves, or values beside reconstructions."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from isthmus.data.outputs.digits import shown, shown_range
from isthmus.explanations import (
    Contributions,
    Explained,
    Responsible,
    StrangeRows,
    TableFeatures,
    contribution_png,
    image_png,
    most_responsible,
    spectrogram_png,
)
from isthmus.explanations.features import NO_FEATURE
from isthmus.explanations.pictures import as_pictures, errors_in_usual, full_of, heat_of_images
from isthmus.explanations.spectral import spectral_contributions
from isthmus.explanations.strangest import name_of
from isthmus.kinds import facts_of
from isthmus.report.charts import curves
from isthmus.report.scores_file import ScoreBlock

_MOST_FEATURES = 5
_MOST_CHANNELS = 3
# The significant digits of a value and of the ends of its usual range, at least.
_VALUE_DIGITS, _RANGE_DIGITS = 4, 3


@dataclass(frozen=True)
class FeatureLine:
    """One of the features that make a row strange, as texts.

    Attributes:
        name: The feature or channel.
        value: The value.
        reconstruction: The reconstruction of the value.
        usual: The usual range or the usual values.
        share: The share in the strangeness of the row, 0 to 1.
        where: The step at which the values are, if they are of a series.
    """

    name: str
    value: str
    reconstruction: str
    usual: str
    share: float
    where: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture that is part of the page."""

    caption: str
    uri: str
    is_pixels: bool = True


@dataclass(frozen=True)
class Card:
    """One of the strangest rows.

    Attributes:
        name: The name of the row.
        score: The score, as a text.
        p_value: The p-value, as a text.
        is_anomaly: Whether it is an anomaly.
        features: The features that are most responsible.
        pictures: Pictures of it.
        charts: Curves of it, as SVG.
    """

    name: str
    score: str
    p_value: str
    is_anomaly: bool
    features: Sequence[FeatureLine] = ()
    pictures: Sequence[Picture] = ()
    charts: Sequence[Markup] = ()


def plain_cards(scores: ScoreBlock) -> list[Card]:
    """Returns the cards that need the scores alone, with what `--explain` wrote beside them."""
    cards = []
    for place in range(len(scores)):
        index = {name: column[place] for name, column in scores.index.items()}
        cards.append(
            Card(
                name=name_of(index) or f"row {place}",
                score=f"{scores.scores[place]:.4g}",
                p_value=f"{scores.p_values[place]:.3g}",
                is_anomaly=bool(scores.anomalies[place]),
                features=_written_features(scores, place),
            )
        )
    return cards


def cards_of(
    cards: Sequence[Card], strange: StrangeRows, contributions: Contributions
) -> list[Card]:
    """Returns the same cards with what the rows and their reconstructions show.

    Args:
        cards: The cards of the same rows, in the same order.
        strange: The rows.
        contributions: The explainer of the pair's rows.
    """
    explained = contributions.of(strange.block.values)
    match facts_of(contributions.pair.manifest.plan.kind).shown_as:
        case "pictures":
            return _with_images(cards, explained)
        case "sounds":
            return _with_sounds(cards, explained, contributions)
        case "curves":
            cards = _with_curves(cards, explained, contributions)
    return _with_features(cards, strange, explained, contributions)


def _with_features(
    cards: Sequence[Card],
    strange: StrangeRows,
    explained: Explained,
    contributions: Contributions,
) -> list[Card]:
    found = most_responsible(
        contributions,
        TableFeatures.of(contributions),
        strange.block.values,
        explained,
        _MOST_FEATURES,
    )
    return [
        replace(
            card,
            features=[
                FeatureLine(
                    name=str(found.names[row, place]),
                    value=_shown(found.values[row, place], str(found.usual[row, place])),
                    reconstruction=_shown(
                        found.reconstructions[row, place], str(found.usual[row, place])
                    ),
                    usual=_range(str(found.usual[row, place])),
                    share=float(found.shares[row, place]),
                    where=_step(found, strange, row, place),
                )
                for place in range(found.names.shape[1])
                if found.names[row, place] != NO_FEATURE
            ],
        )
        for row, card in enumerate(cards)
    ]


def _step(found: Responsible, strange: StrangeRows, row: int, place: int) -> str:
    if found.steps is None:
        return ""
    first = strange.block.index.get("first_step", np.zeros(len(strange), dtype=np.int64))
    return f"step {int(first[row]) + int(found.steps[row, place])}"


def _with_images(cards: Sequence[Card], explained: Explained) -> list[Card]:
    rows, made = explained.rows, explained.reconstructions
    low, high = float(np.nanmin(rows)), float(np.nanmax(rows))
    inputs, outputs = as_pictures(rows, low, high), as_pictures(made, low, high)
    heat = heat_of_images(explained)
    full = full_of(heat)
    return [
        replace(
            card,
            pictures=[
                Picture("input", _uri(image_png(inputs[place]))),
                Picture("reconstruction", _uri(image_png(outputs[place]))),
                Picture("error", _uri(contribution_png(heat[place], full))),
            ],
        )
        for place, card in enumerate(cards)
    ]


def _with_curves(
    cards: Sequence[Card], explained: Explained, contributions: Contributions
) -> list[Card]:
    names = TableFeatures.of(contributions).names
    heat = errors_in_usual(explained.contributions)
    full = full_of(heat)
    return [
        replace(
            card,
            charts=[
                _curve(explained, heat, place, int(channel), full, str(names[channel]))
                for channel in _strongest(heat[place])
            ],
        )
        for place, card in enumerate(cards)
    ]


def _with_sounds(
    cards: Sequence[Card], explained: Explained, contributions: Contributions
) -> list[Card]:
    spectral = spectral_contributions(contributions, explained)
    heat = errors_in_usual(explained.contributions)
    full, full_spectral = full_of(heat), full_of(errors_in_usual(spectral.values))
    caption = f"error over time and frequency, 0 to {spectral.highest_hz:,.6g} Hz"
    return [
        replace(
            card,
            charts=[_curve(explained, heat, place, 0, full, "sound", "sample of the window")],
            pictures=[
                Picture(caption, _uri(spectrogram_png(spectral, place, full_spectral)), False)
            ],
        )
        for place, card in enumerate(cards)
    ]


def _curve(
    explained: Explained,
    heat: NDArray[Any],
    place: int,
    channel: int,
    full: float,
    name: str,
    x_label: str = "step of the window",
) -> Markup:
    row, made = explained.rows[place, channel], explained.reconstructions[place, channel]
    return curves(row, made, heat[place, channel], full, x_label, name)


def _strongest(heat_CT: NDArray[Any]) -> NDArray[np.int64]:
    return np.argsort(-np.square(heat_CT).sum(axis=1), kind="stable")[:_MOST_CHANNELS]


def _written_features(scores: ScoreBlock, place: int) -> list[FeatureLine]:
    written = scores.explained
    lines = []
    for number in range(1, 1 + sum(name.startswith("feature_") for name in written)):
        cells = {
            what: str(written[f"{what}_{number}"][place]) if f"{what}_{number}" in written else ""
            for what in ("feature", "value", "reconstruction", "usual", "share")
        }
        if cells["feature"] == NO_FEATURE:
            continue
        lines.append(
            FeatureLine(
                name=cells["feature"],
                value=_shown(cells["value"], cells["usual"]),
                reconstruction=_shown(cells["reconstruction"], cells["usual"]),
                usual=_range(cells["usual"]),
                share=float(cells["share"] or 0),
            )
        )
    return lines


def _range(usual: str) -> str:
    """Returns a usual range with as many digits as are read at a glance, or the usual values."""
    ends = _ends(usual)
    if ends is None:
        return ", ".join(usual.split("|"))
    return shown_range(*ends, _RANGE_DIGITS, between=" to ")


def _shown(value: object, usual: str) -> str:
    """Returns a value with as many digits as tell it apart from what is usual."""
    low, high = _ends(usual) or (math.nan, math.nan)
    try:
        return shown(float(str(value)), low, high, _VALUE_DIGITS)
    except ValueError:
        return str(value)


def _ends(usual: str) -> tuple[float, float] | None:
    """Returns the ends of a usual range; `None` if the text is no range."""
    low, _, high = usual.partition("..")
    try:
        return float(low), float(high)
    except ValueError:
        return None


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
