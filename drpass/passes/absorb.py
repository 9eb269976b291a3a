"""Pass 4: let every DeepReuseGemm absorb what follows it, by the rules of `drpass.rules`.

The rules are onnxscript rewrite rules; this loop applies them instead of onnxscript's own, because it has to keep
names and metadata, to write constants inside functions, and to say which nodes were absorbed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule

from drpass.operator.spec import DOMAIN
from drpass.passes.places import Names, Place, add_constant, drop_unused, label, places
from drpass.passes.replace import substitute
from drpass.rules import absorb_activation, absorb_residual, fold_batchnorm, fold_scale, fold_shift
from drpass.rules.anchor import FIRST_NUMPY_OPSET

RULES: tuple[RewriteRule, ...] = tuple(
    variant
    for rule in (
        fold_batchnorm.FoldBatchNorm,
        fold_scale.FoldMul,
        fold_scale.FoldDiv,
        fold_shift.FoldAdd,
        fold_shift.FoldSub,
        absorb_residual.AbsorbResidual,
        absorb_activation.AbsorbRelu,
        absorb_activation.AbsorbLeakyRelu,
        absorb_activation.AbsorbPRelu,
        absorb_activation.AbsorbClip,
        absorb_activation.AbsorbSigmoid,
        absorb_activation.AbsorbSilu,
        absorb_activation.AbsorbHardSigmoid,
        absorb_activation.AbsorbHardSwish,
        absorb_activation.AbsorbHardSwishInTwo,
    )
    for variant in rule.rule().commute()
)


@dataclass
class _Absorbed:
    """Who absorbed what. A DeepReuseGemm is made anew whenever it absorbs; ``origin`` leads back to the first."""

    origin: dict[ir.Node, ir.Node] = field(default_factory=dict)
    nodes: dict[ir.Node, list[str]] = field(default_factory=dict)

    def record(self, old: ir.Node, new: ir.Node, absorbed: Sequence[ir.Node]) -> None:
        first = self.origin.pop(old, old)
        self.origin[new] = first
        self.nodes.setdefault(first, []).extend(map(label, absorbed))


def absorb(model: ir.Model, names: Names) -> dict[ir.Node, list[str]]:
    """Apply the rules to all graphs of the model until nothing more can be absorbed.

    Returns, by DeepReuseGemm as it was before this pass, the names of the nodes that it absorbed, in order.
    """
    absorbed = _Absorbed()
    for place in list(places(model)):
        if place.opset < FIRST_NUMPY_OPSET:
            continue
        # A rebuilt node is put behind the one that it absorbed, so this one walk meets whole chains.
        for node in place.graph:
            _absorb(model, place, node, names, absorbed)
    return absorbed.nodes


def _absorb(model: ir.Model, place: Place, node: ir.Node, names: Names, absorbed: _Absorbed) -> None:
    for rule in RULES:
        change = rule.try_rewrite(model, place.graph, node)
        if change is None:
            continue
        reuse = next(matched for matched in change.match.nodes if matched.domain == DOMAIN)
        others = [matched for matched in change.match.nodes if matched not in (reuse, node)]
        sources = {value for matched in change.match.nodes for value in matched.inputs if value is not None}
        new = change.new_nodes[0]
        substitute(place, [reuse, *others, node], reuse, new)
        drop_unused(sources, names)
        _settle_constants(place, new, list(change.new_initializers), names)
        absorbed.record(reuse, new, [*others, node])
        return


def _settle_constants(place: Place, node: ir.Node, constants: list[ir.Value], names: Names) -> None:
    """Give the constants that a rule made their place in the graph, under the names of those that they follow."""
    for constant in constants:
        assert constant.const_value is not None
        settled = add_constant(place, constant.const_value, names.unique(constant.name or "constant"), node)
        node.replace_input_with(list(node.inputs).index(constant), settled)
