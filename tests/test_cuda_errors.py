"""What goes wrong on CUDA is a Python exception that names the node, and the session can be used afterwards."""

from __future__ import annotations

from typing import Any

import cuda_device
import numpy as np
import pytest
from onnx import helper
from operator_models import Case, alike, block, forced_kernels, session
from test_operator_layout import _one_node

pytestmark = [
    cuda_device.needs_cuda,
    pytest.mark.skipif(cuda_device.has_gpu(), reason="faults are planted between the library and the emulator"),
]

METHODS: dict[str, dict[str, Any]] = {
    "exact": {},
    "memo": {"memo_bytes": 1 << 20},
    "grid": {"method": "grid", "step": 0.5, "table_type": "int16"},
    "lsh": {"method": "lsh", "hash_bits": 7},
}


def small_case() -> Case:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, 6, 3, 3)).astype(np.float32)
    return Case(alike(rng, (2, 6, 12, 12)), weights, attributes={"pads": [1] * 4})


@pytest.mark.parametrize("method", METHODS)
def test_every_launch_that_fails_is_an_error_of_the_node(method: str) -> None:
    case = small_case()
    with forced_kernels("cuda"):
        made = session(case.reuse_model(stats=True, **METHODS[method]))
    faults = cuda_device.interposer()
    faults.interposer_reset(-1)
    expected = made.run(None, {"X": case.x})
    works = faults.interposer_count()
    assert works >= {"exact": 2, "memo": 9, "grid": 15, "lsh": 14}[method]  # fills count, too
    for work in range(works):
        faults.interposer_reset(work)
        with pytest.raises(Exception, match=r"DeepReuseGemm 'node': \w[\w ]*: "):
            made.run(None, {"X": case.x})
    faults.interposer_reset(-1)
    for actual, wanted in zip(made.run(None, {"X": case.x}), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("op_type", ["Pool", "LRN"])
def test_a_launch_of_the_other_operators_that_fails_is_an_error_of_the_node(op_type: str) -> None:
    attributes = {"channels": 16} if op_type == "Pool" else {"size": 3, "layout": "NCHW16c"}
    node = helper.make_node(op_type, ["x"], ["y"], name="inner", domain="ai.drpass", **attributes)
    x = block(np.ones((1, 16, 4, 4), np.float32))
    with forced_kernels("cuda"):
        made = session(_one_node(node, 5))
    cuda_device.interposer().interposer_reset(0)
    with pytest.raises(Exception, match=rf"{op_type} 'inner': \w+: "):
        made.run(None, {"x": x})
    made.run(None, {"x": x})


@pytest.mark.parametrize("method", METHODS)
def test_everything_runs_on_the_stream_of_the_session(method: str) -> None:
    case, stream = small_case(), 0x51230
    with forced_kernels("cuda"):
        made = session(case.reuse_model(stats=True, **METHODS[method]), user_compute_stream=str(stream))
    faults = cuda_device.interposer()
    faults.interposer_reset(-1)
    made.run(None, {"X": case.x})
    assert {faults.interposer_stream(index) for index in range(faults.interposer_count())} == {stream}


def test_too_little_memory_is_an_error_of_the_node() -> None:
    rng = np.random.default_rng(0)
    case = Case(alike(rng, (1, 4, 30, 30)), rng.normal(size=(16, 4, 3, 3)).astype(np.float32))
    with forced_kernels("cuda"):  # the table may need 450 * 9 * 16 * 4 bytes
        model = case.reuse_model(method="grid", step=0.5)
        made = session(model, gpu_mem_limit="250000", arena_extend_strategy="kSameAsRequested")
    with pytest.raises(Exception, match=r"DeepReuseGemm 'node': .*memory"):
        made.run(None, {"X": case.x})
