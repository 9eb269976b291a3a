"""ONNX files in and out, with the checks that untrusted input needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import external_data_helper

from drpass.errors import DrpassError
from drpass.files import atomic_output

#: A protobuf message can't be longer.
MAX_BYTES = 2**31 - 1


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read an ONNX file, with its external data.

    Domains that nobody knows are no error here: they matter only where ONNX Runtime must run the model.
    Raises DrpassError if the file is missing, is not ONNX, is damaged, or lacks its external data.
    """
    return to_ir(load_proto(path), str(path))


def load_proto(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """As `load`, but the protobuf message, which then holds its external data itself."""
    path = Path(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(_read(path))
    except (DecodeError, RecursionError) as error:
        raise DrpassError(f"{path} is not an ONNX file, or it is truncated (its protobuf can't be parsed)") from error
    if not model.ir_version or not model.HasField("graph") or not model.opset_import:
        raise DrpassError(f"{path} is not an ONNX model (it has no graph, IR version or opset)")
    tensors = list(_external_tensors(model))
    size = sum(_check_external(tensor, path) for tensor in tensors)
    if size > MAX_BYTES:
        raise DrpassError(f"{path} has {size / 1e9:.1f} GB of external data; over 2 GB is not supported yet")
    for tensor in tensors:
        _read_external(tensor, path)
    return model


def to_ir(proto: onnx.ModelProto, name: str) -> ir.Model:
    """The IR of a message whose tensors are all in it; ``name`` says in errors which model it is.

    Raises DrpassError if the graph contradicts itself or holds what the IR can't represent.
    """
    # What the IR can't represent would be lost without a word.
    if proto.graph.sparse_initializer:
        raise DrpassError(f"{name} has sparse initializers, which are not supported; make them dense")
    if proto.training_info:
        raise DrpassError(f"{name} has training information, which is not supported; export it for inference")
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    # Its warnings about undefined names would come beside the one line that onnx.checker's verdict makes.
    logger.setLevel(logging.ERROR)
    try:
        check_texts(proto)
        return ir.from_proto(proto)
    except Exception as error:  # onnx-ir wraps whatever a damaged graph makes it stumble over.
        raise DrpassError(f"{name} is not a valid ONNX model: {_innermost(error)}") from error
    finally:
        logger.setLevel(level)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The message of a model. Raises DrpassError if a tensor can't be read or the model is over 2 GB."""
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size > MAX_BYTES:
        raise DrpassError(f"the model has {size / 1e9:.1f} GB; models over 2 GB are not supported yet")
    try:
        proto = ir.to_proto(model)
    except (OSError, ValueError, EncodeError, ir.serde.SerdeError) as error:
        raise DrpassError(f"the model's tensors can't be read: {_innermost(error)}") from error
    for graph in graphs_of(proto):
        _drop_initializer_infos(graph)
    return proto


def save(model: ir.Model | onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a model as one file that appears only when complete.

    Raises DrpassError if the model is over 2 GB or the file can't be written.
    """
    proto = to_proto(model) if isinstance(model, ir.Model) else model
    try:
        data = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise DrpassError("the model is over 2 GB, which is not supported yet") from error
    with atomic_output(Path(path)) as temporary:
        temporary.write_bytes(data)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DrpassError(f"{path} is a folder; give an ONNX file (drpass export makes one of a SavedModel)")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
    if not data:
        raise DrpassError(f"{path} is empty")
    return data


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and all subgraphs, those in functions too."""
    pending = [model.graph]
    for function in model.functions:
        pending.extend(_bodies(function.node))
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(_bodies(graph.node))


def check_texts(message: Message) -> None:
    """Raise ValueError for text that is not UTF-8: protobuf hands it out as bytes, which nothing here expects."""
    for field, value in message.ListFields():
        repeated = not isinstance(value, (str, bytes, Message))
        if field.type == FieldDescriptor.TYPE_STRING:
            if any(isinstance(text, bytes) for text in (value if repeated else (value,))):
                raise ValueError(f"{field.name} holds text that is not UTF-8")
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if repeated else (value,):
                check_texts(part)


def _bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _drop_initializer_infos(graph: onnx.GraphProto) -> None:
    """onnx-ir writes value info for initializers too, which only repeats what the tensors say."""
    initializers = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.value_info if info.name not in initializers]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = list(graphs_of(model))
    for graph in graphs:
        yield from filter(external_data_helper.uses_external_data, graph.initializer)
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in model.functions)):
        for attribute in (attribute for node in nodes for attribute in node.attribute):
            held = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            yield from filter(external_data_helper.uses_external_data, held)


def _check_external(tensor: onnx.TensorProto, path: Path) -> int:
    """The bytes of external data that the tensor says it has, after checking that they are there."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or folder not in file.parents:
        raise DrpassError(f"{path}: the external data of '{tensor.name}' lies outside the model's folder ({location})")
    if not file.is_file():
        raise DrpassError(f"{path} needs its external data {location}; put that file beside it")
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        raise DrpassError(f"{path}: the external data of '{tensor.name}' has no valid offset and length") from error
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        raise DrpassError(f"{path}: its external data {location} is truncated ('{tensor.name}' lies beyond its end)")
    return length or file.stat().st_size - offset


def _read_external(tensor: onnx.TensorProto, path: Path) -> None:
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except Exception as error:  # Among others a checker error for links and for names that point elsewhere.
        raise DrpassError(f"{path}: the external data of '{tensor.name}' can't be read: {_innermost(error)}") from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
