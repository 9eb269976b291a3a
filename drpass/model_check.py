"""Is a model sound: onnx.checker and shape inference, with the schema of DeepReuseGemm known to both."""

from __future__ import annotations

import math
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import Message

from drpass.errors import DrpassError
from drpass.external_data import SMALL, held_bytes
from drpass.message import check_texts, graphs_of
from drpass.operator import schema

_LONGEST = 200


def require_valid(model: onnx.ModelProto, name: str) -> None:
    """Raise DrpassError if onnx.checker refuses the model; ``name`` says which it is."""
    if message := fault(model, strict=False):
        raise DrpassError(f"{name} is not a valid ONNX model: {message}")


def fault(model: onnx.ModelProto, *, strict: bool) -> str:
    """What is wrong with a model in one line; empty if nothing is.

    ``strict`` asks for shape inference that agrees with every declared shape, and for a schema of every operator, those
    of custom domains too. Otherwise it is enough that the graph is well formed.
    """
    schema.register()
    try:
        model = without_large_initializers(model)
        check_texts(model)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict, data_prop=True)
        # With custom domains the checker asks for schemas of the model's own functions too, which have none.
        custom = strict and not model.functions
        if not strict:
            _fill_in_shapes(inferred)
        onnx.checker.check_model(inferred, full_check=strict, check_custom_domain=custom)
    except Exception as error:  # The checker raises a handful of types, for damaged models also decoding errors.
        message = " ".join(str(error).split()) or type(error).__name__
        return message if len(message) <= _LONGEST else message[: _LONGEST - 3] + "..."
    return ""


def without_large_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large initializers are inputs of the same type and shape: as much to check, but quick to copy.

    Small ones stay, because shapes are inferred from their values. Below IR version 4 initializers are inputs already.
    """
    light = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(light, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy_field(light.graph, field.name, value)
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if held_bytes(tensor) <= SMALL:
            light.graph.initializer.append(tensor)
            continue
        _check_size(tensor)
        if tensor.name not in inputs:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(info)
    return light


def _check_size(tensor: onnx.TensorProto) -> None:
    needed = math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth / 8
    shape, held = list(tensor.dims), held_bytes(tensor)
    if min(shape, default=1) < 0 or held != math.ceil(needed):
        raise ValueError(f"initializer '{tensor.name}' has {held} bytes, which is not what its shape {shape} needs")


def _copy_field(message: Message, name: str, value: Any) -> None:
    target = getattr(message, name)
    if isinstance(value, Message):
        target.CopyFrom(value)
    elif isinstance(value, (str, bytes, int, float)):
        setattr(message, name, value)
    else:
        target.extend(value)


def _fill_in_shapes(model: onnx.ModelProto) -> None:
    """The checker refuses inputs and outputs of unknown rank, which ONNX Runtime takes."""
    for graph in graphs_of(model):
        for value in (*graph.input, *graph.output):
            if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
                value.type.tensor_type.shape.SetInParent()
