"""Walking the protobuf messages of models, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_LONGEST = 200


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph first, then all subgraphs, those in functions too."""
    pending = [*bodies(node for function in model.functions for node in function.node), model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(bodies(graph.node))


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


def innermost(error: BaseException) -> str:
    """The text of the error that began it, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(str(error)) or type(error).__name__


def one_line(text: object) -> str:
    """Text of an untrusted model as an error can show it."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """The subgraphs of nodes, not those within them."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs
