"""Variational terms against closed forms, exact evidence, and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, distributions, nn

from isthmus import variants
from isthmus.core import Autoencoder, VariationalAutoencoder
from isthmus.core.divergences import kl_parts, kl_to_mixture, mixture_log_density, mmd
from isthmus.core.gaussian import (
    active_units,
    draw,
    kl_between,
    kl_to_standard_normal,
    log_density,
    product,
    standard_log_density,
)
from isthmus.spec import ModelPlan, PluginSpec
from tests.by_hand import Course, Optimizers, put_on

FEATURES = 6


def build(
    variant: str,
    latent_dim: int = 2,
    rows: int = 64,
    features: int = FEATURES,
    hidden: int = 8,
    reconstruction: str = "gaussian_nll",
    **options: object,
) -> Autoencoder:
    torch.manual_seed(0)
    config = variants.config(variant).model_validate(options)
    plan = ModelPlan(
        kind="tabular",
        row_shape=(features,),
        latent_dim=latent_dim,
        variant=PluginSpec(name=variant, options=config.model_dump(mode="json")),
        net=PluginSpec(name="dense", options={"hidden": [hidden]}),
        reconstruction=reconstruction,
    )
    module = variants.build(plan)
    return module


def normals(seed: int, count: int = 4) -> list[Tensor]:
    torch.manual_seed(seed)
    return list(torch.randn(count, 5, 3, dtype=torch.float64))


def as_normal(mean: Tensor, log_variance: Tensor) -> distributions.Normal:
    return distributions.Normal(mean, (0.5 * log_variance).exp())


# -- normal distributions -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_densities_and_divergences_are_those_of_normal_distributions(seed: int) -> None:
    mean, log_variance, other_mean, other_log_variance = normals(seed)
    first, second = as_normal(mean, log_variance), as_normal(other_mean, other_log_variance)
    kl = distributions.kl_divergence(first, second).sum(dim=1)
    torch.testing.assert_close(kl_between(mean, log_variance, other_mean, other_log_variance), kl)
    zero = torch.zeros_like(mean)
    torch.testing.assert_close(
        kl_to_standard_normal(mean, log_variance), kl_between(mean, log_variance, zero, zero)
    )
    density = first.log_prob(other_mean).sum(dim=1)
    torch.testing.assert_close(log_density(other_mean, mean, log_variance), density)
    torch.testing.assert_close(
        standard_log_density(other_mean), log_density(other_mean, zero, zero)
    )


def test_the_product_of_two_normals_is_their_densities_multiplied() -> None:
    mean, log_variance, other_mean, other_log_variance = normals(0)
    combined = as_normal(*product(mean, log_variance, other_mean, other_log_variance))
    a, b = torch.randn(2, 5, 3, dtype=torch.float64)

    def multiplied(at: Tensor) -> Tensor:
        return as_normal(mean, log_variance).log_prob(at) + as_normal(
            other_mean, other_log_variance
        ).log_prob(at)

    # Up to a constant, which a difference takes away.
    torch.testing.assert_close(
        combined.log_prob(a) - combined.log_prob(b), multiplied(a) - multiplied(b)
    )


def test_active_units_are_those_whose_mean_varies_between_rows() -> None:
    means = torch.cat([torch.randn(500, 2), 0.01 * torch.randn(500, 3)], dim=1)
    assert active_units(means) == 2


# -- the parts of the KL term ------------------------------------------------------------------


def test_the_three_parts_sum_to_the_kl_term() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(8000, 3), 0.3 * torch.randn(8000, 3)
    z = draw(mean, log_variance)
    found = kl_parts(z, mean, log_variance)
    one_sample = (log_density(z, mean, log_variance) - standard_log_density(z)).mean()
    total = found.mutual_information + found.total_correlation + found.dimension_wise
    torch.testing.assert_close(total, one_sample)
    exact = kl_to_standard_normal(mean, log_variance).mean().item()
    assert total.item() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_total_correlation_is_that_of_a_known_normal_distribution(correlation: float) -> None:
    """Means of correlated normals with a small noise: TC = -log(1 - r^2) / 2, within 0.1 nats."""
    torch.manual_seed(0)
    noise = 0.3
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    mean = distributions.MultivariateNormal(torch.zeros(2), covariance).sample((3000,))
    log_variance = torch.full_like(mean, 2 * math.log(noise))
    found = kl_parts(draw(mean, log_variance), mean, log_variance)
    seen = correlation / (1 + noise**2)
    expected = -0.5 * math.log(1 - seen**2)
    assert found.total_correlation.item() == pytest.approx(expected, abs=0.1)


def test_the_data_sets_size_shifts_the_parts_by_constants_alone() -> None:
    mean, log_variance = torch.randn(50, 3), torch.zeros(50, 3)
    z = draw(mean, log_variance)
    batch, whole = kl_parts(z, mean, log_variance), kl_parts(z, mean, log_variance, rows=1000)
    shift = math.log(1000)
    assert (whole.mutual_information - batch.mutual_information).item() == pytest.approx(
        shift, rel=1e-3
    )
    assert (whole.total_correlation - batch.total_correlation).item() == pytest.approx(
        2 * shift, rel=1e-3
    )


def test_a_mixtures_density_is_that_of_torch() -> None:
    mean, log_variance, z, _ = normals(1)
    parts = distributions.Independent(as_normal(mean, log_variance), 1)
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(torch.ones(5, dtype=torch.float64)), parts
    )
    torch.testing.assert_close(mixture_log_density(z, mean, log_variance), mixture.log_prob(z))


def test_the_bound_on_the_divergence_from_a_mixture_is_above_it_and_exact_for_one_part() -> None:
    mean, log_variance, other_mean, other_log_variance = normals(2)
    exact = kl_between(mean, log_variance, other_mean[:1], other_log_variance[:1])
    found = kl_to_mixture(mean, log_variance, other_mean[:1], other_log_variance[:1])
    torch.testing.assert_close(found, exact)
    draws = [draw(mean, log_variance) for _ in range(4000)]
    sampled = [
        log_density(z, mean, log_variance) - mixture_log_density(z, other_mean, other_log_variance)
        for z in draws
    ]
    above = kl_to_mixture(mean, log_variance, other_mean, other_log_variance)
    assert (above > torch.stack(sampled).mean(dim=0) - 0.1).all()
    nearest = kl_between(mean[:, None], log_variance[:, None], other_mean, other_log_variance)
    assert (above < nearest.min(dim=1).values + math.log(len(other_mean))).all()


# -- the maximum mean discrepancy --------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["inverse_multiquadratic", "gaussian"])
def test_the_discrepancy_is_zero_on_average_for_equal_distributions(kernel: str) -> None:
    torch.manual_seed(0)
    equal = torch.stack([mmd(torch.randn(100, 4), torch.randn(100, 4), kernel) for _ in range(60)])  # type: ignore[arg-type]
    standard_error = equal.std() / math.sqrt(len(equal))
    assert equal.mean().abs() < 3 * standard_error
    assert (equal < 0).any()
    shifted = mmd(torch.randn(100, 4), torch.randn(100, 4) + 1.0, kernel)  # type: ignore[arg-type]
    assert shifted > 10 * equal.std()


# -- bounds ------------------------------------------------------------------------------------


def linear_gaussian(samples: int) -> tuple[Autoencoder, Tensor, Tensor]:
    """An IWAE whose exact evidence is known: x = W z + b + noise of a learned variance."""
    module = build("iwae", samples=samples)
    linear = nn.Linear(FEATURES, 4)
    module.encoder = nn.Sequential(nn.Flatten(), linear)
    module.decoder = nn.Linear(2, FEATURES)
    x = torch.randn(64, FEATURES)
    weight, bias = module.decoder.weight, module.decoder.bias
    variance = module.reconstruction.log_variance.exp()
    # The exact posterior but for its correlations, and a little wider: few samples suffice.
    spread = torch.linalg.inv(torch.eye(2) + (weight.t() / variance) @ weight)
    with torch.no_grad():
        to_mean = spread @ (weight.t() / variance)
        linear.weight[:2], linear.bias[:2] = to_mean, -to_mean @ bias
        linear.weight[2:], linear.bias[2:] = 0.0, spread.diagonal().log() + 0.5
    covariance = weight @ weight.t() + torch.diag(variance.expand(FEATURES))
    evidence = distributions.MultivariateNormal(bias, covariance).log_prob(x)
    return module.eval(), x, evidence.detach()


def test_the_bound_rises_with_the_samples_towards_the_exact_evidence() -> None:
    bounds = []
    for samples in (1, 5, 2000):
        module, x, evidence = linear_gaussian(samples)
        with torch.no_grad():
            draws = 200 if samples < 100 else 3
            bounds.append(
                torch.stack([module.loss(x).parts["bound"] for _ in range(draws)]).mean().item()
            )
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] == pytest.approx(evidence.mean().item(), abs=0.05)


def test_with_one_sample_the_bound_is_the_elbo_and_with_more_it_is_above() -> None:
    module, x, _ = linear_gaussian(1)
    parts = module.loss(x).parts
    torch.testing.assert_close(parts["bound"], -(parts["reconstruction"] + parts["kl"]))
    module, x, _ = linear_gaussian(20)
    parts = module.loss(x).parts
    assert parts["bound"] > -(parts["reconstruction"] + parts["kl"])


def test_the_vaes_loss_is_the_negative_bound() -> None:
    module = build("vae").eval()
    parts = module.loss(torch.randn(8, FEATURES)).parts
    output = build("vae", beta=3.0).eval().loss(torch.randn(8, FEATURES))
    assert set(parts) == {"reconstruction", "kl"}
    torch.testing.assert_close(
        output.total, output.parts["reconstruction"] + 3 * output.parts["kl"]
    )


@pytest.mark.parametrize("step", [0, 5, 40])
def test_the_capacity_rises_to_its_bound_and_validation_sees_the_bound(step: int) -> None:
    module = build("beta_vae", objective="capacity", capacity=8.0, capacity_epochs=10, gamma=2.0)
    course = put_on(module, Course(global_step=step))
    x = torch.randn(16, FEATURES)
    for training, target in ((True, 8.0 * min(1.0, (step + 1) / 10)), (False, 8.0)):
        output = module.train(training).loss(x)
        held = 2.0 * (output.parts["kl"] - target).abs()
        torch.testing.assert_close(output.total, output.parts["reconstruction"] + held)
    assert course.global_step == step


def test_the_ladders_kl_terms_are_those_of_samples() -> None:
    module = build("hierarchical", latent_dim=4, top_share=0.5).eval()
    x = torch.randn(4, FEATURES)
    top, seen = module._split(module.encoder(x))
    with torch.no_grad():
        sampled = []
        for _ in range(3000):
            z_top = draw(*top)
            expected = module._expected(z_top)
            bottom = module._bottom(seen, expected)
            z = draw(*bottom)
            sampled.append(log_density(z, *bottom) - log_density(z, *expected))
        closed = torch.stack([module.loss(x).parts["kl_bottom"] for _ in range(300)]).mean()
    assert closed.item() == pytest.approx(torch.stack(sampled).mean().item(), rel=0.1, abs=0.01)


def test_a_vamp_prior_is_the_mixture_of_its_pseudo_inputs_posteriors() -> None:
    module = build("vamp", pseudo_inputs=7)
    module.loss(torch.randn(16, FEATURES))
    module.eval()
    z = torch.randn(5, 2)
    mean, log_variance = module.encoder(module.pseudo_inputs.rows).chunk(2, dim=1)
    densities = torch.stack([log_density(z, m, v) for m, v in zip(mean, log_variance, strict=True)])
    expected = torch.logsumexp(densities, dim=0) - math.log(7)
    torch.testing.assert_close(module.prior_log_density(z), expected)


# -- the bound as a score ----------------------------------------------------------------------

VARIATIONAL = [
    name for name in variants.names() if issubclass(variants.get(name), VariationalAutoencoder)
]


def of_one_layer(variant: str, reconstruction: str) -> Autoencoder:
    """Two features, a latent of one: the mean is the first, the variance is 4, z becomes (z, 0)."""
    module = build(variant, latent_dim=1, features=2, reconstruction=reconstruction).eval()
    module.encoder, module.decoder = nn.Linear(2, 2), nn.Linear(1, 2)
    with torch.no_grad():
        module.encoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        module.encoder.bias.copy_(torch.tensor([0.0, math.log(4.0)]))
        module.decoder.weight.copy_(torch.tensor([[1.0], [0.0]]))
        module.decoder.bias.zero_()
    return module


@pytest.mark.parametrize("variant", sorted({*VARIATIONAL} - {"hierarchical", "vamp"}))
def test_the_score_of_a_row_is_its_negative_bound_computed_by_hand(variant: str) -> None:
    row = torch.tensor([[3.0, 2.0]])
    kl = 0.5 * (3.0**2 + 4.0 - 1.0 - math.log(4.0))
    # The row is (3, 2), its reconstruction (3, 0): the squared error is 4.
    assert of_one_layer(variant, "mse").score(row).item() == pytest.approx(4.0 + kl)
    module = of_one_layer(variant, "gaussian_nll")
    with torch.no_grad():
        module.reconstruction.log_variance.copy_(torch.tensor([0.0, math.log(0.5)]))
    density = 0.5 * (2 * math.log(2 * math.pi) + math.log(0.5) + 4.0 / 0.5)
    assert module.score(row).item() == pytest.approx(density + kl)


@pytest.mark.parametrize("variant", VARIATIONAL)
def test_the_score_is_the_variants_own_bound_where_the_posterior_is_narrow(variant: str) -> None:
    """A draw is then the mean, so that the terms of the loss are those of the score."""
    module = build(variant, latent_dim=3).eval()
    with torch.no_grad():
        module.encoder[-1].weight[3:] = 0.0
        module.encoder[-1].bias[3:] = -12.0
        x = torch.randn(400, FEATURES)
        parts = module.own_metrics(x)
        assert module.score(x).mean().item() == pytest.approx(-parts["elbo_nats"], rel=0.01)


@pytest.mark.parametrize("variant", VARIATIONAL)
def test_a_row_has_the_same_score_alone_and_among_a_hundred(variant: str) -> None:
    module = build(variant, latent_dim=3).eval()
    rows = torch.randn(100, FEATURES)
    with torch.no_grad():
        together, again = module.score(rows), module.score(rows)
        alone = torch.cat([module.score(row) for row in rows.split(1)])
    assert torch.equal(together, again)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-4)


def test_a_loss_that_is_no_likelihood_leaves_the_squared_error() -> None:
    torch.manual_seed(0)
    plan = ModelPlan(
        kind="images",
        row_shape=(1, 16, 16),
        latent_dim=2,
        variant=PluginSpec(name="vae"),
        net=PluginSpec(name="dense", options={"hidden": [8]}),
        reconstruction="ssim",
    )
    module, rows = variants.build(plan).eval(), torch.rand(5, 1, 16, 16)
    assert torch.equal(module.score(rows), module.reconstruction_error(rows))


# -- held decoders -----------------------------------------------------------------------------


def test_the_gradient_penalty_is_half_the_decoders_squared_jacobian() -> None:
    module = build("rae", regularizer="gradient_penalty").eval()
    z = torch.randn(3, 2)
    exact = [
        torch.autograd.functional.jacobian(module.decoder, row[None]).square().sum().item()
        for row in z
    ]
    estimates = torch.stack([module._gradient_penalty(z) for _ in range(3000)])
    assert estimates.mean().item() == pytest.approx(0.5 * sum(exact) / 3, rel=0.05)


def test_spectral_normalisation_holds_every_layer_at_norm_one() -> None:
    module = build("rae", regularizer="spectral")
    for _ in range(100):
        module.loss(torch.randn(8, FEATURES))
    layers = [layer for layer in module.decoder.modules() if isinstance(layer, nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight, ord=2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * len(layers), rel=0.02)


# -- on real rows --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vae", "beta_tcvae", "vamp"])
def test_the_latent_of_digits_does_not_collapse(variant: str) -> None:
    """A variance that is learned too slowly makes the reconstruction weigh too little."""
    rows = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    module = build(variant, latent_dim=8, rows=len(rows), features=64, hidden=128, warm_up_epochs=0)
    optimizer = Optimizers(module)
    for _ in range(40 * 14):
        optimizer.zero_grad()
        module.loss(rows[torch.randint(len(rows), (128,))]).total.backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        found = module.own_metrics(rows)
    assert found["active_units"] >= 4, found
    assert found["elbo_nats"] > 30, found
