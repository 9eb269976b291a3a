"""Models of frameworks to ONNX files, by their front ends, and the check that both still compute the same.

Needs the extra ``export``, or ``torch`` for PyTorch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from drpass import external_data, model_io
from drpass.errors import DrpassError
from drpass.export_check import SAMPLES, Comparison, compare, tolerance
from drpass.files import refuse_same_file
from drpass.frontends import FrameworkModel, Request, front_end
from drpass.frontends.conversion import converting
from drpass.frontends.model import type_name
from drpass.model_check import fault
from drpass.passes.keep_padding import keep_padding
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
    with _folder_beside(output) as folder:
        on_step(f"loading {source}")
        model = found.load(request)
        if batch is not None:
            model = model.with_batch(batch)
        on_step(f"converting {model.name} to opset {opset}")
        converted = _convert(model, opset, nhwc)
        comparison = None
        if check:
            trial = folder / "model.onnx"
            model_io.save(converted, trial)
            on_step("comparing with the framework")
            comparison = compare(model, converted, trial, nhwc)
            _refuse_difference(model, converted, comparison)
    on_step(f"writing {output}")
    _name_batch(model, converted, comparison)
    model_io.save(converted, output)
    return ExportReport(
        source=str(source),
        output=str(output),
        opset=opset,
        nodes=len(converted.graph),
        size=_size(converted, output),
        inputs=_described(converted.graph.inputs),
        outputs=_described(converted.graph.outputs),
        checked_on=comparison.checked_on if comparison else None,
        max_error=comparison.max_error if comparison else None,
        max_relative_error=comparison.max_relative_error if comparison else None,
        framework_spread=comparison.framework_spread if comparison else None,
    )


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """A folder on the same disk, which is gone afterwards. Raises DrpassError if there can be none."""
    try:
        folder = TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise DrpassError(f"can't write {output}: {error.strerror}") from error
    with folder as name:
        yield Path(name)


def _convert(model: FrameworkModel, opset: int, nhwc: bool) -> ir.Model:
    """The ONNX model. Raises DrpassError, with the framework's or tf2onnx's own words, if it can't be made."""
    with converting(model.name):
        converted = model.convert(opset, nhwc)
        gc.collect()  # converters leave whole graphs behind in cycles
        keep_padding(converted)
        if message := fault(model_io.outline(converted), strict=False):
            raise ValueError(message)  # which `converting` puts in words
    return converted


def _refuse_difference(model: FrameworkModel, converted: ir.Model, comparison: Comparison) -> None:
    most = max(tolerance(converted), comparison.framework_spread)
    if not comparison.max_relative_error <= most:
        raise DrpassError(
            f"the ONNX model differs from {model.name}: relative error {comparison.max_relative_error:.3g} in the "
            f"output '{comparison.worst_output}', but rounding explains at most {most:g}; try another --opset"
        )


def _name_batch(model: FrameworkModel, converted: ir.Model, comparison: Comparison | None) -> None:
    """Call the open first dimension ``batch`` in inputs, and in outputs where it was seen to follow."""
    open_inputs = {spec.name for spec in model.inputs if spec.shape and spec.shape[0] is None}
    for value in converted.graph.inputs:
        if value.name in open_inputs:
            _set_first(value)
    for value in converted.graph.outputs:
        is_open = open_inputs and value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int)
        if is_open and comparison is not None and comparison.shapes[value.name or ""][0] == SAMPLES:
            _set_first(value)


def _set_first(value: ir.Value) -> None:
    if value.shape is not None:
        value.shape = ir.Shape(["batch", *value.shape.dims[1:]])


def _size(converted: ir.Model, output: Path) -> int:
    """Bytes of what was written, with the data file of a model over 2 GB."""
    files = [output, external_data.data_path(converted, output)] if model_io.is_large(converted) else [output]
    return sum(file.stat().st_size for file in files)


def _described(values: Iterable[ir.Value]) -> list[TensorSpec]:
    found = []
    for value in values:
        dims = () if value.shape is None else value.shape.dims
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in dims)
        found.append(TensorSpec(value.name or "", type_name(value.dtype.numpy()) if value.dtype else "", shape))
    return found
