"""Variants that take noise away or guess what is hidden, against what they are defined to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from isthmus import variants
from isthmus.core import Reconstruction
from isthmus.core.blindspot import blind_spots
from isthmus.core.masking import feature_mask, from_other_rows, masked_error, patch_mask
from isthmus.core.similarity import si_sdr_db
from isthmus.jobs.noise_removal import judge_noise_removal
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape
from tests.unit.variants.building import build, plan_of, trained


def waves(count: int, steps: int = 24) -> torch.Tensor:
    """Smooth rows of two degrees of freedom, (count, 1, steps)."""
    phase, height = torch.rand(count, 1, 1) * 6.28, 0.5 + torch.rand(count, 1, 1)
    return height * torch.sin(torch.linspace(0, 6.28, steps) + phase)


def squared_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean())


def judged(module: Any, rows: torch.Tensor, clean: torch.Tensor | None = None) -> Any:
    """What a run reports of the noise that a module takes from rows."""
    second = None if clean is None else clean.numpy()

    def reconstruct(values: Any) -> Any:
        with torch.no_grad():
            return module.reconstruct(torch.from_numpy(values)).numpy()

    return judge_noise_removal(module, rows.numpy(), second, None, reconstruct)


# -- denoising ------------------------------------------------------------------------------------


def test_one_denoiser_removes_weak_and_strong_noise() -> None:
    torch.manual_seed(0)
    module = build("denoising", (1, 24), DataKind.SERIES, level=(0.1, 0.6))
    trained(module, waves(1000), 500)
    clean = waves(300)
    for level in (0.2, 0.6):
        noisy = clean + level * torch.randn_like(clean)
        with torch.no_grad():
            assert squared_error(module.reconstruct(noisy), clean) < 0.5 * level**2


def test_noise_in_units_of_the_data_is_put_on_scaled_rows() -> None:
    torch.manual_seed(0)
    module = build("denoising", (1, 50, 50), DataKind.IMAGES, level=25, level_in="data")
    module.scaling.fit(torch.tensor(0.0), torch.tensor(255.0))
    x = torch.rand(20, 1, 50, 50)
    noisy = module.noised(x)
    assert noisy is not None
    assert (noisy - x).std().item() == pytest.approx(25 / 255, rel=0.02)


def test_training_plays_sounds_at_other_speeds_and_validation_does_not() -> None:
    time = torch.arange(2048.0)
    tone = torch.sin(0.2 * time).expand(64, 1, 2048)
    module = build("denoising", (1, 2048), DataKind.AUDIO, level=1e-6, level_in="scaled")
    module.encoder, module.decoder = nn.Identity(), nn.Identity()
    heard: list[torch.Tensor] = []
    module.encoder.register_forward_hook(lambda *given: heard.append(given[2]))
    module.train().loss(tone)
    module.eval().loss(tone)
    pitches, pitches_of_validation = (
        torch.fft.rfft(each[:, 0] * torch.hann_window(2048)).abs().argmax(dim=1) for each in heard
    )
    assert len(pitches.unique()) > 10
    assert len(pitches_of_validation.unique()) == 1


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("audio", {}, 1.2),
        ("audio", {"speed_perturbation": 1}, 1.0),
        ("series", {}, 1.0),
        ("series", {"speed_perturbation": 1.5}, 1.5),
        ("images", {}, 1.0),
    ],
)
def test_only_sounds_change_their_speed_unless_the_job_says_so(
    kind: str, options: dict[str, float], expected: float
) -> None:
    config = variants.config("denoising").model_validate(options)
    data = DataSpec(path="-", kind=DataKind(kind))
    assert not config.refusals(data)
    assert config.settled(data).speed_perturbation == expected


def test_recordings_with_noise_of_their_own_keep_their_speed_and_images_have_none() -> None:
    config = variants.config("denoising")
    recordings = DataSpec(path="noisy", clean_path="clean", kind=DataKind.AUDIO)
    assert config().settled(recordings).speed_perturbation == 1.0
    images = DataSpec(path="-", kind=DataKind.IMAGES)
    told = config(speed_perturbation=1.5).refusals(images)
    assert "1.5 is for audio and series, and the data are images" in told["speed_perturbation"]


def test_with_clean_rows_the_noisy_row_is_the_input_and_the_clean_one_the_target() -> None:
    module, x = build("denoising", (5,), corruption="none"), torch.randn(6, 2, 5)
    noisy, clean = x.unbind(dim=1)
    expected = module.reconstruction(module.decoder(module.encoder(noisy)), clean).mean()
    torch.testing.assert_close(module.loss(x).total, expected)
    assert module.noised(clean) is None
    assert judged(module, clean) is None
    assert set(judged(module, noisy, clean).metrics) >= {"noise_mse_ratio"}


def test_a_corruption_that_is_asked_for_comes_on_top_of_the_noise_of_the_data() -> None:
    module, x = build("denoising", (5,), corruption="masking", level=1.0), torch.randn(6, 2, 5)
    expected = module.reconstruction(module.decoder(module.encoder(torch.zeros(6, 5))), x[:, 1])
    torch.testing.assert_close(module.loss(x).total, expected.mean())


@pytest.mark.parametrize(
    ("kind", "shape", "names"),
    [
        (DataKind.IMAGES, (1, 8, 8), {"psnr_db_noisy", "psnr_db_denoised", "psnr_gain_db"}),
        (DataKind.SERIES, (2, 16), {"si_sdr_db_noisy", "si_sdr_db_denoised", "si_sdr_gain_db"}),
        (DataKind.AUDIO, (1, 64), {"si_sdr_db_noisy", "si_sdr_db_denoised", "si_sdr_gain_db"}),
        (DataKind.TABULAR, (9,), {"noise_mse_ratio"}),
    ],
    ids=["images", "series", "audio", "tabular"],
)
def test_a_denoiser_reports_the_noise_that_it_removes_in_the_measure_of_the_field(
    kind: DataKind, shape: Shape, names: set[str]
) -> None:
    found = judged(build("denoising", shape, kind), torch.rand(20, *shape)).metrics
    ours = {name for name in found if not name.endswith(("_weakest", "_filter"))}
    assert ours == names
    assert all(isinstance(value, float) for value in found.values())


def test_the_gain_is_that_of_rows_with_the_strongest_noise_beside_the_clean_rows() -> None:
    torch.manual_seed(0)
    module = build("denoising", (1, 24), DataKind.SERIES, level=(0.1, 0.6))
    trained(module, waves(1000), 500)
    clean = waves(300)
    found = judged(module, clean).metrics
    noisy = clean + 0.6 * torch.randn_like(clean)
    assert found["si_sdr_db_noisy"] == pytest.approx(si_sdr_db(noisy, clean).mean().item(), abs=0.5)
    assert found["si_sdr_gain_db"] > 3


# -- noise2noise ----------------------------------------------------------------------------------


def test_two_views_are_input_and_target_in_turn() -> None:
    module, x = build("noise2noise", (5,)), torch.randn(6, 2, 5)
    first, second = x[:, 0], x[:, 1]
    error = module.reconstruction
    there = error(module.decoder(module.encoder(first)), second).mean()
    back = error(module.decoder(module.encoder(second)), first).mean()
    torch.testing.assert_close(module.loss(x).total, (there + back) / 2)


def test_two_noisy_views_teach_the_clean_signal() -> None:
    """A linear pair with a latent of the signal's own rank; the noise has a variance of 1."""
    torch.manual_seed(0)
    mixing = torch.randn(3, 20)
    clean = torch.randn(2000, 3) @ mixing
    views = clean.unsqueeze(1) + torch.randn(2000, 2, 20)
    module = build("noise2noise", (20,), net_options={"hidden": ()})
    trained(module, views, 600)
    unseen = torch.randn(500, 3) @ mixing
    noisy = unseen + torch.randn(500, 20)
    with torch.no_grad():
        error = squared_error(module.reconstruct(noisy), unseen)
    # Of 20 directions 3 are kept, and the noise in them: 3 / 20, with a margin for learning.
    assert error < 0.2 * squared_error(noisy, unseen)


