"""How well photos are compressed: bytes on disk against PSNR and MS-SSIM, beside JPEG and WebP.

One `hyperprior` of several rates is trained by `isthmus.train` on the folder of training images
alone. Each image of the test set is compressed to a file by `Pair.compress` at several qualities,
and read again by `Pair.decompress`; Pillow writes JPEG (optimised, 4:2:0 and 4:4:4) and WebP.
Rates and qualities are averaged over the images for each setting, and compared at equal bits per
pixel from 0.2 to 1, in between linearly. Each benchmark prints JSON lines:

- psnr and ms-ssim: the least that we are above the better of the two JPEGs at a rate. The
  BD-rates (Bjontegaard, VCEG-M33, by monotone cubic interpolation) against JPEG and WebP are the
  bits that we need less, in per cent, at equal PSNR. Of another crop of the images, papers give
  bmshj2018-hyperprior about 35 % below JPEG 4:4:4, and ELIC about 60 %.
- speed-encode and speed-decode: MB of pixels per second beside CompressAI's bmshj2018-hyperprior
  with the channels of its lower qualities (N=128, M=192) and drawn weights, coder included, in
  turns on one core. It is skipped where compressai is not installed, which asks for an older numpy
  and is in no extra: pip install --no-deps compressai, and what it then misses.

    python tests/benchmarks/compress_quality.py [quality] [speed] [--epochs N] [--threads N]
        [--images FOLDER] [--keep FOLDER] [--curves FILE]

`--keep` names a folder whose model is used again, where it is there; `--curves` writes all points
as JSON, and a picture of them beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from measuring import compare, machine, tell
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator

import isthmus
from isthmus.core.similarity import multiscale_ssim
from isthmus.errors import ModelNotFound
from isthmus.quiet import quieten
from isthmus.registry import Pair

IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"
RATES = np.linspace(0.2, 1.0, 17)
QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
OF_PILLOW = (3, 5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 85, 90)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        images: The folder of the sets of images.
        epochs: The number of epochs of the training.
        threads: The number of threads of the training.
        store: The folder of the trained model.
        curves: The file for all points, if they are asked for.
    """

    images: Path
    epochs: int
    threads: int
    store: Path
    curves: Path | None


@dataclass(frozen=True)
class Curve:
    """Averages over all images at each setting of a codec, in rising order of rates.

    Attributes:
        rates: Bits per pixel.
        psnr: Peak signal-to-noise ratio in dB.
        ms_ssim: Multiscale structural similarity in dB, -10 log10(1 - MS-SSIM).
    """

    rates: NDArray[np.float64]
    psnr: NDArray[np.float64]
    ms_ssim: NDArray[np.float64]


# -- what is measured ---------------------------------------------------------------------------


def quality(asked: Asked) -> bool:
    pair, took = trained(asked)
    images = images_of(asked.images / "kodak8")
    curves = {
        "isthmus": curve_of(images, QUALITIES, lambda image, q: ours(pair, image, q)),
        "jpeg_420": curve_of(images, OF_PILLOW, lambda image, q: by_jpeg(image, q, "4:2:0")),
        "jpeg_444": curve_of(images, OF_PILLOW, lambda image, q: by_jpeg(image, q, "4:4:4")),
        "webp": curve_of(images, OF_PILLOW, by_webp),
    }
    if asked.curves:
        write_curves(asked.curves, curves)
    mine = curves["isthmus"]
    bd = {
        f"bd_rate_{name}_percent": bd_rate(curves[name], mine)
        for name in ("jpeg_420", "jpeg_444", "webp")
    }
    met = []
    for measure, name in (("psnr", "compress-psnr"), ("ms_ssim", "compress-ms-ssim")):
        best = np.maximum(at(curves["jpeg_420"], measure), at(curves["jpeg_444"], measure))
        above = at(mine, measure) - best
        met.append(
            tell(
                name,
                value=float(above.min()),
                target=0.0,
                met=bool((above > 0).all()),
                better="higher",
                unit="dB above JPEG, at the rate where it is least",
                mean_above=float(above.mean()),
                rates=[float(mine.rates[0]), float(mine.rates[-1])],
                **(bd if measure == "psnr" else {}),
                **took,
                machine=machine(),
            )
        )
    return all(met)


