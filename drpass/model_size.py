"""How large the constants of a model are: by how much a rewritten one is larger than its original, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from drpass.console import size_text
from drpass.operator.packing import PANEL
from drpass.operator.spec import W
from drpass.passes.places import places, reuse_nodes
from drpass.rules.anchor import input_of

#: What is less than this part of the original is not worth a word.
_SLIGHT = 0.01
#: A quantised constant has at most so many bits.
_QUANTISED_BITS = 16
#: Of packed weights: [group, P, T, Cg, 16].
_PACKED_AXES = 5


@dataclass(frozen=True)
class Constants:
    """Of all graphs of a model. ``size``: bytes; ``quantised``: bytes of those that are integers of few bits, and
    ``quantised_values`` how many numbers these are; ``padding``: bytes that fill the last panels of packed weights;
    ``width``: bytes of a packed weight."""

    size: int
    quantised: int
    quantised_values: int
    padding: int
    width: int

    @classmethod
    def of(cls, model: ir.Model) -> Constants:
        """Nothing is read but types and shapes."""
        tensors = list(_tensors(model))
        quantised = [
            tensor for tensor in tensors if tensor.dtype.is_integer() and tensor.dtype.bitwidth <= _QUANTISED_BITS
        ]
        packed = _packed(model)
        return cls(
            size=sum(tensor.nbytes for tensor in tensors),
            quantised=sum(tensor.nbytes for tensor in quantised),
            quantised_values=sum(tensor.size for tensor in quantised),
            padding=sum(tensor.nbytes - _used(tensor, channels) for tensor, channels in packed),
            width=max((tensor.dtype.bitwidth // 8 for tensor, _ in packed), default=0),
        )


@dataclass(frozen=True)
class Growth:
    """Bytes of the constants ``before`` and ``after`` rewriting; ``reasons``: why they are more, largest first, empty
    where they are not, or hardly."""

    before: int
    after: int
    reasons: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Constants, after: Constants) -> Growth:
        """Of two models, the first rewritten to the second."""
        values = before.quantised_values - after.quantised_values
        widened = max(0, after.width * values - (before.quantised - after.quantised))
        padding = after.padding - before.padding
        causes = {
            "quantised weights are folded into floating point": widened,
            f"packed weights fill panels of {PANEL} output channels": padding,
            "weights that several nodes read in different forms, or that kept nodes read too, are stored for each": (
                after.size - before.size - widened - padding
            ),
        }
        least = _SLIGHT * before.size
        found = sorted(((size, words) for words, size in causes.items() if size > least), reverse=True)
        grows = after.size - before.size > least
        return cls(before.size, after.size, tuple(f"{words} (+{size_text(size)})" for size, words in found if grows))

    def describe(self) -> str:
        """``constants grow from 1.2 MiB to 4.8 MiB: quantised weights are ... (+3.6 MiB)``; empty if they don't."""
        if not self.reasons:
            return ""
        return f"constants grow from {size_text(self.before)} to {size_text(self.after)}: {'; '.join(self.reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reasons": list(self.reasons)}


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for place in places(model):
        yield from (value.const_value for value in place.graph.initializers.values() if value.const_value is not None)
        for node in place.graph:
            tensor = _constant(node)
            if tensor is not None:
                yield tensor


def _constant(node: ir.Node) -> ir.TensorProtocol | None:
    """What a Constant node holds, if it is a tensor."""
    value = node.attributes.get("value") if node.op_type == "Constant" and node.domain == "" else None
    if value is None or value.is_ref() or value.type != ir.AttributeType.TENSOR:
        return None
    return value.as_tensor()


def _packed(model: ir.Model) -> list[tuple[ir.TensorProtocol, int]]:
    """The packed weights of all nodes, each once, with their output channels."""
    found: dict[ir.Value, tuple[ir.TensorProtocol, int]] = {}
    for node in reuse_nodes(model):
        weights = input_of(node, W)
        if weights is None:
            continue
        producer, channels = weights.producer(), node.attributes.get("output_channels")
        tensor = weights.const_value if producer is None else _constant(producer)
        # A model that is given may hold anything.
        known = channels is not None and channels.type == ir.AttributeType.INT and not channels.is_ref()
        if tensor is not None and channels is not None and known and len(tensor.shape) == _PACKED_AXES:
            found[weights] = tensor, channels.as_int()
    return list(found.values())


def _used(tensor: ir.TensorProtocol, channels: int) -> int:
    """Bytes of packed weights that are weights, not zeros at the end of a panel."""
    group, panels, *_ = tensor.shape.numpy()
    return tensor.nbytes * channels // max(group * panels * PANEL, 1)
