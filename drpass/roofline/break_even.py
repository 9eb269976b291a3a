"""The r_c from which on clustering takes longer than something else."""

from __future__ import annotations

from drpass.operator.spec import ReuseParameters
from drpass.roofline.clusters import find_clusters
from drpass.roofline.device import Device
from drpass.roofline.kernel import milliseconds
from drpass.roofline.layer import Layer
from drpass.roofline.reuse import reuse_kernels

_STEPS = 30


def largest_ratio(
    layer: Layer, parameters: ReuseParameters, device: Device, reference_ms: float, *, tensor: bool = False
) -> float | None:
    """The largest r_c of all sub-vector groups at which clustering takes at most ``reference_ms``, by bisection.

    ``tensor`` as in `reuse_kernels`. None where it takes longer even with one cluster a group; at most what the guard
    lets pass, where it never does.
    """

    def pays(ratio: float) -> bool:
        return milliseconds(reuse_kernels(layer, parameters, ratio, tensor=tensor), device) <= reference_ms

    clusters = find_clusters(layer, parameters, 0.0)
    low, high = 1 / clusters.pixels, clusters.capacity / clusters.pixels
    if clusters.capacity == 0 or not pays(low):
        return None
    if pays(high):
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if pays(middle) else (low, middle)
    return low
