"""Tensors outside the model's file (ONNX, *External Data*): checked, mapped into memory, written beside the model.

A message holds its external data itself as long as it can be one file. Beyond that the large initializers of the main
graph stay where they are: the message names their files by absolute path, and the IR has views of these files.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import external_data_helper

from drpass.errors import DrpassError
from drpass.message import graphs_of, one_line

#: A protobuf message can't be longer than 2 GiB; this much of tensors leaves room for the graph.
LARGEST_MESSAGE = 2**31 - 2**26
#: Smaller tensors are always in the message: shapes among them must be at hand.
SMALL = 1024
#: Pages of memory: a tensor that begins with one can be mapped.
_ALIGNMENT = 4096
#: Key of the mapped files in ``meta`` of a model.
_SOURCES = "drpass.sources"

# Files that `attach` has checked. Any other absolute path in a message is not to be trusted.
_checked: set[str] = set()


class Piece(NamedTuple):
    """A tensor and where it begins in the data file, in bytes."""

    tensor: ir.TensorProtocol
    offset: int


class _Region(NamedTuple):
    file: Path
    offset: int
    length: int


def attach(model: onnx.ModelProto, path: Path, message_bytes: int) -> None:
    """Give a message of ``message_bytes``, read from ``path``, its external data: all, or what must be in it.

    Raises DrpassError if data is missing, truncated, or outside the folder of ``path``.
    """
    regions = [(tensor, in_main, _check(tensor, path)) for tensor, in_main in _external_tensors(model)]
    all_fits = message_bytes + sum(region.length for *_, region in regions) <= LARGEST_MESSAGE
    read = 0
    for tensor, in_main, region in regions:
        if in_main and region.length > SMALL and not all_fits:
            _refer(tensor, str(region.file), region.offset, region.length)
            _checked.add(str(region.file))
            continue
        read += region.length
        if read > LARGEST_MESSAGE:
            raise DrpassError(f"{path} has over 2 GB in attributes and subgraphs, where it can't be external")
        _read(tensor, region)


def held_bytes(tensor: onnx.TensorProto) -> int:
    """The bytes of a tensor's raw data, wherever it is. Raises ValueError for nonsense."""
    if external_data_helper.uses_external_data(tensor):
        return int(_entries(tensor).get("length") or 0)
    return len(tensor.raw_data)


def check_references(model: onnx.ModelProto, name: str) -> bool:
    """Whether the message refers to external data. Raises DrpassError if not all of it was checked by `attach`."""
    locations = [_entries(tensor).get("location", "") for tensor, _ in _external_tensors(model)]
    if not _checked.issuperset(locations):
        raise DrpassError(f"{name} is a message without its external data; give the path of its file instead")
    return bool(locations)


def map_initializers(model: ir.Model) -> None:
    """Replace the external tensors of the main graph by views of their files, which take no memory until read.

    Raises ValueError or OSError if a file is not what it was.
    """
    files: dict[str, npt.NDArray[np.uint8]] = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            file = os.fspath(tensor.location)
            if file not in files:
                files[file] = np.memmap(file, np.uint8, "r")
            value.const_value = _view(files[file], tensor)
    model.meta[_SOURCES] = tuple(files)


def forget(data: object) -> None:
    """Let the pages of a mapped array leave memory; they are read again when needed. Nothing happens to other data."""
    while isinstance(data, np.ndarray):
        data = data.base
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED)


def is_large(model: ir.Model) -> bool:
    """Whether the tensors of a model are too large for one file."""
    return sum(tensor.nbytes for tensor in _initializers(model)) > LARGEST_MESSAGE


def data_path(model: ir.Model, path: Path) -> Path:
    """Where the data of a model goes that is saved as ``path``: beside it, and never over what the model is read from.

    Raises DrpassError if ``path`` itself is such a file.
    """
    sources = {Path(source).resolve() for source in model.meta.get(_SOURCES, ())}
    if path.resolve() in sources:
        raise DrpassError(f"{path} holds the weights of the model; choose another output")
    chosen, number = path.with_name(f"{path.name}.data"), 1
    while chosen.resolve() in sources:
        number += 1
        chosen = path.with_name(f"{path.name}.{number}.data")
    return chosen


