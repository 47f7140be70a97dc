"""How well photos are denoised: PSNR of the whole images, beside the filters a person would take.

The nets are trained by `isthmus.train` on the folder of training images alone, and applied by
`Pair.denoise` to whole images of several sizes, with Gaussian noise of standard deviation sigma
(pixels are 0 to 255; the noise is neither clipped nor rounded; its seed is fixed for each image).
PSNR is averaged over images, of output clipped to 0 to 255. Each benchmark prints a JSON line:

- grey is Set12 at sigma 25, beside BM3D told sigma, on the same noisy images. DnCNN's published
  30.44 dB is the mark.
- blind is one model for sigma 5 to 55: its PSNR at sigma 25 less that of the model of grey.
- colour is kodak8 at sigma 25, beside the grey model on each channel, and beside scikit-image's
  non-local means told sigma.

The `minutes` and `epochs` of the training, and the machine, are in each line. One core of a server
trains a model of grey in half an hour with the default of 150 epochs.

    python tests/benchmarks/denoise_quality.py [grey] [blind] [colour] [--epochs N] [--threads N]
        [--images FOLDER] [--keep FOLDER]

`--keep` names a folder whose models are used again, where they are there, whatever `--epochs` says.

Source of sigma 25 on Set12: Zhang et al. 2017, "Beyond a Gaussian Denoiser", arXiv:1608.03981,
table III. Source of BM3D: Dabov et al. 2007; the package bm3d, whose licence is non-commercial, is
in the extra `bench` alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import machine, tell
from numpy.typing import NDArray
from PIL import Image

import isthmus
from isthmus.errors import ModelNotFound
from isthmus.quiet import quieten
from isthmus.registry import Pair

IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"
SIGMA = 25
BLIND = (5, 55)
SIGMAS_OF_BLIND = (15, 25, 50)
PUBLISHED_DNCNN_DB = 30.44
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        images: The folder of the sets of images.
        epochs: The number of epochs of each training.
        threads: The number of threads of training.
        store: The folder of the trained models.
    """

    images: Path
    epochs: int
    threads: int
    store: Path


# -- what is measured ---------------------------------------------------------------------------


def grey(asked: Asked) -> bool:
    pair, took = trained(asked, "grey", "train400", level=SIGMA)
    clean = images_of(asked.images / "set12")
    noisy = noisy_of(clean, SIGMA)
    ours = mean_psnr(clean, {name: denoised(pair, image) for name, image in noisy.items()})
    theirs = mean_psnr(clean, {name: by_bm3d(image) for name, image in noisy.items()})
    return tell(
        "denoise-grey",
        value=ours - theirs,
        target=0.0,
        met=ours > theirs,
        better="higher",
        unit="dB above BM3D",
        ours_db=ours,
        bm3d_db=theirs,
        published_dncnn_db=PUBLISHED_DNCNN_DB,
        **took,
        machine=machine(),
    )


def blind(asked: Asked) -> bool:
    one, _ = trained(asked, "grey", "train400", level=SIGMA)
    many, took = trained(asked, "blind", "train400", level=list(BLIND))
    clean = images_of(asked.images / "set12")
    at: dict[int, float] = {}
    for sigma in SIGMAS_OF_BLIND:
        noisy = noisy_of(clean, sigma)
        at[sigma] = mean_psnr(clean, {name: denoised(many, each) for name, each in noisy.items()})
    noisy = noisy_of(clean, SIGMA)
    fixed = mean_psnr(clean, {name: denoised(one, each) for name, each in noisy.items()})
    return tell(
        "denoise-blind",
        value=at[SIGMA] - fixed,
        target=-0.3,
        met=at[SIGMA] >= fixed - 0.3,
        better="higher",
        unit="dB above the model of one level",
        **{f"sigma_{sigma}_db": value for sigma, value in at.items()},
        fixed_db=fixed,
        **took,
        machine=machine(),
    )


def colour(asked: Asked) -> bool:
    one, _ = trained(asked, "grey", "train400", level=SIGMA)
    three, took = trained(asked, "colour", "bsd400_colour", level=SIGMA)
    clean = images_of(asked.images / "kodak8")
    noisy = noisy_of(clean, SIGMA)
    ours = mean_psnr(clean, {name: denoised(three, image) for name, image in noisy.items()})
    by_channel = {
        name: np.concatenate([denoised(one, image[k : k + 1]) for k in range(3)])
        for name, image in noisy.items()
    }
    apart = mean_psnr(clean, by_channel)
    means = mean_psnr(clean, {name: by_non_local_means(image) for name, image in noisy.items()})
    return tell(
        "denoise-colour",
        value=ours - apart,
        target=0.0,
        met=ours > apart > 0,
        better="higher",
        unit="dB above the grey model on each channel",
        ours_db=ours,
        grey_on_each_db=apart,
        non_local_means_db=means,
        **took,
        machine=machine(),
    )


