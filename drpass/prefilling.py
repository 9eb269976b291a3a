"""Windows of calibration data in a rewritten model, so that its memos begin warm (docs/operator.md, *The memo*)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from drpass import console
from drpass.console import size_text
from drpass.data import Data, DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.operator.packing import PANEL, block
from drpass.operator.spec import BLOCKED, DOMAIN, MEMO_WINDOWS, TAKEN_MEMO, A, W, X
from drpass.passes.gain import served_by_winograd
from drpass.passes.places import is_reuse
from drpass.rewriting import RewriteResult
from drpass.tensors import Array, input_specs

#: Outputs of a tile in each of two axes.
_TILE = 4
#: Of packed weights: [group, P, T, Cg, 16].
_PACKED_AXES = 5
#: A message of ONNX can't be larger.
_LARGEST_MESSAGE = 2**31 - 1

#: Of a tile: [blocks, n, n, 16].
_Window = npt.NDArray[np.float32]


def prefill(result: RewriteResult, data: DataSource, limit: int) -> RewriteResult:
    """Store the windows that recur most in ``data`` in the nodes that have a memo, in at most ``limit`` bytes.

    A session computes their results when it is created; they change no output. Of all windows that occur at least twice
    those come first that spare most work for their size. The work of a tile is in proportion to the size of its window
    and to the node's output channels, so the order is that of occurrences times channels. A note of the report says
    what was stored. Nodes in subgraphs, and those of float16, stay cold.

    Raises DrpassError if no node has a memo, memos or model are too large, or the data can't be used.
    """
    proto = result.to_proto()
    nodes = _nodes(proto)
    if not nodes:
        raise DrpassError("no node of the model keeps results from call to call (--memo), so none can be prefilled")
    if sum(node.memo_bytes for node in nodes) > TAKEN_MEMO:
        raise DrpassError(f"only memos of at most {TAKEN_MEMO >> 20} MiB together can be prefilled; make them smaller")
    session = open_session(_recording(proto, nodes))
    source = as_data(data, input_specs(session))
    tiles = sum(node.count(x) for node, x in _inputs(session, source, nodes, "counting windows"))
    if not tiles:
        raise DrpassError(f"the images of {source.describe()} are too small for a tile; give larger ones")
    _choose(nodes, limit)
    for node, x in _inputs(session, source, nodes, "collecting windows"):
        node.collect(x)
    return _with_windows(result, proto, nodes, source, tiles)


@dataclass
class _Node:
    """A node of the main graph with a memo.

    ``x``: name of its input; ``kernel``, ``pad``: edge of the kernel, and rows and columns before the image;
    ``inputs``, ``outputs``: channels; ``counts``: how often windows occur, by digest; ``chosen``: digests of those to
    store, the most useful first; ``found``: these windows.
    """

    proto: onnx.NodeProto
    x: str
    blocked: bool
    kernel: int
    pad: tuple[int, int]
    inputs: int
    outputs: int
    memo_bytes: int
    counts: Counter[bytes] = field(default_factory=Counter)
    chosen: list[bytes] = field(default_factory=list)
    found: dict[bytes, _Window] = field(default_factory=dict)

    @property
    def window_bytes(self) -> int:
        n = self.kernel + _TILE - 1
        return -(-self.inputs // PANEL) * n * n * PANEL * 4

    @property
    def capacity(self) -> int:
        """Results that the memo has room for, about."""
        return self.memo_bytes // (-(-self.outputs // PANEL) * PANEL * _TILE**2 * 4)

    def count(self, x: Array) -> int:
        """Count the windows of an input; returns their number."""
        tiles = 0
        for row in _windows(x if self.blocked else block(x), self.kernel, self.pad):
            self.counts.update(map(_digest, row))
            tiles += len(row)
        return tiles

    def collect(self, x: Array) -> None:
        """Keep what is chosen."""
        wanted = set(self.chosen) - self.found.keys()
        if not wanted:
            return
        for row in _windows(x if self.blocked else block(x), self.kernel, self.pad):
            for window in row:
                digest = _digest(window)
                if digest in wanted:
                    self.found.setdefault(digest, window.copy())

    def stored(self) -> list[_Window]:
        """The most useful last: a session keeps those longest."""
        return [self.found[digest] for digest in reversed(self.chosen) if digest in self.found]


def _nodes(model: onnx.ModelProto) -> list[_Node]:
    weights = {item.name: item.dims for item in model.graph.initializer if item.data_type == TensorProto.FLOAT}
    nodes = []
    for node in model.graph.node:
        values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        packed: Sequence[int] = weights.get(node.input[W], ()) if len(node.input) > W else ()
        if not _can_begin_warm(node, values) or len(packed) != _PACKED_AXES:
            continue
        kernel, blocked = values["kernel_shape"][0], values.get("x_layout") == BLOCKED.encode()
        inputs, outputs, memo = packed[3], values["output_channels"], values["memo_bytes"]
        nodes.append(_Node(node, node.input[X], blocked, kernel, _pad(values), inputs, outputs, memo))
    return nodes


def _can_begin_warm(node: onnx.NodeProto, values: Mapping[str, Any]) -> bool:
    """Whether the node has a memo that is used."""
    return bool(
        is_reuse(node)
        and values.get("memo_bytes", 0) > 0
        and served_by_winograd(*(values.get(name, ()) for name in ("kernel_shape", "strides", "dilations")))
        and values.get("group", 1) == 1
        and not (len(node.input) > A and node.input[A])
    )


def _pad(values: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of padding before the image, for strides of 1."""
    auto_pad = values.get("auto_pad", b"NOTSET")
    if auto_pad.startswith(b"SAME"):
        half = values["kernel_shape"][0] // 2
        return half, half
    pads = values.get("pads", ()) if auto_pad == b"NOTSET" else ()
    return (pads[0], pads[1]) if pads else (0, 0)


