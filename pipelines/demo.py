"""The demo of `make demo`: runs the main job on real data, end to end, as a person would type it.

Every step is an `isthmus` command that is run as it is shown. This script only creates the two
input files (noisy digits; digits with a kind that the model never saw) and reads the results.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

# In the repository the package is a link to the folder pipelines/, whose name is the one to show.
JOB = Path(__file__).resolve().parent / "jobs" / "digits.yaml"
RESULTS = Path("demo-results")
NOISE_SIGMA = 0.3
"""The standard deviation of the noise, as a share of the range of the pixels."""
SEED = 0

_console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Inputs:
    """The inputs of the jobs, and what the jobs should find.

    Attributes:
        clean: Shape (N, 8, 8). Digits that training never saw.
        noisy: Shape (N, 8, 8). The same digits with noise.
        mixed: Shape (M, 8, 8). Digits that training never saw, some of a kind that it never saw at
            all.
        is_anomaly: Shape (M,). Whether a digit of `mixed` is of that kind.
        pixel_range: The highest pixel value minus the lowest.
    """

    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    mixed: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    pixel_range: float


def main() -> int:
    """Runs the demo; returns the exit code."""
    RESULTS.mkdir(exist_ok=True)
    inputs = make_inputs()
    np.savez(RESULTS / "noisy.npz", x=inputs.noisy)
    np.savez(RESULTS / "mixed.npz", x=inputs.mixed)

    model = "digits@champion"
    step("Train an autoencoder on scikit-learn's digits, with two workers")
    run("train", os.path.relpath(JOB))
    step("Promote the new pair: what denoise and detect use from now on")
    run("promote", "digits", str(newest_version("digits")))
    step(f"Denoise {len(inputs.noisy)} digits that training never saw")
    run("denoise", "--model", model, "--force", "demo-results/noisy.npz", "demo-results/clean.npz")
    step(f"Detect a kind of digit that training never saw, among {len(inputs.mixed)} digits")
    run("detect", "--model", model, "--force", "demo-results/mixed.npz", "demo-results/scores.csv")
    summarise(inputs)
    return 0


def make_inputs() -> Inputs:
    """Creates the inputs from the rows that the job's split holds out, and from the unseen kind."""
    from sklearn.datasets import load_digits

    from isthmus.data import read_rows, split_rows
    from isthmus.jobs.specs import load_job_file

    spec = load_job_file(JOB)
    rows, data = read_rows(spec.data)
    held_out = split_rows(rows, data, spec.training.seed).test
    clean = rows.values[held_out].reshape(-1, 8, 8)

    digits = load_digits()
    trained_on = {int(label) for label in spec.data.keep_labels or ()}
    unseen = digits.images[[target not in trained_on for target in digits.target]]
    unseen = unseen.astype(np.float32)

    generator = np.random.default_rng(SEED)
    pixel_range = float(digits.images.max() - digits.images.min())
    noise = generator.normal(0.0, NOISE_SIGMA * pixel_range, clean.shape)
    order = generator.permutation(len(clean) + len(unseen))
    is_anomaly = np.repeat([False, True], [len(clean), len(unseen)])
    return Inputs(
        clean=clean,
        noisy=(clean + noise).astype(np.float32),
        mixed=np.concatenate([clean, unseen])[order],
        is_anomaly=is_anomaly[order],
        pixel_range=pixel_range,
    )


def summarise(inputs: Inputs) -> None:
    """Reads the outputs of the jobs, and prints how good they are."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    import isthmus
    from isthmus.spec import Settings

    newest = isthmus.versions("digits")[0]
    with np.load(RESULTS / "clean.npz") as stored:
        denoised = stored["x"]
        made_by = json.loads(str(stored["pair"]))
    scores = pd.read_csv(RESULTS / "scores.csv", comment="#")["score"]

    table = Table("what", "figure", box=None, show_header=False, padding=(0, 3, 0, 0))
    error, pca_error = (
        newest.metrics[name] for name in ("test/reconstruction_mse", "test/pca_mse")
    )
    table.add_row("reconstruction error, held-out digits", f"{error:.5f}  (PCA: {pca_error:.5f})")
    table.add_row(
        f"PSNR of noisy digits (sigma {NOISE_SIGMA})",
        f"{psnr(inputs.noisy, inputs.clean, inputs.pixel_range):.2f} dB",
    )
    table.add_row("PSNR denoised", f"{psnr(denoised, inputs.clean, inputs.pixel_range):.2f} dB")
    table.add_row("AUROC, unseen kind of digit", f"{roc_auc_score(inputs.is_anomaly, scores):.3f}")
    table.add_row("made by", f"{made_by['model']}, pair {made_by['pair_id']}")
    table.add_row("denoised digits", str(RESULTS / "clean.npz"))
    table.add_row("anomaly scores", str(RESULTS / "scores.csv"))
    table.add_row("MLflow store", Settings.from_environment().tracking_uri)
    table.add_row("MLflow page", f"run: {command('ui')}")
    step("What came out")
    _console.print(table)


def psnr(image: NDArray[np.float32], clean: NDArray[np.float32], pixel_range: float) -> float:
    """Returns the peak signal-to-noise ratio in dB, over all pixels of all images together."""
    return float(10 * np.log10(pixel_range**2 / np.mean((image - clean) ** 2)))


def newest_version(name: str) -> int:
    """Returns the version of the pair that was registered last."""
    import isthmus

    return isthmus.versions(name)[0].version


def step(title: str) -> None:
    """Prints the title of the next step."""
    _console.print(f"\n[bold]{title}[/bold]")


def command(*arguments: str) -> str:
    """Returns a command as a person would type it: by name if it is on the path."""
    program = Path(sys.executable).with_name("isthmus")
    on_path = Path(sys.executable).parent in map(Path, os.get_exec_path())
    shown = "isthmus" if on_path else os.path.relpath(program)
    return shlex.join([shown, *arguments])


def run(*arguments: str) -> None:
    """Prints a command and runs it."""
    _console.print(f"[dim]$[/dim] {command(*arguments)}")
    result = subprocess.run([sys.executable, "-m", "isthmus", *arguments], check=False)  # noqa:S603
    if result.returncode:
        raise SystemExit(result.returncode)


if __name__ == "__main__":
    sys.exit(main())
