"""A detector of several autoencoders is registered and loaded whole, and scores as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from isthmus import plugins, registry, scores
from isthmus.bundle import detectors
from isthmus.errors import RegistryError
from isthmus.plugins import lookup
from isthmus.scores import Detector
from isthmus.spec import PluginSpec
from isthmus.tracking import open_store
from tests.untrained import untrained_pair

ROWS = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)


def ensemble(settings, name: str, members: int = 3, **job: object):
    """A pair that is ready to register, whose members have different weights."""
    pairs = [untrained_pair(name, settings, seed, **job) for seed in range(members)]
    fitted = [scores.build(PluginSpec(name="own")) for _ in pairs]
    detector = Detector(pairs[0].module, fitted, [pair.module for pair in pairs[1:]]).eval()
    with torch.inference_mode():
        others = torch.randn(300, 6, generator=torch.Generator().manual_seed(1))
        detector.calibration.fit(detector.score(others))
    return replace(pairs[0], detector=detector)


def test_an_ensemble_scores_by_the_mean_of_its_members(settings):
    detector = ensemble(settings, "mean").detector
    x = torch.from_numpy(ROWS)
    with torch.inference_mode():
        expected = torch.stack([member.score(x) for member in detector.members]).mean(dim=0)
        assert not torch.allclose(detector.score(x), detector.module.score(x))
        torch.testing.assert_close(detector.score(x), expected)
        torch.testing.assert_close(detector.score_by(2, x), detector.members[2].score(x))


def test_a_registered_ensemble_scores_as_it_did_and_its_graph_too(settings):
    pair = ensemble(settings, "crowd")
    registered = registry.register_pair(pair, settings)
    loaded = registry.load(str(registered), settings)
    with torch.inference_mode():
        expected = pair.detector.score(torch.from_numpy(ROWS)).numpy()
    assert loaded.manifest.detector.members == 3
    card = open_store(settings).get_model_version("crowd-decoder", "1").description
    assert "`own`, the mean of 3 autoencoders; " in card
    found = loaded.detect(ROWS)
    np.testing.assert_array_equal(found.scores, expected)
    session = onnxruntime.InferenceSession(str(registry.onnx_files("crowd/1", settings)["score"]))
    score, p_value, _ = session.run(None, {"row": ROWS})
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    np.testing.assert_allclose(p_value, found.p_values, atol=0.01)


def test_members_whose_halves_share_weights_are_stored_and_loaded(settings):
    pair = ensemble(settings, "tied", variant={"name": "plain", "tied": True})
    loaded = registry.load(str(registry.register_pair(pair, settings)), settings)
    with torch.inference_mode():
        expected = pair.detector.score(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_array_equal(loaded.detect(ROWS).scores, expected)


def test_encoding_and_decoding_are_those_of_the_first_member(settings):
    pair = ensemble(settings, "first")
    loaded = registry.load(str(registry.register_pair(pair, settings)), settings)
    with torch.inference_mode():
        expected = pair.module.encode(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_array_equal(loaded.encode(ROWS).values, expected)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("others.0.scaling.scale"), "scaling.scale"),
        (lambda state: state.update({"others.7.scaling.scale": torch.ones(6)}), "others.7"),
        (lambda state: state.update({"scores.0.bank": torch.ones(6)}), "bank"),
    ],
    ids=["lost tensor", "member too many", "foreign tensor"],
)
def test_tensors_that_do_not_fit_the_detector_are_refused(settings, change, told):
    detector = ensemble(settings, "odd").detector
    _, state = detectors.split(detectors.tensors_of(detector))
    change(state)
    with pytest.raises(RuntimeError, match=told):
        detectors.restore(detector.module, PluginSpec(name="own"), 3, state)


def test_a_pair_that_was_scored_by_an_unknown_score_is_refused_by_name(settings, monkeypatch):
    registered = registry.register_pair(ensemble(settings, "later", 1), settings)
    known = {**dict.fromkeys(plugins.ROOMS, ("plain", "dense")), "scores": ("neighbours",)}
    monkeypatch.setattr(lookup, "names", known.__getitem__)
    with pytest.raises(RegistryError, match='scoring "own", which this Isthmus has not'):
        registry.load(str(registered), settings)
