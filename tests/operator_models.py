"""One-node models of the operator and of what it replaces, with data that repeats as real activations do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cuda_device
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from drpass import runtime
from drpass.operator import schema
from drpass.operator.packing import pack_weights

KERNEL_SETS = ("reference", "portable", "avx2", "avx512")

#: The activations of the operator, with parameters for them.
ACTIVATIONS: dict[str, tuple[float, ...]] = {
    "none": (),
    "relu": (),
    "leaky_relu": (0.2,),
    "clip": (-0.5, 1.5),
    "hard_sigmoid": (0.3, 0.4),
    "hard_swish": (),
    "sigmoid": (),
    "silu": (),
}


def runnable_kernel_sets() -> list[str]:
    """The kernel sets that this CPU can run; the others are reported by `test_forced_kernel_set_is_the_active_one`."""
    return [name for name in KERNEL_SETS if kernel_set_error(name) is None]


def kernel_set_error(name: str) -> str | None:
    """Why the library refuses the kernel set, or None."""
    try:
        with forced_kernels(name):
            assert runtime.kernel_set() == name
    except runtime.DrpassError as error:
        return str(error)
    return None


def targets() -> list[str]:
    """Everything that the operator runs on here: the kernel sets, and "cuda" where a device or its emulator is."""
    return runnable_kernel_sets() + (["cuda"] if cuda_device.missing() is None else [])


@contextmanager
def forced_kernels(name: str | None) -> Iterator[None]:
    """Sessions made inside use this kernel set (None: the library's own choice; "cuda": CUDA for every node)."""
    if name == "cuda":
        with cuda_device.on_cuda():
            yield
        return
    before = os.environ.pop(runtime.KERNEL_VARIABLE, None)
    if name is not None:
        os.environ[runtime.KERNEL_VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(runtime.KERNEL_VARIABLE, None)
        if before is not None:
            os.environ[runtime.KERNEL_VARIABLE] = before


def session(model: bytes, threads: int = 1, **provider_options: str) -> ort.InferenceSession:
    """A session on the kernels that are forced; on CUDA, ONNX Runtime refuses a model if a node would not run there.

    ONNX's own operators, which results are compared with, run on the CPU.
    """
    nodes = onnx.ModelProto.FromString(model).graph.node
    if not cuda_device.is_active() or any(node.domain == "" for node in nodes):
        return runtime.session(model, threads=threads)
    options = runtime.session_options(threads)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return runtime.session(model, providers=[(cuda_device.PROVIDER, provider_options)], options=options)


@dataclass
class Case:
    """A convolution (``kernel`` not empty) or a matrix product, with its data."""

    x: np.ndarray
    weights: np.ndarray  # [M, Cg, *kernel]
    bias: np.ndarray | None = None
    addend: np.ndarray | None = None
    attributes: dict[str, Any] = field(default_factory=dict)  # of the convolution: strides, pads, group, ...
    activation: str = "none"
    activation_params: tuple[float, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weights.shape[2:]

    def reuse_model(self, stats: bool = False, **parameters: Any) -> bytes:
        """The operator, with the parameters of the method as further attributes."""
        attributes = dict(self.attributes, output_channels=self.weights.shape[0], activation=self.activation)
        if self.kernel:
            attributes["kernel_shape"] = self.kernel
        if self.activation_params:
            attributes["activation_params"] = self.activation_params
        attributes.update(parameters)
        constants = {"W": pack_weights(self.weights, self.attributes.get("group", 1))}
        inputs = ["X", "W"]
        if self.bias is not None or self.addend is not None:
            # No absent input before a present one: ONNX Runtime 1.23 crashes on it.
            constants["B"] = self.bias if self.bias is not None else np.zeros(self.weights.shape[0])
            inputs.append("B")
        if self.addend is not None:
            inputs.append("A")
        node = helper.make_node(
            "DeepReuseGemm", inputs, ["Y", "stats"] if stats else ["Y"], name="node", domain="ai.drpass", **attributes
        )
        outputs = [_value("Y", None)] + ([helper.make_tensor_value_info("stats", TensorProto.INT64, None)] * stats)
        return _model([node], self._inputs(), outputs, constants)

    def conv_model(self) -> bytes:
        """ONNX Conv, Add and activation; every convolution case has such a twin."""
        constants = {"W": self.weights}
        nodes = [helper.make_node("Conv", ["X", "W"], ["conv"], kernel_shape=self.kernel, **self.attributes)]
        value = "conv"
        if self.bias is not None:
            constants["B"] = self.bias
            nodes[0].input.append("B")
        if self.addend is not None:
            nodes.append(helper.make_node("Add", [value, "A"], ["sum"]))
            value = "sum"
        if self.activation != "none":
            nodes += self._activation_nodes(value, constants)
        nodes[-1].output[0] = "Y"
        return _model(nodes, self._inputs(), [_value("Y", None)], constants)

    def _activation_nodes(self, value: str, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        if self.activation == "silu":
            nodes = [("Sigmoid", [value], "gate"), ("Mul", [value, "gate"], "out")]
            return [helper.make_node(op_type, inputs, [output]) for op_type, inputs, output in nodes]
        return [self._activation_node(value, constants)]

    def _activation_node(self, value: str, constants: dict[str, np.ndarray]) -> onnx.NodeProto:
        if self.activation == "clip":
            for name, limit in zip(("low", "high"), self.activation_params, strict=True):
                constants[name] = np.float32(limit)
            return helper.make_node("Clip", [value, "low", "high"], ["out"])
        if self.activation == "leaky_relu":
            return helper.make_node("LeakyRelu", [value], ["out"], alpha=self.activation_params[0])
        if self.activation == "hard_sigmoid":
            alpha, beta = self.activation_params
            return helper.make_node("HardSigmoid", [value], ["out"], alpha=alpha, beta=beta)
        named = {"relu": "Relu", "sigmoid": "Sigmoid", "hard_swish": "HardSwish"}
        return helper.make_node(named[self.activation], [value], ["out"])

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        inputs = [_value("X", [None] * self.x.ndim)]
        return inputs + ([_value("A", self.addend.shape)] if self.addend is not None else [])

    def run(self, model: bytes, threads: int = 1, x: np.ndarray | None = None) -> list[np.ndarray]:
        feeds = {"X": self.x if x is None else x}
        if self.addend is not None:
            feeds["A"] = self.addend
        return session(model, threads).run(None, feeds)

    def magnitude(self) -> float:
        """Bounds the sum of |x · w| of every output."""
        weight = np.abs(self.weights).reshape(self.weights.shape[0], -1).sum(1).max(initial=0)
        return float(weight * np.abs(self.x[np.isfinite(self.x)]).max(initial=0))

    def rounding(self) -> float:
        """What float rounding may do to an output: a few units in the last place of the sum of magnitudes."""
        return 1e-6 * (self.magnitude() + 1)

    def tolerance(self, kernels: str, parameters: dict[str, Any]) -> float:
        """What two kernel sets may differ by: rounding and, for the one set that does not fuse multiply-adds, a unit of
        16-bit tables where that rounding decides between two of them."""
        ties = parameters.get("table_type") == "int16" and kernels == "portable"
        return self.rounding() + (2 * self.magnitude() / 32767 if ties else 0)


def alike(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values that repeat, as after a Relu: coarse levels, many zeros, a little noise on some."""
    levels = np.maximum(np.round(rng.normal(size=shape) * 1.5) / 1.5, 0)
    noise = rng.normal(size=shape) * 0.01 * (rng.random(shape) < 0.3)
    return (levels + noise).astype(np.float32)


def block(x: np.ndarray) -> np.ndarray:
    """[N, C, \\*spatial] in NCHW16c."""
    channels = x.shape[1]
    padded = np.zeros((x.shape[0], -(-channels // 16) * 16, *x.shape[2:]), np.float32)
    padded[:, :channels] = x
    split = padded.reshape(x.shape[0], -(-channels // 16), 16, *x.shape[2:])
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def _value(name: str, shape: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> bytes:
    initializers = [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.drpass", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def inferred(model: bytes, x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of Y that the Python schema infers."""
    schema.register()
    proto = onnx.ModelProto.FromString(model)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, x_shape))
    found = onnx.shape_inference.infer_shapes(proto, strict_mode=True, check_type=True)
    return tuple(dim.dim_value for dim in found.graph.output[0].type.tensor_type.shape.dim)
