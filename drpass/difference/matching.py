"""Which node of one graph is which node of the other."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import onnx_ir as ir

from drpass.difference.describe import attribute_key, operator

#: Aligning by order takes time that grows with the square of the number of nodes that nothing else could match.
_MAX_ALIGNED = 2000

#: The key of the constant that an input is, or None if it is none.
ConstantKey = Callable[[ir.Value], Hashable]


class Matching:
    """Pairs of nodes of two graphs, found in this order:

    1. the same name and a common output;
    2. a common output and the same operator (exporters number their names, so names may have moved on);
    3. the same name, which the rewriter keeps;
    4. a common output;
    5. the same operator, attributes and inputs, where names of values may have changed;
    6. the same operator in the same order among what is left.

    ``left``: the left nodes in order; ``pairs``: left to right; ``renamed``: values that only changed their names,
    left to right; ``removed`` and ``added``: nodes without a partner, in order.
    """

    def __init__(
        self, left: Sequence[ir.Node], right: Sequence[ir.Node], constant: ConstantKey, inputs: dict[str, str]
    ) -> None:
        self.pairs: dict[ir.Node, ir.Node] = {}
        self.renamed = dict(inputs)
        self.left = left
        self.removed, self.added = list(left), list(right)
        self._left_values = _value_names(left)
        self._right_values = _value_names(right)
        self._match(lambda node: [(node.name, output) for output in _outputs(node)])  # Case 1
        self._match(lambda node: [(operator(node), output) for output in _outputs(node)])  # Case 2
        self._match(lambda node: [node.name])  # Case 3
        self._match(_outputs)  # Case 4
        self._match_structure(constant)  # Case 5
        self._match_order()  # Case 6

    def _match(self, keys: Callable[[ir.Node], Iterable[Hashable]]) -> None:
        """Pair the nodes that share a key which no other node of their graph has."""
        left, right = _unique(self.removed, keys), _unique(self.added, keys)
        partners = set()
        for key, node in left.items():
            partner = right.get(key)
            if partner is not None and node not in self.pairs and partner not in partners:
                self._pair(node, partner)
                partners.add(partner)
        self._drop_matched(partners)

    def _match_structure(self, constant: ConstantKey) -> None:
        def key(node: ir.Node, names: dict[str, str]) -> Hashable:
            inputs = [value and (constant(value) or names.get(value.name or "", value.name)) for value in node.inputs]
            attributes = sorted((name, attribute_key(attr)) for name, attr in node.attributes.items())
            return operator(node), tuple(inputs), repr(attributes), len(node.outputs)

        candidates: dict[Hashable, list[ir.Node]] = defaultdict(list)
        for node in reversed(self.added):
            candidates[key(node, {})].append(node)
        partners = set()
        for node in self.removed:
            if found := candidates.get(key(node, self.renamed)):
                partners.add(found[-1])
                self._pair(node, found.pop())
        self._drop_matched(partners)

    def _match_order(self) -> None:
        if max(len(self.removed), len(self.added)) > _MAX_ALIGNED:
            return
        left, right = [operator(node) for node in self.removed], [operator(node) for node in self.added]
        blocks = difflib.SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
        found = [(start + i, other + i) for start, other, size in blocks for i in range(size)]
        partners = {self.added[other] for _, other in found}
        for index, other in found:
            self._pair(self.removed[index], self.added[other])
        self._drop_matched(partners)

    def _pair(self, left: ir.Node, right: ir.Node) -> None:
        self.pairs[left] = right
        for before, after in zip(_outputs(left), _outputs(right)):
            # If the other graph has the name too, it belongs to another node's value.
            if before != after and before not in self._right_values and after not in self._left_values:
                self.renamed[before] = after

    def _drop_matched(self, partners: set[ir.Node]) -> None:
        self.removed = [node for node in self.removed if node not in self.pairs]
        self.added = [node for node in self.added if node not in partners]


def _outputs(node: ir.Node) -> list[str]:
    return [value.name for value in node.outputs if value.name]


def _value_names(nodes: Sequence[ir.Node]) -> set[str]:
    return {name for node in nodes for name in _outputs(node)}


def _unique(nodes: Sequence[ir.Node], keys: Callable[[ir.Node], Iterable[Hashable]]) -> dict[Hashable, ir.Node]:
    """Nodes by those of their keys that no other node has; keys with an empty part do not count."""
    counts = Counter(key for node in nodes for key in set(keys(node)))
    return {
        key: node
        for node in nodes
        for key in keys(node)
        if counts[key] == 1 and all(key if isinstance(key, tuple) else [key])
    }


def work_before(ends: Iterable[ir.Value | None], pool: Sequence[ir.Node]) -> list[ir.Node]:
    """Those of ``pool`` from which the values ``ends`` come without passing any other node, in order."""
    allowed = set(pool)
    found: set[ir.Node] = set()
    waiting = list(ends)
    while waiting:
        value = waiting.pop()
        producer = value.producer() if value is not None else None
        if producer in allowed and producer not in found:
            found.add(producer)
            waiting.extend(producer.inputs)
    return [node for node in pool if node in found]
