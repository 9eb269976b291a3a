"""Rewrite a model for deep reuse, with a report of what was done to every node and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from drpass import model_io, passes
from drpass.errors import DrpassError
from drpass.model_check import fault, require_valid
from drpass.operator.spec import METHODS, SCOPES, TABLE_TYPES, ReuseParameters
from drpass.passes import EXACT, Selection, Verdict
from drpass.shape_inference import infer_shapes

__all__ = ["ReuseParameters", "RewriteReport", "RewriteResult", "Verdict", "rewrite"]

#: In every report of a model that was changed.
UNCHECKED = "accuracy was NOT checked; compare both models on real data (drpass validate)"

#: Of the attribute memo_bytes.
LARGEST_MEMO = 1 << 36

#: What a model may be given as.
ModelLike = str | os.PathLike[str] | onnx.ModelProto | ir.Model


@dataclass(frozen=True)
class RewriteReport:
    """What was done: a verdict for every Conv, Gemm and MatMul in graph order, then LRN, then every pool in a chain."""

    verdicts: tuple[Verdict, ...]
    parameters: ReuseParameters
    #: What the user should know besides.
    notes: tuple[str, ...] = ()

    @property
    def replaced(self) -> int:
        """The number of nodes that were replaced."""
        return sum(verdict.replaced for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "parameters": self.parameters.attributes(),
            "replaced": self.replaced,
            "kept": len(self.verdicts) - self.replaced,
            "nodes": [verdict.to_dict() for verdict in self.verdicts],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class RewriteResult:
    """The rewritten model and the report. Where nothing was replaced the model is the original, unchanged."""

    model: ir.Model
    report: RewriteReport
    _proto: onnx.ModelProto = field(repr=False)

    def to_proto(self) -> onnx.ModelProto:
        """The rewritten model as a protobuf message (a copy)."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self._proto)
        return copy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rewritten model; raises DrpassError if that fails."""
        model_io.save(self._proto, path)


def rewrite(
    model: ModelLike,
    *,
    parameters: ReuseParameters | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    op_types: Iterable[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
    chains: bool = True,
    memo_bytes: int = 0,
) -> RewriteResult:
    """Replace Conv, Gemm and MatMul by DeepReuseGemm nodes that absorb what follows, and LRN by the library's own.

    ``model`` is not changed.

    Args:
        model: a path, a protobuf message or an IR model.
        parameters: the method for all replaced nodes. Without: the exact operator, for what is expected to gain by it.
        include: names or patterns; if given, only nodes that match one are replaced. An exact name also replaces a node
            that is not expected to become faster.
        exclude: names or patterns of nodes to keep.
        op_types: a subset of Conv, Gemm, MatMul and LRN to restrict the rewriting to.
        shapes: sizes of inputs with symbolic dimensions, by input name; used for the decisions only.
        chains: let replaced neighbours hand each other tensors in blocks of 16 channels, pools between them included.
        memo_bytes: memory in which a session keeps results of exact convolutions from call to call; pays on films.

    Raises:
        DrpassError: the model can't be read or is not valid ONNX, or an argument names something that is not there.
    """
    if parameters is not None:
        check_parameters(parameters)
    if not 0 <= memo_bytes <= LARGEST_MEMO:
        raise DrpassError(f"memo_bytes can't be {memo_bytes}; it must be in 0 to {LARGEST_MEMO}")
    proto, name = _message(model)
    require_valid(proto, name)
    strict_fault = fault(proto, strict=True)
    working = model_io.to_ir(proto, name)
    selection = Selection(tuple(include), tuple(exclude), tuple(op_types))
    certain = infer_shapes(working)
    example = infer_shapes(working, shapes) if shapes else certain
    done = passes.transform(
        working, example, selection, parameters, certain=certain, chains=chains, memo_bytes=memo_bytes
    )
    report = RewriteReport(tuple(done.verdicts), parameters or EXACT)
    if not report.replaced:
        return RewriteResult(model_io.to_ir(proto, name), report, proto)
    result = model_io.to_proto(working)
    if message := fault(result, strict=not strict_fault):
        raise AssertionError(f"the rewritten model is not valid: {message}")
    notes = [UNCHECKED]
    if done.blocked_values:
        notes.insert(0, f"values in NCHW16c, whose shapes differ from those in the original: {done.blocked_values}")
    if memo_bytes:
        notes.insert(0, f"nodes that keep results from call to call: {done.memos}, in up to {memo_bytes >> 20} MiB")
    if strict_fault:
        notes.append(f"the original does not pass strict shape inference, nor need the result ({strict_fault})")
    return RewriteResult(working, replace(report, notes=tuple(notes)), result)


def check_parameters(parameters: ReuseParameters) -> ReuseParameters:
    """The parameters, if they are in the ranges of docs/operator.md; else DrpassError says which is not."""
    ranges = {
        "method": parameters.method in METHODS,
        "scope": parameters.scope in SCOPES,
        "sub_vector_length": 1 <= parameters.sub_vector_length < 2**31,
        "step": 0.0 < parameters.step < float("inf"),
        "hash_bits": 1 <= parameters.hash_bits <= 64,
        "seed": -(2**63) <= parameters.seed < 2**63,
        "table_type": parameters.table_type in TABLE_TYPES,
        "max_remaining_ratio": 0.0 < parameters.max_remaining_ratio <= 1.0,
    }
    for name, valid in ranges.items():
        if not valid:
            raise DrpassError(f"{name} can't be {getattr(parameters, name)!r}; it must be {_RANGES[name]}")
    return parameters


_RANGES = {
    "method": "exact, lsh or grid",
    "scope": "image or batch",
    "sub_vector_length": "1 or more",
    "step": "a positive number (in units of the standard deviation of the input)",
    "hash_bits": "in 1 to 64",
    "seed": "a 64-bit integer",
    "table_type": "float or int16",
    "max_remaining_ratio": "in (0, 1]",
}


def _message(model: ModelLike) -> tuple[onnx.ModelProto, str]:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy, "the model"
    if isinstance(model, ir.Model):
        return model_io.to_proto(model), "the model"
    return model_io.load_proto(model), str(Path(model))
