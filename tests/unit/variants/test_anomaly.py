"""Variants made for anomalies, and the adversarial one, against the formulas of their papers."""

from __future__ import annotations

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributions, nn

from isthmus import nets, variants
from isthmus.core import Autoencoder, workers
from isthmus.core.adversary import discriminator_loss, frozen, generator_loss, redrawn
from isthmus.core.mixture import (
    Components,
    RunningMixture,
    components_of,
    energy,
    inverse_variances,
)
from isthmus.spec import ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss
from isthmus.variants.deep_svdd import Sphere
from isthmus.variants.memory import addressing_entropy
from tests.by_hand import Course, Optimizers, put_on

FEATURES = 6
LATENT_DIM = 3
ROWS = 64


def build(variant: str, seed: int = 0, latent_dim: int = LATENT_DIM, **options: Any) -> Autoencoder:
    torch.manual_seed(seed)
    plan = ModelPlan(
        kind=DataKind.TABULAR,
        row_shape=(FEATURES,),
        latent_dim=latent_dim,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)(**options).model_dump(mode="json")
        ),
        net=PluginSpec(name="dense", options=nets.config("dense")().model_dump(mode="json")),
        reconstruction=ReconstructionLoss.MSE,
    )
    module = variants.build(plan)
    return module


def rows(count: int = ROWS, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


def trained(module: Autoencoder, x: torch.Tensor, steps: int) -> Autoencoder:
    optimizer = Optimizers(module)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        module.loss(x[torch.randint(len(x), (ROWS,))]).total.backward()
        optimizer.step()
    return module.eval()


def gradients(loss: torch.Tensor, module: nn.Module) -> list[torch.Tensor | None]:
    parameters = list(module.parameters())
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))


# -- opponents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [nn.Linear(4, 2), nn.LSTM(4, 2)], ids=["linear", "lstm"])
def test_a_frozen_module_passes_gradients_on_and_takes_none(module: nn.Module) -> None:
    def gradient(output: Any) -> torch.Tensor:
        found = output[0] if isinstance(output, tuple) else output
        return torch.autograd.grad(found.square().sum(), x, retain_graph=True)[0]

    x = torch.randn(3, 4, requires_grad=True)
    held = frozen(module, x)
    torch.testing.assert_close(gradient(held), gradient(module(x)))
    output = held[0] if isinstance(held, tuple) else held
    assert gradients(output.sum(), module) == [None] * len(list(module.parameters()))


def test_a_redrawn_module_has_weights_of_its_own_that_the_seed_determines() -> None:
    source = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.LSTM(5, 2))
    before = copy.deepcopy(source.state_dict())
    twins = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        twins.append(redrawn(source).state_dict())
    assert all(torch.equal(before[name], source.state_dict()[name]) for name in before)
    for name in ("0.weight", "2.weight_ih_l0"):
        assert torch.equal(twins[0][name], twins[1][name])
        assert not torch.equal(twins[0][name], twins[2][name])
        assert not torch.equal(twins[0][name], before[name])


def test_the_adversarial_losses_are_cross_entropies() -> None:
    drawn, encoded = torch.randn(9), torch.randn(9)
    real, fake = torch.sigmoid(drawn), torch.sigmoid(encoded)
    expected = -real.log().mean() - (1 - fake).log().mean()
    torch.testing.assert_close(discriminator_loss(drawn, encoded), expected)
    torch.testing.assert_close(generator_loss(encoded), -fake.log().mean())
    guess = torch.zeros(9)
    assert float(discriminator_loss(guess, guess)) == pytest.approx(2 * math.log(2))


# -- aae ------------------------------------------------------------------------------------------


def test_each_side_of_the_adversarial_game_teaches_itself_alone() -> None:
    module = build("aae")
    parts = module.loss(rows()).parts
    assert set(gradients(parts["generator"], module.discriminator)) == {None}
    assert set(gradients(parts["discriminator"], module.encoder)) == {None}
    assert all(g is not None and g.any() for g in gradients(parts["generator"], module.encoder))
    learned = gradients(parts["discriminator"], module.discriminator)
    assert all(g is not None and g.any() for g in learned)


