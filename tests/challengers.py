"""Pairs that were trained for a second, by hand and not by a job: for tests of who is better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from isthmus import variants
from isthmus.bundle.held_out import HeldOutSample
from isthmus.jobs.code_tables import make_code_tables
from isthmus.jobs.detectors import make_detector
from isthmus.jobs.evaluation import evaluate
from isthmus.jobs.held_out import draw_sample
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.progress.reporter import EpochReport
from isthmus.registry import RegisteredPair, TrainedPair, find_succession, register_pair
from isthmus.registry.succession import NO_SUCCESSION
from isthmus.spec import Settings
from isthmus.tracking import RunLog, RunReport, fit_pca

GOOD_STEPS, BAD_STEPS = 400, 2


def write_rows(path: Path, rows: int = 2400, seed: int = 0) -> Path:
    """A curved surface of two dimensions among six features; one row in ten is off it."""
    generator = np.random.default_rng(seed)
    a, b = generator.uniform(-2, 2, (2, rows))
    features = np.stack([a, b, a * b, a**2, b**2, np.sin(2 * a)], axis=1)
    is_off = generator.random(rows) < 0.1
    features[is_off] = generator.permuted(features[is_off], axis=0)
    lines = ["a,b,c,d,e,f,label"]
    lines += [
        ",".join(f"{value:.6f}" for value in row) + f",{int(off)}"
        for row, off in zip(features, is_off, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def register(
    name: str,
    rows: Path,
    settings: Settings,
    steps: int = GOOD_STEPS,
    seed: int = 0,
    like_a_job: bool = False,
    data: dict[str, object] | None = None,
    promotion: dict[str, object] | None = None,
    started_from: str | None = None,
    **job,
) -> RegisteredPair:
    """Trains for so many steps and registers; like a job, if asked for, with pictures and maps."""
    labels = {"labels": "label", "keep_labels": [0], "exclude": ["label"]}
    data = {"path": str(rows), **labels, **(data or {})}
    net = {"name": "dense", "hidden": [32]}
    # The nets are alike: which of two is quicker is decided by what else the machine does.
    bounds = {"max_latency_ratio": 1e6, **(promotion or {})}
    parts = {"data": data, "net": net, "latent_dim": 2, "promotion": bounds}
    spec = check_job({"name": name, **parts, **job})
    prepared = prepare(spec)
    torch.manual_seed(seed)
    module = variants.build(prepared.plan)
    module.scaling.fit(*map(torch.from_numpy, (prepared.scaled.offset, prepared.scaled.scale)))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    scaled = torch.from_numpy(prepared.scaled.train)
    for _ in range(steps):
        optimizer.zero_grad()
        module.loss(scaled).total.backward()
        optimizer.step()
    module.eval()
    made = make_detector(prepared, [module], None)
    detector = made.detector
    log = RunLog.start(spec, settings)
    if like_a_job:
        log.log_report(_report(detector, prepared))
    log.finish()
    succession = NO_SUCCESSION
    if like_a_job:
        held_out = prepared.validation, prepared.test
        succession = find_succession(
            name, module, prepared.data, *held_out, settings, schema=prepared.schema
        )
    return register_pair(
        TrainedPair(
            detector=detector,
            scoring=made.scoring,
            spec=prepared.spec,
            data=prepared.data,
            row_schema=prepared.schema,
            fingerprint=prepared.fingerprint,
            metrics={"test/reconstruction_mse": 0.5, "test/pca_mse": 0.6},
            run_id=log.run_id,
            example=prepared.test[:2],
            succession=succession,
            held_out=_sample(module, prepared),
            code_tables=make_code_tables(prepared, module),
            started_from=started_from,
        ),
        settings,
    )


def _sample(module, prepared: Prepared) -> HeldOutSample | None:
    if not prepared.data.keep_held_out:
        return None
    return draw_sample(prepared, fit_pca(prepared.first_view, module.code_size), module)


def _report(detector, prepared: Prepared) -> RunReport:
    found = evaluate(detector.module, prepared.scaled.train, prepared.test)
    return RunReport(
        plan=prepared.plan,
        inputs=found.inputs,
        reconstructions=found.reconstructions,
        latents=found.latents,
        labels=None,
        errors=found.errors,
        pca_errors=found.pca_errors,
        threshold=float(detector.calibration.threshold),
        history=[EpochReport(1, {"loss": 1.0}, {"loss": 1.0}, 1e-2, 1.0)],
    )
