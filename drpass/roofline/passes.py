"""How the reconstruction is divided into passes, as `Passes` in custom_ops/cuda/engine.cu does it."""

from __future__ import annotations

import math

from drpass.roofline.layer import Layer

#: Room for the tables of one pass, and for an element of them.
_TABLE_BYTES, _ELEMENT = 256 << 20, 4
#: Columns of a block: for many outputs, and for one panel of them.
_WIDE, _NARROW = 64, 16


def table_columns(layer: Layer) -> int:
    """Columns of a table are a multiple of this."""
    return _NARROW if layer.group_outputs <= _NARROW else _WIDE


class Passes:
    """``width``: columns of a table; ``sub_groups``, ``instances``: that one pass has tables of; ``output_passes``,
    ``k_passes``: over outputs and over sub-vector groups; ``columns``: of all passes over outputs; ``count``: of all.
    """

    def __init__(self, layer: Layer, instances: int, sub_groups: int, capacity: int) -> None:
        unit = table_columns(layer)
        column = capacity * layer.taps * _ELEMENT
        columns = math.ceil(layer.group_outputs / unit) * unit
        self.width = min(max(_TABLE_BYTES // column // unit * unit, unit), columns)
        room = max(_TABLE_BYTES // (column * self.width), 1)
        self.sub_groups = min(room, sub_groups)
        self.instances = min(max(room // sub_groups, 1), instances)
        self.output_passes = math.ceil(layer.group_outputs / self.width)
        self.columns = self.output_passes * self.width
        self.k_passes = math.ceil(sub_groups / self.sub_groups)
        self.count = layer.group * math.ceil(instances / self.instances) * self.output_passes * self.k_passes
