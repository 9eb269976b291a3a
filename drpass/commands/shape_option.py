"""The option ``--shape NAME=1x3x224x224``, shared by the commands that plan."""

from __future__ import annotations

from collections.abc import Iterable

from drpass.errors import DrpassError

SHAPE_HELP = "Size of an input with symbolic dimensions, as in input=1x3x224x224. Repeatable."


def parse_shapes(entries: Iterable[str] | None) -> dict[str, tuple[int, ...]]:
    """``["x=1x3x8x8"]`` as ``{"x": (1, 3, 8, 8)}``; raises DrpassError for anything else."""
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in entries or ():
        name, separator, sizes = entry.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split("x"))
        except ValueError:
            separator = ""
        if not separator or not name:
            raise DrpassError(f"'{entry}' is no shape; write NAME=1x3x224x224")
    return shapes
