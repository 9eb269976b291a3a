"""Explains the nodes of the library: DeepReuseGemm, DepthwiseConv, FullyConnected, LRN, Pool and Upsample."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from drpass.console import size_text
from drpass.errors import DrpassError
from drpass.explanation import words
from drpass.explanation.explanation import Explanation, describe_measured, quoted, title_of, ways_to_less_error
from drpass.explanation.work import Work, work_of_reuse
from drpass.operator.spec import (
    DEPTHWISE,
    FULLY_CONNECTED,
    LRN,
    MEMO_WINDOWS,
    OP_TYPE,
    UPSAMPLE,
    A,
    B,
    ReuseParameters,
    check_parameters,
)
from drpass.passes.places import label
from drpass.plan_file import NodePlan, Plan
from drpass.replay import carried
from drpass.rules.anchor import Kept, attribute, input_of, require
from drpass.shape_inference import Shapes

_KERNELS = {
    DEPTHWISE: "A depthwise convolution by the library's own kernel: the result is that of ONNX Conv",
    FULLY_CONNECTED: "A fully connected layer that does not read weights which meet a zero: the result is that of Gemm",
}
_NO_RECORD = "The file does not say why; `rewrite` with a plan writes that into it (or give --plan)."


def explain_own(node: ir.Node, graph: str, shapes: Shapes, plan: Plan | None) -> Explanation:
    """Of a node of the domain ai.drpass. Raises DrpassError where its attributes are not valid."""
    title = f"{title_of(node, graph)} of drpass"
    entry = next((entry for entry in plan.nodes if entry.key == (graph, label(node))), None) if plan else None
    reasons = tuple(_reasons(node, entry))
    try:
        if node.op_type == OP_TYPE:
            work = work_of_reuse(node, shapes)
            parameters = check_parameters(ReuseParameters.of_node(work.attributes))
            facts = tuple(_facts(node, work, parameters))
            return Explanation(title, facts, (*reasons, *_differs(entry, parameters)), _changes(node, parameters))
        facts = tuple(_other_facts(node))
    except (Kept, DrpassError) as fault:
        raise DrpassError(f"'{label(node)}' is no valid {node.op_type} of drpass: {fault}") from fault
    return Explanation(title, facts, reasons, tuple(_other_changes(node)))


def _facts(node: ir.Node, work: Work, parameters: ReuseParameters) -> Iterator[str]:
    yield words.describe_work(work)
    yield from words.describe_method(work, parameters)
    has_bias, has_addend = input_of(node, B) is not None, input_of(node, A) is not None
    yield from words.describe_surroundings(work.attributes, has_bias, has_addend)
    if (windows := node.attributes.get(MEMO_WINDOWS)) is not None:
        require(windows.type == ir.AttributeType.TENSOR and not windows.is_ref(), f"{MEMO_WINDOWS} is no tensor")
        tensor = windows.as_tensor()
        count = tensor.shape.numpy()[0] if len(tensor.shape) else 0
        some = f"{count} window{'' if count == 1 else 's'}"
        yield f"The memo begins with {some} of calibration data: {size_text(tensor.nbytes)} of the file."


def _other_facts(node: ir.Node) -> Iterator[str]:
    if node.op_type == LRN:
        layout = attribute(node, "layout", "NCHW")
        yield "Local response normalization by the library's own kernel: the same formula as ONNX LRN, to rounding."
        yield from words.describe_layout(layout, layout)
    elif node.op_type in _KERNELS:
        yield f"{_KERNELS[node.op_type]}, to rounding."
        attributes = {name: found.value for name, found in node.attributes.items() if not found.is_ref()}
        yield from words.describe_surroundings(attributes, input_of(node, B) is not None, False)
    elif node.op_type == UPSAMPLE:
        yield "Repeats pixels, by the library's own kernel: the result is that of ONNX Resize to the nearest neighbour."
        yield from words.describe_layout("NCHW16c", "NCHW16c")
    else:
        mode = attribute(node, "mode", "max")
        yield f"A pool ({mode}) by the library's own kernel: the result is that of ONNX, to rounding."
        yield from words.describe_layout("NCHW16c", attribute(node, "y_layout", "NCHW"))


def _reasons(node: ir.Node, entry: NodePlan | None) -> Iterator[str]:
    reason, measured = (entry.reason, entry.measured) if entry else carried(node)
    if reason:
        yield f"{reason[:1].upper()}{reason[1:]}."
    yield from describe_measured(measured)
    if node.op_type == LRN and not reason:
        yield "ONNX Runtime's own kernel takes longer; the result is the same, so it needs no data."
    elif node.op_type == OP_TYPE and not reason and not measured:
        yield _NO_RECORD
    elif node.op_type not in (*_KERNELS, LRN, OP_TYPE):
        yield "It lies between nodes of the library, and reads their blocks without a conversion."


def _differs(entry: NodePlan | None, parameters: ReuseParameters) -> Iterator[str]:
    if entry is not None and (entry.parameters is None or entry.parameters.attributes() != parameters.attributes()):
        says = entry.parameters.describe() if entry.parameters else "keep"
        yield f"The file was not made with this plan, or it was edited since: it says {says}."


def _changes(node: ir.Node, parameters: ReuseParameters) -> tuple[str, ...]:
    again = "Rewrite the original again"
    if parameters.method == "exact":
        return (
            f"{again} with `--method grid --include {quoted(node)}`: clusters, an error that only data can judge.",
            f"{again} with `--calibrate DATA`: finds by measurement whether clustering pays within a budget.",
            f"{again} with `--exclude {quoted(node)}`: keeps the original's node.",
        )
    return (
        *ways_to_less_error(parameters),
        f"{again} with other options or an edited plan; `--exclude {quoted(node)}` keeps the original's node.",
    )


def _other_changes(node: ir.Node) -> Iterator[str]:
    if node.op_type in (*_KERNELS, LRN):
        yield f"Rewrite the original again with `--exclude {quoted(node)}`: keeps the original's node."
    else:
        yield "Rewrite the original again with `--no-chains`: keeps all pools and resizings."