def test_one_backward_pass_teaches_each_adversary_its_own_loss_alone() -> None:
    one, two = build("aae", weight=0.7), build("aae", weight=0.7)
    x = rows()
    together = Optimizers(one)
    discriminator = list(two.discriminator.parameters())
    pair = [*two.encoder.parameters(), *two.decoder.parameters()]
    apart = [torch.optim.AdamW(part, lr=3e-3, weight_decay=0.0) for part in (pair, discriminator)]
    for step in range(5):
        torch.manual_seed(step)
        together.zero_grad()
        one.loss(x).total.backward()
        together.step()
        torch.manual_seed(step)
        parts = two.loss(x).parts
        losses = (parts["reconstruction"] + 0.7 * parts["generator"], parts["discriminator"])
        for loss, owned in zip(losses, (pair, discriminator), strict=True):
            found = torch.autograd.grad(loss, owned, retain_graph=True)
            for parameter, gradient in zip(owned, found, strict=True):
                parameter.grad = gradient
        for optimizer in apart:
            optimizer.step()
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_validation_is_without_the_discriminators_loss() -> None:
    module = build("aae", weight=0.5)
    for is_training, share in ((True, 1.0), (False, 0.0)):
        found = module.train(is_training).loss(rows())
        parts = found.parts
        expected = parts["reconstruction"] + 0.5 * parts["generator"]
        expected = expected + share * parts["discriminator"]
        torch.testing.assert_close(found.total, expected)


def test_the_adversary_brings_all_encodings_together_closer_to_the_prior() -> None:
    def distance_to_prior(module: Autoencoder) -> float:
        """Wasserstein's, along 50 directions, against the normal distribution's quantiles."""
        torch.manual_seed(0)
        with torch.no_grad():
            z = module.encoder(x)
        directions = nn.functional.normalize(torch.randn(2, 50), dim=0)
        along = (z @ directions).sort(dim=0).values
        levels = (torch.arange(len(z)) + 0.5) / len(z)
        return float((along - distributions.Normal(0.0, 1.0).icdf(levels)[:, None]).abs().mean())

    torch.manual_seed(0)
    x = 3 * torch.rand(1000, 2) @ torch.randn(2, FEATURES) + 1
    plain = trained(build("plain", latent_dim=2), x, 500)
    aae = trained(build("aae", latent_dim=2, weight=1.0), x, 500)
    assert distance_to_prior(aae) < 0.4 * distance_to_prior(plain)


# -- memory ---------------------------------------------------------------------------------------


def addressed_by_the_paper(
    z: torch.Tensor, items: torch.Tensor, temperature: float, threshold: float
) -> torch.Tensor:
    """Equations 4 to 6, a row and an item at a time."""
    answer = torch.zeros(len(z), len(items))
    for row, query in enumerate(z):
        similarity = torch.stack([query @ item / (query.norm() * item.norm()) for item in items])
        weights = (similarity / temperature).exp()
        weights = weights / weights.sum()
        weights = torch.where(weights > threshold, weights, torch.tensor(0.0))
        answer[row] = weights / weights.sum()
    return answer


def test_the_memory_is_addressed_by_angle_shrunk_and_made_to_sum_to_one() -> None:
    module = build("memory", items=20, temperature=0.3)
    z = 5 * torch.randn(30, LATENT_DIM)
    weights = module.memory.address(z)
    expected = addressed_by_the_paper(z, module.memory.items_ND, 0.3, 1 / 20)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(30))
    addressed = (weights > 0).sum(dim=1)
    assert (addressed < 12).all()
    assert (addressed >= 1).all()
    torch.testing.assert_close(module.latent(z), weights @ module.memory.items_ND)


def test_an_encoding_twice_as_long_asks_for_the_same() -> None:
    module, z = build("memory"), torch.randn(10, LATENT_DIM)
    torch.testing.assert_close(module.latent(2 * z), module.latent(z))


def test_the_entropy_of_addressing_is_that_of_a_categorical_distribution() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.7, 0.3, 0.0, 0.0]])
    expected = distributions.Categorical(probs=weights).entropy()
    torch.testing.assert_close(addressing_entropy(weights), expected, atol=1e-5, rtol=1e-5)
    zeros = torch.tensor([[1.0, 0.0]], requires_grad=True)
    addressing_entropy(zeros).sum().backward()
    assert zeros.grad is not None
    assert torch.isfinite(zeros.grad).all()


def test_the_memory_weighs_reconstruction_and_entropy() -> None:
    module, x = build("memory", entropy_weight=0.3), rows()
    found = module.loss(x)
    weights = module.memory.address(module.encoder(x))
    output = module.decoder(weights @ module.memory.items_ND)
    reconstruction = (output - x).square().sum(dim=1).mean()
    entropy = addressing_entropy(weights).mean()
    torch.testing.assert_close(found.total, reconstruction + 0.3 * entropy)


def test_the_memory_does_not_fall_back_on_one_item() -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, 2) @ torch.randn(2, FEATURES)
    figures = trained(build("memory"), x, 300).own_metrics(x)
    assert figures["items_in_use"] > 50
    assert figures["items_per_row"] < 60


