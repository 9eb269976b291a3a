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
from drpass.model_size import Constants, Growth
from drpass.operator.spec import LARGEST_MEMO, ReuseParameters, check_parameters
from drpass.passes import EXACT, Selection, Verdict
from drpass.plan_file import Plan
from drpass.replay import annotate, plan_of, replaced_nodes, require_fit
from drpass.shape_inference import infer_shapes

__all__ = ["ReuseParameters", "RewriteReport", "RewriteResult", "Verdict", "rewrite"]

#: In every report of a model that was changed.
UNCHECKED = "accuracy was NOT checked; compare both models on real data (drpass validate)"

#: In the report of a model that was rewritten before and is not changed.
REWRITTEN = "the model is rewritten already and stays as it is (drpass restore takes that back)"

#: Before the names of MaxPool nodes whose padding `drpass.rules.pool_padding` keeps.
PADDING = "mended pools, which ONNX Runtime pads with minus infinity in the original though the model says zero"

#: In every report of a model that is saved with external data.
EXTERNAL = "the model is over 2 GB: its weights are in a data file beside it, keep both together"

#: What a model may be given as.
ModelLike = str | os.PathLike[str] | onnx.ModelProto | ir.Model


@dataclass(frozen=True)
class RewriteReport:
    """What was done: a verdict for every Conv, Gemm and MatMul in graph order, then LRN, then every pool in a chain."""

    verdicts: tuple[Verdict, ...]
    #: None: every node has its own, from a plan.
    parameters: ReuseParameters | None
    growth: Growth
    #: What the user should know besides.
    notes: tuple[str, ...] = ()

    @property
    def replaced(self) -> int:
        """The number of nodes that were replaced."""
        return sum(verdict.replaced for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "parameters": self.parameters.attributes() if self.parameters else None,
            "replaced": self.replaced,
            "kept": len(self.verdicts) - self.replaced,
            "nodes": [verdict.to_dict() for verdict in self.verdicts],
            "notes": list(self.notes),
            "constants": self.growth.to_dict(),
        }


@dataclass(frozen=True)
class RewriteResult:
    """The rewritten model and the report. Where nothing was replaced the model is the original, unchanged."""

    model: ir.Model
    report: RewriteReport
    #: None: the model is too large for a message.
    _proto: onnx.ModelProto | None = field(repr=False)
    _settings: Plan = field(repr=False)

    def plan(self) -> Plan:
        """The plan that says what was done: with it, `rewrite` makes the same bytes of the same original.

        Raises DrpassError if nodes of one name were not treated alike.
        """
        return self._settings if self.report.parameters is None else plan_of(self.report.verdicts, self._settings)

    def to_proto(self) -> onnx.ModelProto:
        """The rewritten model as a protobuf message (a copy). Raises DrpassError if it is over 2 GB."""
        if self._proto is None:
            return model_io.to_proto(self.model)
        copy = onnx.ModelProto()
        copy.CopyFrom(self._proto)
        return copy

    def changed(self, proto: onnx.ModelProto, note: str) -> RewriteResult:
        """The same with another model, and a note of what is other in it."""
        report = replace(self.report, notes=(note, *self.report.notes))
        return replace(self, model=model_io.to_ir(proto, "the model"), report=report, _proto=proto)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rewritten model, over 2 GB with its data beside it; raises DrpassError if that fails."""
        model_io.save(self.model if self._proto is None else self._proto, path)


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
    allow_tf32: bool = False,
    plan: Plan | None = None,
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
        allow_tf32: let all nodes round factors to TF32, for tensor cores of CUDA; the CPU computes as without.
        plan: a choice for every node; takes the place of all arguments but ``shapes``. Nodes that it does not name are
            kept, and nodes that it replaces carry what it knows about them (`drpass.replay`).

    Raises:
        DrpassError: the model can't be read or is not valid ONNX, an argument names something that is not there, or
            the plan does not fit the model.
    """
    selection = Selection(tuple(include), tuple(exclude), tuple(op_types))
    if plan is not None and (parameters or selection != Selection() or not chains or memo_bytes or allow_tf32):
        raise DrpassError(
            "a plan says everything: parameters, include, exclude, op_types, chains, memo and allow_tf32 can't be "
            "given with it"
        )
    if parameters is not None:
        check_parameters(parameters)
    settings = plan or Plan((), chains, memo_bytes, allow_tf32)
    if not 0 <= settings.memo_bytes <= LARGEST_MEMO:
        raise DrpassError(f"memo_bytes can't be {settings.memo_bytes}; it must be in 0 to {LARGEST_MEMO}")
    return _rewritten(model, selection, parameters, shapes or {}, settings, given=plan)


