"""What every front end hands over: a model of a framework that can be converted to ONNX and run."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import onnx_ir as ir

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.tensors import Array, TensorSpec

IMAGE_RANK = 4
_PICTURE_CHANNELS = (1, 3, 4)
Model = TypeVar("Model", bound="FrameworkModel")


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``inputs`` and ``outputs``: names of tensors, empty where the front end finds them."""

    source: str
    weights: Path | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The source as a file or folder."""
        return Path(self.source)


@dataclass(frozen=True, kw_only=True)
class FrameworkModel(ABC):
    """A model as a function of arrays, in the layout of its framework.

    ``inputs``: unique names; None in a shape where a dimension is open. ``outputs``: unique names. ``preprocess``: how
    an image becomes the input, where that is known.
    """

    #: Whether pictures are ``[N, H, W, C]``.
    channels_last: ClassVar[bool] = True

    name: str
    inputs: list[TensorSpec]
    outputs: list[str]
    preprocess: Preprocess | None = None

    @abstractmethod
    def convert(self, opset: int, nhwc: bool) -> ir.Model:
        """The ONNX model with the names of ``inputs`` and ``outputs``; may raise anything.

        What :meth:`moved_inputs` and :meth:`moves_outputs` say is ``[N, C, H, W]`` in it.
        """

    @abstractmethod
    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs, in their order, for arrays in the order of ``inputs``; may raise anything."""

    def run_otherwise(self, arrays: Sequence[Array]) -> list[Array] | None:
        """The same by other kernels of the framework, which round otherwise; None where it has none."""
        return None

    def with_batch(self: Model, batch: int) -> Model:
        """The model with the first dimension of all inputs fixed. Raises DrpassError if one has another size."""
        for spec in self.inputs:
            if not spec.shape or spec.shape[0] not in (None, batch):
                dims = ", ".join("?" if dim is None else str(dim) for dim in spec.shape)
                raise DrpassError(f"the input '{spec.name}' of {self.name} has shape [{dims}]: no batch of {batch}")
        return replace(self, inputs=[replace(spec, shape=(batch, *spec.shape[1:])) for spec in self.inputs])

    def moved_inputs(self, nhwc: bool) -> set[str]:
        """Names of the inputs ``[N, H, W, C]`` that become ``[N, C, H, W]``: none if ``nhwc``."""
        if nhwc or not self.channels_last:
            return set()
        return {spec.name for spec in self.inputs if _has_channels_last(spec)}

    def moves_outputs(self, nhwc: bool) -> bool:
        """Whether outputs of four dimensions do so too: not where an input has its channels first already."""
        images = [spec for spec in self.inputs if len(spec.shape) == IMAGE_RANK]
        return not nhwc and self.channels_last and all(_has_channels_last(spec) for spec in images)


@dataclass(frozen=True)
class FrontEnd:
    """One kind of source.

    ``kind``: it in words, for messages. ``claims``: whether a source (a path, or not) is of this kind, judged without
    reading more than names. ``load``: raises DrpassError if it can't be loaded, or if an extra is not installed.
    ``opsets``: those that it writes reliably, the default one first. ``options``: names of the fields of `Request`,
    beside the source, that it uses.
    """

    kind: str
    claims: Callable[[str], bool]
    load: Callable[[Request], FrameworkModel]
    opsets: tuple[int, ...]
    options: frozenset[str] = frozenset()


def _has_channels_last(spec: TensorSpec) -> bool:
    """Four dimensions, and not ``[N, C, H, W]`` by the size of C, which only a few values are for pictures."""
    if len(spec.shape) != IMAGE_RANK:
        return False
    return spec.shape[1] not in _PICTURE_CHANNELS or spec.shape[3] in _PICTURE_CHANNELS


def type_name(dtype: Any) -> str:
    """ONNX Runtime's name of the element type of an array."""
    name: str = np.dtype(dtype).name
    return {"float32": "float", "float64": "double"}.get(name, name)


def unique_names(names: Iterable[str]) -> list[str]:
    """The names with other characters than TensorFlow allows replaced, and numbers added where one occurs again."""
    chosen: list[str] = []
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_.") or "tensor"
        candidate, count = base, 1
        while candidate in chosen:
            candidate, count = f"{base}_{count}", count + 1
        chosen.append(candidate)
    return chosen


def one_line(words: object) -> str:
    """What a framework says (an exception or a text), which may be pages, for a message of one line."""
    text = re.sub(r"\x1b\[[0-9;]*m|[\x00-\x1f\x7f]", " ", str(words))
    return textwrap.shorten(text, 300, placeholder=" ...") or type(words).__name__
