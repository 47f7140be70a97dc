"""Time-frequency masking: a U-Net on the spectrogram says what to keep of it; for noisy sounds.

Shapes: x_BCT is a batch of windows; s_BCKFL their spectra, as in `_fourier`; maps are (B, channels,
F, L), frequencies by frames, and at level l of the net 2**l times smaller.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.nets._fourier import ShortTimeFourier
from isthmus.nets._levels import group_norm, power_of_two
from isthmus.nets._net import Activation
from isthmus.nets._skips import MapsNet, joined, parted
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind, Shape

Channels = Annotated[int, Field(ge=1, le=4096)]

_CHANNELS = (16, 32, 64, 64)
_FRAMES_IN_A_WINDOW = 8
_SHORTEST_FRAME, _LONGEST_FRAME = 4, 2048
# Below this share of a row's root mean square, magnitudes are alike: 40 dB.
_FLOOR = 1e-2


class SpectralMask(MapsNet):
    """A U-Net on the spectrogram makes a complex mask, by which the spectrum is multiplied.

    A window is measured in units of its own root mean square, so that quiet sounds are denoised
    like loud ones: what is multiplied by a number gives the result multiplied by it. The latent is
    the window itself beside maps of features, from which the decoder makes the mask. It is larger
    than the row and no bottleneck: only variants whose target differs from their input learn
    anything.

    Source: Williamson, Wang & Wang 2016, "Complex Ratio Masking for Monaural Speech Separation",
    IEEE/ACM Transactions on Audio, Speech, and Language Processing 24(3), equations 4 to 8;
    Jansson et al. 2017, "Singing Voice Separation with Deep U-Net Convolutional Networks", ISMIR,
    section 3.
    """

    class Config(SpecModel):
        """The spectrum and the U-Net."""

        frame: Annotated[int, Field(ge=4, le=65_536, multiple_of=4)] | Literal["auto"] = "auto"
        """Steps in a frame of the spectrum. `auto`: the greatest power of two up to an eighth of
        the window, from 4 to 2048."""
        overlap: Literal[2, 4, 8] = 4
        """Frames that cover each step. With 2 there are half as many, and a step of training takes
        about half as long."""
        channels: Annotated[tuple[Channels, ...], Field(min_length=1)] = _CHANNELS
        """Channels at each size of the spectrogram, from full size on, each half the one before."""
        features: Annotated[int, Field(ge=1, le=4096)] = 4
        """Maps of the latent from which the decoder makes the mask."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each convolution."""

    SUMMARY: ClassVar[str] = "masks the spectrum, with no bottleneck; for denoising sounds alone"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"channels": [8, 16, 32, 32]},
        large={"channels": [32, 64, 128, 128]},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)

    def map_shapes(self) -> list[Shape]:
        """Returns the shapes of the window and of the maps of its spectrogram."""
        fourier = self._fourier()
        return [self.row_shape, (self.options.features, fourier.frequencies, fourier.frames)]

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, T) to (B, outputs), of `fixed_latent_dim` size."""
        self.check(outputs)
        return _Encoder(self._fourier(), self._unet())

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs), of `fixed_latent_dim` size, to (B, C, T)."""
        self.check(inputs)
        last = nn.Sequential(
            self.options.activation.module(),
            nn.Conv2d(self.options.features, 2 * self.row_shape[0], 3, padding=1),
        )
        return _Decoder(self._fourier(), self.map_shapes(), last)

    def _fourier(self) -> ShortTimeFourier:
        steps, frame = self.row_shape[1], self.options.frame
        if frame == "auto":
            frame = power_of_two(steps / _FRAMES_IN_A_WINDOW, _SHORTEST_FRAME, _LONGEST_FRAME)
        return ShortTimeFourier(steps, frame, frame // self.options.overlap)

    def _unet(self) -> nn.Module:
        channels = self.options.channels
        # Beside the spectrograms there is a map of the frequencies, which are not all alike.
        widths = list(pairwise((self.row_shape[0] + 1, *channels)))
        return _SpectrogramUnet(
            downs=[self._convolutions(before, after) for before, after in widths],
            ups=[self._convolutions(width + below, width) for width, below in pairwise(channels)],
            last=nn.Conv2d(channels[0], self.options.features, 1),
        )

    def _convolutions(self, before: int, after: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (before, after):
            layers += [
                nn.Conv2d(width, after, 3, padding=1),
                group_norm(after),
                self.options.activation.module(),
            ]
        return nn.Sequential(*layers)


class _Encoder(nn.Module):
    """Maps a window to itself and the maps of its spectrogram, as one vector."""

    def __init__(self, fourier: ShortTimeFourier, unet: nn.Module) -> None:
        super().__init__()
        self.fourier = fourier
        self.unet = unet

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Maps (B, C, T) to (B, D): the window, then the maps."""
        maps = self.unet(_log_magnitudes(self.fourier(_in_units_of_itself(x_BCT))))
        return joined([x_BCT, maps])


class _Decoder(nn.Module):
    """Makes the mask from the maps, and multiplies the spectrum of the window by it."""

    def __init__(self, fourier: ShortTimeFourier, map_shapes: list[Shape], last: nn.Module) -> None:
        super().__init__()
        self.map_shapes = map_shapes
        self.fourier = fourier
        self.last = last

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, D) to (B, C, T)."""
        row, maps = parted(z_BD, self.map_shapes)
        mask = self.last(maps)
        mask_real, mask_imaginary = torch.unflatten(mask, 1, (-1, 2)).unbind(dim=2)
        real, imaginary = self.fourier(row).unbind(dim=2)
        # A mask of 1 keeps the spectrum as it is.
        mask_real = 1 + mask_real
        masked = (
            mask_real * real - mask_imaginary * imaginary,
            mask_real * imaginary + mask_imaginary * real,
        )
        x: Tensor = self.fourier.inverse(torch.stack(masked, dim=2))
        return x


class _SpectrogramUnet(nn.Module):
    """A U-Net whose input is as large as its output."""

    def __init__(self, downs: list[nn.Module], ups: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.downs = nn.ModuleList(downs)
        self.ups = nn.ModuleList(ups)
        self.last = last

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, F, L) to (B, features, F, L)."""
        *larger, smallest = self.downs
        image, skips = _with_frequencies(maps), []
        for down in larger:
            image = down(image)
            skips.append(image)
            image = _halved(image)
        image = smallest(image)
        for skip, up in zip(reversed(skips), reversed(self.ups), strict=True):
            image = up(torch.cat([skip, _doubled(image, skip)], dim=1))
        found: Tensor = self.last(image)
        return found


def _halved(image: Tensor) -> Tensor:
    """Returns an image of half the height and width, rounded up."""
    height, width = image.shape[2:]
    even = functional.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
    return functional.avg_pool2d(even, 2)


def _doubled(image: Tensor, like: Tensor) -> Tensor:
    """Returns an image of twice the height and width, cropped to those of another."""
    height, width = like.shape[2:]
    return functional.interpolate(image, scale_factor=2.0)[:, :, :height, :width]


def _in_units_of_itself(x_BCT: Tensor) -> Tensor:
    """Divides each window by its root mean square; silence stays silent."""
    power = x_BCT.square().mean(dim=(1, 2), keepdim=True)
    return x_BCT * power.clamp(min=torch.finfo(torch.float32).tiny).rsqrt()


def _log_magnitudes(s_BCKFL: Tensor) -> Tensor:
    """Returns the spectrograms, shape (B, C, F, L), about -2 to 2."""
    power = s_BCKFL.square().sum(dim=2)
    return (power + _FLOOR**2).log() / 4


def _with_frequencies(maps: Tensor) -> Tensor:
    """Adds a map that rises from -1 at the lowest frequency to 1 at the highest."""
    count = maps.shape[2]
    rising = torch.linspace(-1.0, 1.0, count, device=maps.device, dtype=maps.dtype)
    return torch.cat([maps, rising[:, None].expand_as(maps[:, :1])], dim=1)
