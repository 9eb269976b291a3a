"""What a DeepReuseGemm node says: the names, attributes and defaults of docs/operator.md, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from drpass.errors import DrpassError

DOMAIN = "ai.drpass"
VERSION = 1
OP_TYPE = "DeepReuseGemm"
LRN = "LRN"
POOL = "Pool"
DEPTHWISE = "DepthwiseConv"
FULLY_CONNECTED = "FullyConnected"
UPSAMPLE = "Upsample"
#: Positions of the inputs of DeepReuseGemm.
X, W, B, A = range(4)

Method = Literal["exact", "lsh", "grid"]
Scope = Literal["image", "batch"]
TableType = Literal["float", "int16"]
Layout = Literal["NCHW", "NCHW16c"]
Activation = Literal["none", "relu", "leaky_relu", "clip", "hard_sigmoid", "hard_swish", "sigmoid", "silu"]

METHODS: tuple[Method, ...] = ("exact", "lsh", "grid")
SCOPES: tuple[Scope, ...] = ("image", "batch")
TABLE_TYPES: tuple[TableType, ...] = ("float", "int16")
#: NCHW16c is [N, ceil(C / 16), \*spatial, 16]: channel c is lane c % 16 of block c // 16.
LAYOUTS: tuple[Layout, ...] = ("NCHW", "NCHW16c")
BLOCKED: Layout = "NCHW16c"
POOL_MODES = ("max", "average")
#: Number of ``activation_params`` that each activation takes.
ACTIVATIONS: dict[Activation, int] = {
    "none": 0,
    "relu": 0,
    "leaky_relu": 1,
    "clip": 2,
    "hard_sigmoid": 2,
    "hard_swish": 0,
    "sigmoid": 0,
    "silu": 0,
}


@dataclass(frozen=True)
class ReuseParameters:
    """The parameters of the method: what a plan chooses for a node. Units and meaning as in docs/operator.md."""

    method: Method = "grid"
    scope: Scope = "image"
    sub_vector_length: int = 4
    step: float = 0.03
    hash_bits: int = 16
    seed: int = 0
    max_remaining_ratio: float = 0.5
    table_type: TableType = "int16"

    def attributes(self) -> dict[str, Any]:
        """The node attributes that say this; those without a meaning for the method are left out."""
        names = {"method"}
        if self.method != "exact":
            names |= {"scope", "sub_vector_length", "max_remaining_ratio", "table_type"}
        if self.method == "grid":
            names |= {"step"}
        if self.method == "lsh":
            names |= {"hash_bits", "seed"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}

    @classmethod
    def of_node(cls, attributes: Mapping[str, Any]) -> ReuseParameters:
        """The parameters that the attributes of a node say; those that are absent have the operator's defaults."""
        values = {field.name: attributes.get(field.name, DEFAULTS[field.name]) for field in fields(cls)}
        return cls(**values)

    def describe(self) -> str:
        """For tables: ``grid L=4 step=0.1σ image r_c≤0.5 int16``."""
        if self.method == "exact":
            return "exact"
        size = f"step={self.step:g}σ" if self.method == "grid" else f"H={self.hash_bits}"
        limit = f"r_c≤{self.max_remaining_ratio:g}"
        return f"{self.method} L={self.sub_vector_length} {size} {self.scope} {limit} {self.table_type}"


def check_parameters(parameters: ReuseParameters) -> ReuseParameters:
    """The parameters, if they are in the ranges of docs/operator.md; else DrpassError says which is not."""
    ranges = {
        "method": parameters.method in METHODS,
        "scope": parameters.scope in SCOPES,
        "sub_vector_length": 1 <= parameters.sub_vector_length < 2**31,
        "step": 0.0 < parameters.step < float("inf"),
        "hash_bits": 1 <= parameters.hash_bits <= 64,
        "seed": -(2**63) <= parameters.seed < 2**63,
        "table_type": parameters.table_type in TABLE_TYPES,
        "max_remaining_ratio": 0.0 < parameters.max_remaining_ratio <= 1.0,
    }
    for name, valid in ranges.items():
        if not valid:
            raise DrpassError(f"{name} can't be {getattr(parameters, name)!r}; it must be {_RANGES[name]}")
    return parameters


_RANGES = {
    "method": "exact, lsh or grid",
    "scope": "image or batch",
    "sub_vector_length": "in [1, 2^31)",
    "step": "a positive number (in units of the standard deviation of the input)",
    "hash_bits": "in 1 to 64",
    "seed": "a 64-bit integer",
    "table_type": "float or int16",
    "max_remaining_ratio": "in (0, 1]",
}

#: Of the attribute memo_bytes.
LARGEST_MEMO = 1 << 36
#: Bytes of memos that sessions of a process take when they are created; what is over that can't begin warm.
TAKEN_MEMO = 1 << 32
#: The attribute with the windows that a memo begins with, a tensor.
MEMO_WINDOWS = "memo_windows"


def describe_layouts(x: str, y: str) -> str:
    """For tables, behind the method: empty where both are NCHW, else as in ``, NCHW→NCHW16c``."""
    if x == y:
        return "" if x == LAYOUTS[0] else f", {x}"
    return f", {x}→{y}"


#: What an absent attribute means. A plan's defaults differ: a node without attributes is the dense oracle.
DEFAULTS: dict[str, int | float | str] = {
    "group": 1,
    "trans_a": 0,
    "auto_pad": "NOTSET",
    "method": "exact",
    "scope": "image",
    "sub_vector_length": 4,
    "step": 0.03,
    "hash_bits": 16,
    "seed": 0,
    "max_remaining_ratio": 0.5,
    "table_type": "float",
    "winograd": 1,
    "skip_zeros": 1,
    "allow_tf32": 0,
    "memo_bytes": 0,
    "activation": "none",
    "x_layout": "NCHW",
    "y_layout": "NCHW",
}
