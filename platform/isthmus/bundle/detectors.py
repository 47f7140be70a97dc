"""A pair's detector as tensors: they lie in the file of the decoder's weights, with a prefix.

The file also holds the decoder of the pair itself. The scores' tensors have whatever sizes the
training data gave them, and other members of an ensemble are stored whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus import scores, variants
from isthmus.core import Autoencoder
from isthmus.core.calibration import Calibration
from isthmus.scores import Detector
from isthmus.spec import PluginSpec

_PREFIX = "detector"
# Formats 1 and 2 kept the calibration among the weights of the autoencoder.
_OLD_PREFIX = "calibration."
_POINTS = "point_calibration"


def tensors_of(detector: Detector) -> dict[str, Tensor]:
    """Returns what is stored of a detector, by name, besides the pair's own autoencoder."""
    parts: dict[str, Mapping[str, Tensor]] = {"calibration": detector.calibration.state_dict()}
    if detector.point_calibration is not None:
        parts[_POINTS] = detector.point_calibration.state_dict()
    for number, score in enumerate(detector.scores):
        parts[f"scores.{number}"] = score.state_dict()
    for number, member in enumerate(detector.members[1:]):
        held = {*member.ENCODER_PARTS, *member.DECODER_PARTS}
        parts[f"others.{number}"] = {
            name: tensor
            for name, tensor in member.state_dict().items()
            if name.partition(".")[0] in held
        }
    return {
        f"{_PREFIX}.{part}.{name}": tensor.detach().cpu().contiguous()
        for part, state in parts.items()
        for name, tensor in state.items()
    }


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Splits the tensors of a decoder's file, or of both halves.

    Returns:
        The weights of the pair's autoencoder, and the tensors of its detector without the prefix.
    """
    module, detector = {}, {}
    for name, tensor in state.items():
        if name.startswith(f"{_PREFIX}."):
            detector[name.removeprefix(f"{_PREFIX}.")] = tensor
        elif name.startswith(_OLD_PREFIX):
            detector[name] = tensor
        else:
            module[name] = tensor
    return module, detector


def restore(
    module: Autoencoder, scoring: PluginSpec, members: int, state: Mapping[str, Tensor]
) -> Detector:
    """Builds a detector from stored tensors.

    Args:
        module: The pair's own autoencoder.
        scoring: The score with its options.
        members: The number of members, the pair's own included.
        state: The detector's tensors, as `split` returns them.

    Raises:
        RuntimeError: If tensors are missing, unknown or of another shape.
    """
    expected = {"calibration", _POINTS, *(f"scores.{number}" for number in range(members))}
    expected |= {f"others.{number}" for number in range(members - 1)}
    unknown = [name for name in state if _part(name) not in expected]
    if unknown:
        raise RuntimeError(f"the detector has no part {unknown[0]}")
    others = [
        variants.restore(module.plan, _of(f"others.{number}", state)).eval()
        for number in range(members - 1)
    ]
    fitted = [scores.build(scoring) for _ in range(members)]
    for number, score in enumerate(fitted):
        score.restore(_of(f"scores.{number}", state))
    detector = Detector(module, fitted, others)
    detector.calibration = Calibration.restored(_of("calibration", state))
    of_points = _of(_POINTS, state)
    detector.point_calibration = Calibration.restored(of_points) if of_points else None
    return detector


def _part(name: str) -> str:
    first, _, rest = name.partition(".")
    return first if first in ("calibration", _POINTS) else f"{first}.{rest.partition('.')[0]}"


def _of(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
