"""Without data nothing can be clustered safely: which nodes become faster by the exact operator alone.

The factors are what the operator reached against ONNX Runtime on the layers of VGG-16, SqueezeNet and CifarNet
(`docs/performance.md`): convolutions that Winograd's filtering serves win, others keep a chain whole. They hold for
float16 too, because both sides compute it in float, and nothing is converted within a chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from drpass.operator.packing import PANEL
from drpass.passes.fully_connected import has_few_rows, is_large
from drpass.passes.match import Candidate
from drpass.rules.anchor import Match
from drpass.rules.quantised import reason_against
from drpass.shape_inference import Shapes, dims_of

#: Speed relative to ONNX Runtime inside a chain: with Winograd's filtering, without it, and of fully connected layers.
WINOGRAD, DIRECT, FULLY_CONNECTED = 2.5, 0.93, 1.2
#: A multiply-add of a fully connected layer waits for its weight: it takes as long as so many of a convolution.
WAITING = 10
#: With fewer channels the transforms take longer than the products that they save.
WINOGRAD_CHANNELS = PANEL // 2
#: A model must be expected to take less than this part of its time in these nodes.
WORTH_IT = 0.97

NO_GAIN = "no convolution of the model is expected to gain without clustering (--method chooses one)"


def reason_against_exact(match: Match, shapes: Shapes) -> str:
    """Why the exact operator is no gain for the node even in a chain; empty if it may be one."""
    outputs, inputs = match.weights.shape[0] // match.group, match.weights.shape[1]
    if match.integers:
        return reason_against(match.integers)
    if not match.is_convolution:
        if not is_large(inputs, outputs) or match.addend is not None or match.attributes.get("trans_a"):
            return "a matrix product gains nothing without clustering"
        few = has_few_rows(dims_of(match.x, shapes))
        return "" if few else "a matrix product of many rows gains nothing without clustering"
    if match.weights.ndim != 4:
        return "only 2-D convolutions gain without clustering"
    if match.group > 1 and inputs == 1:
        return "" if outputs == 1 else "depthwise, with several outputs a channel"
    if outputs < PANEL:
        return f"too few output channels ({outputs}; at least {PANEL} without clustering)"
    return ""


def served_by_winograd(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> bool:
    """Whether Winograd's filtering can compute a convolution (docs/operator.md, *The dense part*); empty: all ones."""
    return tuple(kernel) in ((3, 3), (5, 5)) and all(size == 1 for size in (*strides, *dilations))


def expected_time(candidates: Sequence[Candidate], shapes: Shapes) -> float:
    """The time of these nodes as exact operators, as a part of what ONNX Runtime takes for them.

    Where a size is not known all images count alike.
    """
    matches = [(candidate.match, _pixels(candidate, shapes)) for candidate in candidates if candidate.match]
    known = all(pixels is not None for _, pixels in matches)
    before = after = 0.0
    for match, pixels in matches:
        work = float(match.weights.size) * (pixels if known and pixels else 1)
        work *= 1 if match.is_convolution else WAITING
        before += work
        after += work / expected_speed(match)
    return after / before if before else 1.0


def expected_speed(match: Match) -> float:
    """Of the exact operator for the node in a chain, relative to ONNX Runtime."""
    if not match.is_convolution:
        return FULLY_CONNECTED
    steps = (match.attributes.get(name, ()) for name in ("strides", "dilations"))
    served = match.weights.shape[1] >= WINOGRAD_CHANNELS and served_by_winograd(match.weights.shape[2:], *steps)
    return WINOGRAD if served else DIRECT


def _pixels(candidate: Candidate, shapes: Shapes) -> int | None:
    dims = dims_of(candidate.node.outputs[0], shapes)
    sizes = [dim for dim in (dims or [])[2:] if isinstance(dim, int)]
    return math.prod(sizes) if dims is not None and len(sizes) == len(dims) - 2 else None
