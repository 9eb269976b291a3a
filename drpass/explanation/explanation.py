"""The answer, and the parts of it that originals and rewritten models share."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from drpass.operator.spec import ReuseParameters
from drpass.passes.places import label


@dataclass(frozen=True)
class Explanation:
    """Sentences for people: ``facts`` say what the node does, ``reasons`` why, ``changes`` what would change it."""

    title: str
    facts: tuple[str, ...]
    reasons: tuple[str, ...]
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def title_of(node: ir.Node, graph: str) -> str:
    """``conv1: Conv``, with the graph where that is not the main one."""
    return f"{label(node)}: {node.op_type}" + (f", in {graph}" if graph else "")


def quoted(node: ir.Node) -> str:
    """Its name, for a command line."""
    return shlex.quote(label(node))


_MEASURED = {
    "dense_ms": "the original's node takes {:.3g} ms",
    "ms": "what became of it takes {:.3g} ms",
    "error": "relative rms error of its result {:.2g}",
    "effect": "its expected share of the relative rms error of the model's outputs {:.2g}",
    "remaining_ratio": "r_c {:.3g} (median over the sub-vector groups)",
}


def describe_measured(measured: Mapping[str, Any]) -> Iterator[str]:
    """What a plan says was measured, as one sentence; nothing where nothing was."""
    parts = []
    for key, value in measured.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        parts.append(_MEASURED[key].format(value) if key in _MEASURED and is_number else f"{key} {value}")
    if parts:
        yield f"Measured when the plan was made: {', '.join(parts)}."


def ways_to_less_error(parameters: ReuseParameters) -> Iterator[str]:
    """What each parameter of a clustered node trades."""
    if parameters.method == "grid":
        yield "A smaller step: smaller error, more clusters, so more time, and sooner over the guard's limit."
    else:
        yield "More hash bits (H): smaller error, more clusters; hashing takes longer in any case."
    yield "A smaller L: fewer clusters in each sub-vector group, but more groups to hash and to add."
    yield "A smaller max_remaining_ratio: groups with little reuse are computed densely sooner, exactly."
    if parameters.scope == "image":
        yield "scope = batch: clusters are shared by all images of a call, and the result depends on the batch."
    if parameters.table_type == "int16":
        yield "table_type = float: without the rounding of the tables, and slower."
    yield "method = exact: no error."