# -- usad -----------------------------------------------------------------------------------------


def usad_by_the_paper(module: Autoencoder, x: torch.Tensor, n: int) -> tuple[torch.Tensor, ...]:
    """Both losses with nothing frozen or detached."""

    def error(a: torch.Tensor) -> torch.Tensor:
        return (a - x).square().sum(dim=1).mean()

    z = module.encoder(x)
    first = module.decoder(z)
    both = module.second_decoder(module.encoder(first))
    adversarial = (1 - 1 / n) * error(both)
    second = module.second_decoder(z)
    return error(first) / n + adversarial, error(second) / n - adversarial


@pytest.mark.parametrize("n", [1, 2, 5])
def test_each_decoder_learns_from_its_own_loss_and_the_encoder_from_both(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = build("usad", largest_adversarial_weight=1.0), rows()
    monkeypatch.setattr(type(module.clock), "epoch", n - 1)
    total = module.loss(x).total
    first, second = usad_by_the_paper(module, x, n)
    for part, loss in (
        (module.decoder, first),
        (module.second_decoder, second),
        (module.encoder, first + second),
    ):
        for ours, theirs in zip(gradients(total, part), gradients(loss, part), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_adversarial_weight_rises_with_the_epochs_up_to_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = build("usad", largest_adversarial_weight=0.6), rows()
    found = {}
    for epoch in (0, 1, 2, 50):
        monkeypatch.setattr(type(module.clock), "epoch", epoch)
        parts = module.loss(x).parts
        terms = parts["reconstruction"] + parts["second_reconstruction"]
        # The adversarial terms cancel in the value (not in the gradients): inside of the range.
        found[epoch] = float((module.loss(x).total / terms).detach())
    assert list(found.values()) == pytest.approx([1.0, 0.5, 0.4, 0.4], rel=0.02)


def test_the_second_decoder_gains_nothing_beyond_the_range_of_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = build("usad", largest_adversarial_weight=1.0), rows()
    monkeypatch.setattr(type(module.clock), "epoch", 10**9)  # the adversarial terms alone
    with torch.no_grad():
        module.second_decoder[-2].bias.fill_(100.0)
    for gradient in gradients(module.loss(x).total, module.second_decoder):
        assert gradient is not None
        assert gradient.abs().max() < 1e-4


def test_the_score_weighs_the_first_error_and_that_of_both() -> None:
    module, x = build("usad", alpha=0.2).eval(), rows()
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    scaled = (x - 0.5) / 2
    first = module.decoder(module.encoder(scaled))
    both = module.second_decoder(module.encoder(first))
    errors = [(found - scaled).square().mean(dim=1) for found in (first, both)]
    torch.testing.assert_close(module.score(x), 0.2 * errors[0] + 0.8 * errors[1])


def test_validation_of_usad_is_both_reconstructions_in_every_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = build("usad").eval(), rows()
    first, second = usad_by_the_paper(module, x, 1)
    for epoch in (0, 7):
        monkeypatch.setattr(type(module.clock), "epoch", epoch)
        torch.testing.assert_close(module.loss(x).total, first + second)


# -- dagmm ----------------------------------------------------------------------------------------


def some_components(count: int = 3, features: int = 4) -> Components:
    roots = torch.randn(count, features, features, dtype=torch.float64)
    return Components(
        share_K=torch.rand(count, dtype=torch.float64).softmax(dim=0),
        mean_KF=torch.randn(count, features, dtype=torch.float64),
        covariance_KFF=roots @ roots.transpose(1, 2),
    )


def test_the_energy_is_the_mixtures_negative_log_density() -> None:
    torch.manual_seed(0)
    components, z = some_components(), 2 * torch.randn(20, 4, dtype=torch.float64)
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(probs=components.share_K),
        distributions.MultivariateNormal(
            components.mean_KF, components.covariance_KFF + 0.1 * torch.eye(4, dtype=torch.float64)
        ),
    )
    torch.testing.assert_close(energy(z, components, 0.1), -mixture.log_prob(z))


def test_the_energy_stays_finite_where_a_component_has_collapsed() -> None:
    components = components_of(torch.ones(8, 4, requires_grad=True), torch.eye(2).repeat(4, 1))
    found = energy(torch.randn(5, 4), components, 1e-3).sum()
    found.backward()
    assert torch.isfinite(found)


def test_components_are_weighted_means_and_covariances() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 3, dtype=torch.float64)
    membership = torch.randn(50, 2, dtype=torch.float64).softmax(dim=1)
    found = components_of(z, membership)
    for k in range(2):
        weights = membership[:, k].numpy()
        mean = np.average(z.numpy(), axis=0, weights=weights)
        covariance = np.cov(z.numpy().T, aweights=weights, bias=True)
        np.testing.assert_allclose(found.mean_KF[k], mean)
        np.testing.assert_allclose(found.covariance_KFF[k], covariance)
        assert float(found.share_K[k]) == pytest.approx(weights.mean())
    variances = torch.stack([covariance.diagonal() for covariance in found.covariance_KFF])
    torch.testing.assert_close(inverse_variances(found, 0.2), (1 / (variances + 0.2)).sum())


