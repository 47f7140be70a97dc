"""The hum of the mains, for sounds and series.

Shapes: x is (B, C, T), a batch of windows; H is the number of harmonics.
"""

from __future__ import annotations

from math import pi
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.corruptions._signals import at_level
from isthmus.spec import DataAwareOptions, DataSpec
from isthmus.types import DataKind, LevelUnit

# Of a signal whose sample rate nobody knows.
_TURNS_IN_A_WINDOW = (2.0, 8.0)
# The frequency of the mains strays by so much, in shares of it.
_STRAYS = 0.004


class Hum(Corruption):
    """Adds the frequency of the mains and its harmonics, in all channels alike.

    Each row draws one of the frequencies, and the phase and the strength of each harmonic; the
    higher a harmonic is, the weaker it is on average. None is above half the sample rate. Where the
    sample rate is not known, 2 to 8 periods are in a window.

    Source: Brandt & Bitzer 2014, "Automatic Detection of Hum in Audio Signals", Journal of the
    Audio Engineering Society 62(9), section 1.
    """

    class Config(DataAwareOptions):
        """The frequencies."""

        mains_hz: Annotated[
            tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...], Field(min_length=1)
        ] = (50.0, 60.0)
        """The frequencies of the mains, of which each row draws one, in Hz."""
        harmonics: int = Field(default=20, ge=1, le=200)
        """The number of multiples of the frequency, itself included."""
        sample_rate_hz: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
        """The number of steps a second; by default that of the sounds."""

        def settled(self, data: DataSpec) -> Self:
            """Returns the options with the sample rate of the data, if they have one."""
            if self.sample_rate_hz is not None or data.sample_rate_hz is None:
                return self
            return self.model_copy(update={"sample_rate_hz": float(data.sample_rate_hz)})

    SUMMARY: ClassVar[str] = "adds 50 or 60 Hz and harmonics; the level is their standard deviation"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = tuple(LevelUnit)
    options: Config

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of root mean square `level` in each row."""
        cycles_B11 = self._cycles_a_step(x)
        multiples_H1 = torch.arange(1, self.options.harmonics + 1, device=x.device)[:, None]
        chance_BH1 = torch.rand(2, len(x), self.options.harmonics, 1, device=x.device)
        # The lowest is never absent, so that there is some noise in every row.
        strengths_BH1 = chance_BH1[0].clamp(min=0.1) / multiples_H1
        is_heard_BH1 = (cycles_B11 * multiples_H1 < 0.5) | (multiples_H1 == 1)
        steps_T = torch.arange(x.shape[2], device=x.device)
        turns_BHT = cycles_B11 * multiples_H1 * steps_T + chance_BH1[1]
        waves_BHT = strengths_BH1 * is_heard_BH1 * torch.sin(2 * pi * turns_BHT)
        return x + at_level(waves_BHT.sum(dim=1, keepdim=True), level).to(x.dtype)

    def _cycles_a_step(self, x: Tensor) -> Tensor:
        """Draws the frequency of each row in cycles a step, shape (B, 1, 1)."""
        chance_B = torch.rand(len(x), device=x.device)
        if self.options.sample_rate_hz is None:
            lowest, highest = _TURNS_IN_A_WINDOW
            return ((lowest + (highest - lowest) * chance_B) / x.shape[2])[:, None, None]
        mains = torch.tensor(self.options.mains_hz, device=x.device)
        drawn_B = torch.randint(len(mains), (len(x),), device=x.device)
        strayed_B = mains[drawn_B] * (1 + _STRAYS * (2 * chance_B - 1))
        return (strayed_B / self.options.sample_rate_hz)[:, None, None]
