"""Each way of learning to denoise works on patches, and then on whole images of another size."""

from __future__ import annotations

import pytest
import torch

from isthmus import nets
from isthmus.spec import PluginSpec
from isthmus.types import DataKind
from tests.unit.variants.building import build, trained

SIGMA = 0.3
PATCH, WHOLE = (1, 12, 12), (1, 20, 28)


def smooth(count: int, height: int, width: int) -> torch.Tensor:
    """Images of slow waves in any direction, (count, 1, height, width), with variance 1/2."""
    y = torch.linspace(0, height / 6, height).reshape(-1, 1)
    x = torch.linspace(0, width / 6, width)
    along, across, phase = torch.rand(3, count, 1, 1, 1) * 2 - 1
    return torch.sin(3 * along * y + 3 * across * x + 6 * phase)


def noisy(clean: torch.Tensor) -> torch.Tensor:
    return clean + SIGMA * torch.randn_like(clean)


def training_rows(variant: str) -> torch.Tensor:
    clean = smooth(400, *PATCH[1:])
    match variant:
        case "denoising":
            return clean
        case "supervised":
            return torch.stack([noisy(clean), clean], dim=1)
        case "noise2noise":
            return torch.stack([noisy(clean), noisy(clean)], dim=1)
    return noisy(clean)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("denoising", {"level": (0.1, SIGMA)}),
        ("supervised", {"corruption": "none"}),
        ("noise2noise", {}),
        ("noise2void", {}),
    ],
)
def test_what_was_learned_on_patches_takes_the_noise_from_whole_images(
    name: str, options: dict[str, object]
) -> None:
    torch.manual_seed(0)
    variant = "denoising" if name == "supervised" else name
    net = {"channels": 16, "depth": 5}
    latent_dim = nets.made_for(PluginSpec(name="dncnn", options=net), PATCH).fixed_latent_dim()
    module = build(variant, PATCH, DataKind.IMAGES, latent_dim, "dncnn", net, **options)
    trained(module, training_rows(name), 150, batch=32)
    clean = smooth(20, *WHOLE[1:])
    given = noisy(clean)
    with torch.no_grad():
        made = module.at(WHOLE).reconstruct(given)
    assert made.shape == given.shape
    assert (made - clean).square().mean() < 0.5 * SIGMA**2
