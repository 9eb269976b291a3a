"""The settings of a layer that tuning tries: ladders from coarse to fine.

Along a ladder the error falls and the number of clusters grows, so that a layer for which a rung takes longer than the
exact operator needs none of the finer rungs: they would take longer still.
"""

from __future__ import annotations

from collections.abc import Sequence

from drpass.operator.spec import TABLE_TYPES, ReuseParameters, Scope

#: In standard deviations of the running input; networks bear little more than 1σ.
STEPS = (2.0, 1.0, 0.5, 0.25, 0.125)
GRID_LENGTHS = (4, 8, 16)
LSH_BITS = (8, 12, 16)
LSH_LENGTHS = (8, 16)

Ladder = tuple[ReuseParameters, ...]


def ladders(batch: int) -> list[Ladder]:
    """All ladders. The scope ``batch`` is another than ``image`` only where a call has several images."""
    scopes: Sequence[Scope] = ("image", "batch") if batch > 1 else ("image",)
    grid = [
        tuple(ReuseParameters("grid", scope, length, step, table_type=table_type) for step in STEPS)
        for table_type in TABLE_TYPES
        for scope in scopes
        for length in GRID_LENGTHS
    ]
    lsh = [
        tuple(ReuseParameters("lsh", scope, length, hash_bits=bits) for bits in LSH_BITS)
        for scope in scopes
        for length in LSH_LENGTHS
    ]
    return grid + lsh
