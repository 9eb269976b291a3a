"""Describe the nodes of a model: shapes, multiply-adds, their share, and what `rewrite` would do with each."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import onnx_ir as ir

from drpass import model_io, passes
from drpass.model_check import require_valid
from drpass.operator.spec import BLOCKED, DEFAULTS, OP_TYPE, ReuseParameters, describe_layouts
from drpass.passes import Selection, Verdict
from drpass.passes.places import is_reuse, label, places
from drpass.rules import quantised
from drpass.rules.anchor import Kept, attribute, constant, input_of
from drpass.shape_inference import Shapes, dims_of, infer_shapes

#: The operators that the table shows where not all are asked for.
WORKING = (*passes.OP_TYPES, *quantised.OP_TYPES, OP_TYPE)

#: Which input of a convolution has its weights [M, Cg, *kernel].
_WEIGHTS_AT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
#: Products with an attribute for the other order of their left side.
_TRANSPOSES_LEFT = ("Gemm", "FusedGemm", "FusedMatMul", "QGemm")

Dims = tuple[int | str | None, ...]


@dataclass(frozen=True)
class NodeInfo:
    """One line of the table."""

    node: str
    op_type: str
    graph: str
    #: Of the running input and the first output: ints, names of symbols, None; None as a whole where unknown.
    input_shape: Dims | None
    output_shape: Dims | None
    #: Multiply-adds of one call, a symbolic batch counted as 1; None where a shape is not known, or for other nodes.
    macs: int | None
    #: Of the multiply-adds of all nodes whose number is known.
    share: float | None
    #: What `rewrite` would do, or the parameters of a DeepReuseGemm; empty for other nodes.
    verdict: str
    replaceable: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def inspect(
    model: str | os.PathLike[str],
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    parameters: ReuseParameters | None = None,
    every_node: bool = False,
) -> list[NodeInfo]:
    """Describe the nodes that do work (Conv, Gemm, MatMul, DeepReuseGemm), or every node, in graph order.

    ``shapes`` gives sizes to inputs with symbolic dimensions. Raises DrpassError for a file that is no valid model.
    """
    proto = model_io.load_proto(model)
    require_valid(proto, str(model))
    loaded = model_io.to_ir(proto, str(model))
    return _describe(loaded, infer_shapes(loaded, shapes), parameters, every_node)


def _describe(loaded: ir.Model, known: Shapes, parameters: ReuseParameters | None, every_node: bool) -> list[NodeInfo]:
    passes.legacy_inputs.hide(loaded)
    candidates, decided = passes.decide(loaded, known, Selection(), parameters)
    verdicts = {candidate.node: verdict for candidate, verdict in zip(candidates, decided, strict=True)}
    nodes = [
        (place.path, node) for place in places(loaded) for node in place.graph if every_node or node.op_type in WORKING
    ]
    macs = [_macs(node, known) for _, node in nodes]
    total = sum(count for count in macs if count)
    return [
        _info(path, node, count, total, known, verdicts.get(node))
        for (path, node), count in zip(nodes, macs, strict=True)
    ]


def _info(path: str, node: ir.Node, macs: int | None, total: int, shapes: Shapes, verdict: Verdict | None) -> NodeInfo:
    text = ""
    if verdict is not None:
        chosen = verdict.parameters
        text = f"replace: {chosen.describe()}" if chosen is not None else f"keep: {verdict.reason}"
    elif is_reuse(node):
        text = describe_reuse(node)
    return NodeInfo(
        node=label(node),
        op_type=node.op_type,
        graph=path,
        input_shape=_dims(input_of(node, 0), shapes),
        output_shape=_dims(node.outputs[0] if node.outputs else None, shapes),
        macs=macs,
        share=macs / total if macs is not None and total else None,
        verdict=text,
        replaceable=verdict is not None and verdict.replaced,
    )


def describe_reuse(node: ir.Node) -> str:
    """The method of a DeepReuseGemm, its activation and layouts, as in ``grid L=4 step=0.1σ image r_c≤0.5, relu``."""
    names = [item.name for item in fields(ReuseParameters)]
    try:
        values: dict[str, Any] = {name: attribute(node, name, DEFAULTS[name]) for name in names}
        activation = attribute(node, "activation", "none")
        layouts = [attribute(node, name, DEFAULTS[name]) for name in ("x_layout", "y_layout")]
    except Kept as kept:
        return str(kept)
    method = ReuseParameters(**values).describe()
    return method + ("" if activation == "none" else f", {activation}") + describe_layouts(*layouts)


def _macs(node: ir.Node, shapes: Shapes) -> int | None:
    """Outputs times the weights that each reads."""
    output = _dims(node.outputs[0] if node.outputs else None, shapes)
    if node.op_type not in WORKING or not output:
        return None
    if is_reuse(node) and node.attributes.get_string("y_layout", "") == BLOCKED:
        # The lanes without a channel are no work.
        output = (output[0], node.attributes.get_int("output_channels", 0), *output[2:-1])
    # The leading axis is the batch: one image counts where it is symbolic.
    sizes = [1 if index == 0 and not isinstance(dim, int) else dim for index, dim in enumerate(output)]
    reads = _reads(node, shapes)
    known = [size for size in sizes if isinstance(size, int)]
    return math.prod(known) * reads if reads is not None and len(known) == len(sizes) else None


def _reads(node: ir.Node, shapes: Shapes) -> int | None:
    """The weights that one output element reads: K."""
    if is_reuse(node):
        packed = _shape(input_of(node, 1), shapes)
        return None if packed is None or len(packed) != 5 else _product(packed[2:4])
    if node.op_type in _WEIGHTS_AT:
        weights = _shape(input_of(node, _WEIGHTS_AT[node.op_type]), shapes)
        return None if weights is None else _product(weights[1:])
    if node.op_type == "ConvTranspose":
        return _reads_transposed(node, shapes)
    left = _shape(input_of(node, 0), shapes)
    if not left:
        return None
    transposed = node.op_type in _TRANSPOSES_LEFT and node.attributes.get_int("transA", 0) == 1
    return _product((left[0] if transposed else left[-1],))


def _reads_transposed(node: ir.Node, shapes: Shapes) -> int | None:
    """Of all taps, those that meet an output pixel: one in as many as the strides have pixels, rounded up."""
    weights = _shape(input_of(node, 1), shapes)
    taps = None if weights is None else _product((weights[0], *weights[2:]))
    group, strides = node.attributes.get_int("group", 1), node.attributes.get_ints("strides", [1])
    return None if taps is None or group < 1 else -(-taps // group // math.prod(strides))


def _shape(value: ir.Value | None, shapes: Shapes) -> Dims | None:
    """As `_dims`, and through constants, whose shape is certain."""
    dims = _dims(value, shapes)
    if dims is not None or value is None:
        return dims
    try:
        return constant(value, "").shape
    except Kept:
        return None


def _product(dims: Sequence[int | str | None]) -> int | None:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(sizes) if len(sizes) == len(dims) else None


def _dims(value: ir.Value | None, shapes: Shapes) -> Dims | None:
    dims = dims_of(value, shapes)
    return None if dims is None else tuple(dims)
