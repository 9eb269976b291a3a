"""Functions of TensorFlow, which Keras models, SavedModels and graphs of TensorFlow 1 all become."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.errors import DrpassError
from drpass.frontends.conversion import to_onnx
from drpass.frontends.model import IMAGE_RANK, FrameworkModel, type_name
from drpass.tensors import Array, TensorSpec


def import_tensorflow() -> Any:
    """TensorFlow, without its log. Raises DrpassError if the extra is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Its own kernels for some processors announce themselves on standard error whatever the log level is.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import keras
        import tensorflow
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise DrpassError(f"exporting needs the extra: pip install 'drpass[export]' ({error})") from error
    if keras.backend.backend() != "tensorflow":
        raise DrpassError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow to export")
    return tensorflow


def described(name: str, tensor: Any) -> TensorSpec:
    """An input from anything of TensorFlow that has a dtype and a shape. Raises DrpassError for an unknown rank."""
    if tensor.shape is None or getattr(tensor.shape, "rank", 0) is None:
        raise DrpassError(f"the input '{name}' has an unknown number of dimensions; save the model with its shape")
    dtype = import_tensorflow().as_dtype(tensor.dtype).as_numpy_dtype
    return TensorSpec(name, type_name(dtype), tuple(tensor.shape))


@dataclass(frozen=True, kw_only=True)
class TensorFlowFunction(FrameworkModel):
    """``function``: tensors in the order of ``inputs`` to a list of tensors in the order of ``outputs``."""

    function: Callable[..., list[Any]]

    def convert(self, opset: int, nhwc: bool) -> ir.Model:
        """See `FrameworkModel.convert`."""
        graph_def, inputs, outputs = self._frozen()
        gc.collect()  # what was traced holds the weights a second time
        names = {tensor: spec.name for tensor, spec in zip(inputs, self.inputs)}
        moved = self.moved_inputs(nhwc)
        return to_onnx(
            self.name,
            graph_def,
            opset=opset,
            inputs=inputs,
            outputs=list(outputs),
            inputs_as_nchw=[tensor for tensor in inputs if names[tensor] in moved],
            outputs_as_nchw=[
                tensor for tensor, rank in outputs.items() if rank == IMAGE_RANK and self.moves_outputs(nhwc)
            ],
            renamed=names | dict(zip(outputs, self.outputs)),
        )

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """See `FrameworkModel.run`."""
        tensorflow = import_tensorflow()
        function = tensorflow.function(self.function, autograph=False)
        return [np.asarray(tensor) for tensor in function(*map(tensorflow.constant, arrays))]

    def _frozen(self) -> tuple[Any, list[str], dict[str, int | None]]:
        """A graph of the inputs alone, the names of its inputs, and its outputs with their ranks.

        Variables, and tensors that the function holds, become constants. (``tf2onnx.convert.from_function`` would
        make inputs of such tensors.)
        """
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        tensorflow = import_tensorflow()
        specs = [tensorflow.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in self.inputs]
        traced = tensorflow.function(self.function, autograph=False).get_concrete_function(*specs)
        frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False, aggressive_inlining=True)
        inputs = [tensor.name for tensor in frozen.inputs]
        # Freezing forgets the shapes of what a function gives.
        outputs = {tensor.name: was.shape.rank for tensor, was in zip(frozen.outputs, traced.outputs)}
        graph_def = frozen.graph.as_graph_def(add_shapes=True)
        _allow_inlining(graph_def)
        return graph_def, inputs, outputs


def _allow_inlining(graph_def: Any) -> None:
    """Of functions that Keras wants XLA to compile, which are grouped convolutions: tf2onnx can't call functions."""
    library = graph_def.library.function
    for item in (*graph_def.node, *library, *(node for function in library for node in function.node_def)):
        for name in ("_XlaMustCompile", "_noinline"):
            item.attr.pop(name, None)
