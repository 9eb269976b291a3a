"""The layers of a model, as far as their sizes are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx

from drpass import model_io
from drpass.passes import NodeKey, legacy_inputs
from drpass.passes.match import find_candidates
from drpass.roofline.layer import Layer
from drpass.rules.anchor import Match
from drpass.shape_inference import dims_of, infer_shapes


def layers_of(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> dict[NodeKey, Layer]:
    """All Conv, Gemm and MatMul of the main graph that can be replaced, for inputs of these shapes, in graph order."""
    working = model_io.to_ir(model, "the model")
    legacy_inputs.hide(working)
    shapes = infer_shapes(working, inputs)
    found: dict[NodeKey, Layer] = {}
    for candidate in find_candidates(working, shapes):
        if candidate.match is None or candidate.place.path:
            continue
        x, y = dims_of(candidate.match.x, shapes), dims_of(candidate.node.outputs[0], shapes)
        sizes = [[dim for dim in dims or () if isinstance(dim, int)] for dims in (x, y)]
        if x and y and [len(x), len(y)] == [len(known) for known in sizes] and 0 not in (*x, *y):
            found[candidate.place.path, candidate.name] = _layer(candidate.match, *sizes)
    return found


def _layer(match: Match, x: list[int], y: list[int]) -> Layer:
    outputs, channels, *kernel = match.weights.shape
    if not match.is_convolution:
        return Layer(math.prod(y[:-2]), channels, outputs, (y[-2],), (y[-2],))
    ones = (1,) * len(kernel)
    return Layer(
        images=x[0],
        channels=channels * match.group,
        outputs=outputs,
        size=tuple(x[2:]),
        out_size=tuple(y[2:]),
        kernel=tuple(kernel),
        strides=tuple(match.attributes.get("strides", ones)),
        dilations=tuple(match.attributes.get("dilations", ones)),
        group=match.group,
    )
