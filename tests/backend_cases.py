"""The cases of onnx.backend.test whose models hold a product of matrices or a convolution, with constant weights.

In the node tests every operand is a graph input; here all but the first become initializers, as in trained models. The
models of known networks make their weights by ConstantOfShape; here they are initializers of the same values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Arrays = list[npt.NDArray[Any]]

#: What the coverage is about.
PRODUCTS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul",
)  # fmt: skip
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
#: Models whose weights take more memory than this stay as they are.
LARGEST_WEIGHTS = 160 << 20


@dataclass(frozen=True)
class Case:
    """A test: what the model must give for its inputs."""

    name: str
    #: "node", or the folder of `DATA` that it comes from.
    kind: str
    load: Callable[[], tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]], Arrays]]
    rtol: float = 1e-3
    atol: float = 1e-7


@cache
def all_cases() -> tuple[Case, ...]:
    """The node tests first, then the models, each by name."""
    return (*_node_cases(), *_folder_cases(), *_network_cases())


def products(model: onnx.ModelProto) -> list[str]:
    """The operators of the model that the coverage is about."""
    return [node.op_type for node in model.graph.node if node.op_type in PRODUCTS]


def constant_weights(model: onnx.ModelProto, arrays: Arrays) -> tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]]]:
    """A copy of the model with all inputs but the first as initializers, and the feed of the first."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    feeds = dict(zip([value.name for value in copy.graph.input], arrays, strict=True))
    first, *others = feeds
    del copy.graph.input[1:]
    copy.graph.initializer.extend(numpy_helper.from_array(feeds[name], name) for name in others)
    return copy, {first: feeds[first]}


def random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a known network with other weights: near those of a network before training, no two alike."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rng = np.random.default_rng(0)
    positive = {name for node in copy.graph.node if node.op_type == "BatchNormalization" for name in node.input[1::3]}
    for tensor in copy.graph.initializer:
        shape = tuple(tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT or not shape:
            continue
        if tensor.name in positive:  # scales and variances
            array = rng.uniform(0.5, 1.5, shape)
        else:
            array = (
                rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
                if len(shape) > 1
                else rng.normal(size=shape) / 10
            )
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))
    return copy


def expanded_cases() -> list[Any]:
    """The node tests of other operators whose expansion holds a product of matrices, such as attention."""
    return [case for case in collected() if len(case.model.graph.node) > 1 and products(case.model)]


@cache
def collected() -> list[Any]:
    """All node tests of onnx, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Making the data of other operators overflows and divides by zero.
        return sorted(collect_testcases(None), key=lambda case: str(case.name))


def _node_cases() -> Iterator[Case]:
    for case in collected():
        if len(case.model.graph.node) == 1 and products(case.model):
            yield Case(case.name, "node", _node_loader(case), case.rtol, case.atol)


def _node_loader(case: Any) -> Callable[[], tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]], Arrays]]:
    inputs, outputs = case.data_sets[0]
    return lambda: (*constant_weights(case.model, list(inputs)), list(outputs))


def _folder_cases() -> Iterator[Case]:
    for path in sorted(DATA.glob("*/test_*/model.onnx")):
        if products(onnx.load(path)):
            yield Case(path.parent.name, path.parent.parent.name, lambda path=path: _read_folder(path))  # type: ignore[misc]


def _read_folder(path: Path) -> tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]], Arrays]:
    def arrays(name: str) -> Arrays:
        tensors = sorted(path.parent.glob(f"test_data_set_0/{name}_*.pb"))
        return [numpy_helper.to_array(onnx.load_tensor(tensor)) for tensor in tensors]

    model = onnx.load(path)
    held = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in held]
    return model, dict(zip(names, arrays("input"), strict=False)), arrays("output")


def _network_cases() -> Iterator[Case]:
    for path in sorted((DATA / "light").glob("*.onnx")):
        yield Case(path.stem, "light", lambda path=path: _read_network(path))  # type: ignore[misc]


def _read_network(path: Path) -> tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]], Arrays]:
    """With the input that the runner of onnx makes for these models, and the output that it expects of them."""
    model = onnx.load(path)
    _fill_weights(model)
    held = {tensor.name for tensor in model.graph.initializer}
    (value,) = [value for value in model.graph.input if value.name not in held]
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    feed = (np.arange(count).reshape(shape) / count).astype(np.float32)
    expected = numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb")))
    return model, {value.name: feed}, [expected]


def _fill_weights(model: onnx.ModelProto) -> None:
    """Put initializers in the place of all ConstantOfShape nodes, if they are not too large."""
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    if sum(4 * int(np.prod(shapes[node.input[0]])) for node in made) > LARGEST_WEIGHTS:
        return
    for node in made:
        (fill,) = numpy_helper.to_array(node.attribute[0].t)
        array = np.full(shapes[node.input[0]], fill)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        # Below IR version 4 an initializer is an input too.
        graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], kind, array.shape))
        graph.node.remove(node)
