"""Denoising and detection on scikit-learn's digits, through the product's own path.

Detection: one class of digits is left out of training and is the anomaly; the AUROC is averaged
over the ten classes, beside that of PCA's reconstruction error at the same latent size on the
same rows. Denoising: noise of sigma 0.3 of the pixels' range on digits that training never saw.
Prints a JSON line each.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from isthmus import registry
from isthmus.data import read_rows, split_rows
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import train
from isthmus.launch.session import ray_session
from isthmus.registry import Pair
from isthmus.spec import JobSpec, Settings

LATENT_DIM = 16
NOISE_SIGMA = 0.3
CLASSES = range(10)

Images = NDArray[np.float32]


def job(name: str, **data: object) -> JobSpec:
    return check_job(
        {
            "name": name,
            "data": {"path": "sklearn:digits", **data},
            "variant": {"name": "denoising", "level": NOISE_SIGMA},
            "latent_dim": LATENT_DIM,
            "training": {"epochs": 100, "global_batch_size": 64, "threads_per_worker": 1},
        }
    )


def trained(spec: JobSpec, settings: Settings) -> Pair:
    result = train(spec, settings)
    assert result.pair is not None
    return registry.load(f"{result.pair.name}/{result.pair.version}", settings)


def parts(spec: JobSpec) -> tuple[Images, Images]:
    """The rows that were trained on, and those that training never saw."""
    rows, data = read_rows(spec.data)
    split = split_rows(rows, data, spec.training.seed)
    return rows.values[split.train], rows.values[split.test]


def detection(settings: Settings) -> dict[str, Any]:
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    ours, baseline = [], []
    for unseen in CLASSES:
        kept = [label for label in CLASSES if label != unseen]
        spec = job(f"without-{unseen}", keep_labels=kept)
        seen_train, seen_test = parts(spec)
        mixed = np.concatenate([seen_test, images[digits.target == unseen]])
        is_anomaly = np.arange(len(mixed)) >= len(seen_test)
        ours.append(roc_auc_score(is_anomaly, trained(spec, settings).detect(mixed).scores))
        pca = PCA(LATENT_DIM, random_state=0).fit(seen_train.reshape(len(seen_train), -1))
        flat = mixed.reshape(len(mixed), -1)
        errors = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean(axis=1)
        baseline.append(roc_auc_score(is_anomaly, errors))
        print(f"without {unseen}: {ours[-1]:.3f}, PCA {baseline[-1]:.3f}", file=sys.stderr)
    value, reference = float(np.mean(ours)), float(np.mean(baseline))
    return {
        "name": "digits-detection-auroc",
        "value": round(value, 4),
        "target": round(reference, 4),
        "met": value > reference,
        "reference": "PCA's reconstruction error at the same latent size, the same rows",
        "by_class": [round(float(auroc), 4) for auroc in ours],
        "pca_by_class": [round(float(auroc), 4) for auroc in baseline],
    }


def denoising(settings: Settings) -> dict[str, Any]:
    spec = job("noisy")
    pair = trained(spec, settings)
    _, clean = parts(spec)
    pixel_range = float(clean.max() - clean.min())
    noise = np.random.default_rng(0).normal(0.0, NOISE_SIGMA * pixel_range, clean.shape)
    noisy = (clean + noise).astype(np.float32)

    def psnr(found: Images) -> float:
        return float(10 * np.log10(pixel_range**2 / np.mean((found - clean) ** 2)))

    gain = psnr(pair.denoise(noisy)) - psnr(noisy)
    return {
        "name": "digits-denoising-gain-db",
        "value": round(gain, 2),
        "target": 4.0,
        "met": gain >= 4.0,
        "noisy_psnr_db": round(psnr(noisy), 2),
        "denoised_psnr_db": round(psnr(pair.denoise(noisy)), 2),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({}, Path(folder))
        with ray_session(None, 1):
            for benchmark in (denoising, detection):
                print(json.dumps(benchmark(settings)), flush=True)


if __name__ == "__main__":
    main()
