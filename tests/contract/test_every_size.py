"""What every net promises of the one dial of a job, `size`: a new net is covered unseen."""

from __future__ import annotations

import pytest

from isthmus import nets, variants
from isthmus.declarations import declaration, plugin_names
from isthmus.jobs.few_rows import fitted_to
from isthmus.jobs.job_schema import schema
from isthmus.jobs.sizes import size_of
from isthmus.jobs.specs import check_job, plan_for
from isthmus.spec import JobSpec, ModelPlan
from isthmus.types import DataKind, ScalingMode, Shape

SHAPES: dict[DataKind, Shape] = {
    DataKind.TABULAR: (20,),
    DataKind.IMAGES: (1, 32, 32),
    DataKind.SERIES: (2, 64),
    DataKind.AUDIO: (1, 256),
}
every_net = pytest.mark.parametrize("net", plugin_names("nets"))


def variant_for(net: str) -> str:
    """A variant that the net works with."""
    made = nets.get(net)
    if made.ONE_MAP:
        return "hyperprior"
    return "denoising" if made.HAS_SKIPS else "plain"


def job(net: object, size: str | None = None, **changed: object) -> JobSpec:
    name = net if isinstance(net, str) else net["name"]
    variant = "plain" if name == "auto" else variant_for(name)
    sized = {} if size is None else {"size": size}
    return check_job(
        {"name": "sized", "data": "rows", "net": net, "variant": variant, **sized, **changed}
    )


def planned(spec: JobSpec, kind: DataKind | None = None) -> ModelPlan:
    kind = kind or nets.get(spec.net.name).KINDS[0]
    settled = {"kind": kind, "scaling": ScalingMode.MINMAX}
    return plan_for(spec, spec.data.model_copy(update=settled), SHAPES[kind])


def parameters(plan: ModelPlan) -> int:
    return sum(each.numel() for each in variants.build(plan).parameters())


@every_net
def test_a_larger_size_has_more_parameters_and_medium_is_the_default(net: str) -> None:
    plans = {size: planned(job(net, size)) for size in ("small", "medium", "large")}
    small, medium, large = (parameters(plan) for plan in plans.values())
    assert small < medium < large
    assert plans["medium"] == planned(job(net))
    assert plans["small"].latent_dim <= plans["medium"].latent_dim <= plans["large"].latent_dim
    assert declaration("nets", net).value("SIZES") == nets.get(net).SIZES


@every_net
def test_what_the_job_says_itself_stands_above_its_size(net: str) -> None:
    for size in ("small", "large"):
        for option, default in nets.config(net)().model_dump(mode="json").items():
            said = planned(job({"name": net, option: default}, size)).net.options
            assert said[option] == default
        training = {"epochs": 7, "learning_rate": 0.5}
        found = trained(job(net, size, training=training))
        assert (found.epochs, found.learning_rate) == (7, 0.5)
    if nets.made_for(planned(job(net)).net, planned(job(net)).row_shape).fixed_latent_dim() is None:
        assert planned(job(net, "large", latent_dim=3)).latent_dim == 3


def trained(spec: JobSpec, rows: int = 100_000):
    return fitted_to(spec, rows, size_of(spec, spec.net.name)).training


@every_net
def test_a_larger_size_trains_for_longer_in_smaller_steps(net: str) -> None:
    small, medium, large = (trained(job(net, size)) for size in ("small", "medium", "large"))
    assert small.epochs < medium.epochs < large.epochs
    assert small.learning_rate > medium.learning_rate > large.learning_rate
    assert medium == trained(job(net))


@pytest.mark.parametrize("kind", list(DataKind))
def test_the_net_that_auto_chooses_has_the_size_too(kind: DataKind) -> None:
    small, medium, large = (
        planned(job("auto", size), kind) for size in ("small", "medium", "large")
    )
    assert parameters(small) < parameters(medium) < parameters(large)
    assert medium == planned(job("auto"), kind)
    assert small.latent_dim < medium.latent_dim < large.latent_dim


def test_a_job_that_is_checked_again_keeps_its_size() -> None:
    spec = job("dense", "small")
    again = check_job(spec.model_dump(mode="json"))
    assert planned(again) == planned(spec)
    assert planned(check_job(spec)) == planned(spec)
    assert trained(check_job(spec)) == trained(spec)


def test_the_schema_says_what_the_sizes_of_a_net_mean() -> None:
    described = schema()["properties"]
    assert described["size"]["enum"] == ["small", "medium", "large"]
    (dense,) = (each for each in described["net"]["anyOf"] if each.get("title") == "dense")
    assert dense["x-sizes"]["small"]["options"] == {"width_multiplier": 0.5, "depth": 1}
