"""A training that starts from a registered pair: what is taken over, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from sklearn.datasets import load_digits

import isthmus
from isthmus.errors import SpecError
from isthmus.jobs.ensembles import weights_to_start
from isthmus.jobs.job_schema import schema
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.jobs.starting import Start, starting_pair, weights_of
from isthmus.jobs.train import TrainResult
from isthmus.registry import load
from isthmus.spec import RowSchema, Settings
from isthmus.tracking import find_run, open_store
from isthmus.types import DataKind
from tests.conftest import Command
from tests.stopping import StopsAfterTwoEpochs

# So small that weights stay what they were.
NO_STEP = 1e-9
DIGITS = load_digits().images.astype(np.float32)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({}, tmp_path_factory.mktemp("warm"))


@pytest.fixture
def isthmus_in(
    settings: Settings, isthmus: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command, with the registry of these tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    return isthmus


def job(**changed: object) -> dict[str, object]:
    training = {"early_stopping": None, "epochs": 1, "device": "cpu"}
    return {
        "name": "warm",
        "net": {"name": "dense", "hidden": [64]},
        "latent_dim": 8,
        **changed,
        "training": {**training, **changed.get("training", {})},  # type: ignore[dict-item]
    }


def train(settings: Settings, rows: np.ndarray, **changed: object) -> TrainResult:
    return isthmus.train(job(**changed), data=rows, settings=settings)


@pytest.fixture(scope="module")
def base(settings: Settings) -> TrainResult:
    """A pair that has learned the first half of the digits, and is champion."""
    found = train(settings, DIGITS[:900], training={"epochs": 12})
    isthmus.promote("warm", found.pair.version, settings=settings, why="first", force=True)
    return found


def started(settings: Settings, rows: np.ndarray = DIGITS[900:], **training: object) -> TrainResult:
    return train(settings, rows, training={"start_from": "warm@champion", **training})


def test_a_warm_start_is_as_good_after_one_epoch_as_a_cold_one_after_eight(
    base: TrainResult, settings: Settings
) -> None:
    warm = started(settings)
    cold = train(settings, DIGITS[900:], training={"epochs": 8})
    assert warm.epochs == 1
    assert warm.metrics["validation/loss"] < cold.metrics["validation/loss"]
    assert warm.started_from == str(base.pair)


def test_weights_and_scaling_are_those_of_the_pair(base: TrainResult, settings: Settings) -> None:
    # In other units, the rows alone would give another scaling.
    warm = started(settings, DIGITS[900:] * 3 + 7, learning_rate=NO_STEP)
    before, after = (load(str(each.pair), settings) for each in (base, warm))
    for name, tensor in before.module.state_dict().items():
        assert torch.allclose(tensor, after.module.state_dict()[name], atol=1e-5), name
    assert after.manifest.started_from == base.pair.pair_id
    assert np.allclose(before.reconstruct(DIGITS[:5]), after.reconstruct(DIGITS[:5]), atol=1e-2)


def test_rows_that_are_centred_otherwise_are_scaled_alike(
    base: TrainResult, settings: Settings
) -> None:
    pair = load(str(base.pair), settings)
    plan = pair.manifest.plan.model_copy(update={"row_shape": (2,), "kind": DataKind.TABULAR})
    table = RowSchema(kind=DataKind.TABULAR, shape=(2,), centre=(1e9, 0.0))
    pair.manifest = pair.manifest.model_copy(update={"row_schema": table, "plan": plan})
    pair.module.scaling.offset = torch.tensor([3.0, 5.0])
    pair.module.scaling.scale = torch.tensor([2.0, 4.0])
    found = Start(pair).statistics(table.model_copy(update={"centre": (1e9 + 64, 0.0)}))
    assert found.offset.tolist() == [3.0 - 64, 5.0]
    assert found.scale.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variant": "vae"}, "has variant plain, and this job vae"),
        ({"net": "conv"}, "has net dense, and this job conv"),
        ({"latent_dim": 4}, "has latent_dim 8, and this job 4"),
        ({"net": {"name": "dense", "hidden": [32]}}, "has net.hidden 64, and this job 32"),
        ({"reconstruction": "l1"}, "has reconstruction mse, and this job l1"),
        ({"data": {"scaling": "standard"}}, "has data.scaling minmax, and this job standard"),
    ],
    ids=["variant", "net", "latent", "width", "loss", "scaling"],
)
def test_what_differs_is_told_in_one_line_before_training(
    base: TrainResult, settings: Settings, changed: dict[str, object], message: str
) -> None:
    before = len(isthmus.versions("warm", all_versions=True, settings=settings))
    with pytest.raises(SpecError, match=message) as caught:
        train(settings, DIGITS, **changed, training={"start_from": str(base.pair)})
    assert str(caught.value).startswith("training.start_from: warm/1 has ")
    assert "\n" not in str(caught.value)
    assert len(isthmus.versions("warm", all_versions=True, settings=settings)) == before


def test_rows_of_another_size_are_refused(base: TrainResult, settings: Settings) -> None:
    with pytest.raises(SpecError, match="has rows of shape 1, 8, 8, and this job 1, 8, 6"):
        started(settings, DIGITS[:, :, :6])


def test_the_same_number_of_other_columns_is_refused(settings: Settings, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(300, 3))
    for name, columns in (("first", "a,b,c"), ("second", "b,a,c")):
        np.savetxt(tmp_path / f"{name}.csv", values, delimiter=",", header=columns, comments="")
    content = job(name="columns", latent_dim=2, data=str(tmp_path / "first.csv"))
    isthmus.train(content, settings=settings)
    content = job(
        name="columns",
        latent_dim=2,
        data=str(tmp_path / "second.csv"),
        training={"start_from": "columns/1"},
    )
    with pytest.raises(SpecError, match="has features a, b, c, and this job b, a, c"):
        isthmus.train(content, settings=settings)


def test_a_variants_option_that_changes_its_weights_is_named(settings: Settings) -> None:
    sizes = [{"name": "vamp", "pseudo_inputs": number} for number in (10, 20)]
    train(settings, DIGITS[:200], name="vamp", variant=sizes[0])
    other = {"start_from": "vamp/1"}
    with pytest.raises(SpecError, match=r"has variant.pseudo_inputs 10, and this job 20"):
        train(settings, DIGITS[:200], name="vamp", variant=sizes[1], training=other)
    # One that only training needs may differ.
    lighter = {**sizes[0], "beta": 0.5}
    done = train(settings, DIGITS[:200], name="vamp", variant=lighter, training=other)
    assert done.started_from == "vamp/1"


def test_without_a_champion_it_is_refused_unless_the_job_says_what_to_do(
    settings: Settings, isthmus_in: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus_pipelines.retrain import train_challenger

    np.save("rows.npy", DIGITS[:200])
    Path("job.yaml").write_text("{name: novel, data: rows.npy, training: {epochs: 1}}")
    with pytest.raises(SpecError, match="otherwise: scratch") as caught:
        train_challenger.fn("job.yaml", ["training.start_from=novel@champion"])
    assert "\n" not in str(caught.value)
    schedule = ["training.start_from={model: novel@champion, otherwise: scratch}"]
    said: list[str] = []
    # Prefect, once imported, sets up the loggers, so that pytest's own handler hears nothing.
    logger = logging.getLogger("isthmus.jobs.starting")
    monkeypatch.setattr(logger, "handlers", [Keeps(said)])
    train_challenger.fn("job.yaml", schedule)
    assert said[0].startswith(
        "training starts from random weights, as training.start_from.otherwise says"
    )
    first = load("novel/1", settings).manifest
    assert first.started_from is None
    # As a run that is resumed must not start from a champion that is there by then.
    assert find_run(first.run_id, settings).job["training"]["start_from"] is None
    isthmus.promote("novel", 1, settings=settings, why="first", force=True)
    train_challenger.fn("job.yaml", schedule)
    assert load("novel/2", settings).manifest.started_from == first.pair_id


class Keeps(logging.Handler):
    """A handler that keeps what is logged."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def test_a_resumed_run_goes_on_where_it_was_although_the_alias_has_moved(
    base: TrainResult, settings: Settings
) -> None:
    isthmus.promote("warm", base.pair.version, alias="begin", settings=settings)
    options = {"epochs": 60, "global_batch_size": 256, "start_from": "warm@begin"}
    whole = train(settings, DIGITS, training=options)
    stopped = isthmus.train(
        job(training=options), data=DIGITS, settings=settings, reporter=StopsAfterTwoEpochs()
    )
    assert stopped.status == "interrupted"
    isthmus.promote("warm", whole.pair.version, alias="begin", settings=settings)
    resumed = isthmus.resume(stopped.run_id, settings=settings)
    assert resumed.started_from == str(base.pair)
    pairs = [load(str(each.pair), settings) for each in (whole, resumed)]
    assert np.array_equal(*(pair.encode(DIGITS[:50]).values for pair in pairs))


