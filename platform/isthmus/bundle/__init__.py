"""What a version holds, and what proves it: `pair.json`, weights, ONNX graphs, maps of latents."""
