"""The model card: the Markdown description of a version in MLflow's UI, made from the pair's facts.

People may edit a description. The text that Isthmus writes stands between markers that the UI does
not show, so that it can be replaced later without changing what people wrote around it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

from isthmus import plugins
from isthmus.bundle.manifest import HALVES, Half, PairManifest
from isthmus.declarations import declaration, summary_of
from isthmus.errors import first_line
from isthmus.kinds import facts_of
from isthmus.registry.card_detector import calibration_in_words, detector_in_words
from isthmus.registry.figures import beside_pca, named
from isthmus.registry.lookup import find_halves, open_registry
from isthmus.registry.reference import Reference, half_name
from isthmus.registry.succession import NO_SUCCESSION, Succession
from isthmus.spec import DataSpec, ModelPlan, Settings
from isthmus.tracking import store_errors
from isthmus.tracking.noise_in_words import remarks
from isthmus.types import DataKind

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

MOST_CHARACTERS = 5000
"""The longest description, since MLflow's column on a database server holds no more."""
CARD, DETAILS = "card", "details"
"""The names of the sections that `register_pair` writes; the gate's stands between them."""
GAP = "&nbsp;&nbsp;"
"""The prefix of a table's cells, because MLflow's UI leaves no space between columns.

With a wider space, such as an em space, the line would break in a narrow window."""
_MOST_FIGURES = 12
_MOST_NAMES = 12
_MOST_NOT_RECONSTRUCTED = 8


@dataclass(frozen=True)
class Subject:
    """The registered pair that a card describes.

    Attributes:
        manifest: The pair's manifest.
        versions: The model version of each half.
        succession: The champion at the pair's registration, and how their latents relate.
        experiment_id: The MLflow experiment of the pair's run.
        run_name: The readable name of the run.
    """

    manifest: PairManifest
    versions: Mapping[Half, int]
    succession: Succession
    experiment_id: str
    run_name: str

    @property
    def reference(self) -> str:
        """The pair's name and version, such as `digits/3`."""
        return f"{self.manifest.name}/{self.versions['encoder']}"


def replace_section(description: str, section: str, text: str) -> str:
    """Replaces a section of a description, or inserts it before the details of the card.

    What the pair is, how to load it and its figures stand above, and whatever else is to be known
    of it below. If there are no details, the section is added at the end. If the description would
    be longer than MLflow allows, the text is cut at the end of a line.

    Args:
        description: The whole description.
        section: The section's name, a lower-case word.
        text: The section's new text, in Markdown.
    """
    begin, end = f"<!-- isthmus:{section} -->", f"<!-- /isthmus:{section} -->"
    marked = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    found = marked.search(description)
    if found:
        before, after = description[: found.start()], description[found.end() :]
    else:
        details = description.find(f"<!-- isthmus:{DETAILS} -->")
        at = details if details >= 0 else len(description)
        before = f"{description[:at].rstrip()}\n\n".lstrip()
        after = f"\n\n{description[at:]}".rstrip()
    room = MOST_CHARACTERS - len(before) - len(after) - len(begin) - len(end) - 4
    if len(text) > room:
        kept = text[: max(room - 2, 0)]
        text = kept[: kept.rfind("\n") + 1] + "…"
        if room < 1:
            return description
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


def write_section(reference: str, section: str, text: str, settings: Settings) -> None:
    """Replaces a section in the descriptions of both halves.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`.
        section: The section's name, such as `gate`.
        text: The section's new text, in Markdown.
        settings: The settings that say where the registry is.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        for version in find_halves(client, Reference.parse(reference)):
            changed = replace_section(version.description or "", section, text)
            client.update_model_version(version.name, str(version.version), changed)


def describe(
    client: MlflowClient,
    manifest: PairManifest,
    versions: Mapping[Half, int],
    succession: Succession = NO_SUCCESSION,
) -> None:
    """Writes the model cards of both halves.

    A failure is only logged, because a pair without cards is complete.

    Args:
        client: The client of the registry.
        manifest: The pair's manifest, with the name that its versions are registered under.
        versions: The model version of each half.
        succession: The champion at the pair's registration, if there was one.
    """
    try:
        run = client.get_run(manifest.run_id).info
        name = run.run_name or run.run_id[:8]
        _write_card(client, Subject(manifest, versions, succession, run.experiment_id, name))
    except Exception as error:  # noqa: BLE001 (network, store and driver may raise anything)
        reference = f"{manifest.name}/{versions['encoder']}"
        _logger.warning(
            "the model card of %s could not be written: %s", reference, first_line(error)
        )


def _write_card(client: MlflowClient, subject: Subject) -> None:
    """Replaces the card in both halves' descriptions; text that people wrote there is kept."""
    for half in HALVES:
        name, version = half_name(subject.manifest.name, half), str(subject.versions[half])
        description = client.get_model_version(name, version).description or ""
        changed = replace_section(description, CARD, card(subject, half))
        changed = replace_section(changed, DETAILS, details(subject))
        client.update_model_version(name, version, changed)