# -- noise2void -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["stratified", "uniform"])
@pytest.mark.parametrize("shape", [(3, 20, 30), (2, 600)], ids=str)
def test_the_asked_share_of_places_is_blind_in_all_channels_and_the_rest_as_it_was(
    sampling: Any, shape: Shape
) -> None:
    torch.manual_seed(0)
    x = torch.rand(40, *shape)
    shown, mask = blind_spots(x, 0.1, 2, sampling)
    assert mask.shape == (40, 1, *shape[1:])
    assert mask.flatten(1).sum(dim=1).tolist() == pytest.approx([60] * 40, rel=0.1)
    assert torch.equal(shown != x, mask.expand_as(x))


@pytest.mark.parametrize("sampling", ["stratified", "uniform"])
def test_every_place_is_blind_as_often_as_any_other(sampling: Any) -> None:
    torch.manual_seed(0)
    _, mask = blind_spots(torch.rand(20_000, 1, 5, 7), 0.1, 1, sampling)
    often = mask.float().mean(dim=0)
    assert (often - often.mean()).abs().max() < 0.015  # of 0.11; 5 deviations are 0.011


def test_stratified_blind_spots_lie_one_in_each_cell() -> None:
    torch.manual_seed(0)
    _, mask = blind_spots(torch.rand(50, 1, 12, 12), 1 / 9, 2, "stratified")
    cells = nn.functional.avg_pool2d(mask.float(), 3) * 9
    assert torch.equal(cells, torch.ones(50, 1, 4, 4))


