"""Explains a node of ONNX by what `rewrite` does with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir

from drpass import passes
from drpass.explanation import words
from drpass.explanation.explanation import Explanation, describe_measured, quoted, title_of, ways_to_less_error
from drpass.explanation.work import work_of_match
from drpass.operator.spec import DOMAIN, LRN, ReuseParameters
from drpass.passes import OP_TYPES, Selection, Verdict
from drpass.passes.gain import expected_speed
from drpass.passes.match import Candidate
from drpass.passes.places import label, places
from drpass.passes.plan import NOT_ASSIGNED
from drpass.plan_file import NodePlan, Plan
from drpass.rewriting import rewrite
from drpass.rules.anchor import Match
from drpass.shape_inference import Shapes


class Original:
    """A model with nodes of ONNX; ``loaded`` is ``proto``, with shapes. Raises DrpassError if the plan does not fit."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        loaded: ir.Model,
        known: Shapes,
        plan: Plan | None,
        shapes: Mapping[str, Sequence[int]] | None,
    ) -> None:
        self._known = known
        self._plan = plan
        self._is_rewritten = any(node.domain == DOMAIN for place in places(loaded) for node in place.graph)
        # What is left of ONNX in a rewritten model was kept; its plan, which is for the original, may say why.
        applied = Plan(()) if self._is_rewritten else plan
        self._verdicts = rewrite(proto, plan=applied, shapes=shapes).report.verdicts
        self._candidates, self._clustered = passes.decide(loaded, known, Selection(), ReuseParameters())

    def explain(self, node: ir.Node, graph: str) -> Explanation:
        """Of a node of ``loaded``."""
        title = title_of(node, graph)
        verdict = next((found for found in self._verdicts if found.key == (graph, label(node))), None)
        if verdict is None:
            return Explanation(title, *self._bystander(node, graph))
        title += f", {'replaced' if verdict.replaced else 'kept'} {self._when()}"
        entry = next((entry for entry in self._plan.nodes if entry.key == verdict.key), None) if self._plan else None
        candidate = next((found for found in self._candidates if found.node is node), None)
        if candidate is None or candidate.match is None:
            return Explanation(
                title,
                tuple(self._facts_without_match(verdict)),
                tuple(self._reasons(verdict, entry, None)),
                tuple(_changes_without_match(verdict, node)),
            )
        return Explanation(
            title,
            tuple(self._facts(candidate, candidate.match, verdict)),
            tuple(self._reasons(verdict, entry, candidate.match)),
            tuple(self._changes(candidate, candidate.match, verdict)),
        )

    def _when(self) -> str:
        if self._is_rewritten:
            return "when the model was rewritten"
        return "by the plan" if self._plan else "by `drpass rewrite` without options"

    def _bystander(self, node: ir.Node, graph: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """A node without a verdict: it is absorbed by one that is replaced, or of no concern."""
        for verdict in self._verdicts:
            if verdict.graph == graph and label(node) in verdict.absorbed:
                fact = f"It is absorbed by '{verdict.node}', which computes it too, {self._when()}."
                reason = "The two are neighbours, so its result takes no pass over the tensor of its own."
                return (fact,), (reason,), (f"Keeping '{verdict.node}' keeps it.",)
        fact = "It stays as it is: ONNX Runtime computes it."
        reason = (
            f"Not a candidate: drpass replaces {', '.join((*OP_TYPES, LRN))}, and absorbs what directly follows them."
        )
        return (fact,), (reason,), ("Nothing in drpass.",)

    def _facts(self, candidate: Candidate, match: Match, verdict: Verdict) -> Iterator[str]:
        work = work_of_match(match, candidate.node, self._known)
        yield words.describe_work(work)
        if verdict.parameters is None:
            yield "It stays as it is: ONNX Runtime computes it."
            return
        yield f"It becomes a DeepReuseGemm: {verdict.parameters.describe()}."
        yield from words.describe_method(work, verdict.parameters)
        if verdict.absorbed:
            yield f"It absorbs {', '.join(verdict.absorbed)}."
        yield from words.describe_layout(*verdict.layouts)

    def _facts_without_match(self, verdict: Verdict) -> Iterator[str]:
        if verdict.replaced:
            yield f"It becomes the library's own {verdict.op_type}: the same result, to rounding."
            yield from words.describe_layout(*verdict.layouts)
        else:
            yield "It stays as it is: ONNX Runtime computes it."

    def _reasons(self, verdict: Verdict, entry: NodePlan | None, match: Match | None) -> Iterator[str]:
        reason = entry.reason if entry else verdict.reason
        if reason == NOT_ASSIGNED and self._is_rewritten:
            yield "The file does not say why; its plan may (--plan)."
        elif reason:
            yield _sentence(reason)
        elif entry is not None:
            yield "The plan does not say why."
        else:
            yield from _why_exact(verdict, match)
        if entry is not None:
            yield from describe_measured(entry.measured)

    def _changes(self, candidate: Candidate, match: Match, verdict: Verdict) -> Iterator[str]:
        name, against = quoted(candidate.node), self._reason_against_clustering(candidate)
        if self._is_rewritten:
            yield "Rewriting the original again, with other options:"
        if verdict.parameters is not None and verdict.parameters.method != "exact":
            yield from ways_to_less_error(verdict.parameters)
        elif match.group > 1 and match.weights.shape[1] == 1:
            yield "Nothing that helps: an output reads one channel only, so a cluster has one product to save."
        elif against:
            yield f"Clustering it (`--method grid --include {name}`) is not expected to gain: {against}."
        else:
            yield "Clustering it (`--method grid`) gains where inputs repeat, with an error that only data can judge."
        if self._plan:
            yield f"In the plan, a [[node]] named '{label(candidate.node)}': other parameters or method, or `keep`."
        elif verdict.replaced:
            yield f"`--exclude {name}` keeps it."
        else:
            yield f"`--include {name}` makes it exact in any case (and keeps all nodes that are not included)."
        yield "`--calibrate DATA` finds by measurement what pays within a budget."

    def _reason_against_clustering(self, candidate: Candidate) -> str:
        index = next(index for index, found in enumerate(self._candidates) if found is candidate)
        return self._clustered[index].reason


def _why_exact(verdict: Verdict, match: Match | None) -> Iterator[str]:
    if match is None:
        if verdict.op_type == LRN:
            yield "ONNX Runtime's own kernel takes longer than the convolutions of the networks that have it."
        else:
            yield "It lies between nodes of the library, and so reads their blocks without a conversion."
        return
    if not match.is_convolution:
        yield "Reading its weights takes the time: those that meet a zero are not read, without any approximation."
    elif expected_speed(match) > 1.0:
        yield "Winograd's filtering takes fewer multiplications than what ONNX Runtime does, without any approximation."
    else:
        yield "It gains little by itself, but keeps the chain whole, so that its neighbours need no conversion."


def _changes_without_match(verdict: Verdict, node: ir.Node) -> Iterator[str]:
    if not verdict.replaced:
        yield "Nothing in drpass: the model itself must change, so that the reason above goes away."
    elif verdict.op_type == LRN:
        yield f"`--exclude {quoted(node)}` keeps it."
    else:
        yield "`--no-chains` keeps it."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
