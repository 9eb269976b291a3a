"""Graphs of TensorFlow 1 without variables: which tensors they take and give, and the graph as a function of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drpass.errors import DrpassError
from drpass.frontends.model import FrameworkModel, unique_names
from drpass.frontends.tensorflow_function import TensorFlowFunction, described, import_tensorflow

_MOST_NAMED = 8


def placeholders(graph: Any) -> list[Any]:
    """The tensors that must be fed, in the order of the graph."""
    return [operation.outputs[0] for operation in graph.get_operations() if operation.type.startswith("Placeholder")]


def required(outputs: Iterable[Any], stop: Iterable[Any] = ()) -> list[Any]:
    """The placeholders without a default that ``outputs`` depend on by a way that does not pass through ``stop``."""
    known = {tensor.ref() for tensor in stop}
    pending, found = list(outputs), []
    while pending:
        tensor = pending.pop()
        if tensor.ref() in known:
            continue
        known.add(tensor.ref())
        if tensor.op.type in ("Placeholder", "PlaceholderV2"):
            found.append(tensor)
        pending.extend(tensor.op.inputs)
    return found


def results(graph: Any) -> list[Any]:
    """Tensors of operations whose outputs nothing in the graph uses, and that depend on a placeholder."""
    last = [
        operation.outputs
        for operation in graph.get_operations()
        if operation.outputs and not any(tensor.consumers() for tensor in operation.outputs)
    ]
    return [tensor for outputs in last for tensor in outputs if tensor.dtype.is_numpy_compatible and required([tensor])]


def find(graph: Any, name: str) -> Any:
    """The tensor ``name`` or ``name:0``. Raises DrpassError, with names that there are, if there is none."""
    try:
        return graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
    except (KeyError, ValueError) as error:
        known = listed([*placeholders(graph), *results(graph)])
        raise DrpassError(f"the graph has no tensor '{name}'; it takes and gives {known}") from error


def listed(tensors: Iterable[Any]) -> str:
    """Names of tensors, the first few."""
    names = [tensor.name.removesuffix(":0") for tensor in tensors]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) or "nothing") + more


def chosen(graph: Any, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """The tensors that a model takes and gives: as named, or all placeholders that its last operations depend on.

    Raises DrpassError for unknown names, and if an output depends on a placeholder that is no input.
    """
    gives = [find(graph, name) for name in outputs] or results(graph)
    if not gives:
        raise DrpassError(
            "no operation of the graph depends on a placeholder; name tensors with --inputs and --outputs"
        )
    takes = [find(graph, name) for name in inputs]
    missing = required(gives, takes)
    if takes and missing:
        raise DrpassError(f"{listed(gives)} depends on {listed(missing)} too; add that to --inputs")
    order = {tensor.ref() for tensor in missing}
    return takes or [tensor for tensor in placeholders(graph) if tensor.ref() in order], gives


def from_graph(name: str, graph_def: Any, takes: list[Any], gives: list[Any]) -> FrameworkModel:
    """The model that computes ``gives`` from ``takes``, tensors of a graph equal to ``graph_def``, which changes.

    Placeholders with a default that are not in ``takes`` (a dropout rate, say) keep that.
    """
    tensorflow = import_tensorflow()
    names = unique_names(tensor.name.removesuffix(":0") for tensor in [*takes, *gives])
    inputs = [described(name, tensor) for name, tensor in zip(names, takes)]
    _settle_defaults(graph_def, {tensor.op.name for tensor in takes})
    fed, fetched = [tensor.name for tensor in takes], [tensor.name for tensor in gives]

    def function(*tensors: Any) -> list[Any]:
        found: list[Any] = tensorflow.graph_util.import_graph_def(
            graph_def, input_map=dict(zip(fed, tensors)), return_elements=fetched, name=""
        )
        return found

    return TensorFlowFunction(name=name, inputs=inputs, outputs=names[len(inputs) :], function=function)


def _settle_defaults(graph_def: Any, fed: set[str]) -> None:
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault" and node.name not in fed:
            node.op = "Identity"
            node.attr["T"].CopyFrom(node.attr["dtype"])
            del node.attr["dtype"], node.attr["shape"]
