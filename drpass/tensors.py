"""What a model takes and gives: names, types and shapes of its inputs and outputs, and whether arrays fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drpass.errors import DrpassError

if TYPE_CHECKING:
    import onnxruntime as ort

Array = npt.NDArray[Any]
Feeds = dict[str, Array]

#: ONNX Runtime's names of the element types that NumPy has too.
_DTYPES: dict[str, type[np.generic]] = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model. A dimension is a number, or a name (or None) where the model leaves it open."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of an element. Raises DrpassError for strings, sequences and types that NumPy lacks."""
        element = self.type.removeprefix("tensor(").removesuffix(")")
        if element not in _DTYPES:
            raise DrpassError(f"{self.name!r} is {self.type}, but drpass handles only tensors of numbers")
        return np.dtype(_DTYPES[element])

    def describe(self) -> str:
        """``'x' float [N, 3, 227, 227]``."""
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name!r} {self.type.removeprefix('tensor(').removesuffix(')')} [{dims}]"


class Interface(NamedTuple):
    """All inputs that a caller must feed, and all outputs, in the model's order."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


def interface_of(session: ort.InferenceSession) -> Interface:
    """What a model takes and gives."""
    return Interface(input_specs(session), output_specs(session))


def input_specs(session: ort.InferenceSession) -> list[TensorSpec]:
    """The inputs that a caller must feed, in the model's order."""
    return [TensorSpec(arg.name, arg.type, tuple(arg.shape)) for arg in session.get_inputs()]


def output_specs(session: ort.InferenceSession) -> list[TensorSpec]:
    """The outputs, in the model's order."""
    return [TensorSpec(arg.name, arg.type, tuple(arg.shape)) for arg in session.get_outputs()]


def describe_all(specs: Sequence[TensorSpec]) -> str:
    """For messages: all inputs or outputs in a row."""
    return ", ".join(spec.describe() for spec in specs) or "none"


def with_shapes(specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> list[TensorSpec]:
    """The same inputs with open dimensions settled. Raises DrpassError for a name or shape that does not fit."""
    for name, shape in shapes.items():
        spec = next((spec for spec in specs if spec.name == name), None)
        if spec is None:
            raise DrpassError(f"the model has no input {name!r}; its inputs are {describe_all(specs)}")
        if not _fits(spec.shape, shape) or min(shape, default=1) < 1:
            raise DrpassError(f"shape {list(shape)} does not fit the input {spec.describe()}")
    return [replace(spec, shape=tuple(shapes.get(spec.name, spec.shape))) for spec in specs]


def check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Raise DrpassError, naming what is expected, unless the arrays are exactly what the model takes."""
    names = {spec.name for spec in specs}
    unknown = [name for name in feeds if name not in names]
    missing = [spec.name for spec in specs if spec.name not in feeds]
    if unknown or missing:
        what = f"no input {unknown[0]!r}" if unknown else f"an input {missing[0]!r} that was not given"
        raise DrpassError(f"the model has {what}; its inputs are {describe_all(specs)}")
    for spec in specs:
        array = feeds[spec.name]
        if array.dtype != spec.dtype:
            raise DrpassError(f"the model expects {spec.describe()}, but the array has type {array.dtype}")
        if not _fits(spec.shape, array.shape):
            raise DrpassError(f"the model expects {spec.describe()}, but the array has shape {list(array.shape)}")


def _fits(expected: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    return len(expected) == len(shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(expected, shape)
    )
