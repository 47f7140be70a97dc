"""The figures of a pair in words, beside those of PCA: for its card and for notebooks."""

from __future__ import annotations

import re
from collections.abc import Mapping

_UNITS = {"mse": "mean square, scaled", "nats": "nats", "db": "dB", "bits": "bits"}


def beside_pca(metrics: Mapping[str, float]) -> dict[str, tuple[float, float | None]]:
    """Returns the figures on held-out rows by the metric's name, each with PCA's if there is one.

    Args:
        metrics: The metrics of a trained pair.
    """
    pca = {"test/reconstruction_mse": metrics.get("test/pca_mse")}
    pca |= {name: metrics.get(name.replace("denoised", "pca")) for name in metrics
            if "denoised" in name}  # fmt: skip
    pca["test/noise_mse_ratio"] = metrics.get("test/noise_mse_ratio_pca")
    return {
        name: (metrics[name], pca.get(name))
        for name in metrics
        if (name.startswith("test/") and "pca" not in name) or name == "validation/loss"
    }


def named(metric: str) -> str:
    """Returns a metric's name in words: `psnr (dB)` for `test/psnr_db`."""
    words = re.split("[/_]", metric.removeprefix("test/"))
    unit = _UNITS.get("db" if "db" in words else words[-1])
    if words == ["reconstruction", "mse"]:
        words = ["reconstruction", "error"]
    elif unit:
        words = [word for word in words if word not in _UNITS]
    return f"{' '.join(words)} ({unit})" if unit else " ".join(words)