def test_a_member_starts_from_the_member_of_its_number(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    of_job = {"name": "several", "data": {"calibration_fraction": 0.1}}
    train(settings, DIGITS[:300], **of_job, training={"ensemble": 2})
    start_from = {"ensemble": 3, "start_from": "several/1", "learning_rate": NO_STEP}
    warm = train(settings, DIGITS[:300], **of_job, training=start_from)
    said = "1 of 3 members of the ensemble start from random weights, because several/1 has no such"
    assert said in caplog.text
    assert "training.epochs=1 to learn from nothing" in caplog.text
    before, after = (
        load(each, settings).detector.members for each in ("several/1", str(warm.pair))
    )
    assert len(after) == 3
    for was, now in zip(before, after[:2], strict=True):
        same = zip(weights_of(was).values(), weights_of(now).values(), strict=True)
        assert all(torch.allclose(*each, atol=1e-5) for each in same)
    first, third = (next(iter(after[each].encoder.parameters())) for each in (0, 2))
    assert not torch.allclose(first, third, atol=1e-2)
    data = {"path": find_run(warm.run_id, settings).job["data"]["path"]}
    spec, start = starting_pair(
        check_job(job(data=data, training={"start_from": "several/1"})), settings
    )
    crossed = replace(prepare(spec, start=start), is_crossed=True)
    # A member that calibrates by the rows it has never seen must not start from one that has.
    assert weights_to_start(crossed, 0) is not None
    assert weights_to_start(crossed, 1) is None


def test_another_split_is_warned_of(
    base: TrainResult, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    started(settings, seed=3)
    assert "training.seed is 3, and warm/1 was split with 0" in caplog.text


def test_a_warm_start_leaves_the_warm_up_of_the_variant_out() -> None:
    module = isthmus.build("vae", row_shape=(6,))
    module.trainer = Trainer(max_epochs=100, logger=False, accelerator="cpu")
    module.clock.epoch_length = 10, 10
    assert module.autoencoder.warm_up(20) < 1
    module.clock.is_warm = True
    assert module.autoencoder.warm_up(20) == 1


def test_the_run_says_where_it_began_and_lineage_shows_it(
    base: TrainResult, settings: Settings, isthmus_in: Command
) -> None:
    warm = started(settings)
    run = open_store(settings).get_run(warm.run_id)
    assert run.data.tags["isthmus.started_from"] == base.pair.pair_id
    assert run.data.params["training.start_from.model"] == "warm/1"
    found = isthmus.lineage("warm/1", settings=settings)
    (pair,) = (each for run in found.runs for each in run.pairs if each.names == ("warm/1",))
    assert pair.successors[0] == str(warm.pair)
    (run,) = (
        each.run
        for each in isthmus.lineage(str(warm.pair), settings=settings).runs
        if each.run.run_id == warm.run_id
    )
    assert (run.start, run.start_pair_id) == ("warm/1", base.pair.pair_id)
    shown = isthmus_in("lineage", "warm/1").out
    assert f"{warm.pair} was trained from it" in shown
    assert "started from warm/1" in isthmus_in("lineage", str(warm.pair)).out


def test_validate_finds_what_differs_and_a_name_that_is_none(
    base: TrainResult, isthmus_in: Command
) -> None:
    np.save("rows.npy", DIGITS[900:])
    right = "{name: warm, data: rows.npy, net: {name: dense, hidden: [64]}, latent_dim: 8}"
    Path("job.yaml").write_text(right)
    warm = ("--set", "training.start_from=warm/1")
    assert "starts from warm/1" in isthmus_in("validate", "job.yaml", *warm).out
    other = isthmus_in("validate", "job.yaml", *warm, "--set", "latent_dim=4")
    assert other.code == 2
    assert "warm/1 has latent_dim 8, and this job 4" in other.err.replace("\n", " ")
    wrong = ("--set", "training.start_from=warm@", "--no-data")
    assert "names no pair" in isthmus_in("validate", "job.yaml", *wrong).err


def test_the_schema_takes_a_name_alone() -> None:
    import jsonschema

    both = {"model": "a@champion", "otherwise": "scratch"}
    for value in ("digits@champion", both):
        content = {"name": "a", "data": "rows.csv", "training": {"start_from": value}}
        jsonschema.validate(content, schema())


def test_a_search_starts_from_random_weights(settings: Settings) -> None:
    content = job(data="rows.npy", training={"start_from": "warm/1"})
    search = {"search": {"latent_dim": {"choice": [2, 4]}}}
    with pytest.raises(
        SpecError,
        match=r"training.start_from: a search .* leave it out here, and give it to isthmus train",
    ):
        isthmus.tune({**content, "tuning": search}, settings=settings)
