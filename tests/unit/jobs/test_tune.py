"""What a search may try is checked before anything starts, and settled trial by trial."""

from __future__ import annotations

import pytest

from isthmus.errors import SpecError
from isthmus.jobs.specs import catalog, check_job
from isthmus.jobs.tune import _checked_tuning, _Desk, why_early
from isthmus.search import TrialRecord
from isthmus.search.proposals import Proposals
from isthmus.search.trial import rungs
from isthmus.spec import TuningSpec, as_options, load_job, with_values

JOB = {"name": "a", "data": "sklearn:digits", "variant": "denoising"}


def searching(search, **tuning):
    return {**JOB, "tuning": {"search": search, **tuning}}


def told(content) -> str:
    with pytest.raises(SpecError) as refused:
        _checked_tuning(check_job(content))
    return str(refused.value)


WRONG = {
    "an unknown field": (
        {"training.lerning_rate": {"choice": [1e-3]}},
        'tuning.search.training.lerning_rate: no such field; did you mean "learning_rate"?',
    ),
    "an unknown option": ({"variant.beta": {"choice": [1.0]}}, "variant.beta: no such field"),
    "a bound out of range": (
        {"training.learning_rate": {"uniform": [0.1, 20]}},
        "tuning.search.training.learning_rate: 20 is not allowed",
    ),
    "a choice out of range": ({"latent_dim": {"choice": [8, 0]}}, "0 is out of range"),
    "an unknown variant": ({"variant": {"choice": ["vea"]}}, 'did you mean "vae"?'),
    "a batch that does not divide": (
        {"training.workers": {"choice": [3]}},
        "global_batch_size=128 is not divisible by workers=3",
    ),
    "a variant that contradicts the job": (
        {"variant": {"choice": ["noise2noise"]}},
        "data.paired_path: noise2noise learns from two noisy measurements",
    ),
    "the name": ({"name": {"choice": ["b", "c"]}}, "it cannot be searched"),
    "data that cannot be compared": (
        {"data.scaling": {"choice": ["standard", "minmax"]}},
        "so that trials cannot be compared",
    ),
    "an unknown range": ({"latent_dim": {"normal": [1, 2]}}, 'no range "normal"'),
    "a list and no range": ({"latent_dim": [8, 16]}, "needs one range, as in {choice:"),
    "bounds in the wrong order": ({"latent_dim": {"integer": [9, 3]}}, "9 is not below 3"),
    "a bound without end": ({"latent_dim": {"uniform": [1, float("inf")]}}, "needs finite bounds"),
    "bounds that are not whole": ({"latent_dim": {"integer": [1, 2.5]}}, "two whole numbers"),
    "a logarithm of nothing": (
        {"training.weight_decay": {"log_uniform": [0, 0.1]}},
        "the logarithm of 0 is no number",
    ),
    "nothing to try": ({}, "names nothing to try"),
}


FRACTIONS = {
    "of a latent's size": ("latent_dim=uniform:1:3", "integer:1:3"),
    "by the logarithm": ("latent_dim=log_uniform:2:64", "log_integer:2:64"),
    "between fractions": ("latent_dim=uniform:1.5:4.5", "integer:2:4"),
    "around one number": ("latent_dim=uniform:1.5:2.5", "choice:2"),
    "of a training option": ("training.accumulate_batches=uniform:1:2", "integer:1:2"),
    "of which some do not divide": ("training.accumulate_batches=uniform:1:4", "choice:1,2,4"),
    "of an option of the variant": ("variant.k=uniform:2:8", "integer:2:8"),
    "of an optional number": ("training.threads_per_worker=uniform:1:2", "integer:1:2"),
}


@pytest.mark.parametrize(("search", "use"), FRACTIONS.values(), ids=FRACTIONS.keys())
def test_fractions_where_whole_numbers_belong_are_refused_with_the_range_to_use(
    tmp_path, search, use
):
    path = tmp_path / "job.yaml"
    path.write_text("name: a\ndata: sklearn:digits\nvariant: topk\n")
    with pytest.raises(SpecError) as refused:
        load_job(path, [], catalog(), [search])
    (fault,) = refused.value.faults
    assert fault.message.startswith("takes whole numbers, and ")
    assert fault.message.endswith(f"; use {use}")
    # As a file would say it, and what is proposed is right.
    kind, *values = use.split(":")
    path.write_text(
        f"{path.read_text()}tuning: {{search: {{{search.partition('=')[0]}: "
        f"{{{kind}: [{', '.join(values)}]}}}}}}\n"
    )
    load_job(path, [], catalog())


def test_a_file_is_told_the_range_as_a_file_says_it(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "name: a\ndata: sklearn:digits\ntuning: {search: {latent_dim: {uniform: [1, 3]}}}\n"
    )
    with pytest.raises(SpecError, match=r"line 3: .*as 1\.828; use \{integer: \[1, 3\]\}"):
        load_job(path, [], catalog())


