"""Which nodes, constants, inputs and outputs of two models differ."""

from drpass.difference.compare import diff
from drpass.difference.report import FieldChange, GraphDiff, NodeChange, NodeRef, ScopeDiff, Tensor, TensorChange
from drpass.difference.text import lines

__all__ = [
    "FieldChange",
    "GraphDiff",
    "NodeChange",
    "NodeRef",
    "ScopeDiff",
    "Tensor",
    "TensorChange",
    "diff",
    "lines",
]
