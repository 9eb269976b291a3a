"""Models of TensorFlow and Keras to ONNX files, by tf2onnx, and the check that they still compute the same.

Needs the extra ``export``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from drpass.errors import DrpassError
from drpass.export_check import SAMPLES, Comparison, compare
from drpass.files import atomic_output, refuse_same_file
from drpass.frameworks import IMAGE_RANK, FrameworkModel, import_tensorflow, load_source, one_line
from drpass.tensors import TensorSpec

#: Those that tf2onnx writes reliably.
OPSETS = (17, 18)
#: Largest difference, as a share of the largest value of an output, that rounding is taken to explain: of a model in
#: float, and of one that computes in half precision somewhere (11 bits, hence 1e-3 in a single operation).
TOLERANCE, HALF_TOLERANCE = 1e-3, 1e-2


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was checked.

    ``max_error``: largest absolute difference between an output of ONNX Runtime and of the framework.
    ``max_relative_error``: the same as a share of the largest absolute value of that output.
    ``checked_on``: the data of that comparison, in words.
    """

    source: str
    output: str
    opset: int
    nodes: int
    size: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    checked_on: str
    max_error: float
    max_relative_error: float


def export(
    source: str | Path,
    output: str | Path,
    *,
    opset: int = 17,
    weights: str | Path | None = None,
    batch: int | None = None,
    nhwc: bool = False,
    overwrite: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Write ``source`` as an ONNX file and compare the two on real pictures where the model takes pictures.

    ``source``: a named network, a Keras file (.keras, .h5) or a SavedModel folder. ``weights``: an .npz file instead
    of the trained weights of a named network. ``batch``: a fixed first dimension (None: as in the model, usually
    open). Inputs and outputs of four dimensions, ``[N, H, W, C]`` in the framework, become ``[N, C, H, W]`` unless
    ``nhwc``. ``on_step`` is told what is being done.

    Raises DrpassError if the source can't be loaded or converted, if the file can't be written, or if the outputs
    differ by more than :data:`TOLERANCE`; then nothing is written.
    """
    output = Path(output)
    if opset not in OPSETS:
        raise DrpassError(f"opset must be one of {', '.join(map(str, OPSETS))}, not {opset}")
    if batch is not None and batch < 1:
        raise DrpassError(f"the batch must be at least 1, not {batch}")
    if output.is_dir():
        raise DrpassError(f"{output} is a folder; give the name of a file")
    refuse_same_file(output, [Path(source)], overwrite)
    with atomic_output(output) as temporary:
        on_step(f"loading {source}")
        model = load_source(source, None if weights is None else Path(weights))
        on_step(f"converting {model.name}")
        model = _with_batch(model, batch)
        proto = _convert(model, opset, nhwc)
        on_step("comparing with the framework")
        comparison = compare(model, _serialize(proto), nhwc)
        _refuse_difference(model, proto, comparison)
        _name_batch(model, proto, comparison)
        temporary.write_bytes(_serialize(proto))
        size = temporary.stat().st_size
    return ExportReport(
        source=str(source),
        output=str(output),
        opset=opset,
        nodes=len(proto.graph.node),
        size=size,
        inputs=_described(proto.graph.input),
        outputs=_described(proto.graph.output),
        checked_on=comparison.checked_on,
        max_error=comparison.max_error,
        max_relative_error=comparison.max_relative_error,
    )


def _with_batch(model: FrameworkModel, batch: int | None) -> FrameworkModel:
    """Fix the first dimension of all inputs."""
    if batch is None:
        return model
    tensorflow = import_tensorflow()
    specs = []
    for spec in model.inputs:
        if not spec.shape.rank or spec.shape[0] not in (None, batch):
            raise DrpassError(f"the input '{spec.name}' of {model.name} has shape {spec.shape}: no batch of {batch}")
        specs.append(tensorflow.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=spec.name))
    return replace(model, inputs=specs)


def _convert(model: FrameworkModel, opset: int, nhwc: bool) -> Any:
    """The ONNX ModelProto. Raises DrpassError, with the framework's or tf2onnx's own words, if it can't be made."""
    import onnx
    import tf2onnx

    moved = model.channels_last_inputs(nhwc)
    with _errors_of_tf2onnx() as errors:
        try:
            frozen = _freeze(model)
            names = {tensor.name: spec.name for tensor, spec in zip(frozen.inputs, model.inputs)}
            names |= {tensor.name: name for tensor, name in zip(frozen.outputs, model.outputs)}
            proto, _ = tf2onnx.convert.from_graph_def(
                frozen.graph.as_graph_def(add_shapes=True),
                name=model.name,
                input_names=[tensor.name for tensor in frozen.inputs],
                output_names=[tensor.name for tensor in frozen.outputs],
                tensors_to_rename=names,
                opset=opset,
                inputs_as_nchw=[tensor.name for tensor in frozen.inputs if names[tensor.name] in moved],
                outputs_as_nchw=[
                    tensor.name
                    for tensor in frozen.outputs
                    if tensor.shape.rank == IMAGE_RANK and model.channels_last_outputs(nhwc)
                ],
            )
            onnx.checker.check_model(proto)
        except Exception as error:  # TensorFlow and tf2onnx raise whatever the graph makes them raise
            reason = errors[0] if errors else error
            raise DrpassError(f"{model.name} can't be converted: {one_line(reason)}") from error
    return proto


def _freeze(model: FrameworkModel) -> Any:
    """A concrete function of the inputs alone: variables, and tensors that the function holds, become constants.

    (``tf2onnx.convert.from_function`` would make inputs of such tensors.)
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = import_tensorflow().function(model.function, autograph=False).get_concrete_function(*model.inputs)
    return convert_variables_to_constants_v2(traced, lower_control_flow=False, aggressive_inlining=True)


@contextmanager
def _errors_of_tf2onnx() -> Iterator[list[str]]:
    """Collects what tf2onnx logs as an error instead of raising it; keeps its and TensorFlow's log off the terminal."""
    errors: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and record.name.startswith("tf2onnx"):
                errors.append(record.getMessage())

    handler = Collect()
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [handler]
    try:
        yield errors
    finally:
        for logger, (propagate, handlers) in zip(loggers, before):
            logger.propagate, logger.handlers = propagate, handlers


def _serialize(proto: Any) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise DrpassError("the model exceeds the 2 GiB that one ONNX file can hold") from error


def _refuse_difference(model: FrameworkModel, proto: Any, comparison: Comparison) -> None:
    from onnx import TensorProto

    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    if not comparison.max_relative_error <= tolerance:
        raise DrpassError(
            f"the ONNX model differs from {model.name}: relative error {comparison.max_relative_error:.3g} in the "
            f"output '{comparison.worst_output}', but rounding explains at most {tolerance:g}; try another --opset"
        )


def _name_batch(model: FrameworkModel, proto: Any, comparison: Comparison) -> None:
    """Call the open first dimension ``batch`` in inputs, and in outputs where it was seen to follow."""
    open_inputs = {spec.name for spec in model.inputs if spec.shape.rank and spec.shape[0] is None}
    for value in proto.graph.input:
        if value.name in open_inputs:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for value in proto.graph.output:
        dims = value.type.tensor_type.shape.dim
        is_open = open_inputs and dims and not dims[0].HasField("dim_value")
        if is_open and comparison.shapes[value.name][0] == SAMPLES:
            dims[0].dim_param = "batch"


def _described(values: Any) -> list[TensorSpec]:
    from onnx import helper

    found = []
    for value in values:
        tensor = value.type.tensor_type
        element = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
        found.append(TensorSpec(value.name, {"float32": "float", "float64": "double"}.get(element, element), shape))
    return found