@pytest.mark.parametrize("radius", [1, 2, 50])
def test_a_blind_place_shows_another_place_within_the_radius_each_as_often(radius: int) -> None:
    torch.manual_seed(0)
    height, width = 4, 6
    numbered = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    x = numbered.repeat(60_000, 1, 1, 1)
    shown, mask = blind_spots(x, 1 / 24, radius, "uniform")
    at, seen = x[mask].long(), shown[mask].long()
    found = torch.zeros(24, 24)
    found.index_put_((at, seen), torch.ones(len(at)), accumulate=True)
    y, across = torch.arange(24) // width, torch.arange(24) % width
    near = ((y[:, None] - y).abs() <= radius) & ((across[:, None] - across).abs() <= radius)
    near &= ~torch.eye(24, dtype=torch.bool)
    assert torch.equal(found > 0, near)
    share = found / found.sum(dim=1, keepdim=True)
    expected = near / near.sum(dim=1, keepdim=True)
    assert (share - expected).abs().max() < 0.06


def test_the_error_at_masked_places_ignores_all_others_exactly() -> None:
    torch.manual_seed(0)
    error = Reconstruction(ReconstructionLoss.MSE, (2, 6))
    output, target = torch.randn(4, 2, 6), torch.randn(4, 2, 6)
    mask = torch.zeros(4, 1, 6, dtype=torch.bool)
    mask[:, :, [1, 4, 5]] = True
    expected = (output - target).square()[:, :, [1, 4, 5]].sum(dim=(1, 2)) * 12 / 6
    found = masked_error(error, output, target, mask)
    torch.testing.assert_close(found, expected)
    changed = torch.where(mask, target, torch.tensor(torch.inf))
    assert torch.equal(masked_error(error, output, changed, mask), found)
    elsewhere = torch.where(mask, output, torch.tensor(7.0))
    assert torch.equal(masked_error(error, elsewhere, target, mask), found)


def test_an_error_that_is_the_same_everywhere_is_the_whole_rows_whatever_is_masked() -> None:
    error = Reconstruction(ReconstructionLoss.MSE, (3, 8, 8))
    output, target = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, 3, 8, 8)
    for share in (0.1, 0.5, 0.9):
        mask = patch_mask(target, 2, share)
        torch.testing.assert_close(masked_error(error, output, target, mask), error(output, target))


def test_noise2void_never_shows_the_encoder_what_it_asks_for() -> None:
    module, x = build("noise2void", (1, 6, 6), DataKind.IMAGES), torch.rand(4, 1, 6, 6)
    seen: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outputs: list[torch.Tensor] = []
    module.decoder.register_forward_hook(lambda *call: outputs.append(call[2]))
    found = module.loss(x).total
    blind = seen[0] != x
    count = blind.flatten(1).sum(dim=1)
    error = torch.where(blind, (outputs[0] - x).square(), 0.0).flatten(1).sum(dim=1)
    torch.testing.assert_close(found, (error * 36 / count).mean())


def test_noise2void_takes_noise_from_smooth_images_that_it_only_knows_noisy() -> None:
    torch.manual_seed(0)

    def images(count: int) -> torch.Tensor:
        return waves(count, 10).unsqueeze(2) * waves(count, 10).unsqueeze(3)

    noisy = images(1000) + 0.3 * torch.randn(1000, 1, 10, 10)
    module = build(
        "noise2void", (1, 10, 10), DataKind.IMAGES, latent_dim=8, net_options={"hidden": (64,)}
    )
    trained(module, noisy, 600)
    unseen = images(300)
    given = unseen + 0.3 * torch.randn_like(unseen)
    with torch.no_grad():
        assert squared_error(module.reconstruct(given), unseen) < 0.5 * squared_error(given, unseen)


def test_noise2void_refuses_rows_of_one_place() -> None:
    found = variants.get("noise2void")
    assert found.refusal(plan_of("noise2void", (3, 1), DataKind.SERIES)) is not None
    assert found.refusal(plan_of("noise2void", (3, 2), DataKind.SERIES)) is None