def test_a_range_of_more_whole_numbers_than_a_list_can_have_is_tried_too(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: a\ndata: sklearn:digits\ntraining: {workers: 2}\n")
    search = f"training.global_batch_size=integer:2:{2**64}"
    with pytest.raises(SpecError, match="is not divisible by workers="):
        load_job(path, [], catalog(), [search])


LISTS = {
    "a batch for two workers": ("training.global_batch_size=integer:32:64", "workers: 2"),
    "by the logarithm": ("training.global_batch_size=log_integer:32:512", "workers: 2"),
    "workers for a batch": ("training.workers=integer:1:4", "global_batch_size: 64"),
}


@pytest.mark.parametrize(("search", "training"), LISTS.values(), ids=LISTS.keys())
def test_whole_numbers_that_are_refused_between_the_bounds_are_answered_with_a_list(
    tmp_path, search, training
):
    path = tmp_path / "job.yaml"
    path.write_text(f"name: a\ndata: sklearn:digits\ntraining: {{{training}}}\n")
    with pytest.raises(SpecError, match="is not divisible by workers=") as refused:
        load_job(path, [], catalog(), [search])
    (fault,) = refused.value.faults
    assert fault.message.startswith("would also try ")
    name, _, bounds = search.partition("=")
    _, low, high = bounds.split(":")
    said, _, listed = fault.message.rpartition("choice:")
    assert said.endswith("; name the values to try, as in ")
    assert [listed.split(",")[0], listed.split(",")[-1]] == [low, high]
    # What is proposed is right.
    assert len(listed.split(",")) >= 3
    load_job(path, [], catalog(), [f"{name}=choice:{listed}"])


@pytest.mark.parametrize("bounds", [[0, 1], [1e-5, 1e-3]])
def test_fractions_are_tried_where_fractions_belong(bounds):
    check_job(searching({"training.weight_decay": {"uniform": bounds}}))


@pytest.mark.parametrize(("search", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_search_is_one_line(search, said):
    message = told(searching(search))
    assert said in message
    assert len(message.splitlines()) == 1


def test_a_search_does_not_shard():
    job = {**searching({"latent_dim": {"choice": [4, 8]}}), "training": {"strategy": "fsdp"}}
    assert "training.strategy: fsdp shards the weights" in told(job)


def test_all_faults_of_a_search_are_told_at_once_with_their_lines(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "name: a\ndata: sklearn:digits\ntuning:\n  search:\n"
        "    latent_dim: {choice: [0]}\n    training.epoch: {integer: [1, 2]}\n"
    )
    with pytest.raises(SpecError) as refused:
        load_job(file, [], catalog(), ["training.seed=choice:-1"])
    first, second, third = str(refused.value).splitlines()
    assert "line 5: tuning.search.latent_dim: 0 is out of range" in first
    assert 'line 6: tuning.search.training.epoch: no such field; did you mean "epochs"' in second
    assert "tuning.search.training.seed: -1 is not allowed" in third


def test_a_value_that_suits_only_what_else_is_tried_is_no_fault():
    search = {"variant": {"choice": ["plain", "vae"]}, "variant.beta": {"choice": [1.0]}}
    assert check_job(searching(search)).tuning is not None


def test_the_command_line_says_the_same_as_a_job_file(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("name: a\ndata: sklearn:digits\ntuning: {trials: 7}\n")
    options = [
        "training.learning_rate=log_uniform:1e-4:1e-2",
        "latent_dim=choice:8,16",
        "net=choice:dense,{name: dense, hidden: [64, 32]}",
    ]
    tuning = load_job(file, [], catalog(), options).tuning
    assert tuning is not None
    assert tuning.trials == 7
    assert tuning.model_dump()["search"] == {
        "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "latent_dim": {"choice": [8, 16]},
        "net": {"choice": ["dense", {"name": "dense", "hidden": [64, 32]}]},
    }


@pytest.mark.parametrize("option", ["latent_dim", "latent_dim=8", "=choice:8", "a=choice:["])
def test_a_range_that_cannot_be_understood_is_shown_with_an_example(option, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("name: a\ndata: sklearn:digits\n")
    with pytest.raises(SpecError, match="is not NAME=RANGE, as in latent_dim=choice:8,16,32"):
        load_job(file, [], catalog(), [option])


def test_another_variant_begins_with_its_own_defaults_and_takes_its_options():
    job = check_job({**JOB, "variant": {"name": "denoising", "level": 0.4}})
    values = {"variant.beta": 3.0, "variant.name": "vae", "training.epochs": 7}
    made = check_job(with_values(job, values))
    assert made.variant.name == "vae"
    assert made.variant.options["beta"] == 3.0
    assert made.training.epochs == 7
    assert made.tuning is None


def test_the_values_as_options_make_the_same_job(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("name: a\ndata: sklearn:digits\nvariant: {name: denoising, level: 0.4}\n")
    values = {
        "variant.name": "vae",
        "net": {"name": "dense", "hidden": [32]},
        "training.learning_rate": 1.25e-4,
        "training.gradient_clip_norm": None,
    }
    wanted = check_job(with_values(load_job(file, [], catalog()), values))
    assert load_job(file, as_options(values), catalog()) == wanted


def test_trials_that_share_data_share_the_rows():
    desk = _Desk(check_job(JOB))
    small, large, other = (
        desk.candidate(number, values)
        for number, values in enumerate(
            ({"latent_dim": 4}, {"latent_dim": 8}, {"training.seed": 1}), start=1
        )
    )
    assert (small.plan.latent_dim, large.plan.latent_dim) == (4, 8)
    assert small.rows is large.rows
    assert other.rows is not small.rows  # another seed is another split


def test_a_trial_on_images_has_the_noise_that_the_job_would_have():
    plan = _Desk(check_job(JOB)).candidate(1, {"latent_dim": 4}).plan
    assert plan.variant.options["level"] == pytest.approx([5 * 16 / 255, 55 * 16 / 255])
    assert plan.variant.options["level_in"] == "data"


def proposals(trials=1000, algorithm="optuna", **search) -> tuple[Proposals, list[dict]]:
    tuning = TuningSpec.model_validate(
        {"search": search, "trials": trials, "algorithm": algorithm, "seed": 3}
    )
    seen: list[dict] = []

    def accept(number, values):
        seen.append(dict(values))
        return True

    return Proposals(tuning, accept, lambda *end: None), seen


def drain(made: Proposals, value=lambda values: 0.0, seen=()) -> None:
    number = 0
    while made.suggest(str(number)) != "FINISHED":
        result = {"value": value(seen[-1]), "epoch": 1, "is_finished": True}
        made.on_trial_complete(str(number), result)
        number += 1


@pytest.mark.parametrize("algorithm", ["optuna", "random"])
def test_choices_are_tried_once_each_and_then_the_search_is_over(algorithm):
    made, seen = proposals(algorithm=algorithm, a={"choice": [1, 2, 3]}, b={"choice": ["x", [4]]})
    drain(made, seen=seen)
    assert sorted(map(str, seen)) == sorted(
        str({"a": a, "b": b}) for a in (1, 2, 3) for b in ("x", [4])
    )


def test_values_lie_within_their_bounds_and_the_same_seed_draws_the_same():
    ranges = {
        "a": {"log_uniform": [1e-4, 1e-2]},
        "b": {"integer": [2, 5]},
        "c": {"log_integer": [4, 64]},
        "d": {"uniform": [-1, 1]},
    }
    (first, seen), (second, again) = (proposals(trials=40, **ranges) for _ in range(2))
    drain(first, seen=seen)
    drain(second, seen=again)
    assert seen == again
    assert len(seen) == 40
    for name, each in ranges.items():
        ((low, high),) = each.values()
        assert all(low <= values[name] <= high for values in seen)
    assert sum(values["a"] < 1e-3 for values in seen) > 10  # half of the logarithm's range


def test_optuna_learns_where_the_good_values_are():
    made, seen = proposals(trials=60, a={"uniform": [0, 1]})
    drain(made, value=lambda values: (values["a"] - 0.7) ** 2, seen=seen)
    late = sorted(abs(values["a"] - 0.7) for values in seen[30:])
    assert late[15] < 0.1  # at random, half are nearer than 0.25


@pytest.mark.parametrize(
    ("epochs", "grace", "factor", "expected"),
    [(100, 10, 3, [10, 30, 90]), (12, 2, 3, [2, 6]), (9, 1, 3, [1, 3]), (5, 5, 2, [])],
)
def test_trials_may_be_stopped_at_ever_longer_intervals_and_not_at_the_end(
    epochs, grace, factor, expected
):
    assert rungs(epochs, grace, factor) == expected


def test_a_search_that_ends_early_says_why():
    few = TuningSpec.model_validate({"search": {"latent_dim": {"choice": [2, 4]}}, "trials": 20})
    trials = [TrialRecord(number, {}, state="finished") for number in (1, 2)]
    assert why_early(few, trials).startswith(
        "it ended after 2 of 20 trials: the ranges have no more"
    )
    same = few.model_copy(update={"trials": 2})
    assert why_early(same, trials) == ""
    broken = [trials[0], TrialRecord(2, {}, state="failed", reason="the loss is NaN")]
    assert why_early(same, broken) == "1 of 2 trials failed; the first: the loss is NaN"
