"""LiteRT (formerly TensorFlow Lite) with XNNPACK. It reads no ONNX: a .tflite file must lie beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from drpass.errors import DrpassError
from drpass.rivals.rival import Call, Rival, quiet, require
from drpass.tensors import Array, Feeds

NAME = "litert"


def _open_model(path: Path, feeds: Feeds, threads: int) -> Call:
    litert = require("ai_edge_litert.interpreter", "ai-edge-litert")
    twin = path.with_suffix(".tflite")
    if not twin.is_file():
        raise DrpassError(f"LiteRT reads no ONNX; put the same network beside the model as {twin.name}")
    if len(feeds) != 1:
        raise DrpassError("LiteRT is given models with one input only")
    (example,) = feeds.values()
    with quiet():
        interpreter = litert.Interpreter(model_path=str(twin), num_threads=threads)
        index = interpreter.get_input_details()[0]["index"]
        channels_last = _is_channels_last(interpreter.get_input_details()[0], example)
        interpreter.resize_tensor_input(index, _moved(example, channels_last).shape)
        interpreter.allocate_tensors()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def call(feeds: Feeds) -> list[Array]:
        (array,) = feeds.values()
        interpreter.set_tensor(index, _moved(array, channels_last))
        interpreter.invoke()
        results = [interpreter.get_tensor(output) for output in outputs]
        return [np.moveaxis(result, -1, 1) if channels_last and result.ndim == 4 else result for result in results]

    return call


def _is_channels_last(detail: dict[str, Any], example: Array) -> bool:
    return example.ndim == 4 and int(detail["shape"][-1]) == example.shape[1] != example.shape[-1]


def _moved(array: Array, channels_last: bool) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if channels_last else array


RIVAL = Rival(NAME, _open_model)