def place(model: ir.Model, location: str) -> tuple[dict[ir.Value, ir.ExternalTensor], list[Piece]]:
    """Lay out the large initializers of the main graph in a file called ``location``.

    Returns the reference that takes the place of each, and what the file has to hold. Tensors that are the same bytes
    of the same file are in it once.
    """
    references: dict[ir.Value, ir.ExternalTensor] = {}
    pieces: dict[object, Piece] = {}
    end = 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes <= SMALL:
            continue
        key = _identity(tensor)
        if key not in pieces:
            pieces[key] = Piece(tensor, -(-end // _ALIGNMENT) * _ALIGNMENT)
            end = pieces[key].offset + tensor.nbytes
        references[value] = ir.ExternalTensor(
            location,
            pieces[key].offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or value.name or "",
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props) or None,
        )
    return references, list(pieces.values())


def write(pieces: Iterable[Piece], path: Path) -> None:
    """Write the data file, one tensor in memory at a time. Raises ValueError if a tensor is not what it says."""
    with open(path, "wb") as file:
        for tensor, offset in pieces:
            file.seek(offset)
            tensor.tofile(file)  # type: ignore[attr-defined]  # All tensors of onnx-ir have it.
            if file.tell() != offset + tensor.nbytes:
                raise ValueError(f"'{tensor.name}' has not the size that its shape needs")
            forget(getattr(tensor, "raw", None))


def relative_to_folder(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str | None]:
    """The message as ONNX Runtime takes it: files named relative to one folder, and that folder; None if there is none.

    ``model`` is not changed.
    """
    if not check_references(model, "the model"):
        return model, None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = [tensor for tensor, _ in _external_tensors(copy)]
    folder = os.path.commonpath([os.path.dirname(_entries(tensor)["location"]) for tensor in tensors])
    for tensor in tensors:
        entries = _entries(tensor)
        location = os.path.relpath(entries["location"], folder)
        _refer(tensor, location, int(entries["offset"]), int(entries["length"]))
    return copy, folder


def _external_tensors(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, bool]]:
    """All external tensors, and whether each is an initializer of the main graph."""
    external = external_data_helper.uses_external_data
    graphs = list(graphs_of(model))
    for index, graph in enumerate(graphs):
        yield from ((tensor, index == 0) for tensor in graph.initializer if external(tensor))
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in model.functions)):
        for attribute in (attribute for node in nodes for attribute in node.attribute):
            held = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            yield from ((tensor, False) for tensor in held if external(tensor))


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _check(tensor: onnx.TensorProto, path: Path) -> _Region:
    """Where the data is, after checking that it is there."""
    entries, name = _entries(tensor), one_line(tensor.name)
    location = entries.get("location", "")
    shown, folder = one_line(location), path.parent.resolve()
    try:
        file = (folder / location).resolve()
        size = file.stat().st_size if file.is_file() else None
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise DrpassError(f"{path}: the external data of '{name}' has no valid location ({shown})") from error
    if not location or folder not in file.parents:
        raise DrpassError(f"{path}: the external data of '{name}' lies outside the model's folder ({shown})")
    if size is None:
        raise DrpassError(f"{path} needs its external data {shown}; put that file beside it")
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        raise DrpassError(f"{path}: the external data of '{name}' has no valid offset and length") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise DrpassError(f"{path}: its external data {shown} is truncated ('{name}' lies beyond its end)")
    return _Region(file, offset, length or size - offset)


def _read(tensor: onnx.TensorProto, region: _Region) -> None:
    try:
        with open(region.file, "rb") as file:
            file.seek(region.offset)
            tensor.raw_data = file.read(region.length)
    except OSError as error:
        raise DrpassError(f"can't read {region.file}: {error.strerror or error}") from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _view(file: npt.NDArray[np.uint8], tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    start = tensor.offset or 0
    data = np.asarray(file[start : start + tensor.nbytes])
    if data.size != tensor.nbytes:
        raise ValueError(f"the external data of '{tensor.name}' lies beyond the end of its file")
    if tensor.dtype.bitwidth < 8:
        made: ir.TensorProtocol = ir.PackedTensor(data, tensor.dtype, shape=tensor.shape, name=tensor.name)
    else:
        made = ir.Tensor(data.view(tensor.dtype.numpy()).reshape(tensor.shape.numpy()), tensor.dtype, name=tensor.name)
    made.doc_string = tensor.doc_string
    made.metadata_props.update(tensor.metadata_props)
    return made


def _initializers(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)


def _identity(tensor: ir.TensorProtocol) -> object:
    """Equal for views of the same bytes."""
    raw = getattr(tensor, "raw", None)
    if isinstance(raw, np.ndarray) and raw.flags.c_contiguous:
        return raw.__array_interface__["data"][0], tensor.nbytes
    return id(tensor)
