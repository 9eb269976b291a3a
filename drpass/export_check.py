"""Does an exported model compute what the framework computes? Both run on the same data, pictures where possible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from drpass.data.dataset import Batch
from drpass.data.preprocess import Preprocess
from drpass.data.sources import PHOTOGRAPHS, RANDOM, open_data
from drpass.errors import DrpassError
from drpass.frameworks import IMAGE_RANK, FrameworkModel, import_tensorflow, one_line
from drpass.tensors import Array, TensorSpec, input_specs, output_specs

#: Samples where the model leaves the batch open: a size that a fixed dimension rarely has by chance.
SAMPLES = 3
#: Stands for an open dimension that is no batch, where the data is random.
_OPEN_SIDE = 16


@dataclass(frozen=True)
class Comparison:
    """How far apart they are.

    ``max_error``: largest absolute difference over all outputs. ``max_relative_error``: the same as a share of the
    largest absolute value of its output, and ``worst_output`` where that is. ``checked_on``: the data, in words.
    ``shapes``: of the outputs, for :data:`SAMPLES` samples where the batch is open.
    """

    max_error: float
    max_relative_error: float
    worst_output: str
    checked_on: str
    shapes: dict[str, tuple[int, ...]]


def compare(model: FrameworkModel, onnx_model: bytes, nhwc: bool) -> Comparison:
    """Run one batch through both. ``nhwc``: the ONNX model keeps pictures channels last.

    Raises DrpassError if one of them can't be run.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal: everything else arrives as an exception
    try:
        session = ort.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
        batch, description = _data(model, input_specs(session))
        got = dict(zip((spec.name for spec in output_specs(session)), session.run(None, batch.feeds)))
    except DrpassError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen exception types of its own
        raise DrpassError(f"ONNX Runtime can't run what became of {model.name}: {one_line(error)}") from error
    try:
        expected = _run_framework(model, batch, nhwc)
    except Exception as error:  # TensorFlow too
        raise DrpassError(f"TensorFlow can't run {model.name} on {description}: {one_line(error)}") from error
    errors = {name: _difference(got[name], expected[name]) for name in expected}
    worst = max(errors, key=lambda name: errors[name][1])
    return Comparison(
        max_error=max(error for error, _ in errors.values()),
        max_relative_error=errors[worst][1],
        worst_output=worst,
        checked_on=description,
        shapes={name: array.shape for name, array in expected.items()},
    )


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


def _run_framework(model: FrameworkModel, batch: Batch, nhwc: bool) -> dict[str, Array]:
    """The outputs of the framework by name, channels where the ONNX model has them."""
    tensorflow = import_tensorflow()
    moved = model.channels_last_inputs(nhwc)
    arrays = {spec.name: batch.feeds[spec.name] for spec in model.inputs}
    tensors = [
        tensorflow.constant(array.transpose(0, 2, 3, 1) if name in moved else array) for name, array in arrays.items()
    ]
    outputs = {name: np.asarray(tensor) for name, tensor in zip(model.outputs, model.function(*tensors))}
    if not model.channels_last_outputs(nhwc):
        return outputs
    return {name: array.transpose(0, 3, 1, 2) if array.ndim == IMAGE_RANK else array for name, array in outputs.items()}


def _difference(got: Array, expected: Array) -> tuple[float, float]:
    """Largest absolute difference, and the same as a share of the largest expected value; NaN equals NaN."""
    if got.shape != expected.shape:
        return float("inf"), float("inf")
    left, right = got.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        error = float(np.max(np.where(same, 0.0, np.abs(left - right)), initial=0.0))
    if not error <= np.finfo(np.float64).max:
        return float("inf"), float("inf")
    largest = float(np.max(np.abs(right), where=np.isfinite(right), initial=0.0))
    return error, error / largest if error else 0.0