def speed(asked: Asked) -> bool:
    try:
        from compressai.zoo import bmshj2018_hyperprior
    except ImportError as error:
        return tell("compress-speed", met=None, why=f"compressai cannot be imported: {error}")
    pair, _ = trained(asked)
    torch.set_num_threads(1)
    theirs = bmshj2018_hyperprior(1, pretrained=False).eval()
    theirs.update()
    image = np.tile(next(iter(images_of(asked.images / "kodak8").values())), (2, 2, 1))
    image = np.ascontiguousarray(image[:768, :768])
    megabytes = image.nbytes / 1e6
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        given, file, made = (Path(folder) / name for name in ("x.png", "x.isth", "y.png"))
        Image.fromarray(image).save(given, compress_level=0)
        their_file = theirs.compress(x)

        def we_encode() -> float:
            began = perf_counter()
            pair.compress(given, file, quality=50, force=True)
            return megabytes / (perf_counter() - began)

        def we_decode() -> float:
            began = perf_counter()
            pair.decompress(file, made, force=True)
            return megabytes / (perf_counter() - began)

        def they_encode() -> float:
            began = perf_counter()
            theirs.compress(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
            return megabytes / (perf_counter() - began)

        def they_decode() -> float:
            began = perf_counter()
            theirs.decompress(their_file["strings"], their_file["shape"])
            return megabytes / (perf_counter() - began)

        we_encode()
        encode = compare("compress-speed-encode", we_encode, they_encode, 1.0, unit="MB/s")
        decode = compare("compress-speed-decode", we_decode, they_decode, 1.0, unit="MB/s")
    return encode and decode


# -- the codecs ---------------------------------------------------------------------------------


def trained(asked: Asked) -> tuple[Pair, dict[str, float]]:
    """Returns the pair, and the minutes and epochs that its training took."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{asked.store / 'mlflow.db'}"
    try:
        pair = isthmus.load("photos/1")
    except ModelNotFound:
        isthmus.train(job_of(asked))
        pair = isthmus.load("photos/1")
    metrics = pair.manifest.metrics
    return pair, {"minutes": metrics["seconds"] / 60, "epochs": metrics["epochs"]}


def job_of(asked: Asked) -> dict[str, Any]:
    """Returns the job: everything that is not named is what the product chooses."""
    return {
        "name": "photos",
        "data": {
            "path": str(asked.images / "bsd400_colour"),
            "patch": 96,
            "augment": ["flip", "turn"],
            "patches_per_epoch": 2500,
        },
        "variant": "hyperprior",
        "training": {
            "epochs": asked.epochs,
            "early_stopping": None,
            "global_batch_size": 8,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "gradient_clip_norm": 1.0,
            "weight_average_decay": 0.999,
            "precision": "bfloat16",
            "threads_per_worker": asked.threads,
        },
    }


def ours(pair: Pair, image: Pixels, level: float) -> tuple[int, Pixels]:
    """Returns the bytes of the file, and the image that is read from it."""
    with tempfile.TemporaryDirectory() as folder:
        given, file, made = (Path(folder) / name for name in ("x.png", "x.isth", "y.png"))
        Image.fromarray(image).save(given, compress_level=1)
        pair.compress(given, file, quality=level)
        pair.decompress(file, made)
        return file.stat().st_size, np.asarray(Image.open(made))


def by_jpeg(image: Pixels, level: float, subsampling: str) -> tuple[int, Pixels]:
    return by_pillow(image, "JPEG", quality=int(level), optimize=True, subsampling=subsampling)


def by_webp(image: Pixels, level: float) -> tuple[int, Pixels]:
    return by_pillow(image, "WEBP", quality=int(level), method=6)


def by_pillow(image: Pixels, form: str, **options: Any) -> tuple[int, Pixels]:
    written = io.BytesIO()
    Image.fromarray(image).save(written, form, **options)
    return len(written.getvalue()), np.asarray(Image.open(written).convert("RGB"))


# -- curves -------------------------------------------------------------------------------------


def curve_of(
    images: Iterable[tuple[str, Pixels]] | dict[str, Pixels],
    levels: Iterable[float],
    codec: Callable[[Pixels, float], tuple[int, Pixels]],
) -> Curve:
    pictures = list(dict(images).values())
    points = []
    for level in levels:
        found = [(image, *codec(image, level)) for image in pictures]
        rates = [8 * size / image[..., 0].size for image, size, _ in found]
        errors = [np.square(image.astype(float) - made).mean() for image, _, made in found]
        alike = [similarity(image, made) for image, _, made in found]
        decibels = [10 * np.log10(255**2 / error) for error in errors]
        points.append((np.mean(rates), np.mean(decibels), -10 * np.log10(1 - np.mean(alike))))
    rising = np.array(sorted(points))
    return Curve(rising[:, 0], rising[:, 1], rising[:, 2])


def similarity(image: Pixels, made: Pixels) -> float:
    both = [torch.from_numpy(each.copy()).permute(2, 0, 1)[None] / 255 for each in (image, made)]
    return float(multiscale_ssim(both[1], both[0])[0])


def at(curve: Curve, measure: str) -> NDArray[np.float64]:
    """Returns a measure at each of the rates that are compared; -inf below a codec's lowest."""
    values = getattr(curve, measure)
    return np.interp(RATES, curve.rates, values, left=-np.inf)


def bd_rate(reference: Curve, tested: Curve) -> float:
    """Returns how many per cent more bits `tested` needs, on average over the PSNRs of both."""
    inside = [each.rates <= 2.0 for each in (reference, tested)]
    logs = [
        PchipInterpolator(each.psnr[kept], np.log(each.rates[kept]))
        for each, kept in zip((reference, tested), inside, strict=True)
    ]
    low = max(each.psnr[0] for each in (reference, tested))
    high = min(each.psnr[kept][-1] for each, kept in zip((reference, tested), inside, strict=True))
    difference = logs[1].integrate(low, high) - logs[0].integrate(low, high)
    return float(100 * np.expm1(difference / (high - low)))


def write_curves(path: Path, curves: dict[str, Curve]) -> None:
    import matplotlib.pyplot as plt

    path.write_text(
        json.dumps(
            {
                name: {field: getattr(curve, field).tolist() for field in curve.__annotations__}
                for name, curve in curves.items()
            }
        )
    )
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5))
    for panel, measure, label in zip(
        panels, ("psnr", "ms_ssim"), ("PSNR (dB)", "MS-SSIM (dB)"), strict=True
    ):
        for name, curve in curves.items():
            shown = curve.rates <= 1.6
            panel.plot(curve.rates[shown], getattr(curve, measure)[shown], "o-", ms=3, label=name)
        panel.set(xlabel="bits per pixel", ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=120)


def images_of(folder: Path) -> dict[str, Pixels]:
    found = {
        path.name: np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(folder.glob("*.png"))
    }
    if not found:
        sys.exit(f"{folder}: holds no png; name the folder of the sets with --images")
    return found


def main() -> None:
    parts: dict[str, Callable[[Asked], bool]] = {"quality": quality, "speed": speed}
    parser = argparse.ArgumentParser(description="Measures how well photos are compressed.")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--curves", type=Path, default=None)
    given = parser.parse_args()
    quieten()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        store = given.keep or Path(temporary)
        store.mkdir(parents=True, exist_ok=True)
        asked = Asked(given.images, given.epochs, given.threads, store.resolve(), given.curves)
        met = [part(asked) for name, part in parts.items() if name in (given.parts or parts)]
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
