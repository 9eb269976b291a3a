"""One convolution of a network alone: the model that holds only it, and what it is fed."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from drpass import model_io
from drpass.data import Batch, Data
from drpass.errors import DrpassError
from drpass.execution import open_session, run


def find_convolution(model: onnx.ModelProto, pattern: str) -> onnx.NodeProto:
    """The one Conv whose name matches. Raises DrpassError if there is none, or several."""
    found = [node for node in model.graph.node if node.op_type == "Conv" and fnmatch.fnmatchcase(node.name, pattern)]
    if len(found) != 1:
        names = ", ".join(node.name for node in found or model.graph.node if node.op_type == "Conv")
        raise DrpassError(
            f"{pattern!r} must match one Conv; {'it matches' if found else 'there are'} {names or 'none'}"
        )
    node: onnx.NodeProto = found[0]
    return node


def result_of(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    """The value of the convolution after the Relu that alone uses it: ONNX Runtime fuses both, and so does drpass."""
    uses = [other for other in model.graph.node if node.output[0] in other.input]
    outputs = {value.name for value in model.graph.output}
    fused = len(uses) == 1 and uses[0].op_type == "Relu" and node.output[0] not in outputs
    return str(uses[0].output[0] if fused else node.output[0])


def cut_layer(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.ModelProto:
    """A model of the convolution and its Relu."""
    return _extract(model, [node.input[0]], [result_of(model, node)])


def activations(model: onnx.ModelProto, node: onnx.NodeProto, data: Data) -> Data:
    """What the convolution is fed when the network runs on the data."""
    value = node.input[0]
    before = _extract(model, [entry.name for entry in model.graph.input], [value])
    session = open_session(before)

    def batches() -> Iterator[Batch]:
        for batch in data.batches():
            yield Batch({value: run(session, batch.feeds)[0]}, batch.labels, batch.names)

    return Data(data.n, f"inputs of {node.name} on {data.describe()}", data.has_labels, batches)


def _extract(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole.onnx"), Path(folder, "part.onnx")
        model_io.save(model, whole)
        onnx.utils.extract_model(str(whole), str(part), inputs, outputs)
        return onnx.load(part)
