"""Runs the original and the rewritten model on the same inputs and compares what comes out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from drpass import console, model_io
from drpass.data import Batch, DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import Model, Provider, check_same_interface, open_session, run
from drpass.operator.packing import unblock
from drpass.operator.spec import BLOCKED
from drpass.passes.places import is_reuse
from drpass.ranking import are_scores
from drpass.tensors import Array, Feeds, interface_of
from drpass.validation.classes import ClassMeter
from drpass.validation.errors import ErrorMeter
from drpass.validation.reference import Reference
from drpass.validation.report import LayerResult, OutputResult, Thresholds, ValidationReport, find_failures

#: Takes a batch, and by name the outputs of the original and of the rewritten model.
Observer = Callable[[Batch, Feeds, Feeds], None]


def validate(
    original: Model | Reference,
    rewritten: Model,
    data: DataSource = None,
    *,
    layers: bool = False,
    thresholds: Thresholds | None = None,
    peak: float | None = None,
    provider: Provider = "cpu",
    threads: int | None = None,
    show_progress: bool = False,
    observe: Observer | None = None,
) -> ValidationReport:
    """Compare two models on the same inputs, sample by sample.

    The original runs on the CPU with all of ONNX Runtime's optimisations, the rewritten model on ``provider``. Given as
    a Reference, which has its own ``threads``, it does not run again on inputs whose outputs that has kept.
    ``data``: Data, a path (see open_data), or a function from the inputs to Data. ``layers``: also compare the value
    after every DeepReuseGemm node of the main graph. ``peak``: of the signal, for PSNR, in the unit of the outputs
    (None: the range of the original's output). ``observe``: is called with every batch and the outputs of both. Raises
    DrpassError if a model or the data can't be used, or if the models differ in the names or types of inputs or
    outputs.
    """
    if peak is not None and not peak > 0:
        raise DrpassError(f"the peak must be above 0, not {peak:g}")
    left = original if isinstance(original, Reference) else Reference(original, threads)
    values = _replaced_values(left.model, rewritten) if layers else {}
    if values:
        left, rewritten = Reference(_exposing(left.model, values), threads), _exposing(rewritten, values)
    right = open_session(rewritten, provider, threads)
    check_same_interface(left.interface, interface_of(right))
    source = as_data(data, left.interface.inputs)
    limits = thresholds or Thresholds()
    if limits.max_accuracy_loss is not None and not source.has_labels:
        raise DrpassError(f"a limit on the accuracy loss needs labels, but the data is {source.describe()}")
    names = [spec.name for spec in left.interface.outputs]
    comparison = _Comparison(names, peak, {name for name, layer in values.items() if layer.blocked})
    bar = console.progress("Validating", source.n) if show_progress else nullcontext(lambda _: None)
    with bar as advance:
        for batch in source.batches():
            reference, result = left.outputs(batch.feeds), run(right, batch.feeds, names)
            comparison.add(batch, reference, result)
            if observe is not None:
                observe(batch, dict(zip(names, reference)), dict(zip(names, result)))
            advance(batch.samples)
    left.close()
    added = {value for value, layer in values.items() if not layer.is_output}
    outputs = [comparison.output(name) for name in names if name not in added]
    per_layer = [LayerResult(layer.node, value, comparison.output(value).errors) for value, layer in values.items()]
    return ValidationReport(source.describe(), source.n, outputs, per_layer, find_failures(outputs, limits))


@dataclass(frozen=True)
class _Layer:
    """A value that a DeepReuseGemm gives."""

    node: str
    is_output: bool
    #: It is in NCHW16c.
    blocked: bool


class _Comparison:
    """The meters of every output."""

    def __init__(self, names: list[str], peak: float | None, blocked: set[str]) -> None:
        self._blocked = blocked
        self._errors = {name: ErrorMeter(name, peak) for name in names}
        self._classes: dict[str, ClassMeter] = {}

    def add(self, batch: Batch, reference: list[Array], result: list[Array]) -> None:
        for (name, meter), left, right in zip(self._errors.items(), reference, result):
            if name in self._blocked and left.ndim > 1:
                right = unblock(right, left.shape[1])
            meter.add(left, right)
            if are_scores(left, batch.samples):
                self._classes.setdefault(name, ClassMeter(name)).add(left, right, batch.labels)

    def output(self, name: str) -> OutputResult:
        classes = self._classes[name].figures() if name in self._classes else None
        return OutputResult(name, self._errors[name].figures(), classes)


def _replaced_values(original: Model, rewritten: Model) -> dict[str, _Layer]:
    """Values of the main graphs of both models that a DeepReuseGemm gives, by name."""
    left, right = _proto(original), _proto(rewritten)
    produced = {name for node in left.graph.node for name in node.output if name}
    outputs = {value.name for value in right.graph.output}
    return {
        node.output[0]: _Layer(node.name or node.output[0], node.output[0] in outputs, _writes_blocks(node))
        for node in right.graph.node
        if is_reuse(node) and node.output and node.output[0] in produced
    }


def _writes_blocks(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "y_layout" and attribute.s == BLOCKED.encode() for attribute in node.attribute)


def _exposing(model: Model, values: dict[str, _Layer]) -> onnx.ModelProto:
    """A copy in memory with these values as more outputs."""
    proto = _proto(model)
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name)  # ONNX Runtime knows its type
        for name, layer in values.items()
        if not layer.is_output
    )
    return proto


def _proto(model: Model) -> onnx.ModelProto:
    if isinstance(model, ir.Model):
        return model_io.to_proto(model)
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    return model_io.load_proto(model)
