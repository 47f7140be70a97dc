"""The loaded pair that `isthmus.load("digits@champion")` returns: it maps arrays to arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from isthmus import nets
from isthmus.bundle.manifest import PairManifest
from isthmus.core import Autoencoder, IntTable
from isthmus.core.discoveries import DEFAULT_LEVEL, PValueTally, check_control, too_coarse
from isthmus.data.columns.quality import Missing, MissingInBlocks, refuse_too_large
from isthmus.data.given import array_of, is_frame, refuse_series
from isthmus.data.pixel_units import factor_to
from isthmus.data.prepared.centring import centred, restored
from isthmus.data.prepared.scaling import ScalingStatistics
from isthmus.data.prepared.watching import FAR_OUTSIDE, FAR_OUTSIDE_OF_NOISE, warn_of_misfits
from isthmus.errors import DataError, UsageError
from isthmus.registry import generation
from isthmus.registry.any_size import AnySize, image_shape
from isthmus.registry.batches import Floats, OnRows, RowsTaken, apply_in_batches
from isthmus.registry.detections import Detections
from isthmus.registry.device import Device, chosen_device
from isthmus.registry.latents import Latents, values_to_decode
from isthmus.scores import Detector
from isthmus.types import Shape

_logger = logging.getLogger(__name__)


class Pair:
    """An encoder and a decoder that were trained together, complete and verified.

    Every method that takes rows accepts arrays and tensors of three shapes: the shape that the pair
    was trained on, flat rows, and images without their single channel. Reconstructed rows have the
    shape of the input. It accepts frames too (pandas, polars, Arrow), whose columns are found by
    name, in any order, and whose categories are told as in a file.
    A pair that was trained on patches of images denoises images of any size.
    """

    def __init__(
        self,
        detector: Detector,
        manifest: PairManifest,
        reference: str,
        code_tables: Sequence[IntTable] = (),
    ) -> None:
        """Creates the pair and puts its modules into evaluation mode.

        Args:
            detector: The autoencoder with all weights, and what detects anomalies with it.
            manifest: The pair's manifest.
            reference: The pair's name and version, such as `digits/3`.
            code_tables: The integer tables with which a pair compresses; none if it cannot.
        """
        self.detector = detector.eval()
        self.manifest = manifest
        self.reference = reference
        self.code_tables = tuple(code_tables)
        self._any_size = AnySize(detector.module) if self.takes_any_size else None

    def __repr__(self) -> str:
        plan = self.manifest.plan
        made_of = f"{plan.variant.name}, {plan.net.name}, latent {plan.latent_dim}"
        return f"<Pair {self.reference}: {made_of}>"

    def _repr_html_(self) -> str:
        from isthmus.registry.summaries import pair_summary  # notebooks only

        return pair_summary(self.manifest, self.reference, None)

    @property
    def module(self) -> Autoencoder:
        """The autoencoder of the pair."""
        return self.detector.module

    @property
    def takes_any_size(self) -> bool:
        """Whether the pair was trained on patches, and denoises images of any size."""
        is_any_size = nets.get(self.manifest.plan.net.name).ANY_SIZE
        return is_any_size and self.manifest.data.patch is not None

    @property
    def device(self) -> torch.device:
        """The device that the pair computes on. What it takes and gives is in the CPU's memory."""
        return next(self.module.parameters()).device

    def to(self, device: Device) -> Self:
        """Moves the pair to a device, and returns it.

        Raises:
            UsageError: If a GPU is asked for and there is none.
        """
        self.detector.to(chosen_device(device))
        if self.takes_any_size:
            self._any_size = AnySize(self.module)  # those of other sizes still had the old weights
        # Scores come back to the CPU before they are compared with those of normal rows.
        self.detector.calibration.to("cpu")
        if self.detector.point_calibration is not None:
            self.detector.point_calibration.to("cpu")
        return self

    @property
    def latent_dim(self) -> int:
        """The number of values in a latent that `encode` returns."""
        return self.manifest.plan.latent_dim

    @property
    def threshold(self) -> float:
        """The score that rows must exceed to be anomalies at the pair's own false-alarm rate."""
        return float(self.detector.calibration.threshold)

    def encode(
        self, x: ArrayLike, on_rows: OnRows | None = None, *, as_read: bool = False
    ) -> Latents:
        """Encodes rows.

        Args:
            x: Rows in one of the shapes that the class names.
            on_rows: A function that is called after each batch with the number of rows done and
                the number of all rows.
            as_read: Whether the rows come from a source of rows, which has checked and centred
                them; they must have the pair's own shape.

        Raises:
            DataError: If the rows are not numbers or do not fit the pair, or if values are
                missing or infinite and the pair's job does not fill them in.
        """
        rows = self._as_rows(x, as_read).rows
        width = (self.manifest.plan.latent_dim,)
        return Latents(self._apply(self.module.encode, rows, width, on_rows), self.manifest.pair_id)

    def decode(self, latents: Latents, on_rows: OnRows | None = None) -> NDArray[Any]:
        """Decodes latents.

        Returns:
            The rows, shape (N, *row_shape).

        Raises:
            RegistryError: If another pair made the latents.
            DataError: If they are no `Latents`, or have another shape.
        """
        plan, own_id = self.manifest.plan, self.manifest.pair_id
        takes = f"{self.reference} is pair {own_id}"
        values = values_to_decode(latents, own_id, plan.latent_dim, takes)
        made = self._apply(self.module.decode, values, plan.row_shape, on_rows)
        return restored(made, self._centre)

    def sample(self, n: int, *, seed: int | None = None) -> NDArray[Any]:
        """Makes rows that nobody has measured: draws from the variant's prior, decoded.

        Args:
            n: The number of rows.
            seed: The seed of the draws; by default they are others each time.

        Returns:
            The rows in data units, shape (n, *row_shape), as `decode` returns them: what the
            decoder expects, without the noise of single values.

        Raises:
            UsageError: If the variant has no prior; the message names those that have one.
        """
        drawn = generation.sampled(self.module, self.code_tables, n, seed, self.reference)
        return Pair.decode(self, Latents(drawn, self.manifest.pair_id))

    def interpolate(
        self, a: ArrayLike | Latents, b: ArrayLike | Latents, *, steps: int = 8
    ) -> NDArray[Any]:
        """Decodes the latents on the way from one row to another.

        The way is straight, or along an arc where the variant's prior is a standard normal
        (White 2016, "Sampling Generative Networks", arXiv:1609.04468, section 2.1).

        Args:
            a: One row, in one of the shapes that the class names, a frame of one row, or its
                latent.
            b: The other row or its latent.
            steps: The number of rows, the reconstructions of `a` and `b` included.

        Returns:
            The rows in data units, shape (steps, *row_shape), as `decode` returns them.

        Raises:
            UsageError: If the variant's latents are whole numbers, which have nothing between them.
            DataError: If `a` or `b` is not one row that fits the pair, as in `encode`.
            RegistryError: If another pair made a latent.
        """
        own_id = self.manifest.pair_id
        ends = self._latent_of_one(a), self._latent_of_one(b)
        found = generation.between(self.module, *ends, steps, self.reference)
        return Pair.decode(self, Latents(found, own_id))

    def _latent_of_one(self, x: ArrayLike | Latents) -> Floats:
        """Returns the latent of one row, or one latent, shape (latent_dim,)."""
        plan, own_id = self.manifest.plan, self.manifest.pair_id
        if isinstance(x, Latents):
            takes = f"{self.reference} is pair {own_id}"
            values = values_to_decode(x, own_id, plan.latent_dim, takes)
        else:
            values = Pair.encode(self, x if is_frame(x) else self._alone(array_of(x))).values
        if len(values) != 1:
            raise DataError(f"interpolate goes from one row to one other, and got {len(values)}")
        found: Floats = values[0]
        return found

    def _alone(self, row: NDArray[Any]) -> NDArray[Any]:
        """Returns one row as rows; an array that holds several stays as it is."""
        return row[None] if self._is_of_one_row(row.shape) else row

    def _is_of_one_row(self, shape: Shape) -> bool:
        wanted = self.manifest.plan.row_shape
        without_channel = wanted[1:] if wanted[0] == 1 else wanted
        return shape in (wanted, without_channel, (prod(wanted),))

    def reconstruct(
        self, x: ArrayLike, on_rows: OnRows | None = None, *, as_read: bool = False
    ) -> NDArray[Any]:
        """Encodes and decodes rows; the arguments and errors are those of `encode`.

        A pair that was trained on patches takes images of any size, all of one size in a call.

        Returns:
            The reconstruction in the shape of the input.
        """
        taken = self._as_rows(
            x, as_read, is_any_size=self.takes_any_size, may_leave=FAR_OUTSIDE_OF_NOISE
        )
        if self._any_size is not None:
            made = self._any_size.reconstruct(taken.rows, on_rows, self.device)
        else:
            row_shape = self.manifest.plan.row_shape
            made = self._apply(self.module.reconstruct, taken.rows, row_shape, on_rows)
        return made if as_read else taken.as_given(restored(made, self._centre))

    def denoise(
        self, x: ArrayLike, on_rows: OnRows | None = None, *, as_read: bool = False
    ) -> NDArray[Any]:
        """Removes noise: the bottleneck cannot hold it, so the reconstruction lacks it.

        The arguments and errors are those of `encode`, the result that of `reconstruct`.
        """
        return self.reconstruct(x, on_rows, as_read=as_read)

    def detect(
        self,
        x: ArrayLike,
        on_rows: OnRows | None = None,
        *,
        as_read: bool = False,
        false_alarm_rate: float | None = None,
        control: Literal["rate", "fdr"] = "rate",
        level: float | None = None,
    ) -> Detections:
        """Scores rows and says which of them are anomalies.

        Args:
            x: Rows, as in `encode`.
            on_rows: As in `encode`.
            as_read: As in `encode`.
            false_alarm_rate: The share of normal rows that may be flagged; by default the pair's
                own.
            control: `rate` keeps that share. `fdr` keeps the share of normal rows among the rows
                that are flagged, by Benjamini and Hochberg over all rows of `x`.
            level: That share, for `fdr`; by default 0.1.

        Raises:
            DataError: As in `encode`, and if a finite number is too large for a score in float32,
                which would overflow: about 1e18 in scaled units. Rows that are `as_read` with such
                numbers get the highest scores instead.
            UsageError: If there is no such control, if the rate or the level does not go with it or
                is no share, or if so few calibration rows cannot resolve the rate.
        """
        calibration = self.detector.calibration
        self._check_control(control, false_alarm_rate, level)
        rows = self._as_rows(x, as_read).rows
        if not as_read:
            refuse_too_large(rows, self._scaling, self._columns, f"rows for {self.reference}")
        scores = self._apply(self.detector.score, rows, (), on_rows)
        rate = calibration.rate if false_alarm_rate is None else false_alarm_rate
        threshold = self.threshold
        with torch.inference_mode():
            p_values = calibration.p_values(torch.from_numpy(scores)).numpy()
        if control == "fdr":
            tally = PValueTally()
            tally.add(p_values)
            level = DEFAULT_LEVEL if level is None else level
            rate = tally.cut(level)
            coarse = None if rate else too_coarse(len(scores), level, calibration)
            if coarse is not None:
                _logger.warning("%s", coarse)
            threshold = calibration.threshold_at(rate)
        elif false_alarm_rate is not None:
            threshold = calibration.threshold_at(rate)
        return Detections(
            scores=scores,
            p_values=p_values,
            anomalies=(scores > threshold) | (np.isnan(scores) & (rate > 0)),
            threshold=threshold,
        )

    def _check_control(self, control: str, rate: float | None, level: float | None) -> None:
        if control == "online":
            raise UsageError(
                "the control online keeps a stream in a state file, and arrays have none: use "
                "isthmus detect --control online --state FILE, or the control fdr"
            )
        check_control(control, ("rate", "fdr"), rate, level)
        if rate is not None:
            self.detector.calibration.check_rate(rate, self.reference)

    @property
    def _columns(self) -> tuple[str, ...] | None:
        """The names of a table's features."""
        is_table = len(self.manifest.plan.row_shape) == 1
        return self.manifest.rows_taken.features if is_table else None

    def _apply(
        self,
        function: Callable[[Tensor], Tensor],
        rows: Floats,
        shape: Shape,
        on_rows: OnRows | None,
    ) -> Floats:
        return apply_in_batches(function, rows, shape, on_rows, self.device)

    @property
    def _centre(self) -> tuple[float, ...] | None:
        return self.manifest.rows_taken.centre

    @property
    def _scaling(self) -> ScalingStatistics:
        scaling = self.module.scaling
        return ScalingStatistics(scaling.offset.cpu().numpy(), scaling.scale.cpu().numpy())

    def _as_rows(
        self,
        x: ArrayLike,
        as_read: bool,
        *,
        is_any_size: bool = False,
        may_leave: float = FAR_OUTSIDE,
    ) -> RowsTaken:
        """Returns the rows in the pair's own shape and units."""
        wanted, called = self.manifest.plan.row_shape, f"rows for {self.reference}"
        if as_read and isinstance(x, np.ndarray):
            if self.takes_any_size and not is_any_size and x.shape[1:] != wanted:
                raise DataError(self._misfit(x.shape))
            return RowsTaken(x, x.shape)
        values: NDArray[Any]
        if is_frame(x):
            from isthmus.registry import frames  # it loads narwhals

            if frames.finds_columns(self.manifest, x):
                self._warn_of_misfits(rows := frames.rows_of_frame(self.manifest, x), may_leave)
                return RowsTaken(rows, rows.shape)
            values = frames.values_by_place(x, self.reference)
        elif isinstance(x, Latents):
            raise DataError(f"these are latents of pair {x.pair_id}, and not rows; decode them")
        else:
            values = array_of(x)
        without_channel = wanted[1:] if wanted[0] == 1 and len(wanted) > 1 else wanted
        row_shape: Shape | None = wanted
        if values.ndim == 0 or values.shape[1:] not in (wanted, without_channel, (prod(wanted),)):
            row_shape = image_shape(values.shape, wanted[0]) if is_any_size else None
        if row_shape is None:
            refuse_series(x)
            raise DataError(self._misfit(values.shape))
        rows = centred(values.reshape(len(values), *row_shape), self._centre)
        factor = factor_to(self.manifest.rows_taken, values, called)
        rows = rows if factor == 1 else rows * np.float32(factor)
        # The rows cannot be dropped, so that "drop" refuses as well.
        missing: Missing = "mean" if self.manifest.data.missing == "mean" else "refuse"
        MissingInBlocks(missing, self._columns, called).kept(rows)
        self._warn_of_misfits(rows, may_leave)
        return RowsTaken(rows, values.shape, factor)

    def _warn_of_misfits(self, rows: Floats, may_leave: float) -> None:
        warn_of_misfits(
            self.manifest.rows_taken,
            rows,
            f"rows for {self.reference}",
            indicators=self.manifest.data.indicators,
            may_leave=may_leave,
        )

    def _misfit(self, shape: Shape) -> str:
        wanted = self.manifest.plan.row_shape
        if self._is_of_one_row(shape):
            return f"{self.reference} takes rows, and this is a single row; give it as x[None]"
        message = f"rows of shape {shape[1:]} do not fit {self.reference}, which takes {wanted}"
        if self.takes_any_size and image_shape(shape, wanted[0]) is not None:
            return f"{message}; it only denoises and reconstructs images of other sizes"
        return message
