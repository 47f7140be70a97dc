"""The calibration turns scores into conformal p-values, and keeps the false-alarm rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn

from isthmus.core import Calibration
from isthmus.core.calibration import MOST_SCORES, QUANTILES, largest_error
from isthmus.data import mean_of_covering_windows
from isthmus.errors import UsageError


def calibrated(scores: Tensor) -> Calibration:
    calibration = Calibration()
    calibration.fit(scores)
    return calibration


def defined(calibration: Tensor, scores: Tensor) -> Tensor:
    """Returns the p-values as the papers define them, in float64."""
    at_least = (calibration >= scores[:, None]).sum(dim=1)
    return (1 + at_least).double() / (1 + len(calibration))


@pytest.mark.parametrize("count", [1, 2, 17, 1000, 5000])
@pytest.mark.parametrize("decimals", [0, 6], ids=["ties", "no ties"])
def test_p_values_are_those_of_split_conformal_also_with_ties(count: int, decimals: int) -> None:
    torch.manual_seed(count)
    kept = torch.randn(count).mul(3).round(decimals=decimals)
    scores = torch.cat([torch.randn(500).mul(4).round(decimals=decimals), kept])
    assert torch.equal(calibrated(kept).p_values(scores), defined(kept, scores).float())


@pytest.mark.parametrize("count", [1, 9, 99, 100, 150, 5000])
def test_a_row_is_an_anomaly_exactly_if_its_p_value_is_at_most_the_rate(count: int) -> None:
    torch.manual_seed(count)
    kept = torch.randn(count).mul(20).round()
    scores = torch.cat([torch.randn(500).mul(30).round(), kept])
    calibration = calibrated(kept)
    for rate in (0.003, 0.01, 0.05, 0.1, 0.29, 0.5, 0.99, calibration.rate):
        flagged = calibration.is_anomaly(scores, rate)
        assert torch.equal(flagged, defined(kept, scores) <= rate + 1e-12), rate
        assert torch.equal(flagged, scores > calibration.threshold_at(rate))


def test_by_default_one_row_in_a_hundred_is_flagged_or_as_few_as_the_rows_can_tell() -> None:
    assert calibrated(torch.randn(500)).rate == 0.01
    few = calibrated(torch.arange(19.0))
    assert (few.rate, few.least_rate, few.threshold) == (1 / 20, 1 / 20, 18.0)
    assert few.is_anomaly(torch.tensor([18.0, 18.5])).tolist() == [False, True]


def test_a_rate_that_the_rows_cannot_resolve_is_refused_with_the_number_needed() -> None:
    calibration = calibrated(torch.randn(150))
    calibration.check_rate(0.01, "digits/3")
    said = (
        r"0.001 needs at least 999 calibration rows, and digits/3 has 150; ask for 0.00663 or more"
    )
    with pytest.raises(UsageError, match=said):
        calibration.check_rate(0.001, "digits/3")
    calibration.check_rate(0.00663, "digits/3")
    calibrated(torch.randn(999)).check_rate(0.001, "digits/3")
    with pytest.raises(UsageError, match=r"1\.5 is no share"):
        calibration.check_rate(1.5, "digits/3")


@pytest.mark.parametrize(
    ("rate", "needed"), [(1e-12, "999999999999"), (1e-300, "1e+300"), (5e-324, "1.8e+308")]
)
def test_the_number_of_rows_that_a_tiny_rate_needs_can_be_read(rate: float, needed: str) -> None:
    with pytest.raises(UsageError) as caught:
        calibrated(torch.randn(150)).check_rate(rate, "digits/3")
    assert f" needs at least {needed} calibration rows, and digits/3 has 150" in str(caught.value)


def test_scores_that_are_nan_or_infinite_are_the_strangest() -> None:
    calibration = calibrated(torch.tensor([0.0, 1.0, torch.inf, torch.nan]))
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert torch.equal(calibration.p_values(odd), torch.tensor([1 / 5, 3 / 5, 1.0]))
    assert calibration.is_anomaly(odd).tolist() == [True, False, False]


def test_a_module_without_calibration_calls_no_row_an_anomaly() -> None:
    scores = torch.rand(10)
    assert not Calibration().is_anomaly(scores).any()
    assert torch.equal(Calibration().p_values(scores), torch.ones(10))


def test_more_scores_than_are_kept_give_p_values_that_are_at_most_the_stated_error_too_large() -> (
    None
):
    torch.manual_seed(0)
    kept = torch.randn(1_234_567)
    calibration = calibrated(kept)
    assert len(calibration.scores) == MOST_SCORES
    scores = torch.cat([torch.randn(2000), kept[:2000], kept.sort().values[-50:]])
    ordered = kept.sort().values
    at_least = len(kept) - torch.searchsorted(ordered, scores)
    exact = (1 + at_least).double() / (len(kept) + 1)
    excess = (calibration.p_values(scores).double() - exact) * (len(kept) + 1)
    assert calibration.largest_rank_error == 12
    assert excess.min() > -0.2  # the rounding of float32
    assert excess.max() < calibration.largest_rank_error + 0.2
    for rate in (0.5, 0.01, 0.0001):
        is_anomaly = calibration.is_anomaly(scores, rate)
        assert torch.equal(is_anomaly, calibration.p_values(scores).double() <= rate + 1e-9)


@pytest.mark.parametrize(
    ("count", "error"),
    [(0, None), (1, None), (MOST_SCORES, None), (MOST_SCORES + 1, 1), (1_234_567, 12)],
)
def test_the_error_of_p_values_is_stated_only_where_not_all_scores_are_kept(
    count: int, error: int | None
) -> None:
    assert largest_error(count) == (None if error is None else error / (count + 1))
    assert calibrated(torch.rand(count)).largest_rank_error == (error or 0)


@pytest.mark.parametrize("count", [0, 1, 20, 1000, 300_000])
def test_a_calibration_is_restored_from_its_state_whatever_its_size(count: int) -> None:
    torch.manual_seed(0)
    calibration = calibrated(torch.randn(count))
    again = Calibration.restored(calibration.state_dict())
    scores = torch.randn(200)
    assert torch.equal(again.p_values(scores), calibration.p_values(scores))
    assert again.rows == count


def of_windows(rng: np.random.Generator, steps: int, window: int) -> Tensor:
    """The scores of the steps of a normal series: means over all windows that cover each."""
    of_each = np.convolve(rng.normal(size=steps) ** 2, np.ones(window) / window, mode="valid")
    starts = np.arange(len(of_each))
    return torch.from_numpy(mean_of_covering_windows(of_each, starts, window, steps))


@pytest.mark.parametrize("worth", [2, 5, 20, 120])
@pytest.mark.parametrize("rate", [0.3, 0.1, 0.01])
def test_scores_of_overlapping_windows_keep_the_rate_if_they_count_as_what_they_are_worth(
    worth: int, rate: float
) -> None:
    rng, window = np.random.default_rng(worth), 16
    realised, promised = [], 0.0
    for _ in range(100):
        calibration = Calibration()
        calibration.fit(of_windows(rng, worth * window + 5, window), independent=worth)
        promised = max(rate, calibration.least_rate)
        new = of_windows(rng, 1000, window)
        realised.append(float(calibration.is_anomaly(new, promised).float().mean()))
    error = np.std(realised) / np.sqrt(len(realised))
    assert np.mean(realised) <= promised + 2 * error
    # The promise is a rate, and not that nothing is found.
    assert np.mean(realised) > promised / 5


def test_dependent_scores_resolve_no_smaller_rate_than_the_independent_ones_they_are_worth() -> (
    None
):
    calibration = Calibration()
    calibration.fit(torch.arange(150.0), independent=3)
    assert (calibration.rows, calibration.least_rate, calibration.rate) == (3, 1 / 4, 1 / 4)
    # Nothing is called an anomaly that a normal step was as high as.
    assert calibration.threshold == 149
    needed = (
        r"0.01 needs at least 99 independent calibration steps, and s/1 has 150 \(worth about 3 "
        r"independent ones\); ask for 0.25 or more, or train on more steps"
    )
    with pytest.raises(UsageError, match=needed):
        calibration.check_rate(0.01, "s/1", "steps")
    again = Calibration.restored(calibration.state_dict())
    assert (again.size(), again.rows) == ("150 (worth about 3 independent ones)", 3)
    scores = torch.arange(-1.0, 151.0)
    p_values = again.p_values(scores)
    # As the theory has it for three scores, to the safe side between two of them.
    at_least = (torch.arange(150.0) >= scores[:, None]).sum(dim=1)
    assert (p_values + 1e-6 >= (1 + 3 * at_least / 150) / 4).all()
    assert (p_values <= (2 + 3 * at_least / 150) / 4 + 1e-6).all()


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(RuntimeError, match="5 calibration rows"):
        Calibration.restored({"scores": torch.rand(3), "count": torch.tensor(5)})
    with pytest.raises(RuntimeError, match="scores and count"):
        Calibration.restored({"scores": torch.rand(3)})


def test_a_pair_of_an_old_format_keeps_its_p_values_and_its_threshold() -> None:
    torch.manual_seed(0)
    quantiles = torch.randn(QUANTILES).exp().sort().values
    old = Calibration.restored({"quantiles": quantiles, "threshold": torch.tensor(7.5)})
    scores = torch.cat([torch.randn(2000).exp(), quantiles, torch.tensor([1e9, torch.nan])])
    at_least = (quantiles >= scores[:, None]).sum(dim=1).clamp(min=1)
    assert torch.equal(old.p_values(scores), at_least / QUANTILES)
    assert (old.threshold, old.rate) == (7.5, 0.01)
    assert torch.equal(old.is_anomaly(scores), (scores > 7.5) | torch.isnan(scores))
    assert torch.equal(old.is_anomaly(scores, 0.05), old.p_values(scores) <= 0.05)


class Exported(nn.Module):
    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.p_values = calibration.exportable()

    def forward(self, scores: Tensor) -> Tensor:
        return self.p_values(scores)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("count", "dynamo"),
    [*((count, False) for count in (0, 1, 2, 5, 99, 1000, 100_000, 250_001)), (250_001, True)],
)
def test_onnxruntime_finds_the_same_p_values(count: int, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(count)
    kept = torch.randn(count).mul(50).round()
    calibration = calibrated(kept)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, -1e30, 1e30])
    scores = torch.cat([torch.randn(300).mul(60).round(), kept[:300], odd])
    file = str(tmp_path / "p.onnx")
    module, example, rows = Exported(calibration), (scores[:2],), {0: "rows"}
    if dynamo:
        shapes = ({0: torch.export.Dim("rows")},)
        torch.onnx.export(module, example, file, dynamo=True, dynamic_shapes=shapes, verbose=False)
    else:
        names = {"input_names": ["score"], "dynamic_axes": {"score": rows}}
        torch.onnx.export(module, example, file, opset_version=18, dynamo=False, **names)
    session = onnxruntime.InferenceSession(file)
    (found,) = session.run(None, {session.get_inputs()[0].name: scores.numpy()})
    # One of the exporters divides in float32, which may round the last digit differently.
    np.testing.assert_allclose(found, calibration.p_values(scores).numpy(), rtol=2e-7, atol=0)


# -- the promise, on real rows ---------------------------------------------------------------------

_DRAWS, _FITTED, _CALIBRATED = 200, 400, 399
_RATES = (0.1, 0.05, 0.01, 0.005)


def scores_by_pca(train: NDArray[np.float64], rows: NDArray[np.float64]) -> Tensor:
    mean = train.mean(axis=0)
    components = np.linalg.svd(train - mean, full_matrices=False)[2][:16]
    residual = (rows - mean) - (rows - mean) @ components.T @ components
    return torch.from_numpy(np.square(residual).mean(axis=1).astype(np.float32))


@pytest.fixture(scope="module")
def false_alarms() -> NDArray[np.float64]:
    """The shares of new normal rows that are flagged, shape (draws, rates)."""
    rows = load_digits().data.astype(np.float64)
    shares = []
    for draw in range(_DRAWS):
        order = np.random.default_rng(draw).permutation(len(rows))
        scores = scores_by_pca(rows[order[:_FITTED]], rows[order[_FITTED:]])
        calibration = calibrated(scores[:_CALIBRATED])
        new = scores[_CALIBRATED:]
        shares.append([float(calibration.is_anomaly(new, rate).float().mean()) for rate in _RATES])
    return np.array(shares)


@pytest.mark.parametrize("place", range(len(_RATES)), ids=[str(rate) for rate in _RATES])
def test_the_false_alarm_rate_is_kept_on_real_rows_over_200_draws(
    place: int, false_alarms: NDArray[np.float64]
) -> None:
    rate, new = _RATES[place], len(load_digits().data) - _FITTED - _CALIBRATED
    rank = int(rate * (_CALIBRATED + 1) + 1e-9)
    # Given the calibration rows, false alarms are binomial with a rate that is Beta distributed.
    law = stats.betabinom(new, rank, _CALIBRATED + 1 - rank)
    found = false_alarms[:, place]
    half = stats.norm.ppf(0.9995) * law.std() / new / np.sqrt(_DRAWS)
    assert abs(found.mean() - rate) < half
    assert law.std() / new * 0.8 < found.std() < law.std() / new * 1.2
    # The whole spread is the theory's, and not only its width.
    rng = np.random.default_rng(0)
    u = law.cdf(found * new - 1) + rng.random(_DRAWS) * law.pmf(np.rint(found * new))
    assert stats.kstest(u, "uniform").pvalue > 0.001
