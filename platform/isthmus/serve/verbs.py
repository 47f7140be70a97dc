"""Carries out a request to a service: reads it, has its rows computed, and writes the answer."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from isthmus.data import UseOptions, open_results
from isthmus.data.outputs.array_output import save_npz
from isthmus.data.rows import joined_columns
from isthmus.detection.points import ranges_path, scores_points
from isthmus.embedding.latents_file import in_columns
from isthmus.embedding.spool import LATENT
from isthmus.errors import DataError, IsthmusError
from isthmus.execution.inputs import InputPart
from isthmus.execution.provenance import provenance_of
from isthmus.execution.task import Task
from isthmus.registry import Pair
from isthmus.serve.batching import Columns, Piece, rows_in_a_piece
from isthmus.serve.forms import (
    NotJson,
    answer_form,
    form_of,
    json_bytes,
    listed,
    numbers_of,
    parsed,
)
from isthmus.serve.media_types import ENDINGS, JSON, NPZ, TABLES
from isthmus.serve.messages import Answer, Asked
from isthmus.serve.reading import RequestRows, read_request, refuse_too_many, write_body
from isthmus.uses.detect import Detect

Compute = Callable[[Piece], Awaitable[Columns]]
"""Has a piece computed, together with those of other requests."""
InThread = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in a thread that reads and writes."""


class ForeignLatents(IsthmusError):
    """Latents were made by another pair than the one that is to decode them."""


