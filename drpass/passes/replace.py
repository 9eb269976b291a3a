"""Pass 3: put a DeepReuseGemm in the place of a matched node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as with_changes
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.external_data import forget
from drpass.operator.packing import pack_weights, packed_shape
from drpass.operator.spec import DOMAIN, OP_TYPE, VERSION, ReuseParameters
from drpass.passes.match import Candidate
from drpass.passes.places import Names, Place, add_constant, drop_unused
from drpass.passes.plan import Verdict
from drpass.rules.absorbing import RANK
from drpass.rules.anchor import Array, Match, origin


def replace(
    model: ir.Model, candidates: Sequence[Candidate], verdicts: Sequence[Verdict], names: Names
) -> list[ir.Node | None]:
    """Replace the candidates whose verdict says so, and drop the weights that nothing reads any more.

    Returns the new node of each candidate, None for those that are kept.
    """
    packed: dict[tuple[Any, ...], ir.Value] = {}
    # What was matched before this pass may be the output of a node that it replaces: old output -> new output.
    moved: dict[ir.Value, ir.Value] = {}
    new_nodes = [
        _replace(candidate, _follow(candidate.match, moved), verdict.parameters, names, packed, moved)
        if candidate.match is not None and verdict.parameters is not None
        else None
        for candidate, verdict in zip(candidates, verdicts, strict=True)
    ]
    for function in model.functions.values():
        if any(node.domain == DOMAIN for node in function.all_nodes()):
            function.opset_imports.setdefault(DOMAIN, VERSION)
    model.graph.opset_imports.setdefault(DOMAIN, VERSION)
    return new_nodes


def _replace(
    candidate: Candidate,
    match: Match,
    parameters: ReuseParameters,
    names: Names,
    packed: dict[tuple[Any, ...], ir.Value],
    moved: dict[ir.Value, ir.Value],
) -> ir.Node:
    node, place = candidate.node, candidate.place
    reuse = reuse_node(candidate, match, parameters, names, packed)
    old_inputs = list(node.inputs)
    moved[node.outputs[0]] = reuse.outputs[0]
    substitute(place, [node], node, reuse)
    drop_unused({value for value in old_inputs if value is not None}, names)
    _drop_before(match, names)
    return reuse


def _drop_before(match: Match, names: Names) -> None:
    """Remove what is part of the match now, unless something else reads it."""
    for node in match.before:
        output = node.outputs[0]
        if node.graph is None or output.uses() or output.is_graph_output():
            return
        sources = {value for value in node.inputs if value is not None}
        node.graph.remove(node, safe=True)
        names.release(output.name)
        drop_unused(sources, names)


def reuse_node(
    candidate: Candidate,
    match: Match,
    parameters: ReuseParameters,
    names: Names,
    packed: dict[tuple[Any, ...], ir.Value],
    outputs: int = 1,
) -> ir.Node:
    """A DeepReuseGemm that computes what the candidate does; its constants are in the graph, it is not yet.

    ``packed``: the packed weights that were made before, for those that share them.
    """
    node, place = candidate.node, candidate.place
    inputs: list[ir.Value | None] = [match.x, _weights(place, match, node, names, packed)]
    inputs += [_bias(place, match, node, names), _addend(place, match, node, names)]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {"output_channels": match.weights.shape[0], **match.attributes, **parameters.attributes()}
    reuse = ir.node(
        OP_TYPE, inputs, attributes, domain=DOMAIN, name=node.name, doc_string=node.doc_string, num_outputs=outputs
    )
    reuse.meta[RANK] = match.rank
    return reuse


def _follow(match: Match, moved: Mapping[ir.Value, ir.Value]) -> Match:
    bias = moved.get(match.bias, match.bias) if isinstance(match.bias, ir.Value) else match.bias
    addend = None if match.addend is None else moved.get(match.addend, match.addend)
    return with_changes(match, x=moved.get(match.x, match.x), bias=bias, addend=addend)


def substitute(place: Place, old_nodes: Sequence[ir.Node], anchor: ir.Node, new: ir.Node) -> None:
    """Put ``new`` in the place and output of the last of ``old_nodes``; it keeps the metadata of ``anchor``."""
    last = old_nodes[-1]
    new.metadata_props.update(anchor.metadata_props)
    new.meta.update(anchor.meta)
    new.doc_string = anchor.doc_string
    old_output, output = last.outputs[0], new.outputs[0]
    output.doc_string = old_output.doc_string
    output.metadata_props.update(old_output.metadata_props)
    output.meta.update(old_output.meta)
    ir.convenience.replace_nodes_and_values(place.graph, last, old_nodes, [new], [old_output], [output])


def _weights(
    place: Place, match: Match, node: ir.Node, names: Names, packed: dict[tuple[Any, ...], ir.Value]
) -> ir.Value:
    key = (id(place.graph), origin(match.weights_source), *match.recipe)
    if key not in packed:
        name = names.unique(f"{match.weights_source.name}_packed")
        packed[key] = add_constant(place, _packed(match.weights, match.group), name, node)
    return packed[key]


def _packed(weights: Array, group: int) -> ir.LazyTensor:
    def pack() -> Array:
        result = pack_weights(weights, group)
        forget(weights)
        return result

    return deferred(pack, packed_shape(weights.shape, group), ir.DataType.from_numpy(weights.dtype))


def _bias(place: Place, match: Match, node: ir.Node, names: Names) -> ir.Value | None:
    bias = match.bias
    if bias is None and match.addend is not None:
        # ONNX Runtime 1.23 crashes in shape inference on an absent input of a custom operator.
        bias = np.zeros(match.weights.shape[0], match.weights.dtype)
    if bias is None or isinstance(bias, ir.Value):
        return bias
    return add_constant(place, bias, names.unique(f"{match.weights_source.name}_bias"), node)


def _addend(place: Place, match: Match, node: ir.Node, names: Names) -> ir.Value | None:
    addend = match.addend
    if addend is None or match.addend_scale == 1.0:
        return addend
    beta = add_constant(place, match.weights.dtype.type(match.addend_scale), names.unique(f"{addend.name}_beta"), node)
    scaled = ir.node("Mul", [addend, beta], name=f"{node.name}_beta" if node.name else None)
    scaled.outputs[0].name = names.unique(f"{addend.name}_scaled")
    scaled.outputs[0].shape, scaled.outputs[0].type = addend.shape, addend.type
    place.graph.insert_before(node, scaled)
    return scaled.outputs[0]
