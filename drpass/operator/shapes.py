"""Output shapes of DeepReuseGemm from its attributes and input shapes (docs/operator.md, *Shapes*).

A dimension is an int, the name of a symbol, or None where nothing is known. Symbols are kept where they pass through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from drpass.operator.packing import PANEL, WIDE_PANEL
from drpass.operator.spec import BLOCKED, ReuseParameters

Dim = int | str | None
Shape = list[Dim]

_AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


class ShapeError(ValueError):
    """The attributes and input shapes of a node contradict each other; the message says where."""


def infer(
    attributes: Mapping[str, Any], x: Shape | None, w: Shape | None, b: Shape | None, a: Shape | None
) -> tuple[Shape | None, Shape | None]:
    """The shapes of Y and stats; None where nothing is known about one.

    ``attributes`` holds the node's attributes by name (strings as bytes or str); absent ones have their defaults.
    Raises ShapeError with the messages of docs/operator.md.
    """
    channels, group = int(attributes.get("output_channels", 0)), int(attributes.get("group", 1))
    if channels < 1:
        raise ShapeError(f"output_channels must be in [1, 2^31), not {channels}")
    if group < 1 or channels % group:
        raise ShapeError(f"output_channels {channels} is not a multiple of group {group}")
    kernel = attributes.get("kernel_shape")
    _check_shape("W", w, [group, -(-(channels // group) // PANEL), math.prod(kernel or ()), None, PANEL])
    x_blocked, y_blocked = (_text(attributes.get(name, "")) == BLOCKED for name in ("x_layout", "y_layout"))
    if (x_blocked or y_blocked) and kernel is None:
        raise ShapeError("x_layout and y_layout must be NCHW in the matrix form")
    if x_blocked and x is not None:
        x = unblocked(x, w[3] * group if w is not None and isinstance(w[3], int) else None)
    if kernel is not None:
        output = _convolution(attributes, x, w, channels, group, list(kernel))
        if output is not None and y_blocked:
            output = blocked(output)
    else:
        output = _matrix(x, w, channels, group, bool(attributes.get("trans_a", 0)))
    _check_shape("B", b, [channels])
    if a is not None and output is not None:
        _check_broadcast(a, output)
    return output, _stats(attributes, x, w, group)


def check_windows(windows: Sequence[int], w: Shape | None, attributes: Mapping[str, Any]) -> None:
    """Raise ShapeError if ``windows`` is not the shape of memo_windows, [count, ceil(C / 16), n, n, 16]."""
    inputs = w[3] if w is not None else None
    blocks = -(-inputs // PANEL) if isinstance(inputs, int) else None
    n = next(iter(attributes.get("kernel_shape") or ()), 0) + 3
    _check_shape("memo_windows", list(windows), [windows[0] if windows else 0, blocks, n, n, PANEL])


def blocked(shape: Shape) -> Shape:
    """The shape in NCHW16c of a tensor [N, C, spatial axes]."""
    channels = shape[1]
    return [shape[0], -(-channels // PANEL) if isinstance(channels, int) else None, *shape[2:], PANEL]


def unblocked(shape: Shape, channels: int | None) -> Shape:
    """The shape [N, C, spatial axes] of a tensor in NCHW16c; raises ShapeError where it has no room for C channels."""
    blocks = None if channels is None else -(-channels // PANEL)
    if len(shape) < 3 or not _compatible(shape[-1], PANEL) or not _compatible(shape[1], blocks):
        raise ShapeError(f"X has shape {_show(shape)}, but {channels} channels in NCHW16c need {blocks} blocks of 16")
    return [shape[0], channels, *shape[2:-1]]


def infer_pool(attributes: Mapping[str, Any], x: Shape | None) -> Shape | None:
    """The shape of the output of a Pool; None where nothing is known. Raises ShapeError as `infer` does."""
    channels = int(attributes.get("channels", 0))
    if channels < 1:
        raise ShapeError(f"channels must be in [1, 2^31), not {channels}")
    kernel = list(attributes.get("kernel_shape") or ())
    strides = _numbers(attributes, "strides", 2, 2, [1, 1], least=1)
    pads = _numbers(attributes, "pads", 4, 2, [0] * 4, least=0)
    auto_pad = _auto_pad(attributes)
    if attributes.get("ceil_mode", 0) and attributes.get("count_include_pad", 0):
        raise ShapeError("count_include_pad must be 0 with ceil_mode, not 1")
    if x is None:
        return None
    if len(x) != 5:
        raise ShapeError(f"X has shape {_show(x)}, but Pool needs [N, blocks, H, W, 16]")
    output = unblocked(x, channels)
    for axis in (0, 1):
        both = (pads[axis], pads[axis + 2])
        before = output[axis + 2]
        size = convolution_dim(before, kernel[axis], strides[axis], 1, both, auto_pad) if kernel else 1
        if isinstance(size, int) and size < 1:
            raise ShapeError(f"the output would have a negative size on axis {axis + 2}")
        if kernel and attributes.get("ceil_mode", 0) and isinstance(before, int) and isinstance(size, int):
            size += _hangs_over(before, kernel[axis], strides[axis], both, auto_pad, size)
        output[axis + 2] = size
    return blocked(output) if _text(attributes.get("y_layout", "")) == BLOCKED else output


def infer_depthwise(attributes: Mapping[str, Any], x: Shape | None, w: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of the output of a DepthwiseConv; None where nothing is known. Raises ShapeError as `infer` does."""
    channels, kernel = int(attributes.get("channels", 0)), list(attributes.get("kernel_shape") or ())
    if channels < 1:
        raise ShapeError(f"channels must be in [1, 2^31), not {channels}")
    if len(kernel) != 2:
        raise ShapeError(f"kernel_shape needs 2 values for a kernel of rank 2, not {len(kernel)}")
    _check_shape("W", w, [-(-channels // PANEL), math.prod(kernel), PANEL])
    _check_shape("B", b, [channels])
    if x is not None and _text(attributes.get("x_layout", "")) == BLOCKED:
        x = unblocked(x, channels)
    if x is not None and len(x) == 4 and not _compatible(x[1], channels):
        raise ShapeError(f"X has shape {_show(x)}, but [N, {channels}, H, W] was expected")
    output = _convolution(attributes, x, None, channels, 1, kernel)
    return blocked(output) if output and _text(attributes.get("y_layout", "")) == BLOCKED else output


def infer_upsample(attributes: Mapping[str, Any], x: Shape | None) -> Shape | None:
    """The shape of the output of an Upsample; None where nothing is known. Raises ShapeError as `infer` does."""
    scales = list(attributes.get("scales") or ())
    if len(scales) != 2:
        raise ShapeError(f"scales needs 2 values, not {len(scales)}")
    if wrong := [scale for scale in scales if not 1 <= scale <= 1024]:
        raise ShapeError(f"scales must be in [1, 1024], not {wrong[0]}")
    if x is None:
        return None
    if len(x) != 5 or not _compatible(x[4], PANEL):
        raise ShapeError(f"X has shape {_show(x)}, but Upsample needs [N, blocks, H, W, 16]")
    sizes = [dim * scale if isinstance(dim, int) else None for dim, scale in zip(x[2:4], scales, strict=True)]
    return [*x[:2], *sizes, PANEL]


def infer_fully_connected(
    attributes: Mapping[str, Any], x: Shape | None, w: Shape | None, b: Shape | None
) -> Shape | None:
    """The shape of the output of a FullyConnected; None where nothing is known. Raises ShapeError as `infer` does."""
    outputs = int(attributes.get("output_channels", 0))
    if outputs < 1:
        raise ShapeError(f"output_channels must be in [1, 2^31), not {outputs}")
    if x is not None and not x:
        raise ShapeError("X has shape [], but FullyConnected needs [..., K]")
    _check_shape("W", w, [-(-outputs // WIDE_PANEL), x[-1] if x else None, WIDE_PANEL])
    _check_shape("B", b, [outputs])
    return None if x is None else [*x[:-1], outputs]


def _hangs_over(size: int, kernel: int, stride: int, pads: tuple[int, int], auto_pad: str, windows: int) -> bool:
    """Whether with ceil_mode a window follows that begins in the image and is not wholly in the padded image."""
    if auto_pad.startswith("SAME"):
        return False
    begin, end = pads if auto_pad == "NOTSET" else (0, 0)
    return (windows - 1) * stride + kernel < size + begin + end and windows * stride < size + begin


def convolution_dim(size: Dim, kernel: int, stride: int, dilation: int, pads: tuple[int, int], auto_pad: str) -> Dim:
    """One spatial dimension of the output, by the formulas of ONNX Conv; a symbol stays where it is unchanged."""
    reach = (kernel - 1) * dilation
    if auto_pad.startswith("SAME"):
        if isinstance(size, int):
            return -(-size // stride)
        return size if stride == 1 else None
    padding = sum(pads) if auto_pad == "NOTSET" else 0
    if isinstance(size, int):
        return (size + padding - reach - 1) // stride + 1
    return size if stride == 1 and padding == reach else None


def _check_shape(name: str, shape: Shape | None, expected: Shape) -> None:
    """Raise ShapeError if what is known of the shape of ``name`` contradicts what is expected."""
    if shape is None:
        return
    if len(shape) != len(expected) or not all(map(_compatible, shape, expected)):
        raise ShapeError(f"{name} has shape {_show(shape)}, but {_show(expected)} was expected")


def _convolution(
    attributes: Mapping[str, Any], x: Shape | None, w: Shape | None, channels: int, group: int, kernel: list[int]
) -> Shape | None:
    rank = len(kernel)
    if not 1 <= rank <= 3 or min(kernel) < 1:
        raise ShapeError(f"kernel_shape must be 1 to 3 positive numbers, not {kernel}")
    strides = _numbers(attributes, "strides", rank, rank, [1] * rank, least=1)
    dilations = _numbers(attributes, "dilations", rank, rank, [1] * rank, least=1)
    pads = _numbers(attributes, "pads", 2 * rank, rank, [0] * (2 * rank), least=0)
    auto_pad = _auto_pad(attributes)
    if x is None:
        return None
    if len(x) != rank + 2:
        raise ShapeError(f"X has rank {len(x)}, but a kernel of rank {rank} needs {rank + 2}")
    _check_channels(x[1], w, group)
    output: Shape = [x[0], channels]
    for axis, size in enumerate(x[2:]):
        both = (pads[axis], pads[axis + rank])
        dim = convolution_dim(size, kernel[axis], strides[axis], dilations[axis], both, auto_pad)
        if isinstance(dim, int) and dim < 0:
            raise ShapeError(f"the output would have a negative size on axis {axis + 2}")
        output.append(dim)
    return output


def _matrix(x: Shape | None, w: Shape | None, channels: int, group: int, transposed: bool) -> Shape | None:
    if group != 1:
        raise ShapeError(f"group must be in [1, 1] in the matrix form, not {group}")
    if x is None:
        return None
    if len(x) < 2 or (transposed and len(x) != 2):
        raise ShapeError(f"X has rank {len(x)}, but the matrix form needs {'2' if transposed else '2 or more'}")
    inner, outer = (x[0], x[1:]) if transposed else (x[-1], x[:-1])
    _check_channels(inner, w, 1)
    return [*outer, channels]


def _auto_pad(attributes: Mapping[str, Any]) -> str:
    value = _text(attributes.get("auto_pad", "NOTSET"))
    if value not in _AUTO_PADS:
        raise ShapeError(f"auto_pad must be one of {', '.join(_AUTO_PADS)}, not '{value}'")
    return value


def _check_channels(channels: Dim, w: Shape | None, group: int) -> None:
    if w is not None and isinstance(w[3], int) and not _compatible(channels, w[3] * group):
        raise ShapeError(f"X has {channels} channels, but W was packed for {w[3] * group}")


def _check_broadcast(a: Shape, output: Shape) -> None:
    pairs = zip(reversed(a), reversed(output), strict=False)
    if len(a) > len(output) or not all(left == 1 or _compatible(left, right) for left, right in pairs):
        raise ShapeError(f"A of shape {_show(a)} does not broadcast to {_show(output)}")


def _stats(attributes: Mapping[str, Any], x: Shape | None, w: Shape | None, group: int) -> Shape:
    length = int(attributes.get("sub_vector_length", ReuseParameters().sub_vector_length))
    if length < 1:
        raise ShapeError(f"sub_vector_length must be in [1, 2^31), not {length}")
    groups = -(-w[3] // length) if w is not None and isinstance(w[3], int) else None
    return [_instances(attributes, x), group, groups]


def _instances(attributes: Mapping[str, Any], x: Shape | None) -> Dim:
    """S: how many scope instances are clustered on their own."""
    if _text(attributes.get("scope", "image")) == "batch":
        return 1
    if x is None:
        return None
    if attributes.get("kernel_shape") is not None:
        return x[0]
    leading = x[:-2]
    sizes = [dim for dim in leading if isinstance(dim, int)]
    if len(sizes) == len(leading):
        return math.prod(sizes)
    return leading[0] if len(leading) == 1 else None


def _numbers(
    attributes: Mapping[str, Any], name: str, length: int, rank: int, default: list[int], least: int
) -> list[int]:
    values = list(attributes.get(name) or default)
    if len(values) != length:
        raise ShapeError(f"{name} needs {length} values for a kernel of rank {rank}, not {len(values)}")
    if wrong := [value for value in values if not least <= value < 2**31]:
        raise ShapeError(f"{name} must be in [{least}, 2^31), not {wrong[0]}")
    return values


def _compatible(left: Dim, right: Dim) -> bool:
    return not isinstance(left, int) or not isinstance(right, int) or left == right


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _show(shape: Sequence[Dim]) -> str:
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
