"""ONNX files in and out, with the checks that untrusted input needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError

from drpass import external_data
from drpass.errors import DrpassError
from drpass.files import atomic_output
from drpass.message import check_texts, graphs_of, innermost
from drpass.order import put_in_order

__all__ = ["check_texts", "graphs_of", "is_large", "load", "load_proto", "outline", "save", "to_ir", "to_proto"]


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read an ONNX file, with its external data.

    Domains that nobody knows are no error here: they matter only where ONNX Runtime must run the model.
    Raises DrpassError if the file is missing, is not ONNX, is damaged, or lacks its external data.
    """
    return to_ir(load_proto(path), str(path))


def load_proto(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """As `load`, but the protobuf message. It holds its external data itself, unless that makes it too large: then it
    refers to it by absolute path, which `to_ir` and `drpass.execution` understand.
    """
    path = Path(path)
    model = onnx.ModelProto()
    data = _read(path)
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise DrpassError(f"{path} is not an ONNX file, or it is truncated (its protobuf can't be parsed)") from error
    if not model.ir_version or not model.HasField("graph") or not model.opset_import:
        raise DrpassError(f"{path} is not an ONNX model (it has no graph, IR version or opset)")
    put_in_order(model)
    external_data.attach(model, path, len(data))
    return model


def to_ir(proto: onnx.ModelProto, name: str) -> ir.Model:
    """The IR of a message; ``name`` says in errors which model it is.

    Raises DrpassError if the graph contradicts itself or holds what the IR can't represent, or if the message refers
    to external data and is not from `load_proto`.
    """
    # What the IR can't represent would be lost without a word.
    if proto.graph.sparse_initializer:
        raise DrpassError(f"{name} has sparse initializers, which are not supported; make them dense")
    if proto.training_info:
        raise DrpassError(f"{name} has training information, which is not supported; export it for inference")
    external_data.check_references(proto, name)
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    # Its warnings about undefined names would come beside the one line that onnx.checker's verdict makes.
    logger.setLevel(logging.ERROR)
    try:
        check_texts(proto)
        model = ir.from_proto(proto)
        external_data.map_initializers(model)
    except Exception as error:  # onnx-ir wraps whatever a damaged graph makes it stumble over.
        raise DrpassError(f"{name} is not a valid ONNX model: {innermost(error)}") from error
    finally:
        logger.setLevel(level)
    return model


def is_large(model: ir.Model) -> bool:
    """Whether the model can't be one message: it is saved with external data, and has no `to_proto`."""
    return external_data.is_large(model)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The message of a model. Raises DrpassError if a tensor can't be read or the model is over 2 GB."""
    if is_large(model):
        raise DrpassError("the model has over 2 GB, which no message can hold; save it and give its path")
    with _readable_tensors():
        proto = ir.to_proto(model)
    for graph in graphs_of(proto):
        _drop_initializer_infos(graph)
    return proto


def outline(model: ir.Model) -> onnx.ModelProto:
    """A message to check, not to save: its large initializers are external, in a file that is not there."""
    return _outlined(model, "nowhere")[0]


def save(model: ir.Model | onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a model as one file that appears only when complete; over 2 GB with one data file beside it.

    Raises DrpassError if a tensor can't be read or a file can't be written.
    """
    path = Path(path)
    if isinstance(model, onnx.ModelProto) and external_data.check_references(model, "the model"):
        model = to_ir(model, "the model")
    if isinstance(model, ir.Model) and is_large(model):
        _save_large(model, path)
        return
    data = _serialized(to_proto(model) if isinstance(model, ir.Model) else model)
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)


def _save_large(model: ir.Model, path: Path) -> None:
    target = external_data.data_path(model, path)
    proto, pieces = _outlined(model, target.name)
    data = _serialized(proto)
    fresh = not target.exists()
    try:
        with atomic_output(path) as file, atomic_output(target) as data_file:
            with _readable_tensors():
                external_data.write(pieces, data_file)
            file.write_bytes(data)
    except BaseException:
        # The data file is moved first: it must not stay without the model.
        if fresh and not (path.is_file() and path.read_bytes() == data):
            target.unlink(missing_ok=True)
        raise


def _outlined(model: ir.Model, location: str) -> tuple[onnx.ModelProto, list[external_data.Piece]]:
    """The message whose large initializers lie in the file ``location``, and what that file must hold."""
    references, pieces = external_data.place(model, location)
    tensors = {value: value.const_value for value in references}
    try:
        for value, reference in references.items():
            value.const_value = reference
        with _readable_tensors():
            proto = ir.to_proto(model)
    finally:
        for value, tensor in tensors.items():
            value.const_value = tensor
    for graph in graphs_of(proto):
        _drop_initializer_infos(graph)
    return proto, pieces


@contextmanager
def _readable_tensors() -> Iterator[None]:
    """What a tensor of the model raises, while it is read, is the model's fault."""
    try:
        yield
    except (ValueError, EncodeError, ir.serde.SerdeError) as error:
        raise DrpassError(f"the model's tensors can't be read: {innermost(error)}") from error


def _serialized(proto: onnx.ModelProto) -> bytes:
    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise DrpassError("the model has over 2 GB outside the initializers of its main graph") from error


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DrpassError(f"{path} is a folder; give an ONNX file (drpass export makes one of a SavedModel)")
    try:
        if path.stat().st_size >= 2**31:
            raise DrpassError(f"{path} is over 2 GB, which no message can be; save it with external data")
        data = path.read_bytes()
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
    if not data:
        raise DrpassError(f"{path} is empty")
    return data


def _drop_initializer_infos(graph: onnx.GraphProto) -> None:
    """onnx-ir writes value info for initializers too, which only repeats what the tensors say."""
    initializers = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.value_info if info.name not in initializers]
    del graph.value_info[:]
    graph.value_info.extend(kept)