@pytest.mark.parametrize("offset", [0.0, 1000.0], ids=["near 0", "far from 0"])
def test_the_running_mixture_is_that_of_all_batches_with_weights_that_fade(offset: float) -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(40, 3) * (1 + i) + offset + i, torch.rand(40, 2)) for i in range(4)]
    rate, running = 0.3, RunningMixture(2, 3)
    for z, membership in batches:
        running.update(z, membership, rate)
    fading = [rate * (1 - rate) ** age for age in (3, 2, 1, 0)]
    z = torch.cat([z for z, _ in batches]).double().numpy()
    for k in range(2):
        weights = np.concatenate(
            [w * m[:, k].numpy() for w, (_, m) in zip(fading, batches, strict=True)]
        )
        mean = np.average(z, axis=0, weights=weights)
        np.testing.assert_allclose(running.mean_KF[k], mean, rtol=1e-5, atol=1e-4)
        covariance = np.cov(z.T, aweights=weights, bias=True)
        np.testing.assert_allclose(running.covariance_KFF[k], covariance, rtol=1e-3, atol=1e-2)
        assert float(running.mass_K[k]) == pytest.approx(weights.sum(), rel=1e-5)
    torch.testing.assert_close(running.components().share_K, running.mass_K / running.mass_K.sum())


def test_the_mixture_is_over_the_latent_and_two_figures_of_the_error() -> None:
    module, x = build("dagmm").eval(), rows()
    module.train().loss(x)
    module.eval()
    z = module.encoder(x)
    output = module.decoder(z)
    distance = (x - output).norm(dim=1) / x.norm(dim=1)
    cosine = (x * output).sum(dim=1) / (x.norm(dim=1) * output.norm(dim=1))
    features = torch.cat([z, distance[:, None], cosine[:, None]], dim=1)
    expected = energy(features, module.mixture.components(), module.options.variance_floor)
    torch.testing.assert_close(module.score(x), expected)
    found = module.loss(x)
    torch.testing.assert_close(found.parts["energy"], expected.mean())
    weighted = module.options.energy_weight * found.parts["energy"]
    guarded = module.options.variance_weight * found.parts["inverse_variances"]
    torch.testing.assert_close(found.total, found.parts["reconstruction"] + weighted + guarded)


def test_dagmm_learns_in_training_from_the_batchs_own_mixture() -> None:
    module, x = build("dagmm", dropout=0.0), rows()
    module.mixture.update(100 + torch.randn(9, LATENT_DIM + 2), torch.rand(9, 2), 1.0)
    # The batch's own mixture fits it closely; the average still has rows far off in it.
    assert float(module.loss(x).parts["energy"].detach()) < 0
    assert float(module.eval().loss(x).parts["energy"].detach()) > 0


# -- deep_svdd ------------------------------------------------------------------------------------


def test_the_centre_is_the_mean_of_the_first_encodings_and_then_stays() -> None:
    module, x = build("deep_svdd", centre_epochs=0.2), 3 * rows()
    course = put_on(module, Course(steps_per_epoch=10))  # of which the centre takes 2
    with torch.no_grad():
        module.encoder[-1].bias.fill_(2.0)
        encoded = [module.encoder(part).mean(dim=0) for part in (x, 2 * x)]
    module.loss(x)
    module.loss(2 * x)
    centre = module.sphere.centre.clone()
    torch.testing.assert_close(centre, (encoded[0] + encoded[1]) / 2)
    trained(module, x, 5)
    assert torch.equal(module.sphere.centre, centre)
    assert course.steps_per_epoch == module.clock.steps_per_epoch == module.clock.batches_per_epoch


def test_the_distance_counts_only_once_the_centre_stands() -> None:
    module, x = build("deep_svdd", centre_epochs=0.1, weight=0.5), rows()
    for weight in (0.0, 0.5, 0.5):
        found = module.loss(x)
        expected = found.parts["reconstruction"] + weight * found.parts["svdd"]
        torch.testing.assert_close(found.total, expected)
    resumed = build("deep_svdd", centre_epochs=0.1, weight=0.5)
    resumed.load_state_dict(module.state_dict())
    resumed.loss(x)
    assert torch.equal(resumed.sphere.centre, module.sphere.centre)


