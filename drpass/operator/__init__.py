"""The operator as Python sees it: its parameters, its packed weights and its ONNX schema."""
