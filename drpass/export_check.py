"""Does an exported model compute what the framework computes? Both run on the same data, pictures where possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from drpass.data.dataset import Batch
from drpass.data.preprocess import Preprocess
from drpass.data.sources import PHOTOGRAPHS, RANDOM, open_data
from drpass.errors import DrpassError
from drpass.frontends import IMAGE_RANK, FrameworkModel, one_line
from drpass.frontends.conversion import quiet
from drpass.tensors import Array, TensorSpec, input_specs, output_specs

#: Samples where the model leaves the batch open: a size that a fixed dimension rarely has by chance.
SAMPLES = 3
#: Largest difference, as a share of the largest value of an output, that rounding is taken to explain: of a model in
#: float; of one that computes in half precision somewhere (11 bits, hence 1e-3 in a single operation); of one whose
#: values are rounded to 8 bits between operations (where two ways to round differ in a tie, by 4e-3 of the range).
TOLERANCE, HALF_TOLERANCE, QUANTISED_TOLERANCE = 1e-3, 1e-2, 2e-2
#: Stands for an open dimension that is no batch, where the data is random.
_OPEN_SIDE = 16
_STEPS = 255.0  # between the values of 8 bits
_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)
_QUANTISING = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


@dataclass(frozen=True)
class Comparison:
    """How far apart they are.

    ``max_error``: largest absolute difference over all outputs. ``max_relative_error``: the same as a share of the
    largest absolute value of its output (of the range of 8 bits, if that is larger and it has 8 bits), and
    ``worst_output`` where that is. ``framework_spread``: how far apart, by that measure, two kinds of kernels of the
    framework itself are (0 where it has but one): a deep network of 8 bits can carry a rounding very far.
    ``checked_on``: the data, in words. ``shapes``: of the outputs, for :data:`SAMPLES` samples where the batch is open.
    """

    max_error: float
    max_relative_error: float
    worst_output: str
    framework_spread: float
    checked_on: str
    shapes: dict[str, tuple[int, ...]]


def compare(model: FrameworkModel, converted: ir.Model, path: Path, nhwc: bool) -> Comparison:
    """Run one batch through both. ``path``: where ``converted`` is written. ``nhwc``: it keeps pictures channels last.

    Raises DrpassError if one of them can't be run.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal: everything else arrives as an exception
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        batch, description = _data(model, input_specs(session))
        got = dict(zip((spec.name for spec in output_specs(session)), session.run(None, batch.feeds)))
    except DrpassError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen exception types of its own
        raise DrpassError(f"ONNX Runtime can't run what became of {model.name}: {one_line(error)}") from error
    del session
    try:
        with quiet():
            expected = _run_framework(model, model.run, batch, nhwc)
            otherwise = _run_framework(model, model.run_otherwise, batch, nhwc) or expected
    except Exception as error:  # frameworks too
        raise DrpassError(f"the framework can't run {model.name} on {description}: {one_line(error)}") from error
    ranges = _ranges(converted)
    errors = {name: _difference(got[name], expected[name], ranges.get(name, 0.0)) for name in expected}
    spread = max(_difference(otherwise[name], expected[name], ranges.get(name, 0.0))[1] for name in expected)
    worst = max(errors, key=lambda name: errors[name][1])
    return Comparison(
        max_error=max(error for error, _ in errors.values()),
        max_relative_error=errors[worst][1],
        worst_output=worst,
        framework_spread=spread,
        checked_on=description,
        shapes={name: array.shape for name, array in expected.items()},
    )


def tolerance(converted: ir.Model) -> float:
    """The largest relative error that the rounding of this model explains."""
    if any(node.op_type in _QUANTISING for node in converted.graph):
        return QUANTISED_TOLERANCE
    half = any(value.dtype == ir.DataType.FLOAT16 for value in converted.graph.initializers.values())
    return HALF_TOLERANCE if half else TOLERANCE


def _data(model: FrameworkModel, specs: list[TensorSpec]) -> tuple[Batch, str]:
    """Photographs if the model takes pictures and some are installed, else random numbers; one batch."""
    fixed = next((spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], int)), None)
    samples = SAMPLES if fixed is None else int(fixed)
    grey = any(len(spec.shape) == IMAGE_RANK and 1 in (spec.shape[1], spec.shape[3]) for spec in specs)
    floats = all(spec.dtype.kind == "f" for spec in specs)
    preprocess = model.preprocess or Preprocess(channels="L" if grey else "RGB", scale=1 / 255 if floats else 1.0)
    try:
        data = open_data(PHOTOGRAPHS, specs, preprocess=preprocess, limit=samples, batch=samples)
    except DrpassError:
        settled = [replace(spec, shape=tuple(_settled(*dim) for dim in enumerate(spec.shape))) for spec in specs]
        data = open_data(RANDOM, settled, limit=samples, batch=samples)
    return next(iter(data.batches())), data.describe()


def _settled(axis: int, dim: int | str | None) -> int:
    if isinstance(dim, int):
        return dim
    return SAMPLES if axis == 0 else _OPEN_SIDE


def _run_framework(
    model: FrameworkModel, run: Callable[[Sequence[Array]], list[Array] | None], batch: Batch, nhwc: bool
) -> dict[str, Array]:
    """The outputs of the framework by name, channels where the ONNX model has them; none if ``run`` has none."""
    moved = model.moved_inputs(nhwc)
    arrays = {spec.name: batch.feeds[spec.name] for spec in model.inputs}
    inputs = [array.transpose(0, 2, 3, 1) if name in moved else array for name, array in arrays.items()]
    outputs = dict(zip(model.outputs, run([np.ascontiguousarray(array) for array in inputs]) or []))
    if not model.moves_outputs(nhwc):
        return outputs
    return {name: array.transpose(0, 3, 1, 2) if array.ndim == IMAGE_RANK else array for name, array in outputs.items()}


def _ranges(converted: ir.Model) -> Mapping[str, float]:
    """For outputs of 8 bits, and those that a DequantizeLinear makes of 8 bits: how far apart their ends are."""
    ranges: dict[str, float] = {}
    for value in converted.graph.outputs:
        node = value.producer()
        while node is not None and node.op_type in ("Transpose", "Reshape", "Identity") and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        if value.dtype in _BYTES:
            ranges[value.name or ""] = _STEPS
        elif node is not None and node.op_type == "DequantizeLinear" and len(node.inputs) == 3:
            scale, zero = (None if one is None else one.const_value for one in node.inputs[1:])
            if scale is not None and zero is not None and zero.dtype in _BYTES:
                ranges[value.name or ""] = _STEPS * float(np.max(scale.numpy()))
    return ranges


def _difference(got: Array, expected: Array, spread: float) -> tuple[float, float]:
    """Largest absolute difference, and the same as a share of the largest expected value; NaN equals NaN.

    ``spread``: taken instead of the largest value where it is larger.
    """
    if got.shape != expected.shape:
        return float("inf"), float("inf")
    left, right = got.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        error = float(np.max(np.where(same, 0.0, np.abs(left - right)), initial=0.0))
    if not error <= np.finfo(np.float64).max:
        return float("inf"), float("inf")
    largest = max(spread, float(np.max(np.abs(right), where=np.isfinite(right), initial=0.0)))
    return error, error / largest if error and largest else error