def _recording(model: onnx.ModelProto, nodes: Sequence[_Node]) -> onnx.ModelProto:
    """The model, without memos, that gives the inputs of these nodes too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.domain == DOMAIN:
            _drop(node, ("memo_bytes", MEMO_WINDOWS))
    known = {value.name for value in (*copy.graph.input, *copy.graph.output)}
    names = dict.fromkeys(node.x for node in nodes if node.x not in known)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)  # ONNX Runtime knows their types
    return copy


def _drop(node: onnx.NodeProto, names: Iterable[str]) -> None:
    """Take these attributes away."""
    kept = [item for item in node.attribute if item.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _inputs(
    session: ort.InferenceSession, source: Data, nodes: Sequence[_Node], doing: str
) -> Iterator[tuple[_Node, Array]]:
    """What every node reads, batch by batch."""
    given = {spec.name for spec in input_specs(session)}
    names = list(dict.fromkeys(node.x for node in nodes if node.x not in given))
    with console.progress(doing, source.n) as advance:
        for batch in source.batches():
            values = dict(batch.feeds)
            if names:
                values.update(zip(names, run(session, batch.feeds, names)))
            for node in nodes:
                yield node, values[node.x]
            advance(batch.samples)


def _windows(x: Array, kernel: int, pad: tuple[int, int]) -> Iterator[_Window]:
    """The windows of a row of tiles after the other, [tiles, blocks, n, n, 16], of ``x`` in NCHW16c.

    Only those that lie wholly in the image: where a border cuts one off, another would be needed for every border.
    """
    n = kernel + _TILE - 1
    if x.shape[2] < n or x.shape[3] < n:
        return
    top, left = (-pad[0] % _TILE, -pad[1] % _TILE)
    views = np.lib.stride_tricks.sliding_window_view(x, (n, n), axis=(2, 3))[:, :, top::_TILE, left::_TILE]
    for image in np.moveaxis(views, 4, -1):
        for row in range(image.shape[1]):
            yield np.ascontiguousarray(np.moveaxis(image[:, row], 0, 1), np.float32)


def _digest(window: _Window) -> bytes:
    return hashlib.blake2b(window.data, digest_size=8).digest()


def _choose(nodes: Sequence[_Node], limit: int) -> None:
    """Give the nodes what is most useful, within the limit and within their memos."""
    candidates = [
        (occurrences * node.outputs, index, digest)
        for index, node in enumerate(nodes)
        for digest, occurrences in node.counts.items()
        if occurrences > 1
    ]
    candidates.sort(key=lambda item: (-item[0], item[1]))  # of equal ones the first that was met
    for _, index, digest in candidates:
        node = nodes[index]
        if node.window_bytes <= limit and len(node.chosen) < node.capacity:
            node.chosen.append(digest)
            limit -= node.window_bytes


def _with_windows(
    result: RewriteResult, model: onnx.ModelProto, nodes: Sequence[_Node], source: Data, tiles: int
) -> RewriteResult:
    stored = size = covered = 0
    for node in nodes:
        _drop(node.proto, (MEMO_WINDOWS,))  # of an earlier prefilling
        if windows := node.stored():
            array = np.stack(windows)
            node.proto.attribute.append(helper.make_attribute(MEMO_WINDOWS, numpy_helper.from_array(array)))
            stored, size = stored + len(array), size + array.nbytes
            covered += sum(node.counts[digest] for digest in node.found)
    if model.ByteSize() > _LARGEST_MESSAGE:
        raise DrpassError("the model would have over 2 GB with these windows; store fewer")
    note = (
        f"windows that memos begin with: {stored}, which {100 * covered / tiles:.3g} % of the inner tiles of "
        f"{source.describe()} have; the file grows by {size_text(size)}"
    )
    return result.changed(model, note)
