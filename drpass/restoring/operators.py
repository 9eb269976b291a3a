"""The ONNX operators that compute what a node of the library computes, exactly.

1. DeepReuseGemm, convolution form: Conv.
2. Matrix form: Gemm where X is known to have two axes and there is a bias, or X is transposed; else MatMul, Add.
3. The addend: Add. A bias of zeros that is there only because of it goes.
4. The activation: Relu, LeakyRelu, Clip, HardSigmoid or Sigmoid; the last two times their input where it is a gate.
5. DepthwiseConv: Conv, or BatchNormalization where it has one tap and a bias. FullyConnected: as 2. And the activation.
6. LRN: LRN. Pool: MaxPool, AveragePool, GlobalMaxPool or GlobalAveragePool, also where it was a ReduceMean.
   Upsample: Resize.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.operator.spec import ACTIVATIONS, DEPTHWISE, FULLY_CONNECTED, LRN, OP_TYPE, POOL, UPSAMPLE, A, B, W, X
from drpass.passes.places import Names, Place, add_constant
from drpass.restoring.weights import unpacked, unpacked_depthwise, unpacked_wide
from drpass.rules.anchor import (
    FIRST_NUMPY_OPSET,
    Kept,
    attribute,
    float_constant,
    float_tensor,
    input_of,
    is_constant,
    require,
)
from drpass.rules.pool import POOLS

#: Attributes that Conv and DeepReuseGemm share, with their types.
_WINDOW: dict[str, Any] = {"strides": (), "dilations": (), "pads": (), "auto_pad": "NOTSET", "group": 1}
#: From this opset on Clip takes its limits as inputs, and Gemm needs no C.
_NEW_CLIP = 11
_FLOAT = np.finfo(np.float32)


@dataclass
class Workshop:
    """Makes the nodes; weights that several nodes share are unpacked once."""

    names: Names
    node_names: Names
    _unpacked: dict[tuple[Any, ...], ir.Value] = field(default_factory=dict)

    def operators(self, node: ir.Node, place: Place, rank: int | None) -> list[ir.Node]:
        """The operators for a node of the library, in order; the last has its output, the first its name.

        Their constants are in the graph, they are not yet. ``rank``: the number of axes of X, where it is known.
        Raises Kept where there are none.
        """
        if node.op_type == LRN:
            return [_lrn(node)]
        if node.op_type == POOL:
            return [_pool(node)]
        if node.op_type == UPSAMPLE:
            return [self._resize(node, place)]
        if node.op_type == DEPTHWISE:
            return self._depthwise(node, place)
        if node.op_type == FULLY_CONNECTED:
            return self._fully_connected(node, place, rank)
        require(node.op_type == OP_TYPE, f"there is no operator {node.op_type}")
        require(all(not output.uses() and not output.is_graph_output() for output in node.outputs[1:]), _STATISTICS)
        return self._deep_reuse_gemm(node, place, rank)

    def _deep_reuse_gemm(self, node: ir.Node, place: Place, rank: int | None) -> list[ir.Node]:
        addend, bias = input_of(node, A), input_of(node, B)
        if addend is not None and bias is not None and _is_zero(bias):
            bias = None  # Case 3
        make = self._convolution if "kernel_shape" in node.attributes else self._matrix
        nodes = make(node, place, bias, rank)
        if addend is not None:
            nodes.append(ir.node("Add", [nodes[-1].outputs[0], addend]))
        nodes += self._activation(node, place, nodes[-1].outputs[0])
        require(len(nodes) == 1 or place.opset >= FIRST_NUMPY_OPSET, f"it needs opset {FIRST_NUMPY_OPSET}")
        self._name(nodes, node)
        return nodes

    def _depthwise(self, node: ir.Node, place: Place) -> list[ir.Node]:
        channels, kernel = attribute(node, "channels", 0), attribute(node, "kernel_shape", ())
        bias = input_of(node, B)
        if bias is not None and kernel == (1, 1) and not _WINDOW.keys() & node.attributes.keys():
            nodes = [self._batchnorm(node, place, channels, bias)]
        else:
            weights = self._kept(
                place, node, (channels, kernel), lambda packed: unpacked_depthwise(packed, channels, kernel)
            )
            window = self._window(node) | {"group": channels}
            nodes = [ir.node("Conv", [_x(node), weights, *([bias] if bias else [])], dict(sorted(window.items())))]
        nodes += self._activation(node, place, nodes[-1].outputs[0])
        self._name(nodes, node)
        return nodes

    def _batchnorm(self, node: ir.Node, place: Place, channels: int, bias: ir.Value) -> ir.Node:
        """With a mean of 0 and a variance of 1, so that scale and shift are what they were, to the bit."""
        dtype = self._dtype(node)
        scale = unpacked_depthwise(_w(node), channels, (1, 1)).numpy().reshape(-1)
        arrays = {
            "gamma": scale,
            "beta": float_constant(bias, "bias"),
            "mean": np.zeros(channels, dtype),
            "variance": np.ones(channels, dtype),
        }
        constants = [self._constant(place, node, name, array) for name, array in arrays.items()]
        return ir.node("BatchNormalization", [_x(node), *constants], {"epsilon": 0.0})

    def _resize(self, node: ir.Node, place: Place) -> ir.Node:
        scales = np.array([1, 1, *attribute(node, "scales", ())], np.float32)
        attributes = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        inputs = [_x(node), None, self._constant(place, node, "scales", scales)]
        return ir.node("Resize", inputs, attributes, name=node.name)

    def _fully_connected(self, node: ir.Node, place: Place, rank: int | None) -> list[ir.Node]:
        outputs, bias = attribute(node, "output_channels", 0), input_of(node, B)
        transposed = not (bias is not None and rank == 2)
        weights = self._kept(
            place, node, (outputs, transposed), lambda packed: unpacked_wide(packed, outputs, transposed)
        )
        nodes = self._product(node, bias, rank, weights)
        nodes += self._activation(node, place, nodes[-1].outputs[0])
        require(len(nodes) == 1 or place.opset >= FIRST_NUMPY_OPSET, f"it needs opset {FIRST_NUMPY_OPSET}")
        self._name(nodes, node)
        return nodes

    def _convolution(self, node: ir.Node, place: Place, bias: ir.Value | None, _: int | None) -> list[ir.Node]:
        weights, window = self._weights(node, place, transposed=False), self._window(node)
        return [ir.node("Conv", [_x(node), weights, *([bias] if bias else [])], dict(sorted(window.items())))]

    def _window(self, node: ir.Node) -> dict[str, Any]:
        window = {"kernel_shape": list(attribute(node, "kernel_shape", ()))}
        for name in _WINDOW.keys() & node.attributes.keys():
            value = attribute(node, name, _WINDOW[name])
            window[name] = list(value) if isinstance(value, tuple) else value
        return window

    def _matrix(self, node: ir.Node, place: Place, bias: ir.Value | None, rank: int | None) -> list[ir.Node]:
        transposed = bool(attribute(node, "trans_a", 0))
        if bias is not None and rank == 2 and not transposed:
            return self._product(node, bias, rank, self._weights(node, place, transposed=False))
        if transposed:
            if bias is None and place.opset < _NEW_CLIP:
                bias = self._constant(place, node, "zero", np.zeros(1, self._dtype(node)))
            inputs = [_x(node), self._weights(node, place, transposed=False), *([bias] if bias else [])]
            return [ir.node("Gemm", inputs, {"transA": 1, "transB": 1})]
        return self._product(node, bias, None, self._weights(node, place, transposed=True))

    def _product(self, node: ir.Node, bias: ir.Value | None, rank: int | None, weights: ir.Value) -> list[ir.Node]:
        """With weights [M, K] where there is a bias and X has two axes, else [K, M]."""
        if bias is not None and rank == 2:
            return [ir.node("Gemm", [_x(node), weights, bias], {"transB": 1})]
        product = ir.node("MatMul", [_x(node), weights])
        return [product, ir.node("Add", [product.outputs[0], bias])] if bias is not None else [product]

    def _activation(self, node: ir.Node, place: Place, y: ir.Value) -> list[ir.Node]:
        kind, parameters = attribute(node, "activation", "none"), attribute(node, "activation_params", ())
        require(kind in ACTIVATIONS, f"there is no activation '{kind}'")
        require(len(parameters) == ACTIVATIONS[kind], f"activation '{kind}' needs {ACTIVATIONS[kind]} parameters")
        if kind == "none":
            return []
        if kind == "relu":
            return [ir.node("Relu", [y])]
        if kind == "sigmoid":
            return [ir.node("Sigmoid", [y])]
        if kind == "silu":
            return _gated(y, ir.node("Sigmoid", [y]))
        if kind == "hard_sigmoid":
            return [ir.node("HardSigmoid", [y], dict(zip(("alpha", "beta"), map(float, parameters), strict=True)))]
        if kind == "hard_swish":
            return _gated(y, ir.node("HardSigmoid", [y], {"alpha": 1 / 6, "beta": 0.5}))
        if kind == "leaky_relu":
            return [ir.node("LeakyRelu", [y], {"alpha": float(parameters[0])})]
        return [self._clip(node, place, y, parameters)]

    def _clip(self, node: ir.Node, place: Place, y: ir.Value, parameters: Sequence[float]) -> ir.Node:
        """Limits that are those of the type were left out, and are again."""
        limits = {
            name: float(limit)
            for name, limit, default in zip(("min", "max"), parameters, (_FLOAT.min, _FLOAT.max), strict=True)
            if limit != default
        }
        if place.opset < _NEW_CLIP:
            return ir.node("Clip", [y], limits)
        inputs = [y, *(self._limit(place, node, name, limits) for name in ("min", "max"))]
        while inputs[-1] is None:
            inputs.pop()
        return ir.node("Clip", inputs)

    def _limit(self, place: Place, node: ir.Node, name: str, limits: dict[str, float]) -> ir.Value | None:
        return self._constant(place, node, name, self._dtype(node).type(limits[name])) if name in limits else None

    def _weights(self, node: ir.Node, place: Place, *, transposed: bool) -> ir.Value:
        """The weights [M, Cg, \\*kernel], bit by bit as they were packed; ``transposed``: [K, M]."""
        kernel, channels = attribute(node, "kernel_shape", ()), attribute(node, "output_channels", 0)
        group = attribute(node, "group", 1)
        return self._kept(
            place,
            node,
            (channels, kernel, transposed),
            lambda packed: unpacked(packed, channels, group, kernel, transposed),
        )

    def _kept(
        self, place: Place, node: ir.Node, how: tuple[Any, ...], unpack: Callable[[ir.Value], ir.TensorProtocol]
    ) -> ir.Value:
        """The weights of a node, unpacked where no node before had them so."""
        packed = _w(node)
        key = (id(place.graph), packed, *how)
        if key not in self._unpacked:
            name = self.names.unique(re.sub(r"_packed(_\d+)?(_own(_\d+)?)?$", "", packed.name or "weights"))
            self._unpacked[key] = add_constant(place, unpack(packed), name, node)
        return self._unpacked[key]

    def _dtype(self, node: ir.Node) -> np.dtype[Any]:
        """Of the weights, and so of all."""
        return float_tensor(_w(node), "weights").dtype.numpy()

    def _constant(self, place: Place, node: ir.Node, name: str, array: npt.NDArray[Any] | np.floating[Any]) -> ir.Value:
        return add_constant(place, np.asarray(array), self.names.unique(f"{node.outputs[0].name}_{name}"), node)

    def _name(self, nodes: list[ir.Node], old: ir.Node) -> None:
        """The first is called as the old node was, the others after it; values between them after their nodes."""
        y = old.outputs[0]
        for node in nodes:
            suffix = node.op_type.lower()
            node.name = old.name or ""
            if old.name and node is not nodes[0]:
                node.name = self.node_names.unique(f"{old.name}_{suffix}")
            if node is not nodes[-1]:
                value = node.outputs[0]
                value.name = self.names.unique(node.name or f"{y.name}_{suffix}")
                if not y.is_graph_output():
                    value.type, value.shape = y.type, y.shape


def _gated(y: ir.Value, gate: ir.Node) -> list[ir.Node]:
    """Its product with y."""
    return [gate, ir.node("Mul", [y, gate.outputs[0]])]


_STATISTICS = "its statistics are read, which no ONNX operator gives"


def _lrn(node: ir.Node) -> ir.Node:
    return ir.node(LRN, [_x(node)], _attributes(node, "layout"), name=node.name)


def _pool(node: ir.Node) -> ir.Node:
    mode, whole = attribute(node, "mode", "max"), "kernel_shape" not in node.attributes
    op_type = next((name for name, kind in POOLS.items() if kind == mode and name.startswith("Global") == whole), None)
    require(op_type is not None, f"there is no mode '{mode}'")
    attributes = {} if whole else _attributes(node, "mode", "channels", "y_layout")
    return ir.node(str(op_type), [_x(node)], attributes, name=node.name)


def _attributes(node: ir.Node, *own: str) -> dict[str, Any]:
    """Those of the node that the ONNX operator has too: all but its ``own``."""
    require(
        not any(found.is_ref() for found in node.attributes.values()), "an attribute is a parameter of the function"
    )
    return {name: found.value for name, found in node.attributes.items() if name not in own}


def _x(node: ir.Node) -> ir.Value:
    x = input_of(node, X)
    if x is None:
        raise Kept("an input is missing")
    return x


def _w(node: ir.Node) -> ir.Value:
    weights = input_of(node, W)
    if weights is None:
        raise Kept("it has no weights")
    return weights


def _is_zero(bias: ir.Value) -> bool:
    return is_constant(bias) and not np.any(float_constant(bias, "bias"))
