"""Each kind of noise, against the distribution or the program that it is defined by."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus import corruptions
from isthmus.spec import PluginSpec


def corrupt(
    name: str, x: torch.Tensor, level: float | torch.Tensor, **options: object
) -> torch.Tensor:
    torch.manual_seed(0)
    return corruptions.build(PluginSpec(name=name, options=options))(x, level)


def test_gaussian_noise_has_the_standard_deviation_it_is_given() -> None:
    noise = corrupt("gaussian", torch.zeros(100_000, 2), 0.3)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


def test_masking_sets_the_given_share_to_zero_and_leaves_the_rest() -> None:
    x = torch.rand(50_000, 2) + 1
    masked = corrupt("masking", x, 0.25)
    is_zero = masked == 0
    assert is_zero.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(masked[~is_zero], x[~is_zero])


def test_salt_and_pepper_uses_the_extremes_evenly() -> None:
    x = torch.rand(50_000, 2)
    noisy = corrupt("salt_and_pepper", x, 0.2)
    changed = noisy[noisy != x]
    assert len(changed) / x.numel() == pytest.approx(0.2, abs=0.01)
    assert (changed == x.max()).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert ((changed == x.max()) | (changed == x.min())).all()


def test_each_row_may_have_a_level_of_its_own_down_to_none() -> None:
    levels = torch.tensor([[0.0], [1.0]])
    noise = corrupt("gaussian", torch.zeros(2, 10_000), levels)
    assert noise[0].abs().max() == 0
    assert noise[1].std().item() == pytest.approx(1.0, rel=0.05)


def test_speckle_scales_with_the_number_it_is_put_on() -> None:
    noisy = corrupt("speckle", torch.tensor([0.0, 0.5, -2.0]).repeat(200_000, 1), 0.3)
    assert noisy.mean(dim=0).tolist() == pytest.approx([0.0, 0.5, -2.0], abs=0.005)
    assert noisy.std(dim=0).tolist() == pytest.approx([0.0, 0.15, 0.6], rel=0.01)


def test_poisson_noise_keeps_the_mean_and_its_variance_is_the_squared_level_times_it() -> None:
    noisy = corrupt("poisson", torch.tensor([0.0, 0.25, 1.0, -3.0]).repeat(200_000, 1), 0.4)
    assert noisy.mean(dim=0).tolist() == pytest.approx([0.0, 0.25, 1.0, 0.0], abs=0.005)
    expected = [0.0, 0.16 * 0.25, 0.16, 0.0]
    assert noisy.var(dim=0).tolist() == pytest.approx(expected, rel=0.02)
    counts = noisy / 0.4**2
    torch.testing.assert_close(counts, counts.round())


def test_each_row_may_have_its_own_level_of_poisson_noise_down_to_none() -> None:
    noisy = corrupt("poisson", torch.ones(2, 50_000), torch.tensor([[0.0], [0.5]]))
    assert noisy[0].std().item() < 0.01
    assert noisy[1].std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("read_noise", [0.0, 0.05])
def test_a_cameras_noise_is_that_of_the_counts_and_that_of_reading_them(read_noise: float) -> None:
    x = torch.tensor([0.0, 0.25, 1.0]).repeat(200_000, 1)
    noisy = corrupt("poisson_gaussian", x, 0.2, read_noise=read_noise)
    assert noisy.mean(dim=0).tolist() == pytest.approx([0.0, 0.25, 1.0], abs=0.005)
    expected = [0.04 * value + read_noise**2 for value in (0.0, 0.25, 1.0)]
    assert noisy.var(dim=0).tolist() == pytest.approx(expected, rel=0.02)


# -- jpeg -----------------------------------------------------------------------------------------


def photo(mode: str, height: int, width: int) -> torch.Tensor:
    """A picture with edges and smooth parts, (1, C, height, width) of whole pixel values."""
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [
        128 + 60 * np.sin(x / 9) + 50 * np.cos(y / 7),
        255 * ((x // 11 + y // 13) % 2),
        np.hypot(x - width / 2, y - height / 2) * 255 / np.hypot(height, width),
    ]
    picture = np.stack(planes if mode == "RGB" else [sum(planes) / 3])
    return torch.from_numpy(picture.clip(0, 255).round().astype(np.float32)).unsqueeze(0) / 255


def by_pillow(x: torch.Tensor, quality: int) -> torch.Tensor:
    pixels = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image, file = Image.fromarray(pixels.squeeze()), io.BytesIO()
    image.save(file, "jpeg", quality=quality, subsampling="4:2:0")
    opened = np.asarray(Image.open(file), dtype=np.float32).reshape(pixels.shape)
    return torch.from_numpy(opened).permute(2, 0, 1).unsqueeze(0) / 255


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
@pytest.mark.parametrize("size", [(64, 96), (45, 51)], ids=["whole blocks", "padded"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_leaves_the_same_blocks_and_rings_as_libjpeg(
    mode: str, size: tuple[int, int], quality: int
) -> None:
    x = photo(mode, *size)
    ours, theirs = corrupt("jpeg", x, 1 - quality / 100), by_pillow(x, quality)
    lost = (theirs - x).square().mean().sqrt()
    # libjpeg computes with whole numbers, and rounds some pixels to the neighbouring value.
    assert (ours - theirs).square().mean().sqrt() < 0.15 * lost + 0.3 / 255
    assert (ours - x).square().mean().sqrt() == pytest.approx(lost.item(), rel=0.02)


def test_images_of_other_channels_are_each_compressed_as_grey_ones() -> None:
    x = photo("RGB", 32, 40)[:, :2]
    both = corrupt("jpeg", x, 0.7)
    for channel in (0, 1):
        alone = corrupt("jpeg", x[:, channel : channel + 1], 0.7)
        assert torch.equal(both[:, channel : channel + 1], alone)
