"""How far a setting moves the result of each layer, on the original's own activations.

The shadow of a model is the model with a DeepReuseGemm beside every layer that is looked at, fed with the same input.
It gives the squared difference of both results, the squared result, and the clusters that were found. So one run tells
the errors of all layers, none of which disturbs another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from drpass import model_io
from drpass.execution import open_session, run
from drpass.operator.spec import DOMAIN, VERSION, ReuseParameters
from drpass.passes import NodeKey, legacy_inputs
from drpass.passes.match import Candidate, find_candidates
from drpass.passes.places import Names
from drpass.passes.replace import reuse_node
from drpass.shape_inference import infer_shapes
from drpass.tensors import Array, Feeds
from drpass.tune.journal import Journal, describe
from drpass.tune.subject import Subject

#: Calls that the errors of a setting are measured on.
_CALLS = 4


@dataclass(frozen=True)
class LayerError:
    """``error``: sqrt(sum d² / sum r²) of the layer's result. ``remaining_ratios``: clusters over pixels (rows) of each
    sub-vector group, the mean over calls and scope instances; 1 where the guard found too many. Empty for exact.
    ``largest_ratio``: of any group in any instance that the guard let pass; 0 where there is none."""

    error: float
    remaining_ratios: tuple[float, ...]
    largest_ratio: float


def layer_errors(
    subject: Subject, settings: Mapping[NodeKey, ReuseParameters], journal: Journal
) -> dict[NodeKey, LayerError]:
    """The error of each of these layers at its setting, on the subject's first inputs; measured once."""

    def measure() -> list[list[float]]:
        errors = measure_errors(subject.model, settings, subject.feeds[:_CALLS], subject.threads)
        return [[error.error, error.largest_ratio, *error.remaining_ratios] for error in errors.values()]

    figures = journal.once(f"errors {describe(settings)}", measure)
    return {key: LayerError(error, tuple(ratios), largest) for key, (error, largest, *ratios) in zip(settings, figures)}


def measure_errors(
    model: onnx.ModelProto, settings: Mapping[NodeKey, ReuseParameters], feeds: Iterable[Feeds], threads: int
) -> dict[NodeKey, LayerError]:
    """The error of each layer of the main graph at its setting."""
    proto, layers = _shadow(model, settings)
    session = open_session(proto, threads=threads)
    names = [name for layer in layers.values() for name in layer.outputs]
    for feed in feeds:
        results = iter(run(session, feed, names))
        for layer in layers.values():
            layer.add(*itertools.islice(results, len(layer.outputs)))
    return {key: layer.figures() for key, layer in layers.items()}


@dataclass
class _Layer:
    """``outputs``: names of sum d², sum r², the size of X and the clusters [S, group, G]. ``channels``: of X.
    ``clusters``: whether the setting makes any."""

    outputs: list[str]
    channels: int
    clusters: bool
    squares: float = 0.0
    reference: float = 0.0
    largest: float = 0.0
    ratios: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, squares: Array, reference: Array, size: Array, clusters: Array) -> None:
        self.squares += float(squares)
        self.reference += float(reference)
        instances = len(clusters)
        pixels = float(size) / self.channels / max(instances, 1)
        if instances and pixels and self.clusters:
            ratios = clusters / pixels  # below 0 where the guard found too many
            self.ratios.append(np.where(ratios < 0, 1.0, ratios).mean(axis=0).ravel())
            self.largest = max(self.largest, float(ratios.max()))

    def figures(self) -> LayerError:
        error = math.sqrt(self.squares / self.reference) if self.reference > 0 else 0.0
        means = tuple(np.mean(self.ratios, axis=0).tolist()) if self.ratios else ()
        return LayerError(error, means, self.largest)


def _shadow(
    model: onnx.ModelProto, settings: Mapping[NodeKey, ReuseParameters]
) -> tuple[onnx.ModelProto, dict[NodeKey, _Layer]]:
    working = model_io.to_ir(model, "the model")
    legacy_inputs.hide(working)
    names = Names(working)
    packed: dict[tuple[Any, ...], ir.Value] = {}
    layers: dict[NodeKey, _Layer] = {}
    for candidate in find_candidates(working, infer_shapes(working)):
        key = candidate.place.path, candidate.name
        if key in settings and key not in layers:
            layers[key] = _add(candidate, settings[key], names, packed)
    working.graph.opset_imports.setdefault(DOMAIN, VERSION)
    legacy_inputs.restore(working)
    return model_io.to_proto(working), layers


def _add(
    candidate: Candidate, setting: ReuseParameters, names: Names, packed: dict[tuple[Any, ...], ir.Value]
) -> _Layer:
    match, graph = candidate.match, candidate.place.graph
    assert match is not None
    reuse = reuse_node(candidate, match, setting, names, packed, outputs=2)
    reuse.name = None
    result, (shadow, clusters) = candidate.node.outputs[0], reuse.outputs
    # Sums of squares leave the range of float16 soon.
    casts = [ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}) for value in (shadow, result)]
    difference = ir.node("Sub", [cast.outputs[0] for cast in casts])
    squares = ir.node("ReduceSumSquare", difference.outputs, {"keepdims": 0})
    reference = ir.node("ReduceSumSquare", casts[1].outputs, {"keepdims": 0})
    size = ir.node("Size", [match.x])
    graph.insert_after(candidate.node, [reuse, *casts, difference, squares, reference, size])
    figures = [squares.outputs[0], reference.outputs[0], size.outputs[0], clusters]
    for value in (shadow, *(cast.outputs[0] for cast in casts), difference.outputs[0], *figures):
        value.name = names.unique("drpass_shadow")
    for value, dtype in zip(figures, (ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT64)):
        value.type = ir.TensorType(dtype)
        graph.outputs.append(value)
    channels = match.weights.shape[1] * match.group
    return _Layer([value.name or "" for value in figures], channels, setting.method != "exact")