def test_no_coordinate_of_the_centre_is_near_zero_and_each_keeps_its_sign() -> None:
    sphere = Sphere(4)
    sphere.move_centre(torch.tensor([[0.05, -0.02, 0.5, -0.3]]), 0.1)
    torch.testing.assert_close(sphere.centre, torch.tensor([0.1, -0.1, 0.5, -0.3]))


def test_the_score_is_the_squared_distance_to_the_centre() -> None:
    module, x = build("deep_svdd"), rows()
    module.loss(x)
    module.eval().scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    offset = module.encode(x) - module.sphere.centre
    torch.testing.assert_close(module.score(x), (offset * offset).sum(dim=1))


def test_the_soft_boundary_leaves_the_asked_share_outside_and_weighs_it() -> None:
    module, x = build("deep_svdd", objective="soft_boundary", nu=0.25), rows(400)
    found = module.loss(x)
    distance = module.sphere.distance(module.encoder(x)).detach()
    radius_squared = module.sphere.radius_squared
    assert float((distance > radius_squared).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(radius_squared) == pytest.approx(np.quantile(distance.numpy(), 0.75), rel=1e-5)
    beyond = [max(0.0, float(d - radius_squared)) for d in distance]
    expected = float(radius_squared) + sum(beyond) / len(beyond) / 0.25
    assert float(found.parts["svdd"].detach()) == pytest.approx(expected, rel=1e-5)


def test_one_class_draws_all_rows_to_the_centre() -> None:
    module, x = build("deep_svdd"), rows()
    found = module.loss(x).parts["svdd"]
    torch.testing.assert_close(found, module.sphere.distance(module.encoder(x)).mean())


# -- what all of them promise ---------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["aae", "memory", "usad", "dagmm", "deep_svdd"])
def test_validation_changes_nothing(variant: str) -> None:
    module = build(variant)
    module.loss(rows())
    before = copy.deepcopy(module.state_dict())
    module.eval().loss(rows(seed=2))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("variant", ["memory", "usad", "dagmm", "deep_svdd"])
def test_rows_off_the_plane_that_was_trained_on_score_higher(variant: str) -> None:
    torch.manual_seed(0)
    plane = torch.randn(2, FEATURES)
    module = trained(build(variant), torch.randn(1000, 2) @ plane, 300)
    normal = torch.randn(300, 2) @ plane
    with torch.no_grad():
        usual = module.score(normal)
        unusual = module.score(normal + 3 * torch.randn(300, FEATURES))
    assert (unusual[:, None] > usual).float().mean() > 0.8


class TwoThreads:
    """Two workers' collectives, between two threads of this process."""

    def __init__(self) -> None:
        self.ranks = threading.local()
        self._barrier = threading.Barrier(2, timeout=10)
        self._given: dict[int, torch.Tensor] = {}

    def get_world_size(self) -> int:
        return 2

    def _exchange(self, x: torch.Tensor) -> list[torch.Tensor]:
        self._barrier.wait()
        self._given[self.ranks.mine] = x.clone()
        self._barrier.wait()
        return [self._given[0], self._given[1]]

    def all_reduce(self, x: torch.Tensor) -> None:
        x.copy_(torch.stack(self._exchange(x)).sum(dim=0))

    def all_gather(self, parts: list[torch.Tensor], x: torch.Tensor) -> None:
        for part, theirs in zip(parts, self._exchange(x), strict=True):
            part.copy_(theirs)


def learned_from(part: slice) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, 3, generator=generator) + 5
    membership = torch.rand(40, 2, generator=generator)
    mixture, sphere = RunningMixture(2, 3), Sphere(3)
    for batch in (slice(0, 20), slice(20, 40)):
        mixture.update(z[batch][part], membership[batch][part], 0.3)
        sphere.move_centre(z[batch][part], 0.1)
        sphere.fit_radius(sphere.distance(z[batch][part]), 0.1)
    return {**mixture.state_dict(), **sphere.state_dict()}


def test_two_workers_learn_together_what_one_would_from_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = learned_from(slice(None))
    between = TwoThreads()
    monkeypatch.setattr(workers, "distributed", between)
    monkeypatch.setattr(workers, "_is_distributed", lambda: True)

    def worker(rank: int) -> dict[str, torch.Tensor]:
        between.ranks.mine = rank
        return learned_from(slice(rank, None, 2))

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(worker, range(2)):
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value)
