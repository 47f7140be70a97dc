"""A denoiser is judged by what it makes of rows with noise, from the run to the gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.registry import fetch_held_out
from isthmus.spec import Settings
from isthmus.tracking import open_store
from isthmus.tracking.noise_in_words import compared_in_words, remarks

# On the CPUs of a laptop; importing torch and MLflow alone takes 0.7 GiB, and training this net in
# two threads 1 GB. A matrix of its latent would take 5 GB.
MOST_BYTES = 2 * 2**30
SCRIPT = """
from pathlib import Path
import isthmus
from isthmus.progress.reporter import SilentReporter

result = isthmus.train({job}, reporter=SilentReporter())
# Not `ru_maxrss`, in which the process of the tests counts as well, of which this one is a copy.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(result.plan.latent_dim, int(status["VmHWM"].split()[0]) * 1024)
"""


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Grey images of flat squares."""
    generator = np.random.default_rng(seed)
    found = np.zeros((count, size, size), dtype=np.uint8)
    for image in found:
        for _ in range(5):
            top, left = generator.integers(0, size // 2, 2)
            image[top : top + size // 2, left : left + size // 2] = generator.integers(40, 256)
    return found


@pytest.fixture
def settings(here: Path) -> Settings:
    return Settings.from_environment({}, here)


def denoiser(name: str, **changed: object) -> dict[str, object]:
    return {
        "name": name,
        "data": {"path": "images.npz", "kind": "images"},
        "variant": {"name": "denoising", "level": 0.15},
        **changed,
    }


def test_the_gate_refuses_a_denoiser_that_makes_rows_worse_and_training_says_so(settings, isthmus):
    np.savez("images.npz", x=images(200, 16))
    Path("job.yaml").write_text(
        "name: worse\ndata: {path: images.npz, kind: images}\nlatent_dim: 2\n"
        "variant: {name: denoising, level: 0.02}\ntraining: {epochs: 1, ensemble: 1}\n"
    )
    done = isthmus("train", "job.yaml")
    assert done.code == 0
    said = " ".join(done.out.split())
    assert "PSNR of held-out rows" in said
    assert "worse after denoising than before" in said
    assert "try a net that no bottleneck limits" in said
    gate = isthmus("gate", "worse/1")
    assert gate.code == 1
    assert "PSNR of denoised rows beside noisy ones" in gate.out


def test_training_tells_what_weak_noise_costs_and_the_gate_allows_it_to_a_bottleneck(settings):
    """A bottleneck of two numbers takes strong noise away, and most of the image too."""
    np.savez("images.npz", x=images(200, 16))
    variant = {"name": "denoising", "level": [0.005, 1.0]}
    job = denoiser("m", variant=variant, latent_dim=2, training={"epochs": 2, "ensemble": 1})
    result = isthmus.train(job, settings=settings)
    figures = {name: result.metrics[f"test/psnr_{name}"] for name in ("db_noisy", "db_denoised")}
    assert figures["db_noisy"] < figures["db_denoised"]
    weakest = {name: result.metrics[f"test/psnr_{name}_weakest"] for name in figures}
    assert weakest["db_noisy"] == pytest.approx(46, abs=1)
    assert weakest["db_denoised"] < weakest["db_noisy"]
    assert "at the weakest noise of the range 46" in compared_in_words(result.metrics, result.plan)
    told = " ".join(remarks(result.metrics, result.plan))
    assert "the weakest noise" in told
    assert "the gate allows that to a net with a bottleneck" in told
    checks = {each.check: each for each in isthmus.gate("m/1", settings=settings).checks}
    assert checks["noise_removed"].verdict == "passed"
    assert "weakest noise" not in checks["noise_removed"].name


def test_the_gate_refuses_a_denoiser_without_a_bottleneck_that_ruins_rows_with_weak_noise(settings):
    np.savez("images.npz", x=images(200, 16))
    variant = {"name": "denoising", "level": [0.005, 1.0]}
    job = denoiser("m", variant=variant, net="unet", training={"epochs": 1, "ensemble": 1})
    result = isthmus.train(job, settings=settings)
    assert "the gate will refuse that" in " ".join(remarks(result.metrics, result.plan))
    checks = {each.check: each for each in isthmus.gate("m/1", settings=settings).checks}
    assert checks["noise_removed"].verdict == "refused"
    assert "weakest noise" in checks["noise_removed"].name


def test_a_run_of_a_denoiser_has_the_figures_of_noise_pca_and_filter_on_the_same_rows(settings):
    np.savez("images.npz", x=images(300, 16))
    job = denoiser("m", latent_dim=8, training={"epochs": 3, "ensemble": 1})
    result = isthmus.train(job, settings=settings)
    figures = {
        whose: result.metrics[f"test/psnr_db_{whose}"]
        for whose in ("noisy", "denoised", "pca", "filter")
    }
    assert figures["noisy"] == pytest.approx(-20 * np.log10(0.15), abs=1.0)
    assert figures["filter"] > figures["noisy"]
    run = open_store(settings).get_run(result.run_id)
    assert run.data.metrics["test/psnr_db_filter"] == pytest.approx(figures["filter"])
    assert "non-local means" in run.data.tags["mlflow.note.content"]
    pair = isthmus.load("m/1", settings=settings)
    sample = fetch_held_out(pair.manifest, settings)
    assert sample.is_of_noisy
    assert np.nanmean(sample.filtered) == pytest.approx(figures["filter"], abs=0.5)
    # The errors of PCA are those of the same rows with noise.
    made = 10 * np.log10(sample.peak**2 / sample.pca_errors)
    assert made.mean() == pytest.approx(figures["pca"], abs=0.5)
    verdict = isthmus.gate("m/1", settings=settings)
    checks = {each.check: each for each in verdict.checks}
    assert checks["noise_removed"].beside == pytest.approx(figures["noisy"], abs=0.5)
    assert checks["classical_filter"].beside == pytest.approx(figures["filter"], abs=0.5)
    assert checks["classical_filter"].bound is None
    assert "denoising" not in checks  # which compares with a champion


def test_a_net_without_a_bottleneck_is_trained_registered_and_drawn_in_bounded_memory(
    settings, here
):
    np.savez("images.npz", x=images(100, 48))
    # Of few channels, which the size of the latent hardly depends on, and the time does.
    net = {"name": "unet", "channels": [8, 16, 16, 32]}
    job = denoiser("wide", net=net, training={"epochs": 1, "ensemble": 1})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(job=job)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    latent_dim, peak_bytes = map(int, done.stdout.split())
    assert latent_dim > 48 * 48
    assert peak_bytes < MOST_BYTES
    assert "could not be logged" not in done.stderr
    pair = isthmus.load("wide/1", settings=settings)
    # Nothing of the kind that compares latents of 100,000 numbers.
    assert pair.manifest.detector.scoring.name == "reconstruction"
    assert "test/pca_mse" not in pair.manifest.metrics
    assert "test/psnr_db_pca" not in pair.manifest.metrics
    client = open_store(settings)
    figures = {each.path for each in client.list_artifacts(pair.manifest.run_id, "figures")}
    assert len(figures) == 4
    assert fetch_held_out(pair.manifest, settings).pca_components == 0
    assert "pca" not in {each.check for each in isthmus.gate("wide/1", settings=settings).checks}


def test_the_psnr_of_dim_images_is_that_of_their_bit_depth(settings):
    """Papers take 255 as the peak, also of an image in which nothing is white."""
    dim = images(200, 16) // 2
    np.savez("images.npz", x=dim)
    variant = {"name": "denoising", "level": 25, "level_in": "data"}
    job = denoiser("dim", variant=variant, latent_dim=8, training={"epochs": 1, "ensemble": 1})
    result = isthmus.train(job, settings=settings)
    expected = 20 * np.log10(255 / 25)
    assert result.metrics["test/psnr_db_noisy"] == pytest.approx(expected, abs=0.3)