# -- masked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "patch", "share", "hidden"),
    [((2, 8, 12), 4, 0.5, 3 * 16), ((1, 20), 5, 0.5, 10), ((1, 20), 5, 0.01, 5)],
    ids=["images", "series", "at least one"],
)
def test_whole_patches_are_hidden_in_all_channels_and_in_the_asked_share(
    shape: Shape, patch: int, share: float, hidden: int
) -> None:
    torch.manual_seed(0)
    mask = patch_mask(torch.rand(50, *shape), patch, share)
    assert mask.shape == (50, 1, *shape[1:])
    assert mask.flatten(1).sum(dim=1).tolist() == [hidden] * 50
    pool = nn.functional.avg_pool2d if len(shape) == 3 else nn.functional.avg_pool1d
    covered = pool(mask.float(), patch)
    assert set(covered.unique().tolist()) == {0.0, 1.0}
    assert len({tuple(row.flatten().tolist()) for row in mask}) > 1


def test_patches_that_do_not_divide_a_side_are_cut_off_at_its_end() -> None:
    torch.manual_seed(0)
    mask = patch_mask(torch.rand(200, 1, 7), 3, 0.34)
    runs = {tuple(row.flatten().int().tolist()) for row in mask}
    assert runs == {(1, 1, 1, 0, 0, 0, 0), (0, 0, 0, 1, 1, 1, 0), (0, 0, 0, 0, 0, 0, 1)}


def test_a_hidden_feature_shows_another_rows_value_of_the_same_feature() -> None:
    torch.manual_seed(0)
    rows, features = 30, 4
    x = torch.arange(rows * features, dtype=torch.float32).reshape(rows, features)
    other = from_other_rows(x)
    assert torch.equal(other % features, x % features)
    assert not (other == x).any()
    assert torch.equal(from_other_rows(x[:1]), x[:1])
    mask = feature_mask(x, 0.3)
    assert mask.sum(dim=1).tolist() == [1] * rows
    assert feature_mask(x, 0.99).sum(dim=1).tolist() == [features - 1] * rows


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(DataKind.TABULAR, (10,)), (DataKind.IMAGES, (2, 8, 8)), (DataKind.SERIES, (2, 16))],
    ids=str,
)
def test_the_masked_loss_counts_hidden_places_only(kind: DataKind, shape: Shape) -> None:
    module, x = build("masked", shape, kind, share=0.5), torch.rand(6, *shape)
    seen: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    target = x.clone().requires_grad_()
    # The encoder is cut off, so that only the target's part of the gradient is left.
    module.decoder.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(),))
    module.loss(target).total.backward()
    is_hidden = seen[0] != x
    assert target.grad is not None
    assert torch.equal(target.grad != 0, is_hidden)
    assert is_hidden.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_value_shown_for_what_is_hidden_is_learned_for_each_channel() -> None:
    module, x = build("masked", (2, 8, 8), DataKind.IMAGES), torch.rand(6, 2, 8, 8)
    with torch.no_grad():
        module.mask_value.copy_(torch.tensor([5.0, -5.0]).view(2, 1, 1))
    seen: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    module.loss(x).total.backward()
    is_hidden = seen[0] != x
    assert set(seen[0][:, 0][is_hidden[:, 0]].tolist()) == {5.0}
    assert set(seen[0][:, 1][is_hidden[:, 1]].tolist()) == {-5.0}
    assert (module.mask_value.grad != 0).all()


def test_masked_learns_to_guess_a_part_of_a_row_from_the_rest() -> None:
    torch.manual_seed(0)
    module = build("masked", (1, 24), DataKind.SERIES, share=0.3)
    trained(module, waves(1000), 500)
    x = waves(300)
    with torch.no_grad():
        guessed = float(module.loss(x).total) / 24
    assert guessed < 0.1 * float(x.square().mean())


@pytest.mark.parametrize(
    ("kind", "shape", "options", "instead"),
    [
        (DataKind.TABULAR, (1,), {}, "plain"),
        (DataKind.SERIES, (1, 8), {"patch": 8}, "smaller patch"),
        (DataKind.IMAGES, (1, 8, 8), {"patch": 16}, "smaller patch"),
    ],
    ids=["one column", "one span", "one patch"],
)
def test_masked_refuses_rows_that_it_would_hide_whole_and_says_what_to_use(
    kind: DataKind, shape: Shape, options: dict[str, object], instead: str
) -> None:
    why = variants.get("masked").refusal(plan_of("masked", shape, kind, **options))
    assert why is not None
    assert instead in why


def test_masked_takes_rows_of_two_parts() -> None:
    masked = variants.get("masked")
    assert masked.refusal(plan_of("masked", (2,))) is None
    assert masked.refusal(plan_of("masked", (1, 4), DataKind.SERIES)) is None
