"""A DeepReuseGemm in words: what its attributes mean for a node of its size (docs/operator.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drpass.explanation.work import Work
from drpass.operator.spec import BLOCKED, ReuseParameters
from drpass.passes.gain import served_by_winograd

_VALUE_BYTES = {"float": 4, "int16": 2}


def describe_work(work: Work) -> str:
    """What is computed, and how much that is."""
    count = work.multiply_adds
    cost = f": {count:,} multiply-adds" if count is not None else " (--shape gives the sizes)"
    if not work.is_convolution:
        rows = "rows" if work.pixels is None else f"{work.pixels:,} rows"
        return f"The product of {rows} of {work.inputs} values with constant weights, {work.outputs} outputs{cost}."
    groups = f" in {work.group} groups" if work.group > 1 else ""
    window = "".join(
        f", {name} {by(values)}"
        for name in ("strides", "dilations")
        if (values := work.attributes.get(name, ())) and set(values) != {1}
    )
    sizes = f", {by(work.before)} pixels to {by(work.after)}" if work.before and work.after else ""
    an_image = " an image" if count is not None else ""
    channels = f"{work.inputs * work.group} channels to {work.outputs}{groups}"
    return f"A {by(work.kernel)} convolution of {channels}{window}{sizes}{cost}{an_image}."


def describe_method(work: Work, parameters: ReuseParameters) -> Iterator[str]:
    """What the parameters mean for this node, one sentence each."""
    if parameters.method == "exact":
        yield "exact: every output is computed from all its inputs; nothing is approximated."
        yield describe_dense(work)
        return
    groups = -(-work.inputs // parameters.sub_vector_length)
    each = "row" if not work.is_convolution else "pixel"
    of_group = " of a group" if work.group > 1 else ""
    yield (
        f"L = {parameters.sub_vector_length}: the {work.inputs} channels of a {each}{of_group} are cut into "
        f"{groups} sub-vector{'s' if groups > 1 else ''}."
    )
    yield _signature(parameters)
    yield _scope(work, parameters, each)
    yield _guard(work, parameters, each)
    yield _tables(work, parameters)
    if parameters.method == "grid" and work.weight_sum is not None:
        bound = parameters.step * work.weight_sum
        yield (
            f"No output moves by more than {parameters.step:g} σ times the sum of its |weights|, which is at most "
            f"{bound:.3g} σ here, before the activation; the usual error is far smaller."
        )
    if parameters.method == "lsh":
        yield "lsh has no bound of its error: only data can judge it."


def describe_dense(work: Work) -> str:
    """How the exact operator, or a group over the limit, is computed."""
    zeros = "Images that are mostly zeros are computed from what is not zero, where that is less work."
    return f"{_dense_form(work)} {zeros}"


def _dense_form(work: Work) -> str:
    names = ("strides", "dilations")
    if work.attributes.get("winograd", 1) == 0:
        return "The direct product: Winograd's filtering is switched off (winograd = 0)."
    if work.is_convolution and served_by_winograd(work.kernel, *(work.attributes.get(name, ()) for name in names)):
        return (
            f"Winograd's filtering F(4×4, {by(work.kernel)}) where that takes fewer operations at the size of the "
            "image; it differs from the direct product by rounding."
        )
    why = "3×3 and 5×5 kernels with strides and dilations of 1" if work.is_convolution else "convolutions"
    return f"The direct product: Winograd's filtering is for {why}."


def describe_surroundings(attributes: Mapping[str, Any], has_bias: bool, has_addend: bool) -> Iterator[str]:
    """What else a DeepReuseGemm does: what it absorbed, its layouts, its memo, what it may round."""
    parts = ["the bias"] * has_bias + ["an addend (a residual Add, or C of Gemm)"] * has_addend
    activation = attributes.get("activation", "none")
    parts += [f"the activation {activation}"] if activation != "none" else []
    if parts:
        yield f"In the same pass: {', '.join(parts)}."
    yield from describe_layout(attributes.get("x_layout", ""), attributes.get("y_layout", ""))
    if memo := attributes.get("memo_bytes", 0):
        yield f"Results of tiles are kept from call to call in up to {memo / 2**20:.3g} MiB: pays on films."
    if attributes.get("allow_tf32", 0):
        yield "On CUDA factors may be rounded to TF32, for tensor cores (allow_tf32 = 1); the CPU ignores it."


def describe_layout(x: str, y: str) -> Iterator[str]:
    """Nothing where both are NCHW."""
    if BLOCKED in (x, y):
        yield f"Reads {x} and writes {y}: in a chain tensors stay in blocks of 16 channels, so nothing converts them."


def by(sizes: Sequence[int]) -> str:
    """``3×3``."""
    return "×".join(map(str, sizes))


def _signature(parameters: ReuseParameters) -> str:
    if parameters.method == "grid":
        return (
            f"step = {parameters.step:g}: sub-vectors whose values fall in the same cells of edge {parameters.step:g} σ"
            " form a cluster (σ: standard deviation of the running input)."
        )
    return (
        f"H = {parameters.hash_bits}: sub-vectors that lie on the same sides of {parameters.hash_bits} hyperplanes "
        f"(seed {parameters.seed}) form a cluster."
    )


def _scope(work: Work, parameters: ReuseParameters, each: str) -> str:
    if parameters.scope == "batch":
        return f"scope = batch: the {each}s of all images of a call share clusters, so the result depends on the batch."
    sharing = f"the {each}s" if work.pixels is None else f"the {work.pixels:,} {each}s"
    return f"scope = image: {sharing} of one {'image' if work.is_convolution else 'matrix'} share clusters."


def _guard(work: Work, parameters: ReuseParameters, each: str) -> str:
    limit = parameters.max_remaining_ratio
    clusters = f"more than {limit:g} clusters a {each}"
    if work.pixels is not None and parameters.scope == "image":
        clusters = f"more than {int(limit * work.pixels):,} clusters"
    return f"Guard r_c ≤ {limit:g}: a sub-vector group that finds {clusters} is computed densely in that call."


def _tables(work: Work, parameters: ReuseParameters) -> str:
    size, values = _VALUE_BYTES[parameters.table_type], work.table_values
    products = values * parameters.sub_vector_length
    return (
        f"A cluster costs {products:,} multiply-adds and a table of {values:,} products, {values * size:,} bytes as "
        f"{parameters.table_type}; each {'pixel' if work.is_convolution else 'row'} of it then costs additions only."
    )
