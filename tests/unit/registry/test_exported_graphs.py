"""The ONNX graphs of a version: right before it is registered, or it is not registered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch

from isthmus import registry, variants
from isthmus.bundle import agreement, export, graphs
from isthmus.core import Calibration
from isthmus.data.prepared.centring import centred, find_centre, restored
from isthmus.errors import RegistryError
from isthmus.scores import detector_of
from isthmus.spec import ModelPlan, RowSchema
from isthmus.tracking import open_store
from isthmus.types import DataKind

ROWS = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)


def test_scores_and_labels_need_nothing_but_onnxruntime(trained, settings, tmp_path):
    """In a process that imports neither torch nor isthmus."""
    pair = trained("served")
    with torch.inference_mode():
        ordered = pair.detector.score(torch.from_numpy(ROWS)).sort().values
        # The three highest scores are above the threshold, and no score is one of these.
        pair.detector.calibration.fit((ordered[:6] + ordered[1:7]) / 2)
    registry.register_pair(pair, settings)
    files, loaded = registry.onnx_files("served/1", settings), registry.load("served/1", settings)
    np.save(tmp_path / "rows.npy", ROWS)
    program = f"""
        import sys, numpy, onnxruntime
        session = onnxruntime.InferenceSession({str(files["score"])!r})
        score, p_value, is_anomaly = session.run(None, {{"row": numpy.load("rows.npy")}})
        numpy.savez("found.npz", score=score, p_value=p_value, is_anomaly=is_anomaly)
        assert not {{"torch", "isthmus", "mlflow"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=True)
    found, expected = np.load(tmp_path / "found.npz"), loaded.detect(ROWS)
    np.testing.assert_allclose(found["score"], expected.scores, rtol=1e-4)
    np.testing.assert_allclose(found["p_value"], expected.p_values, atol=0.01)
    is_clear = ~np.isclose(expected.scores, expected.threshold, rtol=1e-3)
    assert is_clear.sum() >= 8
    np.testing.assert_array_equal(found["is_anomaly"][is_clear], expected.anomalies[is_clear])
    assert loaded.manifest.threshold == expected.threshold


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_graph_that_differs_from_torch_is_not_registered(trained, settings, monkeypatch, half):
    name = f"wrong-{half}"
    pair = trained(name)
    real = graphs.graphs_of

    class Wrong(torch.nn.Module):
        def __init__(self, right):
            super().__init__()
            self.right = right

        def forward(self, x):
            return self.right(x) * 1.01

    def altered(module, **options):
        return tuple(
            graphs.Graph(g.name, Wrong(g.module), g.takes, g.gives) if g.name == half else g
            for g in real(module, **options)
        )

    monkeypatch.setattr(export, "graphs_of", altered)
    with pytest.raises(RegistryError, match=rf"ONNX export of the {half} .* 0\.0001 is allowed"):
        registry.register_pair(pair, settings)
    client = open_store(settings)
    assert list(client.search_registered_models(f"name LIKE '{name}%'")) == []
    experiment = client.get_run(pair.run_id).info.experiment_id
    left = client.search_logged_models([experiment], f"name LIKE '{name}%'")
    assert list(left) == []


def with_threshold(threshold):
    return Calibration.from_quantiles(torch.linspace(0, 1, 1001), threshold)


def test_a_label_that_differs_is_not_registered(trained, settings, monkeypatch):
    pair = trained("mislabelled")
    pair.detector.calibration = with_threshold(100.0)
    real = graphs.graphs_of

    def graphs_of_another_threshold(detector, **options):
        right, detector.calibration = detector.calibration, with_threshold(-1.0)
        try:
            return real(detector, **options)
        finally:
            detector.calibration = right

    monkeypatch.setattr(export, "graphs_of", graphs_of_another_threshold)
    with pytest.raises(RegistryError, match=r"ONNX export of the score .* labels differ"):
        registry.register_pair(pair, settings)


def test_a_score_that_is_the_threshold_itself_may_be_called_either(trained, tmp_path):
    detector = trained("tied").detector
    with torch.inference_mode():
        scores = detector.score(torch.from_numpy(ROWS))
    for score in scores:
        detector.calibration = with_threshold(float(score))  # exactly a row's own
        folder = tmp_path / str(float(score))
        assert export.export_graphs(detector, ROWS, folder).record.checked_rows == len(ROWS)


def test_a_row_on_the_edge_between_two_codes_may_be_given_either(trained, tmp_path):
    """Rounded latents: a row whose encoding lies half-way is moved by the last digit."""
    detector = trained("edge").detector
    module = detector.module

    class Rounded(type(module)):
        def latent(self, encoded):
            return (encoded * 4 + 0.5 - self.half_way).round()

    module.half_way = torch.zeros(())
    with torch.inference_mode():
        encoded = module.encode(torch.from_numpy(ROWS))
        module.half_way = (encoded[3, 0] * 4).clone()
    module.__class__ = Rounded
    x = torch.from_numpy(ROWS)
    on_edge = agreement._on_edge(module, x, np.arange(len(ROWS)))
    assert on_edge[3]
    assert on_edge.sum() == 1
    with torch.inference_mode():
        latents = module.encode(x).numpy()
    other = latents.copy()
    other[3, 0] = -latents[3, 0] + 1  # what rounding to the other side gives
    expected = agreement.expect(detector, ROWS)
    found = agreement._difference("encoder", [other], detector, expected, len(ROWS))
    assert found.what is None
    other[4, 0] += 1
    assert agreement._difference("encoder", [other], detector, expected, len(ROWS)).what


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_decoder_that_gives_no_number_is_found(trained, wrong):
    detector = trained("no-number").detector
    expected = agreement.expect(detector, ROWS)
    found = expected.decoded.copy()
    assert agreement._difference("decoder", [found], detector, expected, len(ROWS)).what is None
    found[2, 3] = wrong
    assert agreement._difference("decoder", [found], detector, expected, len(ROWS)).what
    infinite = replace(expected, decoded=found)
    assert agreement._difference("decoder", [found], detector, infinite, len(ROWS)).what is None
    finite = expected.decoded
    assert agreement._difference("decoder", [finite], detector, infinite, len(ROWS)).what


def test_p_values_of_the_score_graph_are_those_of_torch(trained):
    detector = trained("improbable").detector
    with torch.inference_mode():
        scores = detector.score(torch.from_numpy(ROWS))
        detector.calibration.fit(scores)
        p_values = detector.calibration.p_values(scores).numpy()
    expected = agreement.expect(detector, ROWS)

    def said_of(p_values, is_anomaly=expected.is_anomaly):
        found = [expected.scores, p_values, is_anomaly]
        return agreement._difference("score", found, detector, expected, len(ROWS)).what

    assert said_of(p_values) is None
    assert said_of(p_values + 1e-7) is None
    assert "p_values" in said_of(p_values + 1 / (len(ROWS) + 1))
    assert "p_values" in said_of(np.full_like(p_values, np.nan))
    assert "shapes" in said_of(p_values[:, None])
    assert "shapes" in said_of(p_values, expected.is_anomaly[:1])


@pytest.mark.slow
def test_what_the_quick_exporter_cannot_do_the_thorough_one_does(trained, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(graphs, "_trace", fail)
    found = export.export_graphs(trained("captured").detector, ROWS, tmp_path / "graphs")
    assert max(found.record.largest_differences.values()) < 1e-4


@pytest.mark.slow
def test_weights_too_large_for_one_file_lie_beside_it(trained, settings, monkeypatch):
    monkeypatch.setattr(graphs, "_MOST_BYTES_IN_A_GRAPH", 1000)
    registered = registry.register_pair(trained("large"), settings)
    files = registry.onnx_files(str(registered), settings)
    import onnxruntime

    for graph, file in files.items():
        assert Path(f"{file}.data").exists()
        session = onnxruntime.InferenceSession(file)
        width = 2 if graph == "decoder" else 6
        found = session.run(None, {session.get_inputs()[0].name: ROWS[:3, :width]})
        assert len(found[0]) == 3


def test_graphs_that_another_process_fetched_first_are_taken(trained, settings, monkeypatch):
    registered = registry.register_pair(trained("raced"), settings)
    real = Path.replace

    def replace_too_late(self, target):
        if self.name == "whole" and not Path(target).exists():
            shutil.copytree(self, target)
        return real(self, target)

    registry.resolve(str(registered), settings)
    monkeypatch.setattr(Path, "replace", replace_too_late)
    assert all(file.exists() for file in registry.onnx_files(str(registered), settings).values())


@pytest.mark.slow
def test_importing_the_registry_imports_no_onnx():
    program = (
        "import sys, isthmus.registry, isthmus.jobs.finishing;"
        "print([m for m in sys.modules if m.startswith('onnx')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_number_has_no_score_and_counts_as_an_anomaly(trained, settings, value):
    name = f"holed-{value}".replace("-", "minus")
    pair = trained(name)
    with torch.inference_mode():
        pair.detector.calibration.fit(pair.detector.score(torch.from_numpy(ROWS)))
    registered = registry.register_pair(pair, settings)
    files = registry.onnx_files(str(registered), settings)
    rows = ROWS[:5].copy()
    rows[3, 1] = value
    session = onnxruntime.InferenceSession(str(files["score"]))
    score, p_value, is_anomaly = session.run(None, {"row": rows})
    assert np.isnan(score).tolist() == [False, False, False, True, False]
    assert is_anomaly[3]
    assert p_value[3] == pytest.approx(1 / (len(ROWS) + 1))


@pytest.fixture(scope="module")
def far_from_zero(trained, settings):
    """A pair of columns at 1e8 whose spread is 1.4, and rows that it was not calibrated on."""
    values = 1e8 + np.random.default_rng(1).normal(scale=1.4, size=(600, 6))
    centre = find_centre(values, None, "rows")
    rows = centred(values[:300], centre)
    pair = trained("far")
    pair.module.scaling.scale.fill_(1.4)
    with torch.inference_mode():
        pair.detector.calibration.fit(pair.detector.score(torch.from_numpy(rows)))
    schema = RowSchema(kind=DataKind.TABULAR, shape=(6,), centre=centre)
    registered = registry.register_pair(replace(pair, example=rows, row_schema=schema), settings)
    return registry.load(str(registered), settings), values[300:]


def test_graphs_centre_large_values_that_vary_little_as_the_pair_does(far_from_zero, settings):
    pair, values = far_from_zero
    files = registry.onnx_files(pair.reference, settings)

    def run(graph, given):
        session = onnxruntime.InferenceSession(str(files[graph]))
        return session.run(None, {session.get_inputs()[0].name: given})

    expected = pair.detect(values)
    score, _, is_anomaly = run("score", values)
    np.testing.assert_allclose(score, expected.scores, rtol=1e-4)
    assert is_anomaly.mean() < 0.1, "rows like those of training are normal"
    assert (is_anomaly == expected.anomalies).mean() > 0.99
    latents = pair.encode(values)
    np.testing.assert_allclose(run("encoder", values)[0], latents.values, atol=1e-4)
    (decoded,) = run("decoder", latents.values)
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, pair.decode(latents), rtol=0, atol=1e-3)
    holed = values[:3].copy()
    holed[1, 2] = np.nan
    assert run("score", holed)[2].tolist()[1]


def test_other_pairs_take_and_give_float32(trained, settings):
    registered = registry.register_pair(trained("near"), settings)
    for file in registry.onnx_files(str(registered), settings).values():
        session = onnxruntime.InferenceSession(str(file))
        assert session.get_inputs()[0].type == "tensor(float)"
        assert session.get_outputs()[0].type == "tensor(float)"


def test_mlflow_models_centre_large_values_as_the_pair_does(far_from_zero, settings, monkeypatch):
    pair, values = far_from_zero
    # Not mlflow.set_tracking_uri, which would hold for all tests that come after this one.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    encoder, decoder = (
        mlflow.pyfunc.load_model(f"models:/far-{half}/1") for half in ("encoder", "decoder")
    )
    expected = pair.encode(values)
    latents = encoder.predict(values)
    np.testing.assert_allclose(latents, expected.values, atol=1e-5)
    decoded = decoder.predict(latents)
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, pair.decode(expected), rtol=0, atol=1e-4)
    client = open_store(settings)
    assert "float64" in client.get_model_version("far-encoder", "1").description


def test_graphs_centre_each_channel_of_a_series(tmp_path):
    plan = ModelPlan.model_validate(
        {
            "variant": {"name": "plain"}, "net": {"name": "dense"}, "latent_dim": 2,
            "kind": "series", "row_shape": (3, 8), "reconstruction": "mse",
        }
    )  # fmt: skip
    module, centre = variants.build(plan).eval(), (1e8, 0.0, -5e7)
    rows = np.random.default_rng(2).standard_normal((9, 3, 8)).astype(np.float32)
    detector = detector_of(module)
    with torch.inference_mode():
        detector.calibration.fit(detector.score(torch.from_numpy(rows)))
    exported = export.export_graphs(detector, rows, tmp_path / "graphs", centre=centre)
    session = onnxruntime.InferenceSession(str(exported.files["encoder"][0]))
    raw = restored(rows, centre)
    assert raw[0, 0].mean() > 9e7
    with torch.inference_mode():
        expected = module.encode(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(session.run(None, {"row": raw})[0], expected, atol=1e-4)
