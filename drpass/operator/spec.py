"""What a DeepReuseGemm node says: the names, attributes and defaults of docs/operator.md, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

DOMAIN = "ai.drpass"
VERSION = 1
OP_TYPE = "DeepReuseGemm"

Method = Literal["exact", "lsh", "grid"]
Scope = Literal["image", "batch"]
Activation = Literal["none", "relu", "leaky_relu", "clip", "sigmoid"]

METHODS: tuple[Method, ...] = ("exact", "lsh", "grid")
SCOPES: tuple[Scope, ...] = ("image", "batch")
#: Number of ``activation_params`` that each activation takes.
ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 0, "leaky_relu": 1, "clip": 2, "sigmoid": 0}


@dataclass(frozen=True)
class ReuseParameters:
    """The parameters of the method: what a plan chooses for a node. Units and meaning as in docs/operator.md."""

    method: Method = "grid"
    scope: Scope = "image"
    sub_vector_length: int = 4
    step: float = 0.1
    hash_bits: int = 16
    seed: int = 0
    max_remaining_ratio: float = 0.5

    def attributes(self) -> dict[str, Any]:
        """The node attributes that say this; those without a meaning for the method are left out."""
        names = {"method"}
        if self.method != "exact":
            names |= {"scope", "sub_vector_length", "max_remaining_ratio"}
        if self.method == "grid":
            names |= {"step"}
        if self.method == "lsh":
            names |= {"hash_bits", "seed"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}

    def describe(self) -> str:
        """For tables: ``grid L=4 step=0.1σ image r_c≤0.5``."""
        if self.method == "exact":
            return "exact"
        size = f"step={self.step:g}σ" if self.method == "grid" else f"H={self.hash_bits}"
        return f"{self.method} L={self.sub_vector_length} {size} {self.scope} r_c≤{self.max_remaining_ratio:g}"
