"""TFLite files: float, float16, dynamic range, and full int8, which becomes QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.frontends.conversion import OPSETS, quiet, to_onnx
from drpass.frontends.model import IMAGE_RANK, FrameworkModel, FrontEnd, Request, one_line, type_name, unique_names
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.frontends.trial import fate
from drpass.tensors import Array, TensorSpec

_IDENTIFIER = b"TFL3"
#: A batch that no file has by chance, to see whether the open batch that it declares works.
_TRIAL_BATCH = 3
#: For loading a file and one run of it, which take far less, also of large networks.
TRIAL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class TFLiteModel(FrameworkModel):
    """``fed`` and ``fetched``: the tensors of the file, in the order of ``inputs`` and ``outputs``.

    ``interpreter`` has the kernels that are used by default, ``reference`` has TFLite's reference kernels.
    """

    path: Path
    interpreter: Any
    reference: Any
    fed: list[dict[str, Any]]
    fetched: list[dict[str, Any]]

    def convert(self, opset: int, nhwc: bool) -> ir.Model:
        """See `FrameworkModel.convert`."""
        moved = self.moved_inputs(nhwc)
        with _without_announcements():
            model = to_onnx(
                self.name,
                self.path,
                opset=opset,
                inputs=[tensor["name"] for tensor in self.fed],
                outputs=[tensor["name"] for tensor in self.fetched],
                inputs_as_nchw=[tensor["name"] for tensor, spec in zip(self.fed, self.inputs) if spec.name in moved],
                # tf2onnx would move an output that other operators read without telling them.
                outputs_as_nchw=[],
            )
        by_name = {value.name: value for value in [*model.graph.inputs, *model.graph.outputs]}
        for tensor, spec in zip(self.fed, self.inputs):
            value = by_name[tensor["name"]]
            value.name = spec.name
            if value.shape is not None and spec.shape:
                value.shape = ir.Shape([spec.shape[0], *value.shape.dims[1:]])
        # In the order of the file, which tf2onnx does not keep.
        moves = self.moves_outputs(nhwc)
        outputs = [by_name[tensor["name"]] for tensor in self.fetched]
        model.graph.outputs[:] = [
            _channels_first(model.graph, value) if moves and len(tensor["shape"]) == IMAGE_RANK else value
            for value, tensor in zip(outputs, self.fetched)
        ]
        for value, name in zip(model.graph.outputs, self.outputs):
            value.name = name
        RemoveUnusedNodesPass()(model)
        return model

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """See `FrameworkModel.run`."""
        return self._run(self.interpreter, arrays)

    def run_otherwise(self, arrays: Sequence[Array]) -> list[Array]:
        """See `FrameworkModel.run_otherwise`."""
        return self._run(self.reference, arrays)

    def _run(self, interpreter: Any, arrays: Sequence[Array]) -> list[Array]:
        for tensor, array in zip(self.fed, arrays):
            interpreter.resize_tensor_input(tensor["index"], array.shape)
        with _without_announcements():
            interpreter.allocate_tensors()
        for tensor, array in zip(self.fed, arrays):
            interpreter.set_tensor(tensor["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(tensor["index"]) for tensor in self.fetched]


def _channels_first(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """``value``, of four dimensions, with its channels first: what it was transposed from, or itself transposed."""
    node = value.producer()
    first: ir.Value | None = None
    if node is not None and node.op_type == "Transpose" and list(node.attributes["perm"].as_ints()) == [0, 2, 3, 1]:
        first = node.inputs[0]
    if first is None or first.is_graph_input() or first.is_graph_output():
        moved = ir.node("Transpose", [value], {"perm": [0, 3, 1, 2]})
        graph.append(moved)
        first = moved.outputs[0]
    first.type = value.type
    if value.shape is not None:
        first.shape = ir.Shape([value.shape[axis] for axis in (0, 3, 1, 2)])
    return first


def _try(tensorflow: Any, content: bytes) -> None:
    """All that loading and running ask of the interpreter, with both kinds of kernels."""
    for kernels in ("AUTO", "BUILTIN_REF"):
        resolver = getattr(tensorflow.lite.experimental.OpResolverType, kernels)
        interpreter = tensorflow.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        for side, tensors in (
            ("inputs", interpreter.get_input_details()),
            ("outputs", interpreter.get_output_details()),
        ):
            _names(interpreter, side, tensors)
        interpreter.allocate_tensors()
        interpreter.invoke()
        _shapes(interpreter, interpreter.get_input_details())


def _claims(source: str) -> bool:
    return Path(source).suffix.lower() in (".tflite", ".lite")


def _load(request: Request) -> FrameworkModel:
    path = request.path
    tensorflow = import_tensorflow()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror}") from error
    if content[4:8] != _IDENTIFIER:
        raise DrpassError(f"{path} is damaged or not a TFLite file")
    with _without_announcements():
        end = fate(lambda: _try(tensorflow, content), TRIAL_SECONDS)
    if end:
        raise DrpassError(f"{path} is damaged: TFLite's interpreter {end}; write the file again from its model")
    try:
        with quiet(), _without_announcements():
            kernels = tensorflow.lite.experimental.OpResolverType.BUILTIN_REF
            interpreter = tensorflow.lite.Interpreter(model_content=content)
            reference = tensorflow.lite.Interpreter(model_content=content, experimental_op_resolver_type=kernels)
            fed, fetched = interpreter.get_input_details(), interpreter.get_output_details()
            shapes = _shapes(interpreter, fed)
            names = unique_names([*_names(interpreter, "inputs", fed), *_names(interpreter, "outputs", fetched)])
    except Exception as error:  # the interpreter raises whatever the operators of the file make it raise
        raise DrpassError(f"{path} can't be loaded as a TFLite model: {one_line(error)}") from error
    return TFLiteModel(
        name=path.name,
        inputs=[TensorSpec(name, type_name(tensor["dtype"]), shape) for name, tensor, shape in zip(names, fed, shapes)],
        outputs=names[len(fed) :],
        preprocess=_preprocess(fed),
        path=path,
        interpreter=interpreter,
        reference=reference,
        fed=fed,
        fetched=fetched,
    )


@contextmanager
def _without_announcements() -> Iterator[None]:
    """TFLite tells the file descriptor of standard error which delegate it uses, and has no setting for that."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _shapes(interpreter: Any, fed: list[dict[str, Any]]) -> list[tuple[int | None, ...]]:
    """The shapes of the inputs, open where the file says so and the interpreter can really follow."""
    declared = [tuple(None if dim < 0 else int(dim) for dim in tensor["shape_signature"]) for tensor in fed]
    stored = [tuple(int(dim) for dim in tensor["shape"]) for tensor in fed]
    try:
        for tensor, shape in zip(fed, declared):
            trial = [_TRIAL_BATCH if dim is None else dim for dim in shape[:1]]
            interpreter.resize_tensor_input(tensor["index"], [*trial, *tensor["shape"][1:]])
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError):
        return list(stored)
    return declared


def _names(interpreter: Any, side: str, tensors: list[dict[str, Any]]) -> list[str]:
    """The names in the signature of the file where it has one, else those of the tensors."""
    signatures = interpreter.get_signature_list()
    by_index: dict[int, str] = {}
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        details = runner.get_input_details() if side == "inputs" else runner.get_output_details()
        by_index = {tensor["index"]: name for name, tensor in details.items()}
    return [by_index.get(tensor["index"], tensor["name"].removesuffix(":0")) for tensor in tensors]


def _preprocess(fed: list[dict[str, Any]]) -> Preprocess | None:
    """Pixels over all values of an int8 input; None where a pixel, or a share of 255, is an input as it is."""
    if len(fed) != 1 or fed[0]["dtype"] is not np.int8:
        return None
    return Preprocess(channels="L" if fed[0]["shape"][-1] == 1 else "RGB", mean=(128.0,))


FRONT_END = FrontEnd("a TFLite file (.tflite)", _claims, _load, OPSETS)