@dataclass(frozen=True, eq=False)
class Work:
    """A request at work.

    Attributes:
        asked: The request.
        pair: The pair that answers it, whatever comes while it does.
        folder: A folder for its files.
        compute: Has a piece computed.
        in_thread: Runs what takes long beside the event loop, and not in the computing thread.
    """

    asked: Asked
    pair: Pair
    folder: Path
    compute: Compute
    in_thread: InThread

    async def answer(self) -> Answer:
        """Does what is asked for.

        Raises:
            IsthmusError: If the request cannot be answered as it is.
        """
        if self.asked.verb == "decode":
            return await self._decode()
        if self.asked.verb == "detect" and scores_points(self.pair, "auto", explain=False):
            return await self.in_thread(self._detect_steps)  # type: ignore[no-any-return]
        rows = await self.in_thread(read_request, self.asked, self.pair, self.folder)
        made = [await self._computed(block.values) for block in rows.blocks]
        write = {"detect": self._scores, "denoise": self._denoised, "embed": self._latents}
        return await self.in_thread(write[self.asked.verb], rows, made)  # type: ignore[no-any-return]

    async def _computed(self, values: NDArray[Any]) -> Columns:
        """Has rows computed piece by piece, so that other requests get their turn."""
        at_once = rows_in_a_piece(values.shape[1:])
        parts = [
            await self.compute(Piece(self.pair, self.asked.verb, values[first : first + at_once]))
            for first in range(0, len(values), at_once)
        ]
        if len(parts) == 1:
            return parts[0]
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    # -- detect ---------------------------------------------------------------------------------

    def _scores(self, rows: RequestRows, made: Sequence[Columns]) -> Answer:
        calibration = self.pair.detector.calibration
        rate = self.asked.false_alarm_rate
        threshold = self.pair.threshold
        if rate is not None:
            calibration.check_rate(rate, self.pair.reference)
            threshold = calibration.threshold_at(rate)
        columns = []
        for block, (scores, p_values, anomalies) in zip(rows.blocks, made, strict=True):
            is_anomaly = anomalies
            if rate is not None:
                is_anomaly = calibration.is_anomaly(torch.from_numpy(scores), rate).numpy()
            found = {**block.index, "score": scores, "p_value": p_values, "anomaly": is_anomaly}
            if block.reasons is not None:
                found["reason"] = block.reasons
                if not self.asked.allow_unseen:
                    found["anomaly"] = is_anomaly | (block.reasons != "")
            columns.append(found)
        return self._table(joined_columns(columns), rows.form, {"threshold": threshold})

    def _detect_steps(self) -> Answer:
        """Scores the steps of series: each window is of many requests' size by itself."""
        form, files = write_body(self.asked, self.folder)
        answered = answer_form(self.asked.accept, form, TABLES)
        ending = ".parquet" if answered == JSON else ENDINGS[answered]
        output = self.folder / f"scores{ending}"
        # A part may be too short for a window, and its steps then have no score.
        task = Task(self.pair, files.name, output, UseOptions(), part=InputPart(files, {}))
        found = Detect(false_alarm_rate=self.asked.false_alarm_rate).work(task)
        if answered != JSON:
            return self._answer(output.read_bytes(), answered, found.rows)
        ranges = pa_csv.read_csv(ranges_path(output)).to_pylist()
        content = {"threshold": found.threshold, "rows": pq.read_table(output).to_pylist()}
        return self._json({**content, "ranges": ranges}, found.rows)

    # -- embed and decode -----------------------------------------------------------------------

    def _latents(self, rows: RequestRows, made: Sequence[Columns]) -> Answer:
        latents = np.concatenate([each[0] for each in made])
        index = joined_columns([block.index for block in rows.blocks])
        form = answer_form(self.asked.accept, rows.form, TABLES)
        if form == JSON:
            return self._json({"latents": latents, "index": index}, len(latents))
        if form == NPZ:
            pair_id = np.array(self.pair.manifest.pair_id)
            return self._arrays({**index, "latents": latents, "pair_id": pair_id}, len(latents))
        return self._table(in_columns({**index, LATENT: latents}), form)

    async def _decode(self) -> Answer:
        form = form_of(self.asked.content_type, self.asked.body)
        if form not in (JSON, NPZ):
            raise NotJson(f"latents are sent as {JSON} or {NPZ}, and this is {form}; embed says so")
        latents, pair_id = await self.in_thread(self._sent_latents, form)
        if pair_id != self.pair.manifest.pair_id:
            raise ForeignLatents(
                f"these latents were made by pair {pair_id}, and {self.pair.reference} is pair "
                f"{self.pair.manifest.pair_id}; decode them with the pair that made them"
            )
        (rows,) = await self._computed(latents)
        form = answer_form(self.asked.accept, form, (JSON, NPZ))
        if form == JSON:
            features = self.pair.manifest.rows_taken.features
            said = {} if features is None else {"columns": list(features)}
            return self._json({"rows": rows, **said}, len(rows))
        return self._arrays({"x": rows}, len(rows))

    def _sent_latents(self, form: str) -> tuple[NDArray[np.float32], str]:
        if form == JSON:
            content = parsed(self.asked.body)
            if not isinstance(content, dict) or not {"latents", "pair_id"} <= set(content):
                raise NotJson('send an object with "latents" and "pair_id", as embed answers it')
            values, pair_id = numbers_of(content["latents"], "latents"), str(content["pair_id"])
        else:
            _, files = write_body(self.asked, self.folder)
            values, pair_id = _latents_in(files.path(0))
        width = self.pair.manifest.plan.latent_dim
        if values.ndim != 2 or values.shape[1] != width or not np.isfinite(values).all():
            raise DataError(
                f"request: latents of shape {values.shape} with "
                f"{int((~np.isfinite(values)).sum())} missing or infinite numbers; "
                f"{self.pair.reference} decodes finite ones of shape (N, {width})"
            )
        return values.astype(np.float32), pair_id

    # -- denoise --------------------------------------------------------------------------------

    def _denoised(self, rows: RequestRows, made: Sequence[Columns]) -> Answer:
        # Records become JSON lines, which have columns; lists become an array.
        has_columns = rows.source.schema.features is not None and rows.was_records
        possible = (JSON, NPZ) if rows.form == JSON else (rows.form, NPZ)
        form = answer_form(self.asked.accept, rows.form, possible)
        by_json = ".parquet" if has_columns else ".npy"
        output = self.folder / f"answer{by_json if form == JSON else ENDINGS[form]}"
        rows.source.check_output(output)
        provenance = provenance_of(self.pair, "request", job="denoise")
        with rows.source.open_output(output, provenance) as write:
            for block, (values,) in zip(rows.blocks, made, strict=True):
                write(block, values)
        if form != JSON:
            return self._answer(output.read_bytes(), form, rows.count)
        if has_columns:
            return self._json({"records": pq.read_table(output).to_pylist()}, rows.count)
        return self._json({"rows": np.load(output)}, rows.count)

    # -- answers --------------------------------------------------------------------------------

    def _table(
        self,
        columns: Mapping[str, NDArray[Any]],
        form: str,
        said: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:
        """Answers with columns that have an entry for each row."""
        form = answer_form(self.asked.accept, form, TABLES)
        count = len(next(iter(columns.values())))
        if form == JSON:
            lists = zip(*(listed(each) for each in columns.values()), strict=True)
            rows = [dict(zip(columns, row, strict=True)) for row in lists]
            return self._json({**said, "rows": rows}, count)
        output = self.folder / f"answer{ENDINGS[form]}"
        with open_results(
            output, provenance_of(self.pair, "request", job=self.asked.verb)
        ) as append:
            append(columns)
        return self._answer(output.read_bytes(), form, count)

    def _arrays(self, arrays: Mapping[str, NDArray[Any]], count: int) -> Answer:
        """Answers with an npz."""
        output = self.folder / f"answer{ENDINGS[NPZ]}"
        save_npz(arrays, output, provenance_of(self.pair, "request", job=self.asked.verb))
        return self._answer(output.read_bytes(), NPZ, count)

    def _json(self, content: Mapping[str, Any], count: int) -> Answer:
        said = {"model": self.pair.reference, "pair_id": self.pair.manifest.pair_id}
        return self._answer(json_bytes({**said, **content}), JSON, count)

    def _answer(self, body: bytes, form: str, count: int) -> Answer:
        return Answer(200, body, form, said_of(self.pair), count)


def said_of(pair: Pair) -> str:
    """Returns what the header of an answer says of the pair."""
    return f"{pair.reference} {pair.manifest.pair_id}"


def _latents_in(path: Path) -> tuple[NDArray[Any], str]:
    """Reads what `embed` answers as npz.

    Raises:
        DataError: If it is damaged, or is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_too_many(sum(each.file_size for each in archive.infolist()) // 4)
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["latents"], dtype=np.float64), str(arrays["pair_id"])
    except KeyError as error:
        raise DataError(
            f"request: has no array {error}; send the latents and pair_id that embed answers"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"request: is damaged or no npz file ({error}); write it again") from error
