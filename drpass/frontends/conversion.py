"""tf2onnx as it is needed here: its errors told apart from its chatter, and without its copies of the weights."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx_ir as ir

from drpass.errors import DrpassError
from drpass.frontends.model import one_line
from drpass.message import innermost

#: Those that tf2onnx writes reliably, the default first.
OPSETS = (17, 18)
_LOUD = ("tf2onnx", "tensorflow", "torch", "onnxscript", "onnx_ir")


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps logs and warnings of frameworks from standard error; yields the errors that tf2onnx logs.

    tf2onnx logs what it can't convert as an error, and the exception that follows says less.
    """
    errors: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and record.name.startswith("tf2onnx"):
                errors.append(record.getMessage())

    handler = Collect()
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [handler]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield errors
    finally:
        for logger, (propagate, handlers) in zip(loggers, before):
            logger.propagate, logger.handlers = propagate, handlers


@contextmanager
def converting(name: str) -> Iterator[None]:
    """Everything that goes wrong inside becomes one DrpassError, in the framework's or the converter's own words."""
    with quiet() as errors:
        try:
            yield
        except DrpassError:
            raise
        except Exception as error:  # frameworks and converters raise whatever the graph makes them raise
            reason = errors[0] if errors else innermost(error)
            raise DrpassError(f"{name} can't be converted: {one_line(reason)}") from error


def to_onnx(
    name: str,
    source: Any,
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    inputs_as_nchw: Sequence[str],
    outputs_as_nchw: Sequence[str],
    renamed: Mapping[str, str] | None = None,
) -> ir.Model:
    """The ONNX model of ``source``: a GraphDef without variables, or the path of a TFLite file.

    The sequences and ``renamed`` are of the names that tensors have in ``source``; may raise anything.
    """
    import tensorflow
    from tf2onnx import optimizer
    from tf2onnx.tf_loader import tf_optimize
    from tf2onnx.tfonnx import process_tf_graph

    path = str(source) if isinstance(source, Path) else None
    with tensorflow.Graph().as_default():
        graph_def = None if path else tf_optimize(inputs, outputs, source)

    with tensorflow.device("/cpu:0"), tensorflow.Graph().as_default() as tf_graph:
        if graph_def is not None:
            tensorflow.import_graph_def(graph_def, name="")
            del graph_def
        graph = process_tf_graph(
            tf_graph,
            continue_on_error=True,
            opset=opset,
            input_names=list(inputs),
            output_names=list(outputs),
            inputs_as_nchw=list(inputs_as_nchw),
            outputs_as_nchw=list(outputs_as_nchw),
            tensors_to_rename=None if renamed is None else dict(renamed),
            tflite_path=path,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    del tf_graph
    with _freeing_copies():
        graph = optimizer.optimize_graph(graph)
    proto = graph.make_model(f"converted from {name}")
    del graph
    model: ir.Model = ir.from_proto(proto)
    return model


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """erfc(x) = 1 - erf(x), which tf2onnx lacks: the GELU of Keras has it."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    outputs, shape, element = node.output, context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    one = context.make_const(f"{name}_one", np.ones((), map_onnx_to_numpy_type(element)))
    erf = context.make_node("Erf", [node.input[0]])
    context.remove_node(name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=outputs, shapes=[shape], dtypes=[element]
    )


@contextmanager
def _freeing_copies() -> Iterator[None]:
    """While tf2onnx optimises: free its former copies of the graph before it makes another.

    It copies the graph, weights and all, for each of two dozen steps, and the copies hold themselves in cycles until
    a garbage collection: that made 22 GB of the 0.6 GB of VGG-19. What was there before is left out of the
    collections, to make them fast.
    """
    from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

    original: Callable[..., Any] = GraphOptimizerBase.optimize

    def optimize(self: Any, graph: Any, iteration: int) -> Any:
        gc.collect()
        try:
            return original(self, graph, iteration)
        finally:
            gc.collect()

    gc.collect()
    gc.freeze()
    try:
        with mock.patch.object(GraphOptimizerBase, "optimize", optimize):
            yield
    finally:
        gc.unfreeze()
        gc.collect()
