"""What there is to cluster in a layer, as custom_ops/cuda/cluster_scratch.cu finds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drpass.operator.spec import ReuseParameters
from drpass.roofline.layer import Layer

#: Of a block.
THREADS = 256


@dataclass(frozen=True)
class Clusters:
    """What there is to cluster, as ClusterView says it.

    ``parts``: sub-vector groups of all groups and scope instances, ``kept`` of which are clustered, with ``clusters``
    each on average; ``pixels``: of a scope instance; ``capacity``: the guard's limit.
    """

    instances: int
    length: int
    sub_groups: int
    pixels: int
    capacity: int
    slots: int
    parts: int
    kept: float
    clusters: float
    words: int

    @property
    def kept_share(self) -> float:
        """Of the parts."""
        return self.kept / self.parts

    @property
    def blocks(self) -> int:
        """Of one pixel a thread, in one part."""
        return math.ceil(self.pixels / THREADS)


def find_clusters(layer: Layer, parameters: ReuseParameters, remaining_ratios: float | Sequence[float]) -> Clusters:
    """``remaining_ratios``: r_c of every sub-vector group of every group, or one for all; 1: computed densely."""
    instances = 1 if parameters.scope == "batch" else layer.images
    length = min(parameters.sub_vector_length, layer.group_channels)
    sub_groups = math.ceil(layer.group_channels / length)
    pixels = layer.images // instances * layer.pixels
    capacity = math.floor(parameters.max_remaining_ratio * pixels)
    if parameters.method == "lsh" and parameters.hash_bits < 31:
        capacity = min(capacity, (1 << parameters.hash_bits) + 1)
    ratios = [remaining_ratios] if isinstance(remaining_ratios, (int, float)) else list(remaining_ratios)
    kept = [ratio for ratio in ratios if ratio < 1 and ratio * pixels <= capacity]
    parts = instances * layer.group * sub_groups
    return Clusters(
        instances=instances,
        length=length,
        sub_groups=sub_groups,
        pixels=pixels,
        capacity=capacity,
        slots=max(16, 1 << (max(2 * capacity, 1) - 1).bit_length()),
        parts=parts,
        kept=parts * len(kept) / len(ratios),
        clusters=max(1.0, pixels * sum(kept) / len(kept)) if kept else 0.0,
        words=3 if parameters.method == "grid" else 4,
    )
