"""The denoising autoencoder: receives a noisy row and must return the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from isthmus import corruptions
from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.speed_perturbation import at_random_speeds
from isthmus.corruptions import Noise, NoiseOptions
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec
from isthmus.types import LevelUnit, ReconstructionLoss

_SPEED = 1.2


class Denoising(Autoencoder):
    """Minimises the loss between the reconstruction of a noisy row and the clean row.

    Noise is put on the rows, anew at each step, or it is in the data: with `data.clean_path` rows
    come in pairs, a noisy and a clean one. If the level is a range, each row draws its own, so that
    one model removes both weak and strong noise.

    Source: Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising
    Autoencoders", ICML, equation 5; a range of levels as in Zhang et al. 2017, "Beyond a Gaussian
    Denoiser", arXiv:1608.03981, section III-D; speeds as in Ko et al. 2015, "Audio Augmentation for
    Speech Recognition", Interspeech, section 2.
    """

    class Config(NoiseOptions):
        """The noise, and how rows are varied before they get it."""

        speed_perturbation: Annotated[float, Field(ge=1.0, le=2.0)] | Literal["auto"] = "auto"
        """The largest change of speed, and with it of pitch, at which training plays each row: with
        1.2 from 1 / 1.2 to 1.2 times as fast, so that few speakers stand for many. 1 leaves rows as
        they are. `auto`: 1.2 for audio on which noise is put, else 1."""

        def refusals(self, data: DataSpec) -> Mapping[str, str]:
            """Returns what does not suit the data, also a change of speed of what has none."""
            found = super().refusals(data)
            if self.speed_perturbation in ("auto", 1.0):
                return found
            if data.kind == "auto" or facts_of(data.kind).are_windows:
                return found
            why = f"{self.speed_perturbation:g} is for audio and series, and the data are "
            return {**found, "speed_perturbation": f"{why}{data.kind}; leave it out"}

        def settled(self, data: DataSpec) -> Self:
            """Returns the options with the noise and the change of speed that suit the data."""
            found = super().settled(data)
            if self.speed_perturbation != "auto":
                return found
            # The noise of recordings does not change its pitch with the voice.
            is_sound = data.kind != "auto" and facts_of(data.kind).shown_as == "sounds"
            suits = is_sound and found.corruption.name != "none"
            return found.model_copy(update={"speed_perturbation": _SPEED if suits else 1.0})

    SUMMARY: ClassVar[str] = "learns to take noise away; for denoising, and robust features"
    TAKES_SKIPS: ClassVar[bool] = True
    REMOVES_NOISE: ClassVar[bool] = True
    TAKES_CLEAN_ROWS: ClassVar[bool] = True
    AUTO_LOSS_OF_SOUNDS: ClassVar[ReconstructionLoss | None] = ReconstructionLoss.SNR
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder`, and the noise of its options."""
        super().__init__(plan)
        # The plan of a job is settled already; one that was made by hand may say `auto`.
        settled = self.options.settled(DataSpec(path="-", kind=self.plan.kind))
        self._noise: Noise | None = None
        if settled.corruption.name != "none":
            corruption = corruptions.build(settled.corruption)
            self._noise = Noise(corruption, settled.range, LevelUnit(settled.level_in))
        self._speed = float(settled.speed_perturbation)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of scaled rows.

        Args:
            x: Shape (B, *row_shape), or (B, 2, *row_shape): a noisy and a clean form of each row.
        """
        if self.training and self._speed > 1:
            x = at_random_speeds(x, self._speed)
        noisy, clean = self._noisy_and_clean(x)
        if self._noise is not None:
            noisy = self._noise.drawn(noisy, self.scaling.scale)
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(noisy)), clean)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

    def noised(self, x: Tensor, *, weakest: bool = False) -> Tensor | None:
        """Returns scaled rows (B, *row_shape) with the strongest or weakest noise of the range.

        It is `None` if no noise is put on the rows, because it is in the data. There is no weakest
        noise of a single level, nor of a range from 0 on.
        """
        if self._noise is None:
            return None
        put_on = self._noise.weakest if weakest else self._noise.strongest
        return put_on(x, self.scaling.scale)

    def _noisy_and_clean(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both forms of each row; without a clean form, the row itself twice."""
        if x.ndim == len(self.plan.row_shape) + 1:
            return x, x
        noisy, clean = x.unbind(dim=1)
        return noisy, clean
