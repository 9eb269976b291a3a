"""Counts of dense convolutions: the kernel of this library, and what cuDNN could do at best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from drpass.passes.gain import served_by_winograd
from drpass.roofline.device import Device
from drpass.roofline.kernel import Kernel, milliseconds
from drpass.roofline.layer import Layer

Precision = Literal["fp32", "tf32"]

#: Tiles of the kernel `dense`: pixels, outputs, bytes that a warp reads in shared memory for a multiply-add (each
#: address once: two or one times 32 pixels, and 16 outputs, of which it has all products), and instructions of a thread
#: in a step besides those of the product and of what it brings. On tensor cores a warp has 32 pixels and up to 32
#: outputs, and their instructions are counted among the others.
_WIDE, _NARROW = (128, 64, 4 * (64 + 16) / (64 * 16), 155), (256, 16, 4 * (32 + 16) / (32 * 16), 196)
_WIDE_TENSOR, _NARROW_TENSOR = (128, 64, 4 * (32 + 32) / (32 * 32), 168), (256, 16, 4 * (32 + 16) / (32 * 16), 219)
_THREADS = 256
#: Rows of the product that are in shared memory at a time.
_DEPTH = 16
#: Instructions to bring an element of X: its three positions are compared with the sizes, its address is added up.
#: These and the above are of the PTX that nvcc 13.0 makes.
_BROUGHT = 36

#: Outputs of a tile of Winograd's filtering along an axis.
_TILE = 4
#: Operations of a transform along one axis in F(4×4, 3×3): of six inputs, and of six products to four outputs.
_INPUT_TRANSFORM, _OUTPUT_TRANSFORM = 13, 10


def exact_kernels(layer: Layer, *, tensor: bool = False) -> list[Kernel]:
    """Those of ``exact``: all images are one instance. ``tensor``: ``allow_tf32``, on a device that has TF32."""
    return [dense_kernel(layer, 1, layer.group_channels, tensor=tensor)]


def dense_kernel(layer: Layer, instances: int, channels: float, *, tensor: bool = False) -> Kernel:
    """`dense` on so many of a group's channels, in so many scope instances."""
    wide, narrow = (_WIDE_TENSOR, _NARROW_TENSOR) if tensor else (_WIDE, _NARROW)
    pixels, outputs, reads, steady = narrow if layer.group_outputs <= 16 else wide
    pixel_tiles = math.ceil(layer.images // instances * layer.out_pixels / pixels)
    blocks = instances * layer.group * pixel_tiles * math.ceil(layer.group_outputs / outputs)
    steps = math.ceil(layer.taps * channels / _DEPTH)
    products = blocks * steps * _DEPTH * pixels * outputs
    tiles = 4 * blocks * steps * _DEPTH * (pixels + outputs)  # bytes of X and W
    share = channels / layer.group_channels
    return Kernel(
        "dense",
        blocks=blocks if steps else 0,
        fp32=0.0 if tensor else 2 * products,
        tensor=2 * products if tensor else 0.0,
        others=blocks * steps * (_THREADS * steady + _BROUGHT * _DEPTH * pixels),
        # What is multiplied, and what is brought there.
        shared=reads * products + tiles,
        memory=share * (layer.x_bytes + layer.packed_bytes) + (layer.y_bytes if steps else 0),
        l2=tiles + (layer.y_bytes if steps else 0),
    )


def direct(layer: Layer, precision: Precision) -> Kernel:
    """A perfect implicit matrix product: every array once through memory, no operation but the product's."""
    work = 2.0 * layer.multiplications
    return _perfect(f"direct {precision}", layer, work, 0.0, precision)


def winograd(layer: Layer, precision: Precision) -> Kernel | None:
    """A perfect F(4×4, 3×3) (Lavin & Gray, 2016), or F(4×4, 5×5), in one kernel; None where it can't be.

    Weights are read as they are and cost nothing to transform; with kernels of 5 no transform is counted at all.
    """
    if not served_by_winograd(layer.kernel, layer.strides, layer.dilations):
        return None
    tiles = layer.images * math.prod(math.ceil(size / _TILE) for size in layer.out_size)
    side = _TILE + layer.kernel[0] - 1
    products = 2.0 * side**2 * tiles * layer.outputs * layer.group_channels
    transforms = 0.0
    if layer.kernel[0] == 3:
        transforms += tiles * layer.channels * 2 * side * _INPUT_TRANSFORM
        transforms += tiles * layer.outputs * (side + _TILE) * _OUTPUT_TRANSFORM
    return _perfect(f"Winograd {precision}", layer, products, transforms, precision)


def _perfect(name: str, layer: Layer, products: float, others: float, precision: Precision) -> Kernel:
    on_tensor_cores = precision == "tf32"
    return Kernel(
        name,
        fp32=others + (0.0 if on_tensor_cores else products),
        tensor=products if on_tensor_cores else 0.0,
        memory=layer.x_bytes + layer.w_bytes + layer.y_bytes,
    )


def rivals(layer: Layer, device: Device, precision: Precision) -> Mapping[str, float]:
    """Milliseconds of the dense convolutions of one precision, by name. TF32 is fp32 on a device without it."""
    used = precision if device.tf32_tflops else "fp32"
    kernels = (direct(layer, used), winograd(layer, used))
    return {kernel.name: milliseconds([kernel], device) for kernel in kernels if kernel is not None}


def best_rival(layer: Layer, device: Device, precision: Precision) -> float:
    """Milliseconds of the quickest of them. ONNX Runtime lets cuDNN use TF32 unless it is told not to."""
    return min(rivals(layer, device, precision).values())
