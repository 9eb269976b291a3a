"""Models of frameworks to ONNX files, by their front ends, and the check that both still compute the same.

Needs the extra ``export``, or ``torch`` for PyTorch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drpass.errors import DrpassError
from drpass.export_check import SAMPLES, Comparison, compare, tolerance
from drpass.files import atomic_output, refuse_same_file
from drpass.frontends import FrameworkModel, Request, front_end
from drpass.frontends.conversion import converting
from drpass.frontends.model import type_name
from drpass.tensors import TensorSpec


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was checked.

    ``max_error``: largest absolute difference between an output of ONNX Runtime and of the framework.
    ``max_relative_error``: the same as a share of the largest absolute value of that output (of its range, if it has
    8 bits). ``framework_spread``: how far apart two kinds of kernels of the framework itself are, by the same measure
    (0 where it has but one). ``checked_on``: the data of that comparison, in words. All four are None without one.
    """

    source: str
    output: str
    opset: int
    nodes: int
    size: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    checked_on: str | None
    max_error: float | None
    max_relative_error: float | None
    framework_spread: float | None


def export(
    source: str | Path,
    output: str | Path,
    *,
    opset: int | None = None,
    weights: str | Path | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    batch: int | None = None,
    nhwc: bool = False,
    check: bool = True,
    overwrite: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Write ``source`` as an ONNX file and compare the two on real pictures where the model takes pictures.

    ``source``: see docs/export.md. ``opset``: None means the oldest that the front end writes. ``weights``: an .npz
    file instead of the trained weights of a named network. ``inputs``, ``outputs``: names of tensors of a graph of
    TensorFlow 1 (empty: found). ``batch``: a fixed first dimension (None: as in the model, usually open). Inputs and
    outputs of four dimensions that are ``[N, H, W, C]`` in the framework become ``[N, C, H, W]`` unless ``nhwc``.
    ``check``: whether to compare. ``on_step`` is told what is being done.

    Raises DrpassError if the source can't be loaded or converted, if the file can't be written, or if the outputs
    differ by more than rounding explains (see `drpass.export_check`); then nothing is written.
    """
    output = Path(output)
    request = Request(str(source), None if weights is None else Path(weights), tuple(inputs), tuple(outputs))
    if batch is not None and batch < 1:
        raise DrpassError(f"the batch must be at least 1, not {batch}")
    if output.is_dir():
        raise DrpassError(f"{output} is a folder; give the name of a file")
    refuse_same_file(output, [request.path], overwrite)
    found = front_end(request)
    opset = found.opsets[0] if opset is None else opset
    if opset not in found.opsets:
        raise DrpassError(f"for {found.kind}, opset must be one of {', '.join(map(str, found.opsets))}, not {opset}")
    with atomic_output(output) as temporary:
        on_step(f"loading {source}")
        model = found.load(request)
        if batch is not None:
            model = model.with_batch(batch)
        on_step(f"converting {model.name} to opset {opset}")
        proto = _convert(model, opset, nhwc)
        temporary.write_bytes(_serialize(proto))
        comparison = None
        if check:
            on_step("comparing with the framework")
            comparison = compare(model, proto, temporary, nhwc)
            _refuse_difference(model, proto, comparison)
        on_step(f"writing {output}")
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
        checked_on=comparison.checked_on if comparison else None,
        max_error=comparison.max_error if comparison else None,
        max_relative_error=comparison.max_relative_error if comparison else None,
        framework_spread=comparison.framework_spread if comparison else None,
    )


def _convert(model: FrameworkModel, opset: int, nhwc: bool) -> Any:
    """The ONNX ModelProto. Raises DrpassError, with the framework's or tf2onnx's own words, if it can't be made."""
    import onnx

    with converting(model.name):
        proto = model.convert(opset, nhwc)
        gc.collect()  # converters leave whole graphs behind in cycles
        onnx.checker.check_model(proto)
    return proto


def _serialize(proto: Any) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise DrpassError("the model exceeds the 2 GiB that one ONNX file can hold") from error


def _refuse_difference(model: FrameworkModel, proto: Any, comparison: Comparison) -> None:
    most = max(tolerance(proto), comparison.framework_spread)
    if not comparison.max_relative_error <= most:
        raise DrpassError(
            f"the ONNX model differs from {model.name}: relative error {comparison.max_relative_error:.3g} in the "
            f"output '{comparison.worst_output}', but rounding explains at most {most:g}; try another --opset"
        )


def _name_batch(model: FrameworkModel, proto: Any, comparison: Comparison | None) -> None:
    """Call the open first dimension ``batch`` in inputs, and in outputs where it was seen to follow."""
    open_inputs = {spec.name for spec in model.inputs if spec.shape and spec.shape[0] is None}
    for value in proto.graph.input:
        if value.name in open_inputs:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for value in proto.graph.output:
        dims = value.type.tensor_type.shape.dim
        is_open = open_inputs and dims and not dims[0].HasField("dim_value")
        if is_open and comparison is not None and comparison.shapes[value.name][0] == SAMPLES:
            dims[0].dim_param = "batch"


def _described(values: Any) -> list[TensorSpec]:
    from onnx import helper

    found = []
    for value in values:
        tensor = value.type.tensor_type
        element = type_name(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
        found.append(TensorSpec(value.name, element, shape))
    return found
