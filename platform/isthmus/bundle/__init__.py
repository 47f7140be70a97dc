"""The files of a registered pair and their checks: `pair.json`, weights, ONNX graphs, maps."""
