"""A session with ``enable_cuda_graph``: the first run captures a graph, later ones only launch it.

The emulator has no graphs: tests/cuda_interposer.c keeps the launches and fills of the captured run, does them when the
graph is launched, and refuses in between what CUDA would refuse: allocation, copies, waiting, other streams.
"""

from __future__ import annotations

from typing import Any

import cuda_device
import numpy as np
import onnxruntime as ort
import pytest
from operator_models import Case, alike, forced_kernels, session

pytestmark = [
    cuda_device.needs_cuda,
    pytest.mark.skipif(cuda_device.has_gpu(), reason="graphs are counted between the library and the emulator"),
]

METHODS: dict[str, dict[str, Any]] = {
    "exact": {},
    "memo": {"memo_bytes": 1 << 20},
    "grid": {"method": "grid", "step": 0.5, "table_type": "int16"},
    "lsh in batches": {"method": "lsh", "hash_bits": 40, "scope": "batch"},
}


def on_device(array: np.ndarray) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0)


@pytest.mark.parametrize("method", METHODS)
def test_graph_that_was_captured_once_is_right_for_other_data(method: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, 6, 3, 3)).astype(np.float32)
    case = Case(alike(rng, (2, 6, 12, 12)), weights, attributes={"pads": [1] * 4})
    model = case.reuse_model(stats=True, **METHODS[method])
    # Inputs for which the guard decides differently.
    inputs = [case.x, rng.normal(size=case.x.shape).astype(np.float32), case.x[::-1].copy(), np.zeros_like(case.x)]
    with forced_kernels("cuda"):
        expected = [session(model).run(None, {"X": x}) for x in inputs]
        made = session(model, enable_cuda_graph="1")
    x, outputs = on_device(inputs[0]), [on_device(np.zeros_like(array)) for array in expected[0]]
    binding = made.io_binding()
    binding.bind_ortvalue_input("X", x)
    for output, value in zip(made.get_outputs(), outputs, strict=True):
        binding.bind_ortvalue_output(output.name, value)

    before = cuda_device.interposer().interposer_graph_launches()
    for run, (array, wanted) in enumerate(zip(inputs, expected, strict=True)):
        x.update_inplace(array)
        made.run_with_iobinding(binding)
        for value, result in zip(outputs, wanted, strict=True):
            np.testing.assert_array_equal(value.numpy(), result)
        assert cuda_device.interposer().interposer_graph_launches() == before + run + 1
    if "method" in METHODS[method]:
        assert len({(stats == -1).sum() for _, stats in expected}) > 1
