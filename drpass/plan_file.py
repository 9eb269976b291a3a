"""Plans: what becomes of every node, in a TOML file that a person can read and edit (docs/plan.md)."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w

from drpass.console import visible
from drpass.errors import DrpassError
from drpass.files import atomic_output, read_toml
from drpass.operator.spec import LARGEST_MEMO, LRN, ReuseParameters, check_parameters
from drpass.passes import EXACT, OP_TYPES, Assignment, NodeKey

FORMAT = 1

#: The keys of a plan besides the tables of ``about``.
_SETTINGS = ("format", "chains", "memo_mib", "allow_tf32", "node")

#: Why a node is kept of which the plan does not say why.
KEPT = "kept by the plan"

_COMMENT = """\
# A plan of drpass: what becomes of every Conv, Gemm, MatMul and LRN of a model. Edit it as you like, then apply it with
#   drpass rewrite MODEL OUTPUT --plan THIS_FILE
# A node has either a method with its parameters, or `keep` and why. [node.measured] and the tables before the nodes are
# for people: they say what was found when the plan was made, and change nothing.

"""


@dataclass(frozen=True)
class NodePlan:
    """What becomes of one node.

    ``node``, ``graph`` and ``shape`` as in `Verdict`, but an empty shape fits any; ``parameters``: None where the node
    is kept, `EXACT` for an LRN that is replaced; ``reason``: why, for people; ``measured``: figures for people, such
    as ``ms`` and ``error``.
    """

    node: str
    graph: str
    op_type: str
    shape: tuple[int, ...]
    parameters: ReuseParameters | None
    reason: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> NodeKey:
        """Which node of the model it is."""
        return self.graph, self.node


@dataclass(frozen=True)
class Plan:
    """A choice for every node.

    ``chains``, ``memo_bytes`` and ``allow_tf32`` as in `rewrite`; ``about``: tables for people, by name.
    """

    nodes: tuple[NodePlan, ...]
    chains: bool = True
    memo_bytes: int = 0
    allow_tf32: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises DrpassError for two choices for one name: nodes of a model that share one can't be told apart.

        ``about`` must hold tables only, by names that the file has no other use for (ValueError).
        """
        if not all(isinstance(table, Mapping) and name not in _SETTINGS for name, table in self.about.items()):
            raise ValueError(f"about must be tables, none of them called {', '.join(_SETTINGS)}")
        chosen: dict[NodeKey, ReuseParameters | None] = {}
        for node in self.nodes:
            if chosen.setdefault(node.key, node.parameters) != node.parameters:
                raise DrpassError(f"there are two different choices for '{node.node}'; a plan can have only one a name")

    def assignment(self) -> Assignment:
        """What the passes take: for each node its parameters, or why it is kept."""
        return {node.key: node.parameters or node.reason or KEPT for node in self.nodes}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan. Raises DrpassError, with the file and the place in it, for anything that is not one."""
        path = Path(path)
        table = read_toml(path)
        try:
            return _plan(table)
        except DrpassError as error:
            raise DrpassError(f"{path} is not a plan that can be used: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the plan; `read` gives it back. Figures that are None, NaN or infinite are left out.

        Raises DrpassError if the file can't be written.
        """
        lines = tomli_w.dumps(self._table()).rstrip("\n").split("\n")
        text = _COMMENT + "".join(f"{visible(line, _toml_escape)}\n" for line in lines)
        with atomic_output(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    def _table(self) -> dict[str, Any]:
        mib = self.memo_bytes / 2**20
        settings: dict[str, Any] = {"format": FORMAT, "chains": self.chains}
        settings |= {"memo_mib": int(mib) if mib.is_integer() else mib, "allow_tf32": self.allow_tf32}
        return {**settings, **plain(self.about), "node": [_node_table(node) for node in self.nodes]}


def plain(value: Any) -> Any:
    """Figures as TOML and JSON can hold them: numbers of Python, text for what is neither number nor text.

    Entries of tables and lists that are None, NaN, infinite, or whole numbers of more than 64 bits are left out.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if not _is_missing(item)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value if not _is_missing(item)]
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else str(value)


def _is_missing(value: Any) -> bool:
    if isinstance(value, numbers.Integral):
        return not _is_64_bit(int(value))
    return value is None or (isinstance(value, numbers.Real) and not math.isfinite(value))


def _is_64_bit(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _toml_escape(character: str) -> str:
    """For texts in quotes; tomli_w itself escapes only the first 32 of the controls."""
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _node_table(node: NodePlan) -> dict[str, Any]:
    table: dict[str, Any] = {"name": node.node}
    if node.graph:
        table["graph"] = node.graph
    table["op_type"] = node.op_type
    if node.shape:
        table["shape"] = "x".join(map(str, node.shape))
    if node.parameters is None:
        table["keep"] = node.reason
    else:
        table |= node.parameters.attributes()
        if node.reason:
            table["reason"] = node.reason
    if measured := plain(node.measured):
        table["measured"] = measured
    return table


def _plan(table: dict[str, Any]) -> Plan:
    number = _take(table, "format", int, None)
    if number != FORMAT:
        raise DrpassError(f"format {number}, where this version of drpass reads format {FORMAT}; make the plan again")
    entries = _take(table, "node", list, [])
    chains = _take(table, "chains", bool, True)
    mib = _take(table, "memo_mib", float, 0.0)
    if not 0 <= mib <= LARGEST_MEMO / 2**20:
        raise DrpassError(f"memo_mib can't be {mib:g}; it must be in 0 to {LARGEST_MEMO >> 20}")
    allow_tf32 = _take(table, "allow_tf32", bool, False)
    for key, value in table.items():
        if not isinstance(value, dict):
            raise DrpassError(
                f"unknown key '{key}'; there are format, chains, memo_mib, allow_tf32, [[node]], and tables for people"
            )
    nodes = tuple(_node(entry, number) for number, entry in enumerate(entries, 1))
    return Plan(nodes, chains, round(mib * 2**20), allow_tf32, plain(table))


def _node(entry: Any, number: int) -> NodePlan:
    if not isinstance(entry, dict):
        raise DrpassError("node must be tables, each under [[node]]")
    try:
        return _node_plan(dict(entry))
    except DrpassError as error:
        name = entry.get("name")
        raise DrpassError(f"node {number}{f' ({name})' if isinstance(name, str) else ''}: {error}") from error


def _node_plan(table: dict[str, Any]) -> NodePlan:
    name = _take(table, "name", str, None)
    graph = _take(table, "graph", str, "")
    op_type = _take(table, "op_type", str, None)
    if op_type not in (*OP_TYPES, LRN):
        raise DrpassError(f"op_type can't be '{op_type}'; it is one of {', '.join((*OP_TYPES, LRN))}")
    shape = _take(table, "shape", str, "")
    if shape and not _SHAPE.fullmatch(shape):
        raise DrpassError("shape must be written as in 64x3x3x3")
    measured = plain(_take(table, "measured", dict, {}))
    if ("keep" in table) == ("method" in table):
        raise DrpassError("it needs either method or keep (why it is kept)")
    parameters = None if "keep" in table else _parameters(table)
    reason = _take(table, "keep" if parameters is None else "reason", str, "")
    if table:
        raise DrpassError(f"unknown key '{next(iter(table))}'")
    if op_type == LRN and parameters not in (None, EXACT):
        raise DrpassError("LRN has no method but exact")
    sizes = tuple(int(size) for size in shape.split("x")) if shape else ()
    return NodePlan(name, graph, op_type, sizes, parameters, reason, measured)


def _parameters(table: dict[str, Any]) -> ReuseParameters:
    """Those that the table names, taken out of it, and the defaults of `rewrite` for the others."""
    defaults = {item.name: item.default for item in fields(ReuseParameters)}
    given = [name for name in defaults if name in table]
    values = {name: _take(table, name, type(defaults[name]), None) for name in given}
    parameters = check_parameters(ReuseParameters(**values))
    for name in given:
        if name not in parameters.attributes():
            raise DrpassError(f"{name} has no meaning for the method {parameters.method}")
    return parameters


_SHAPE = re.compile(r"[0-9]{1,18}(x[0-9]{1,18})*")

_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a table",
}


def _take(table: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    """Take a key of this type out of the table; without a default it must be there."""
    if key not in table:
        if default is None:
            raise DrpassError(f"{key} is missing")
        return default
    value = table.pop(key)
    if type(value) is int and not _is_64_bit(value):
        raise DrpassError(f"{key} has more than 64 bits")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        found = repr(value[:40]) if isinstance(value, str) else _KINDS.get(type(value), "a date or time")
        raise DrpassError(f"{key} must be {_KINDS[kind]}, not {found}")
    return value
