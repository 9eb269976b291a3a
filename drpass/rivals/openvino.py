"""OpenVINO reads ONNX itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drpass.rivals.rival import Call, Rival, quiet, require
from drpass.tensors import Array, Feeds

NAME = "openvino"


def _open_model(path: Path, feeds: Feeds, threads: int) -> Call:
    openvino = require("openvino", NAME)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    with quiet():
        core = openvino.Core()
        model = core.read_model(str(path))
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
        compiled = core.compile_model(model, "CPU", settings)
        request = compiled.create_infer_request()

    def call(feeds: Feeds) -> list[Array]:
        results = request.infer(feeds, share_inputs=True, share_outputs=True)
        return [np.asarray(results[output]) for output in compiled.outputs]

    return call


RIVAL = Rival(NAME, _open_model)
