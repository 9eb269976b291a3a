"""Nodes in an order in which they can run.

ONNX asks for it, ONNX Runtime does not, and some converters (such as to float16) leave Casts at the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import onnx

from drpass.message import bodies, graphs_of


def put_in_order(model: onnx.ModelProto) -> None:
    """Sort the nodes of every graph and function in which one stands before another that it reads, and move no more
    than that. Where nodes read each other in a circle nothing is changed; onnx.checker says what is wrong."""
    for holder in (*graphs_of(model), *model.functions):
        nodes = list(holder.node)
        order = _order(nodes)
        if order != sorted(order):
            copies = []
            for index in order:
                copies.append(onnx.NodeProto())
                copies[-1].CopyFrom(nodes[index])
            del holder.node[:]
            holder.node.extend(copies)


def _order(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """Indices: of the nodes that can run always the first comes next. As they are if there is a circle."""
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    before = [{maker[name] for name in _read(node) if name in maker} - {index} for index, node in enumerate(nodes)]
    readers: list[list[int]] = [[] for _ in nodes]
    for index, needed in enumerate(before):
        for other in needed:
            readers[other].append(index)
    missing = [len(needed) for needed in before]
    ready = [index for index, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    return order if len(order) == len(nodes) else list(range(len(nodes)))


def _read(node: onnx.NodeProto) -> set[str]:
    """Names that a node needs, those in its subgraphs too. Names that a subgraph makes itself are no one else's."""
    names = set(node.input)
    pending = list(bodies([node]))
    while pending:
        graph = pending.pop()
        names.update(name for inner in graph.node for name in inner.input)
        names.update(value.name for value in graph.output)
        pending.extend(bodies(graph.node))
    return names