def card(subject: Subject, half: Half) -> str:
    """Returns the beginning of the model card of one half: what it is, and how good."""
    parts = [
        _head(subject, half),
        "### Load it",
        _lines_that_run(subject, half),
        "### On held-out rows",
        _figures(subject),
    ]
    return "\n\n".join(parts)


def details(subject: Subject) -> str:
    """Returns the rest of the model card, which is the same for both halves."""
    parts = [
        "### Pictures",
        _pictures(subject),
        "### Use and limits",
        _limits(subject.manifest),
        "### Data",
        _data(subject.manifest),
        "### Latents",
        _latents(subject),
    ]
    return "\n\n".join(parts)


def _head(subject: Subject, half: Half) -> str:
    manifest, plan = subject.manifest, subject.manifest.plan
    other: Half = "decoder" if half == "encoder" else "encoder"
    name = half_name(manifest.name, other)
    link = f"#/models/{name}/versions/{subject.versions[other]}"
    rows = _rows_in_words(plan, manifest.data, manifest.rows_taken.units or ())
    latents = f"latents of {plan.latent_dim} numbers"
    takes, gives = (rows, latents) if half == "encoder" else (latents, rows)
    variant = declaration("variants", plan.variant.name)
    summary, paper = summary_of(variant), plugins.paper(variant.about)
    if paper:
        summary += f" ({paper})"
    own = "".join(f" It needs {each.shown}." for each in manifest.plugins)
    run = f"#/experiments/{subject.experiment_id}/runs/{manifest.run_id}"
    return (
        f"The **{half}** of **{subject.reference}**: {takes} to {gives}. Its other half is "
        f"[the {other}]({link}); together they are pair `{manifest.pair_id}`, made by run "
        f"[{subject.run_name}]({run}).\n\n"
        f"Variant **{plan.variant.name}**: {summary}. Net **{plan.net.name}**, "
        f"{plan.reconstruction} loss.{own}"
    )


def _rows_in_words(plan: ModelPlan, data: DataSpec, units: Sequence[str | None] = ()) -> str:
    shape = " x ".join(map(str, plan.row_shape))
    facts = facts_of(plan.kind)
    names = () if facts.feature is None else data.feature_names or ()
    return f"{facts.words.format(shape=shape)}{_listed(names, units=units)}"


def _listed(names: Sequence[str], most: int = _MOST_NAMES, units: Sequence[str | None] = ()) -> str:
    if not names:
        return ""
    shown = ", ".join(
        f"`{_plain(name)}`" + (f" ({_plain(unit)})" if unit else "")
        for name, unit in zip_longest(names[:most], units[: len(names[:most])])
    )
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f": {shown}{more}"


def _pictures(subject: Subject) -> str:
    """Returns links to the run's figures, without a host so that any address of MLflow works."""
    run, experiment = subject.manifest.run_id, subject.experiment_id

    def address(name: str) -> str:
        return f"get-artifact?path={quote(f'figures/{name}.png', safe='')}&run_id={run}"

    others = {"latent_space": "latent space", "errors": "errors beside PCA's", "loss": "loss"}
    links = ", ".join(f"[{said}]({address(name)})" for name, said in others.items())
    everything = f"#/experiments/{experiment}/runs/{run}/artifacts"
    return (
        f"Besides: {links}, [all of the run's]({everything}).\n\n"
        f"![Rows and their reconstructions]({address('reconstructions')})"
    )


def _figures(subject: Subject) -> str:
    ours = subject.manifest.metrics
    champion = subject.succession.manifest
    theirs = champion.metrics if champion else {}
    figures = beside_pca(ours)
    has_pca = any(pca is not None for _, pca in figures.values())
    heads = [subject.reference, *([f"champion {subject.succession.champion}"] * bool(champion))]
    heads += ["PCA"] * has_pca
    lines = [
        f"| | {' | '.join(GAP + head for head in heads)} |",
        f"| --- |{' ---: |' * len(heads)}",
    ]
    for name, (figure, pca) in list(figures.items())[:_MOST_FIGURES]:
        cells = [figure, *([theirs.get(name)] * bool(champion)), *([pca] * has_pca)]
        lines.append(f"| {named(name)} | {' | '.join(map(_figure, cells))} |")
    text = "\n".join(lines) + "\n\n"
    if has_pca:
        text += "PCA is of the same size, fitted to the same training rows."
    if champion:
        is_same = _split_of(champion) == _split_of(subject.manifest)
        whose = "the same rows" if is_same else "held-out rows of its own data, in its own scale"
        text += f" The champion's figures are of its registration, on {whose}."
    return text


