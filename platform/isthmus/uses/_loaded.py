"""A loaded pair that does the downstream jobs on files and frames: what `isthmus.load` returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, Self, overload

from numpy.typing import ArrayLike

from isthmus import uses
from isthmus.bundle.manifest import PairManifest
from isthmus.compression.decompressing import DecompressResult, decompress
from isthmus.core import IntTable
from isthmus.data.given import is_frame
from isthmus.data.prepared.watching import FAR_OUTSIDE
from isthmus.errors import UsageError, nearest
from isthmus.execution.frames import run_on_frame
from isthmus.execution.request import Request
from isthmus.execution.running import run, run_loaded
from isthmus.execution.use import Use, UseResult
from isthmus.notebook import in_notebook, rows_bar
from isthmus.registry import Pair
from isthmus.registry.batches import OnRows, RowsTaken
from isthmus.scores import Detector
from isthmus.spec import Settings

_logger = logging.getLogger(__name__)
_SHOWN = 8
_CAME_WITHOUT_NAMES = (
    "rows for %s came without names: their columns are taken to be %s, in this order; a frame's "
    "are found by name"
)
_KNOWS_NO_NAMES = (
    "%s knows no names of columns: those of the frame are taken by their place, %s, in this order"
)


class LoadedPair(Pair):
    """A pair with its registry: it maps arrays to arrays, frames to frames, and files to files.

    Every downstream job is a method of its name, which takes an input, an output, and the options
    of its command: `pair.detect("new.csv", "scores.csv", explain=True, force=True)`. It takes a
    frame too (pandas, polars, Arrow), and then returns one: `pair.detect(frame, explain=True)`.
    `denoise`, `detect` and `embed` take arrays and tensors, and then return arrays.
    """

    def __init__(
        self,
        detector: Detector,
        manifest: PairManifest,
        reference: str,
        settings: Settings,
        code_tables: Sequence[IntTable] = (),
    ) -> None:
        """Creates the pair.

        Args:
            detector: The autoencoder with all weights, and what detects anomalies with it.
            manifest: The pair's manifest.
            reference: The pair's name and version, such as `digits/3`.
            settings: The settings with the address of the pair's registry.
            code_tables: The integer tables with which a pair compresses.
        """
        super().__init__(detector, manifest, reference, code_tables)
        self._settings = settings
        self._has_told_of_order = False

    def _repr_html_(self) -> str:
        from isthmus.registry.summaries import pair_summary  # notebooks only

        return pair_summary(self.manifest, self.reference, self._settings)

    @classmethod
    def of(cls, pair: Pair, settings: Settings) -> Self:
        """Returns a pair with its registry; the pair's modules are shared."""
        return cls(pair.detector, pair.manifest, pair.reference, settings, pair.code_tables)

    @overload
    def denoise(self, x: str | Path, output: str | Path, **options: Any) -> UseResult: ...
    @overload
    def denoise(self, x: Any, on_rows: OnRows | None = None, **options: Any) -> Any: ...
    def denoise(self, x: Any, *more: Any, **options: Any) -> Any:
        """Removes noise from rows in an array or a frame, or from the rows of files.

        Args:
            x: Rows, as in `Pair.denoise`, or the path of an input, as in `isthmus denoise`.
            *more: The path of the result, for files.
            **options: Those of `Pair.denoise`, or those of `isthmus denoise`.

        Returns:
            An array; the frame with denoised columns; or the result of the job.

        Raises:
            IsthmusError: If it fails; the message says in one line what is wrong and what to do.
        """
        if self._is_array(x):
            self._check_options("denoise", Pair.denoise, options)
            rows = super().denoise(x, *_told(more, "denoise"), **options)
            return self._frames().in_places(x, rows) if is_frame(x) else rows
        return self._run("denoise", x, *more, **options)

    @overload
    def detect(self, x: str | Path, output: str | Path, **options: Any) -> UseResult: ...
    @overload
    def detect(self, x: Any, on_rows: OnRows | None = None, **options: Any) -> Any: ...
    def detect(self, x: Any, *more: Any, **options: Any) -> Any:
        """Scores rows in an array, a frame or files, and says which of them are anomalies.

        Args:
            x: Rows, as in `Pair.detect`, or the path of an input, as in `isthmus detect`.
            *more: The path of the scores, for files.
            **options: Those of `Pair.detect`, or those of `isthmus detect`.

        Returns:
            The `Detections` of an array; a frame with the columns that the pair does not take, such
            as ids, and `score`, `p_value` and `anomaly`; or the result of the job.

        Raises:
            IsthmusError: If it fails; the message says in one line what is wrong and what to do.
        """
        if self._is_array(x):
            self._check_options("detect", Pair.detect, options)
            found = super().detect(x, *_told(more, "detect"), **options)
            if not is_frame(x):
                return found
            columns = {"score": found.scores, "p_value": found.p_values}
            return self._frames().beside_places(x, {**columns, "anomaly": found.anomalies})
        return self._run("detect", x, *more, **options)

    @overload
    def embed(self, x: str | Path, output: str | Path, **options: Any) -> UseResult: ...
    @overload
    def embed(self, x: Any, on_rows: OnRows | None = None, **options: Any) -> Any: ...
    def embed(self, x: Any, *more: Any, **options: Any) -> Any:
        """Encodes rows in an array, a frame or files, for those who do not decode them.

        Args:
            x: Rows, as in `Pair.encode`, or the path of an input, as in `isthmus embed`.
            *more: The path of the latents, for files.
            **options: Those of `isthmus embed`.

        Returns:
            The values of the latents, shape (N, latent_dim), of an array; a frame with the columns
            that the pair does not take, such as ids, and `z0`, `z1` and so on; or the result of the
            job.

        Raises:
            IsthmusError: If it fails; the message says in one line what is wrong and what to do.
        """
        if self._is_array(x):
            self._check_options("embed", Pair.encode, options)
            z = self.encode(x, *_told(more, "embed"), **options).values
            if not is_frame(x):
                return z
            columns = {f"z{place}": z[:, place] for place in range(self.latent_dim)}
            return self._frames().beside_places(x, columns)
        if not isinstance(x, str | Path):
            if options.get("index"):
                raise UsageError("an index is written beside a file; embed a file, or leave it out")
            options = {"layout": "columns", **options}
        return self._run("embed", x, *more, **options)

    def decompress(
        self, source: str | Path, output: str | Path, **options: Any
    ) -> DecompressResult:
        """Decompresses a file that this pair compressed, as `isthmus decompress` does.

        Args:
            source: The compressed file.
            output: The path of the rows.
            **options: `salvage`, `force` and `on_rows`, as in `compression.decompressing`.

        Raises:
            IsthmusError: If it fails; the message says in one line what is wrong and what to do.
        """
        return decompress(str(source), output, self._settings, pair=self, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Returns the method of a downstream job that has no method of its own for arrays."""
        if name not in uses.names():
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        return partial(self._run, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *uses.names()})

    def _is_array(self, x: object) -> bool:
        """Returns whether rows are neither files nor a frame whose columns have names."""
        if isinstance(x, str | Path):
            return False
        return not is_frame(x) or not self._frames().finds_columns(self.manifest, x)

    @staticmethod
    def _frames() -> ModuleType:
        from isthmus.registry import frames  # it loads narwhals

        return frames

    @staticmethod
    def _check_options(job: str, method: Callable[..., Any], options: Mapping[str, Any]) -> None:
        """Refuses options that go with files and frames alone, or with nothing."""
        taken = [name for name in signature(method).parameters if name not in ("self", "x")]
        for name in options:
            if name in uses.get(job).Config.model_fields and name not in taken:
                raise UsageError(
                    f"{job} of an array, or of a frame without names, has no option {name}; give "
                    "a frame with the columns of training by name, or a file"
                )
            if name not in taken:
                valid = [each for each in taken if each != "as_read"]
                raise UsageError(f'{job} of rows has no option "{name}"; {nearest(name, valid)}')

    def _as_rows(
        self,
        x: ArrayLike,
        as_read: bool,
        *,
        is_any_size: bool = False,
        may_leave: float = FAR_OUTSIDE,
    ) -> RowsTaken:
        """Does the same as of every pair, and says once where columns are taken by their place."""
        columns = self._columns
        is_told = as_read or self._has_told_of_order or not (columns or is_frame(x))
        if not is_told and self._is_array(x):
            self._has_told_of_order = True
            said = _CAME_WITHOUT_NAMES
            if not columns:
                columns, said = self._frames().names_of(x), _KNOWS_NO_NAMES
            shown = ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
            _logger.warning(said, self.reference, shown)
        return super()._as_rows(x, as_read, is_any_size=is_any_size, may_leave=may_leave)

    def _run(self, name: str, x: Any, *more: Any, **options: Any) -> Any:
        """Runs a job on files, or on a frame."""
        if isinstance(x, str | Path):
            return self._on_files(name, x, *more, **options)
        if not is_frame(x) or self._is_array(x):
            raise UsageError(
                f"{name} takes the path of a file, or a frame with the columns that "
                f"{self.reference} was trained on; this is of type {type(x).__name__}"
            )
        told: dict[str, Any] = dict(zip(("on_rows",), _told(more, name), strict=False))
        told |= {each: options.pop(each) for each in ("on_rows",) if each in options}
        _told(tuple(told.values()), name)
        use = uses.get(name)(**options)
        with self._shown(use, told) as shown:
            return run_on_frame(use, self, x, self._settings, **shown)

    def _on_files(
        self, name: str, source: str | Path, output: str | Path | None = None, **options: Any
    ) -> UseResult:
        if output is None:
            raise UsageError(f"{name} of a file needs an output: {name}({str(source)!r}, OUTPUT)")
        told: dict[str, Any] = {
            each: options.pop(each) for each in ("on_rows", "on_parts") if each in options
        }
        shared = {each: options.pop(each) for each in Request.model_fields if each in options}
        use, request = uses.get(name)(**options), Request(**shared)
        if request.address is not None:
            return run(use, self.reference, str(source), output, self._settings, request, **told)
        if request.device != "auto":
            raise UsageError(
                "device is that of load(NAME, device=...), or of a cluster with address=...; "
                "leave it out here"
            )
        with self._shown(use, told) as shown:
            return run_loaded(use, self, str(source), output, self._settings, request, **shown)

    @staticmethod
    @contextmanager
    def _shown(use: Use, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields who is told the progress of a job: the caller, or a bar if this is a notebook."""
        if told or not in_notebook():
            yield told
            return
        with rows_bar(use.DOING, use.DONE) as on_rows:
            yield {"on_rows": on_rows}


def _told(more: Sequence[Any], job: str) -> Sequence[Any]:
    """Returns what follows the rows in a call: a function that is told of progress, or nothing.

    Raises:
        UsageError: If it is something else, such as the path of an output.
    """
    if len(more) > 1 or (more and more[0] is not None and not callable(more[0])):
        raise UsageError(
            f"{job} returns the results of an array or a frame, and writes no file: give it the "
            f"rows alone, without {', '.join(map(repr, more))}"
        )
    return more