def _rewritten(
    model: ModelLike,
    selection: Selection,
    parameters: ReuseParameters | None,
    shapes: Mapping[str, Sequence[int]],
    settings: Plan,
    given: Plan | None,
) -> RewriteResult:
    """``settings`` are those of the plan, if one is ``given``, else the plan to be is filled with what is done."""
    proto, name = message_of(model)
    require_valid(proto, name)
    strict_fault = fault(proto, strict=True)
    working = model_io.to_ir(proto, name)
    earlier, size = replaced_nodes(working), Constants.of(working)
    if given is not None:
        annotate(working, given)
    certain = infer_shapes(working)
    done = passes.transform(
        working,
        infer_shapes(working, shapes) if shapes else certain,
        selection,
        given.assignment() if given else parameters,
        certain=certain,
        chains=settings.chains,
        memo_bytes=settings.memo_bytes,
        allow_tf32=settings.allow_tf32,
    )
    if given is not None:
        require_fit(given, done.verdicts, earlier)
    growth = Growth.between(size, Constants.of(working))
    report = RewriteReport(tuple(done.verdicts), None if given else parameters or EXACT, growth)
    if not report.replaced:
        report = replace(report, notes=(REWRITTEN,) if earlier else ())
        return RewriteResult(model_io.to_ir(proto, name), report, proto, settings)
    result = _message(working, strict=not strict_fault)
    external = (EXTERNAL,) if result is None else ()
    report = replace(report, notes=(*_notes(done, settings, strict_fault), *external))
    return RewriteResult(working, report, result, settings)


def _message(working: ir.Model, strict: bool) -> onnx.ModelProto | None:
    """The model as a message, or None if it is too large for one; in both cases it is checked."""
    result = None if model_io.is_large(working) else model_io.to_proto(working)
    if message := fault(model_io.outline(working) if result is None else result, strict=strict):
        raise AssertionError(f"the rewritten model is not valid: {message}")
    return result


def _notes(done: passes.Transformed, settings: Plan, strict_fault: str) -> tuple[str, ...]:
    notes = []
    if settings.memo_bytes:
        memory = f"in up to {settings.memo_bytes >> 20} MiB"
        notes.append(f"nodes that keep results from call to call: {done.memos}, {memory}")
    if settings.allow_tf32:
        notes.append("on CUDA all DeepReuseGemm may round factors to TF32 (allow_tf32)")
    if done.blocked_values:
        notes.append(f"values in NCHW16c, whose shapes differ from those in the original: {done.blocked_values}")
    if done.padded_pools:
        notes.append(f"{PADDING}: {', '.join(done.padded_pools)}")
    notes.append(UNCHECKED)
    if strict_fault:
        notes.append(f"the original does not pass strict shape inference, nor need the result ({strict_fault})")
    return tuple(notes)


def message_of(model: ModelLike) -> tuple[onnx.ModelProto, str]:
    """A copy of the model as a protobuf message, and what to call it in errors. Raises DrpassError."""
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy, "the model"
    if isinstance(model, ir.Model):
        return model_io.to_proto(model), "the model"
    return model_io.load_proto(model), str(Path(model))
