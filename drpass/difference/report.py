"""What differs between two models, as data: the text, the JSON and the exit status all come from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["added", "removed", "changed", "renamed"]


@dataclass(frozen=True)
class Tensor:
    """A constant: element type, shape, size in bytes, the first 12 hex digits of the SHA-256 of its content, and
    the nodes that use it."""

    dtype: str
    shape: list[int]
    bytes: int
    sha256: str
    used_by: list[str] = field(default_factory=list)

    def same_content(self, other: Tensor) -> bool:
        """Whether type, shape and content are equal."""
        return (self.dtype, self.shape, self.sha256) == (other.dtype, other.shape, other.sha256)


@dataclass(frozen=True)
class FieldChange:
    """One attribute or input of a node, or one property of a model; None: absent on that side."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class NodeRef:
    """A node that is only mentioned."""

    name: str
    op: str


@dataclass(frozen=True)
class NodeChange:
    """A node that was added, removed or changed.

    ``op_before``, ``op_after``: operators, None where the node is absent. ``parameters``: what a DeepReuseGemm was
    given, in words. ``absorbed``: removed nodes whose work a changed node now does; ``released``: added nodes that do
    what a changed node did before.
    """

    kind: Kind
    name: str
    op_before: str | None
    op_after: str | None
    fields: list[FieldChange] = field(default_factory=list)
    parameters: str | None = None
    absorbed: list[NodeRef] = field(default_factory=list)
    released: list[NodeRef] = field(default_factory=list)

    @property
    def op(self) -> str:
        """``Conv``, or ``Conv → DeepReuseGemm``."""
        if self.op_before and self.op_after and self.op_before != self.op_after:
            return f"{self.op_before} → {self.op_after}"
        return self.op_after or self.op_before or ""


@dataclass(frozen=True)
class TensorChange:
    """An initializer that was added, removed, changed or renamed (then ``name`` is the old name)."""

    kind: Kind
    name: str
    before: Tensor | None
    after: Tensor | None
    new_name: str | None = None


@dataclass(frozen=True)
class ScopeDiff:
    """One graph: the main graph, the body of a node (``where`` is ``node.attribute``) or of a function.

    Nodes that a changed node absorbed or released are listed there, not under ``nodes``.
    """

    where: str
    inputs: list[FieldChange]
    outputs: list[FieldChange]
    nodes: list[NodeChange]
    initializers: list[TensorChange]

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs or self.nodes or self.initializers)


@dataclass(frozen=True)
class GraphDiff:
    """All differences of two models. ``scopes`` holds the graphs that differ; ``properties`` IR version, producer
    and metadata; ``opsets`` the imports; ``functions`` those that only one model has."""

    left: str
    right: str
    properties: list[FieldChange]
    opsets: list[FieldChange]
    functions: list[FieldChange]
    scopes: list[ScopeDiff]

    @property
    def different(self) -> bool:
        """Whether there is any difference."""
        return bool(self.properties or self.opsets or self.functions or self.scopes)

    def nodes(self) -> Iterator[NodeChange]:
        """The changes of all graphs."""
        for scope in self.scopes:
            yield from scope.nodes

    def operators(self) -> Counter[tuple[Kind, str]]:
        """How many nodes were changed, removed, added, by operator (absorbed and released ones included)."""
        counts: Counter[tuple[Kind, str]] = Counter()
        for node in self.nodes():
            counts[node.kind, node.op] += 1
            counts.update(("removed", ref.op) for ref in node.absorbed)
            counts.update(("added", ref.op) for ref in node.released)
        return counts

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"different": self.different, **asdict(self)}