def _split_of(manifest: PairManifest) -> tuple[object, ...]:
    """Returns what determines which rows are held out and how they are scaled."""
    training = manifest.spec.get("training") or {}
    data = manifest.data
    return (
        *(manifest.fingerprint, training.get("seed"), data.scaling),
        *(data.validation_fraction, data.calibration_share, data.test_fraction),
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{GAP}{value:.4g}"


def _data(manifest: PairManifest) -> str:
    data = manifest.data
    parts = [f"`{_plain(data.shown_path)}`, fingerprint `{manifest.fingerprint[:16]}`"]
    if manifest.rows:
        parts.append(", ".join(f"{count:,} {part}" for part, count in manifest.rows.items()))
    split_by = facts_of(manifest.plan.kind).split_by
    how = {
        "time": "by time: the latest steps are for test",
        "file": "by a hash of the file",
        "content": "by a hash of each row, so that equal rows stay together",
    }[split_by]
    seed = (manifest.spec.get("training") or {}).get("seed")
    if seed is not None and split_by != "time":
        how += f" (seed {seed})"
    kept = f" Only rows labelled {_span(data.keep_labels)} were used." if data.keep_labels else ""
    return f"{'; rows: '.join(parts)}; split {how}.{kept}"


def _span(labels: Sequence[int | str]) -> str:
    shown = ", ".join(_plain(str(each)) for each in labels[:_MOST_NAMES])
    return f"{shown}, ..." if len(labels) > _MOST_NAMES else shown


def _latents(subject: Subject) -> str:
    said, succession = subject.manifest.compatibility, subject.succession
    if said is None:
        whose = f"those of {succession.champion}" if succession.champion else "any older version's"
        return f"They cannot be read as {whose}: {succession.why_not}."
    affine, procrustes = (f"{100 * said.errors[kind]:.3g} %" for kind in ("affine", "procrustes"))
    return (
        f"They differ from those of {said.champion}, the champion before. Of the variance of its "
        f"latents an affine map leaves {affine} unexplained, a Procrustes map {procrustes} "
        f"(scale {said.scale:.3g}; {said.rows:,} held-out rows). "
        f'`isthmus.load("{subject.reference}", compatible_with="{said.champion}")` '
        f"uses the {said.best} map."
    )


def _limits(manifest: PairManifest) -> str:
    data, metrics, plan = manifest.data, manifest.metrics, manifest.plan
    lines = [
        f"For {_rows_in_words(plan, data).partition(':')[0]} of the kind it was trained on, in the "
        f"same units: its own scaling ({data.scaling}) was fitted to them. Another shape is "
        "refused, and values far outside the trained range are told; other contents are not "
        "noticed.",
    ]
    if plan.kind is DataKind.TABULAR and data.missing == "mean":
        lines.append("Missing values count as the mean of the training rows.")
    lines.append(detector_in_words(manifest))
    calibrated = calibration_in_words(manifest)
    if calibrated is not None:
        lines.append(calibrated)
    if manifest.rows_taken.centre is not None:
        lines.append(
            "The values are large beside their spread, so the ONNX graphs and the MLflow models "
            "take and give rows as float64, and not as float32; latents and scores are float32."
        )
    if manifest.not_reconstructed:
        named = _listed(manifest.not_reconstructed, _MOST_NOT_RECONSTRUCTED)
        lines.append(
            "Not reconstructed, less than 5 % of the variance on held-out rows"
            f"{named}. Of these, reconstructed rows hold little more than the mean."
        )
    error, pca = metrics.get("test/reconstruction_mse"), metrics.get("test/pca_mse")
    if error is not None and pca is not None and error > pca:
        lines.append(
            f"PCA of the same size reconstructs these rows better ({pca:.4g} against {error:.4g})."
        )
    lines += [f"{line[:1].upper()}{line[1:]}." for line in remarks(metrics, plan)]
    return "\n".join(f"- {line}" for line in lines)


def _lines_that_run(subject: Subject, half: Half) -> str:
    use = "latents = pair.encode(rows)" if half == "encoder" else "rows = pair.decode(latents)"
    return f'```python\nimport isthmus\npair = isthmus.load("{subject.reference}")\n{use}\n```'


def _plain(text: str) -> str:
    """Returns a text that is safe in Markdown code, shortened to about 80 characters."""
    text = re.sub(r"[`|\n<>]", " ", text)
    return text if len(text) <= 80 else f"{text[:38]}...{text[-38:]}"
