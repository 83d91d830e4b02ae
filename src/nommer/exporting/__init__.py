"""Models as ONNX or pt2 files, delivered only if they compute the same."""
