"""Models as the comparison takes them."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import onnx_ir as ir

from drpass import model_io

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
        return model_io.to_ir(model, name)
    return model_io.load(model)
