"""The size of the work of a node: of a candidate to be replaced, or of a DeepReuseGemm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.operator.packing import PANEL
from drpass.operator.spec import BLOCKED, DEFAULTS, W, X
from drpass.rules.anchor import Kept, Match, attribute, constant, input_of, require
from drpass.shape_inference import Shapes, dims_of

#: Sizes of spatial axes, or the number of rows; None where one is not known.
Sizes = tuple[int, ...] | None


@dataclass(frozen=True)
class Work:
    """``attributes``: of the DeepReuseGemm; ``outputs``: M of all groups; ``inputs``: channels of one group; ``before``
    and ``after``: pixels of X and Y; ``weight_sum``: the largest sum of |w| of an output, None where not finite."""

    attributes: Mapping[str, Any]
    outputs: int
    inputs: int
    before: Sizes
    after: Sizes
    weight_sum: float | None

    @property
    def is_convolution(self) -> bool:
        return bool(self.attributes.get("kernel_shape"))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Empty in the matrix form."""
        return tuple(self.attributes.get("kernel_shape", ()))

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def group(self) -> int:
        return int(self.attributes.get("group", 1))

    @property
    def pixels(self) -> int | None:
        """Of X, or its rows."""
        return None if self.before is None else math.prod(self.before)

    @property
    def multiply_adds(self) -> int | None:
        """Of one image, or one matrix."""
        return None if self.after is None else math.prod(self.after) * self.outputs * self.taps * self.inputs

    @property
    def table_values(self) -> int:
        """In the tables of one cluster: a row of whole panels for every tap."""
        return self.taps * -(-self.outputs // self.group // PANEL) * PANEL


def work_of_match(match: Match, node: ir.Node, shapes: Shapes) -> Work:
    """Of a Conv, Gemm or MatMul that can be replaced."""
    outputs, inputs = match.weights.shape[:2]
    convolution = match.is_convolution
    return Work(
        attributes=match.attributes,
        outputs=outputs,
        inputs=inputs,
        before=_sizes(dims_of(match.x, shapes), convolution, bool(match.attributes.get("trans_a"))),
        after=_sizes(dims_of(node.outputs[0], shapes), convolution),
        weight_sum=_largest_sum(match.weights.reshape(outputs, -1), 1),
    )


def work_of_reuse(node: ir.Node, shapes: Shapes) -> Work:
    """Of a DeepReuseGemm. Raises Kept where its attributes or weights are not what docs/operator.md says."""
    packed = _packed_weights(node)
    attributes = {name: attribute(node, name, default) for name, default in _DEFAULTS.items()}
    convolution = bool(attributes["kernel_shape"])
    group, outputs = attributes["group"], attribute(node, "output_channels", 0)
    shape = (group, -(-outputs // group // PANEL), math.prod(attributes["kernel_shape"])) if group > 0 else ()
    require(outputs > 0 and packed.shape[:3] == shape, "its attributes contradict its weights")
    x, y = dims_of(input_of(node, X), shapes), dims_of(node.outputs[0], shapes)
    return Work(
        attributes=attributes,
        outputs=outputs,
        inputs=packed.shape[3],
        before=_sizes(_unblocked(x, attributes["x_layout"]), convolution, bool(attributes["trans_a"])),
        after=_sizes(_unblocked(y, attributes["y_layout"]), convolution),
        weight_sum=_largest_sum(packed, (2, 3)),
    )


#: With the types that `attribute` asks for.
_DEFAULTS: dict[str, Any] = {**DEFAULTS, "kernel_shape": (), "strides": (), "dilations": ()}


def _packed_weights(node: ir.Node) -> npt.NDArray[Any]:
    weights = input_of(node, W)
    packed = None if weights is None else constant(weights, "weights")
    if packed is None or packed.ndim != 5 or packed.size == 0:
        raise Kept("its weights are not packed weights")
    return packed


def _largest_sum(weights: npt.NDArray[Any], axes: int | tuple[int, ...]) -> float | None:
    found = float(np.abs(weights).sum(axis=axes, dtype=np.float64).max(initial=0.0))
    return found if math.isfinite(found) else None


def _unblocked(dims: Sequence[int | str | None] | None, layout: str) -> Sequence[int | str | None] | None:
    return dims[:-1] if dims is not None and layout == BLOCKED else dims


def _sizes(dims: Sequence[int | str | None] | None, convolution: bool, transposed: bool = False) -> Sizes:
    if dims is None:
        return None
    own = dims[2:] if convolution else dims[1:] if transposed else dims[-2:-1]
    sizes = tuple(dim for dim in own if isinstance(dim, int))
    return sizes if len(sizes) == len(own) else None