# -- ours ---------------------------------------------------------------------------------------


def trained(
    asked: Asked, name: str, folder: str, level: float | list[int]
) -> tuple[Pair, dict[str, float]]:
    """Returns the pair, and the minutes and epochs that its training took."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{asked.store / 'mlflow.db'}"
    try:
        pair = isthmus.load(f"{name}/1")
    except ModelNotFound:
        isthmus.train(job_of(asked, name, folder, level))
        pair = isthmus.load(f"{name}/1")
    metrics = pair.manifest.metrics
    return pair, {"minutes": metrics["seconds"] / 60, "epochs": metrics["epochs"]}


def job_of(asked: Asked, name: str, folder: str, level: float | list[int]) -> dict[str, Any]:
    """Returns the job: everything that is not named is what the product chooses."""
    return {
        "name": name,
        "data": {
            "path": str(asked.images / folder),
            "patch": 64,
            "augment": ["flip", "turn"],
            "patches_per_epoch": 2500,
        },
        "variant": {"name": "denoising", "level": level, "level_in": "data"},
        # Without bias a net generalises over levels; with it, it learns one level sooner.
        "net": {"name": "drunet", "bias": not isinstance(level, list)},
        "training": {
            "epochs": asked.epochs,
            "early_stopping": None,
            "global_batch_size": 16,
            "learning_rate": 2e-3,
            "schedule": "cosine",
            "gradient_clip_norm": 1.0,
            "weight_average_decay": 0.999,
            "precision": "bfloat16",
            "threads_per_worker": asked.threads,
        },
    }


def denoised(pair: Pair, noisy: Floats) -> Floats:
    """Returns an image of shape (C, H, W), denoised."""
    return np.asarray(pair.denoise(noisy[None].astype(np.float32))[0], dtype=np.float64)


# -- the others ---------------------------------------------------------------------------------


def by_bm3d(noisy: Floats) -> Floats:
    import bm3d

    return np.asarray(bm3d.bm3d(noisy[0], sigma_psd=SIGMA))[None]


def by_non_local_means(noisy: Floats) -> Floats:
    from skimage.restoration import denoise_nl_means

    found = denoise_nl_means(
        noisy / 255,
        patch_size=5,
        patch_distance=6,
        h=0.6 * SIGMA / 255,
        sigma=SIGMA / 255,
        fast_mode=True,
        channel_axis=0,
    )
    return np.asarray(found) * 255


# -- images -------------------------------------------------------------------------------------


def images_of(folder: Path) -> dict[str, Floats]:
    """Returns the images of a folder by name, each of shape (C, H, W), 0 to 255."""
    found: dict[str, Floats] = {}
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Image.open(path), dtype=np.float64)
        found[path.name] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if not found:
        sys.exit(f"{folder}: holds no png; name the folder of the sets with --images")
    return found


def noisy_of(clean: dict[str, Floats], sigma: float) -> dict[str, Floats]:
    return {name: with_noise(image, sigma, name) for name, image in clean.items()}


def with_noise(image: Floats, sigma: float, name: str) -> Floats:
    seed = int.from_bytes(name.encode()[:8].ljust(8), "big") % 2**31
    return image + sigma * np.random.default_rng(seed).standard_normal(image.shape)


def mean_psnr(clean: dict[str, Floats], made: dict[str, Floats]) -> float:
    """Returns the peak signal-to-noise ratio in dB, averaged over the images."""
    found = [
        10 * np.log10(255**2 / np.square(made[name].clip(0, 255) - image).mean())
        for name, image in clean.items()
    ]
    return float(np.mean(found))


def main() -> None:
    parts: dict[str, Callable[[Asked], bool]] = {"grey": grey, "blind": blind, "colour": colour}
    parser = argparse.ArgumentParser(description="Measures how well photos are denoised.")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--keep", type=Path, default=None)
    given = parser.parse_args()
    quieten()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        store = given.keep or Path(temporary)
        store.mkdir(parents=True, exist_ok=True)
        asked = Asked(given.images, given.epochs, given.threads, store.resolve())
        met = [part(asked) for name, part in parts.items() if name in (given.parts or parts)]
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
