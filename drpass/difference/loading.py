"""Models as the comparison takes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from drpass import model_io
from drpass.errors import DrpassError

Model = str | os.PathLike[str] | onnx.ModelProto | ir.Model


def title(model: Model) -> str:
    """The path, or the name of the graph where there is no path."""
    if isinstance(model, (str, os.PathLike)):
        return str(Path(model))
    return model.graph.name or "model"


def load(model: Model, name: str) -> ir.Model:
    """The IR of a model; ``name`` says in errors which it is if it has no path. Raises DrpassError if it is damaged."""
    if isinstance(model, ir.Model):
        return model
    if isinstance(model, onnx.ModelProto):
        loaded = model_io.to_ir(model, name)
    else:
        loaded, name = model_io.load(model), title(model)
    # Protobuf hands over a text that is not UTF-8 as bytes, and these can neither be shown nor sorted among texts.
    if any(isinstance(text, bytes) for text in _texts(loaded)):
        raise DrpassError(f"{name} has names that are not UTF-8, so it is damaged")
    return loaded


def _texts(model: ir.Model) -> Iterator[object]:
    yield from (model.producer_name, model.producer_version, model.domain, model.doc_string)
    yield from (*model.opset_imports, *model.metadata_props.keys(), *model.metadata_props.values())
    for function in model.functions.values():
        yield from (*function.identifier(), *function.opset_imports)
    bodies: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
    for body in bodies:
        yield from (body.name, body.doc_string, *body.metadata_props.keys(), *body.metadata_props.values())
        yield from (value.name for value in (*body.inputs, *body.outputs))
        for node in body:
            yield from (node.name, node.op_type, node.domain, node.overload, node.doc_string, *node.attributes)
            yield from (*node.metadata_props.keys(), *node.metadata_props.values())
            yield from (value.name for value in (*node.inputs, *node.outputs) if value is not None)
    for graph in model.graphs():
        yield from graph.initializers
