"""Every opset from 7 to the newest of ONNX Runtime: what a small network has, in the form that it has there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models_for_tests import model, node, random_array
from onnx.helper import find_min_ir_version_for, make_opsetid
from rewriting import EXACT, run

from drpass.model_check import fault
from drpass.operator.spec import DOMAIN
from drpass.restoring import restore
from drpass.rewriting import rewrite
from drpass.runtime import session

OLDEST = 7
#: From this opset on: no `spatial`, inputs in place of attributes, optional C, inputs of Dropout.
NO_SPATIAL, PAD_AND_CLIP_INPUTS, OPTIONAL_C, DROPOUT_INPUTS = 9, 11, 11, 12
#: From this IR version on an initializer need not be an input.
OWN_INITIALIZERS = 4
X = {"x": random_array(2, 3, 16, 16)}


def opsets() -> Iterator[int]:
    """All that the installed ONNX Runtime runs."""
    for opset in range(OLDEST, onnx.defs.onnx_opset_version() + 1):
        ir_version = find_min_ir_version_for([make_opsetid("", opset)])
        proto = model([node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]}, opset=opset, ir_version=ir_version)
        try:
            ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:  # it says that the opset is not supported with an exception of its own
            return
        yield opset


class Network:
    """A chain of nodes, each of which reads what the one before it gives."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}
        self.last = "x"

    def add(self, op_type: str, *constants: Any, **attributes: Any) -> Network:
        """One node; ``constants`` are its other inputs, None for one that is left out."""
        name = f"{op_type.lower()}{len(self.nodes)}"
        inputs = [self.last]
        for index, constant in enumerate(constants):
            inputs.append("" if constant is None else f"{name}_{index}")
            if constant is not None:
                self.constants[inputs[-1]] = np.asarray(constant)
        self.nodes.append(node(op_type, inputs, [f"{name}_out"], name=name, **attributes))
        self.last = f"{name}_out"
        return self

    def batch_norm(self, channels: int) -> Network:
        statistics = [np.abs(random_array(channels, seed=seed)) + 0.5 for seed in range(4)]
        return self.add("BatchNormalization", *statistics, **({"spatial": 1} if self.opset < NO_SPATIAL else {}))

    def clip(self, low: float, high: float) -> Network:
        if self.opset < PAD_AND_CLIP_INPUTS:
            return self.add("Clip", min=low, max=high)
        return self.add("Clip", np.float32(low), np.float32(high))

    def pad(self, *pads: int) -> Network:
        if self.opset < PAD_AND_CLIP_INPUTS:
            return self.add("Pad", mode="constant", pads=pads, value=0.0)
        return self.add("Pad", np.array(pads), np.float32(0))

    def dropout(self) -> Network:
        return self.add("Dropout", np.float32(0.5)) if self.opset >= DROPOUT_INPUTS else self.add("Dropout", ratio=0.5)

    def gemm(self, inputs: int, outputs: int) -> Network:
        """With a bias where the opset needs one."""
        bias = [] if self.opset >= OPTIONAL_C else [random_array(outputs)]
        return self.add("Gemm", random_array(outputs, inputs), *bias, transB=1)

    def proto(self) -> onnx.ModelProto:
        ir_version = find_min_ir_version_for([make_opsetid("", self.opset)])
        found = model(
            self.nodes,
            {"x": ["N", 3, 16, 16]},
            {self.last: None},
            self.constants,
            opset=self.opset,
            ir_version=ir_version,
        )
        if ir_version < OWN_INITIALIZERS:
            for tensor in found.graph.initializer:
                found.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        return found


def network(opset: int) -> onnx.ModelProto:
    """Three Conv, one ConvTranspose, Gemm twice and MatMul, with all that may stand before, between and after them."""
    made = Network(opset)
    made.add("Conv", random_array(16, 3, 3, 3), pads=[1] * 4).batch_norm(16).add("Relu")
    made.pad(0, 0, 1, 1, 0, 0, 1, 1).add("Conv", random_array(24, 16, 3, 3), random_array(24), strides=[2, 2])
    made.clip(-1.0, 6.0).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    made.batch_norm(24).add("Conv", random_array(24, 24, 1, 1)).dropout()
    made.add("ConvTranspose", random_array(24, 16, 3, 3), random_array(16)).add("LeakyRelu", alpha=0.1)
    made.add("AveragePool", kernel_shape=[2, 2], pads=[1] * 4, count_include_pad=1).add("Flatten")
    made.gemm(16 * 7 * 7, 32).add("Relu").dropout().gemm(32, 24)
    made.add("Reshape", np.array([0, 4, 6])).add("MatMul", random_array(6, 20)).add("Add", random_array(20))
    return made.add("Tanh").proto()


@pytest.mark.parametrize("opset", list(opsets()))
def test_network_of_every_opset_is_replaced_and_restored(opset: int) -> None:
    original = network(opset)
    assert not fault(original, strict=True)
    (expected,) = run(original, X).values()
    result = rewrite(original, parameters=EXACT)
    proto = result.to_proto()
    kept = {verdict.node: verdict.reason for verdict in result.report.verdicts if not verdict.replaced}
    assert not kept
    assert {verdict.op_type for verdict in result.report.verdicts} >= {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    assert not {one.op_type for one in proto.graph.node} & {"BatchNormalization", "Relu", "Clip", "LeakyRelu", "Add"}
    back = restore(proto).to_proto()
    assert DOMAIN not in {one.domain for one in back.graph.node}
    for changed in (proto, back):
        assert not fault(changed, strict=True)
        assert changed.ir_version == original.ir_version
        assert {one.domain: one.version for one in changed.opset_import}[""] == opset
    scale = float(np.abs(expected).max())
    (found,) = session(proto.SerializeToString(), threads=1).run(None, X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
    (found,) = run(back, X).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
