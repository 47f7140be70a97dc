"""The short-time Fourier transform as convolutions, which every exporter and every device has.

Shapes: x_BCT is a batch of signals; s_BCKFL is their spectra, where K is the real and the imaginary
part, F the frequencies, frame // 2 + 1 of them, and L the frames.
"""

from __future__ import annotations

from math import ceil, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.all_digits import with_all_digits


class ShortTimeFourier(nn.Module):
    """The short-time Fourier transform of signals and its inverse.

    Each frame is windowed with the square root of a Hann window, before the transform and after its
    inverse, so that frames that were not changed add up to the signal again. The signal is padded
    with zeros, so that as many frames cover its ends as its middle.

    Source: Griffin & Lim 1984, "Signal Estimation from Modified Short-Time Fourier Transform", IEEE
    Transactions on Acoustics, Speech, and Signal Processing 32(2), section II.

    Args:
        steps: The number of steps of a signal.
        frame: The number of steps of a frame, which is even.
        hop: The steps from one frame to the next, a divisor of half the frame.
    """

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, steps: int, frame: int, hop: int) -> None:
        super().__init__()
        self.steps, self.frame, self.hop = steps, frame, hop
        self.frequencies = frame // 2 + 1
        self.frames = ceil(steps / hop) + frame // hop - 1
        time = torch.arange(frame, dtype=torch.float64)
        window = (0.5 - 0.5 * torch.cos(2 * pi * time / frame)).sqrt()
        turns = torch.arange(self.frequencies, dtype=torch.float64)[:, None] * time / frame
        wave = torch.cat([torch.cos(2 * pi * turns), -torch.sin(2 * pi * turns)])
        # Every frequency but the lowest and the highest stands for two, itself and its conjugate.
        counted = torch.full((self.frequencies, 1), 2.0, dtype=torch.float64)
        counted[0] = counted[-1] = 1.0
        inverse = counted.repeat(2, 1) * wave / frame * (2 * hop / frame)
        # Scaled by the energy of the window, so that white noise has spectra of its own variance.
        norm = window.square().sum().sqrt()
        self.register_buffer("analysis", (wave * window / norm)[:, None].float())
        self.register_buffer("synthesis", (inverse * window * norm)[:, None].float())

    @with_all_digits
    def forward(self, x_BCT: Tensor) -> Tensor:
        """Returns the spectra of signals, shape (B, C, 2, F, L)."""
        before = self.frame - self.hop
        after = before + -self.steps % self.hop
        padded = functional.pad(x_BCT.flatten(0, 1)[:, None], (before, after))
        spectra = functional.conv1d(padded, self.analysis, stride=self.hop)
        return spectra.reshape(-1, x_BCT.shape[1], 2, self.frequencies, self.frames)

    @with_all_digits
    def inverse(self, s_BCKFL: Tensor) -> Tensor:
        """Returns the signals of spectra, shape (B, C, T)."""
        frames = s_BCKFL.flatten(0, 1).flatten(1, 2)
        padded = functional.conv_transpose1d(frames, self.synthesis, stride=self.hop)
        signals = padded.narrow(2, self.frame - self.hop, self.steps)
        return signals.reshape(-1, s_BCKFL.shape[1], self.steps)
