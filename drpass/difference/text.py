"""A difference as coloured text: + added, - removed, ~ changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drpass.console import Line, size_text
from drpass.difference.describe import tensor_text
from drpass.difference.report import FieldChange, GraphDiff, NodeChange, NodeRef, ScopeDiff, TensorChange
from drpass.operator.spec import ReuseParameters

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": "~"}
_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def lines(diff: GraphDiff) -> Iterator[Line]:
    """The whole difference, a summary last."""
    if not diff.different:
        yield Line(f"No difference between {diff.left} and {diff.right}.")
        return
    yield Line(f"--- {diff.left}", "red")
    yield Line(f"+++ {diff.right}", "green")
    yield from _section("model", diff.properties)
    yield from _section("opset imports", diff.opsets)
    yield from _section("functions", diff.functions)
    for scope in diff.scopes:
        yield from _scope(scope)
    yield Line()
    yield from _summary(diff)


def _heading(title: str) -> Iterator[Line]:
    yield Line()
    yield Line(title, "bold")


def _section(title: str, changes: Sequence[FieldChange]) -> Iterator[Line]:
    if changes:
        yield from _heading(title)
        yield from (_field(change, "  ") for change in changes)


def _field(change: FieldChange, indent: str) -> Line:
    """``~ name  before → after``, or the one of them that there is."""
    sign = "+" if change.before is None else "-" if change.after is None else "~"
    text = Line(f"{indent}{sign} {change.field}", _STYLES[sign])
    if change.before is not None:
        text.add(f"  {change.before}", "red")
    if change.before is not None and change.after is not None:
        text.add(" →", "dim")
    if change.after is not None:
        text.add(f"{' ' if change.before is not None else '  '}{change.after}", "green")
    return text


def _scope(scope: ScopeDiff) -> Iterator[Line]:
    place = "" if scope.where == "main graph" else f" of {scope.where}"
    yield from _section(f"inputs{place}", scope.inputs)
    yield from _section(f"outputs{place}", scope.outputs)
    if scope.nodes:
        yield from _heading(f"nodes{place}")
        for node in scope.nodes:
            yield from _node(node)
    if scope.initializers:
        yield from _heading(f"initializers{place}")
        yield from (_tensor(change) for change in scope.initializers)


def _node(node: NodeChange) -> Iterator[Line]:
    sign = _SIGNS[node.kind]
    style = _STYLES[sign]
    text = Line(f"  {sign} {node.name}", f"bold {style}")
    if node.op_before and node.op_after and node.op_before != node.op_after:
        text.add("  ").add(node.op_before, "red").add(" → ", "dim").add(node.op_after, "green")
    else:
        text.add(f"  {node.op}", style)
    if node.parameters:
        text.add(f"  {node.parameters}", "cyan")
    yield text
    if node.absorbed:
        yield _references("absorbed", node.absorbed)
    if node.released:
        yield _references("released", node.released)
    # The parameters of a new DeepReuseGemm are in its first line already.
    said = set(ReuseParameters.__dataclass_fields__) if node.parameters and node.op_before != node.op_after else set()
    yield from (_field(change, "      ") for change in node.fields if change.field not in said)


def _references(word: str, nodes: Sequence[NodeRef]) -> Line:
    listed = ", ".join(f"{node.name} ({node.op})" for node in nodes)
    return Line(f"      {word} ", "dim").add(listed, "magenta")


def _tensor(change: TensorChange) -> Line:
    tensor = change.after or change.before
    assert tensor is not None
    sign = _SIGNS[change.kind]
    text = Line(f"  {sign} {change.name}", _STYLES[sign])
    if change.new_name:
        text.add(" → ", "dim").add(change.new_name, "green")
    if change.before and change.after and not change.new_name:
        text.add(f"  {tensor_text(change.before)}", "red").add(" → ", "dim")
        text.add(tensor_text(change.after), "green")
    else:
        text.add(f"  {tensor_text(tensor)}")
    if tensor.used_by:
        more = f" and {len(tensor.used_by) - 3} more" if len(tensor.used_by) > 3 else ""
        text.add(f"  in {', '.join(tensor.used_by[:3])}{more}", "dim")
    return text


def _summary(diff: GraphDiff) -> Iterator[Line]:
    operators = diff.operators()
    for kind in ("changed", "removed", "added"):
        counts = [(op, count) for (what, op), count in operators.items() if what == kind]
        if counts:
            listed = ", ".join(f"{count} {op}" for op, count in sorted(counts, key=lambda item: -item[1]))
            total = sum(count for _, count in counts)
            style = _STYLES[_SIGNS[kind]]
            yield Line(f"{total} node{'s' * (total != 1)} {kind}: ", f"bold {style}").add(listed, style)
    tensors = [change for scope in diff.scopes for change in scope.initializers]
    if tensors:
        old = sum(change.before.bytes for change in tensors if change.before)
        new = sum(change.after.bytes for change in tensors if change.after)
        kinds = [f"{sum(change.kind == kind for change in tensors)} {kind}" for kind in _SIGNS]
        parts = ", ".join(part for part in kinds if not part.startswith("0 "))
        yield Line("Initializers: ", "bold").add(f"{parts} ({size_text(old)} → {size_text(new)})")
