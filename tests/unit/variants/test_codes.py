"""Sparse, contractive and quantised latents, each against what it is defined to be."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import distributions, nn

from isthmus import variants
from isthmus.core import Autoencoder
from isthmus.core.entropy_model import (
    FactorizedDensity,
    bits,
    normal_likelihood,
    rounded,
    with_noise,
)
from isthmus.core.jacobian import estimated_square_norm, exact_square_norm
from isthmus.core.quantization import Codebook, straight_through, usage
from isthmus.core.sparsity import (
    Usage,
    keep_largest,
    keep_largest_of_batch,
    kl_from_target,
    l1_over_l2,
)
from isthmus.spec import ModelPlan, PluginSpec
from tests.by_hand import Optimizers

FEATURES = 12


def build(variant: str, latent_dim: int = 8, **options: object) -> Autoencoder:
    torch.manual_seed(0)
    config = variants.config(variant).model_validate(options)
    plan = ModelPlan(
        kind="tabular",
        row_shape=(FEATURES,),
        latent_dim=latent_dim,
        variant=PluginSpec(name=variant, options=config.model_dump(mode="json")),
        net=PluginSpec(name="dense", options={"hidden": [16]}),
        reconstruction="mse",
    )
    module = variants.build(plan)
    return module


# -- sparse -----------------------------------------------------------------------------------


def test_the_kl_penalty_is_that_of_bernoulli_distributions() -> None:
    z = torch.rand(50, 4)
    target, found = (
        distributions.Bernoulli(torch.full((4,), 0.1)),
        distributions.Bernoulli(z.mean(dim=0)),
    )
    expected = distributions.kl_divergence(target, found).sum()
    torch.testing.assert_close(kl_from_target(z, 0.1), expected)


def test_the_l1_penalty_cannot_be_lowered_by_scaling_the_latent() -> None:
    z = torch.rand(20, 5)
    torch.testing.assert_close(l1_over_l2(0.01 * z), l1_over_l2(z))
    one_active = torch.eye(5)
    assert l1_over_l2(one_active).mean() < l1_over_l2(torch.ones(5, 5)).mean()


def test_a_heavier_penalty_leaves_fewer_numbers_active() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, FEATURES)

    def active(weight: float) -> float:
        module = build("sparse", latent_dim=16, weight=weight)
        optimizer = Optimizers(module, learning_rate=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            module.loss(x).total.backward()
            optimizer.step()
        return module.eval().own_metrics(x)["active_numbers"]

    assert active(3.0) < 0.7 * active(0.0)


def test_exactly_k_numbers_are_kept_the_largest_ones() -> None:
    z = torch.rand(9, 10) + 0.1
    kept = keep_largest(z, 3)
    assert ((kept > 0).sum(dim=1) == 3).all()
    assert torch.equal(kept.max(dim=1).values, z.max(dim=1).values)
    least_kept = torch.where(kept > 0, kept, torch.inf).amin(dim=1)
    assert (torch.where(kept == 0, z, 0).amax(dim=1) <= least_kept).all()


def test_a_batch_keeps_k_times_its_rows_and_gives_more_to_rows_that_have_more() -> None:
    z = torch.rand(8, 10) + 0.1
    z[0] *= 10
    kept = keep_largest_of_batch(z, 2)
    assert (kept > 0).sum() == 16
    assert (kept[0] > 0).all()


def test_single_rows_keep_about_as_many_numbers_as_training_did() -> None:
    torch.manual_seed(0)
    module = build("batchtopk", latent_dim=64, k=4)
    for _ in range(200):
        module.loss(torch.randn(64, FEATURES))
    module.eval()
    z = module.encode(torch.randn(500, FEATURES))
    assert (z != 0).sum(dim=1).float().mean().item() == pytest.approx(4.0, rel=0.15)


def test_dead_numbers_are_what_the_auxiliary_term_moves() -> None:
    usage_of = Usage(3)
    for _ in range(4):
        usage_of.update(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    assert usage_of.dead(8).tolist() == [False, False, True]
    module = build("topk", latent_dim=32, k=2, dead_after_rows=1, auxiliary_weight=1.0)
    x = torch.randn(16, FEATURES)
    module.loss(x)
    module.zero_grad()
    output = module.loss(x)
    assert output.parts["auxiliary"] > 0
    (output.total - output.parts["reconstruction"]).backward()
    last = [layer for layer in module.encoder.modules() if isinstance(layer, nn.Linear)][-1]
    assert last.weight.grad is not None
    dead = module.usage.dead(1)
    assert last.weight.grad[dead].abs().sum() > 0
    assert last.weight.grad[~dead].abs().sum() == 0


# -- contractive ------------------------------------------------------------------------------


def encoder() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def test_the_contractive_penalty_is_the_norm_of_the_full_jacobian() -> None:
    net, x = encoder(), torch.randn(4, 5, dtype=torch.float64)
    expected = [
        torch.autograd.functional.jacobian(net, row[None]).square().sum().item() for row in x
    ]
    with torch.no_grad():  # as in validation
        found = exact_square_norm(net, x, keep_graph=False)
    assert found.tolist() == pytest.approx(expected)


def test_the_estimate_of_the_penalty_is_unbiased() -> None:
    net, x = encoder(), torch.randn(4, 5, dtype=torch.float64)
    exact = exact_square_norm(net, x, keep_graph=False)
    estimate = estimated_square_norm(net, x, samples=4000, keep_graph=False)
    torch.testing.assert_close(estimate, exact, rtol=0.1, atol=0.0)


def test_the_penalty_reaches_the_encoders_weights_in_training() -> None:
    module = build("contractive", weight=1.0)
    x = torch.randn(8, FEATURES)
    module.penalty(x).sum().backward()
    first = next(layer for layer in module.encoder.modules() if isinstance(layer, nn.Linear))
    assert first.weight.grad is not None
    assert first.weight.grad.abs().sum() > 0


def test_a_latent_that_shrinks_as_a_whole_is_not_called_more_contractive() -> None:
    module, x = build("contractive").eval(), torch.randn(64, FEATURES)
    with torch.no_grad():
        before = module.own_metrics(x)
    last = [layer for layer in module.encoder.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.mul_(0.1)
        after = module.own_metrics(x)
    assert after["jacobian_norm"] == pytest.approx(0.1 * before["jacobian_norm"], rel=1e-4)
    assert after["relative_jacobian_norm"] == pytest.approx(
        before["relative_jacobian_norm"], rel=1e-4
    )


# -- quantised --------------------------------------------------------------------------------


def test_codes_move_to_the_centres_of_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    book = Codebook(4, 2, decay=0.9, least_count=0.5)
    for _ in range(200):
        book.update(centres[torch.randint(4, (64,))] + 0.1 * torch.randn(64, 2))
    distance = torch.cdist(centres, book.codes).amin(dim=1)
    assert (distance < 0.1).all()


def test_a_code_that_nobody_chooses_begins_anew_where_the_data_are() -> None:
    torch.manual_seed(0)
    book = Codebook(3, 2, decay=0.5, least_count=0.1)
    book.update(torch.randn(32, 2))
    book.codes[0] = 1000.0
    book.counts[0], book.sums[0] = 1.0, torch.full((2,), 1000.0)
    for _ in range(20):
        book.update(torch.randn(32, 2))
    assert book.codes.abs().max() < 10


def test_the_straight_through_value_is_the_code_and_its_gradient_the_encodings() -> None:
    v = torch.tensor([0.2, 0.9], requires_grad=True)
    out = straight_through(v, torch.tensor([0.0, 1.0]))
    assert out.tolist() == [0.0, 1.0]
    (out * torch.tensor([3.0, 5.0])).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [3.0, 5.0]


def test_perplexity_counts_codes_that_are_used_evenly() -> None:
    found = usage(torch.tensor([0, 1, 2, 3] * 5), 8)
    assert found["perplexity"] == pytest.approx(4.0)
    assert found["dead_codes"] == 4.0


def test_a_latent_is_made_of_codes_of_the_book() -> None:
    module = build("vqvae", codes=16, code_dim=4)
    module.loss(torch.randn(64, FEATURES))
    z = module.eval().encode(torch.randn(10, FEATURES)).reshape(-1, 4)
    assert torch.cdist(z, module.codebook.codes).amin(dim=1).max() < 1e-5


def test_a_codebook_is_left_alone_in_validation() -> None:
    module = build("vqvae")
    module.loss(torch.randn(64, FEATURES))
    before = module.codebook.codes.clone()
    module.eval().loss(torch.randn(64, FEATURES))
    assert torch.equal(before, module.codebook.codes)


def test_each_stage_of_residual_quantisation_lowers_the_error() -> None:
    torch.manual_seed(0)
    module = build("residual_vq", stages=4, codes=32)
    x = torch.randn(512, FEATURES)
    for _ in range(100):
        module.loss(x)
    encoded = module.eval().encoder(x)
    errors = [float((encoded - s).detach().square().sum()) for s in module.partial_sums(encoded)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    chosen = module.indices_of(encoded)
    summed = sum(
        book.look_up(index)
        for book, index in zip(module.codebooks, chosen.unbind(dim=1), strict=True)
    )
    torch.testing.assert_close(summed, module.latent(encoded))


@pytest.mark.parametrize("levels", [(8,), (5,), (2,), (8, 5), (3, 4, 2)], ids=str)
def test_finite_scalars_reach_every_code_and_no_other(levels: tuple[int, ...]) -> None:
    module = build("fsq", latent_dim=len(levels), levels=levels)
    span = torch.linspace(-6, 6, 400)
    rounded = module.rounding(span[:, None].expand(-1, len(levels)))
    reached = [sorted({round(v, 5) for v in column.tolist()}) for column in rounded.unbind(dim=1)]
    assert [len(values) for values in reached] == list(levels)
    assert len(list(product(*reached))) == torch.tensor(levels).prod().item()
    assert all(-1 <= value <= 1 for values in reached for value in values)
    indices = module.rounding.indices(rounded)
    assert indices.min() == 0
    assert [indices[:, i].max().item() for i in range(len(levels))] == [n - 1 for n in levels]


# -- entropy ----------------------------------------------------------------------------------


def test_a_factorized_density_is_monotone_and_its_whole_numbers_sum_to_one() -> None:
    torch.manual_seed(0)
    density = FactorizedDensity(3)
    span = torch.linspace(-60, 60, 1000)[:, None].expand(-1, 3)
    assert (density.cumulative(span).diff(dim=0) >= 0).all()
    whole = torch.arange(-400.0, 401.0)[:, None].expand(-1, 3)
    total = density.likelihood(whole).sum(dim=0)
    torch.testing.assert_close(total, torch.ones(3), rtol=0, atol=0.01)


def test_a_normal_of_any_scale_sums_to_one_over_whole_numbers() -> None:
    whole = torch.arange(-200.0, 201.0)
    for scale in (0.2, 1.0, 20.0):
        total = normal_likelihood(whole, torch.tensor(scale)).sum().item()
        assert total == pytest.approx(1.0, abs=1e-4)


def test_a_fitted_density_costs_as_many_bits_as_the_entropy_of_the_source() -> None:
    torch.manual_seed(0)
    source = distributions.Normal(0.0, 3.0)
    density = FactorizedDensity(1)
    optimizer = torch.optim.Adam(density.parameters(), lr=0.02)
    for _ in range(500):
        optimizer.zero_grad()
        bits(density.likelihood(source.sample((512, 1)).round())).mean().backward()
        optimizer.step()
    whole = torch.arange(-30.0, 31.0)
    share = source.cdf(whole + 0.5) - source.cdf(whole - 0.5)
    entropy = -(share * share.clamp(min=1e-12).log2()).sum().item()
    found = (share * -density.likelihood(whole[:, None]).squeeze(1).log2()).sum().item()
    assert found == pytest.approx(entropy, rel=0.02)


def test_rounding_is_noise_in_training_and_whole_numbers_after() -> None:
    torch.manual_seed(0)
    y = torch.full((10_000,), 0.3)
    noise = with_noise(y) - y
    assert noise.abs().max() <= 0.5
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.05)
    assert torch.equal(rounded(y), torch.zeros_like(y))


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["factorized", "scale_hyperprior"])
def test_more_weight_on_distortion_costs_bits_and_lowers_the_error(prior: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 3) @ torch.randn(3, FEATURES)

    def trained(weight: float) -> tuple[float, float]:
        module = build("hyperprior", prior=prior, distortion_weight=weight)
        optimizer = Optimizers(module, learning_rate=1e-2)
        for _ in range(400):
            optimizer.zero_grad()
            module.loss(x).total.backward()
            optimizer.step()
        parts = module.eval().loss(x).parts
        return float((parts["rate_bits"] + parts["side_bits"]).detach()), float(
            parts["reconstruction"].detach()
        )

    cheap, dear = trained(0.1), trained(30.0)
    assert cheap[0] < dear[0]
    assert dear[1] < cheap[1]
