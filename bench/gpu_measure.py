"""Times one convolution alone, dense and as DeepReuseGemm, with inputs and outputs that stay on the device."""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import layer as layers
import numpy as np
import onnx
import onnxruntime as ort
from convolutions import CLUSTERED, Convolution, Network
from onnx import TensorProto, helper, numpy_helper

from drpass import model_io, networks
from drpass.benchmark import Ratio, paired_ratio
from drpass.data import Preprocess, open_data
from drpass.errors import DrpassError
from drpass.execution import Provider, open_session
from drpass.export import export
from drpass.operator.spec import ReuseParameters
from drpass.rewriting import rewrite
from drpass.tensors import Array, input_specs

#: r_c of the made-up inputs.
RATIOS = (0.05, 0.1, 0.2)
#: Far finer than the made-up inputs, so that their r_c is the wanted one.
_FINE = 0.001
_REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Effort:
    """``pairs`` of ``calls`` calls each that are waited for together; one pair before that is not counted."""

    pairs: int = 15
    calls: int = 10


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a call, medians of the pairs. ``speed_up``: of the clustered node over ONNX Runtime's Conv."""

    input: str
    dense_ms: float
    exact_ms: float
    clustered_ms: float
    speed_up: Ratio


def measure(
    convolution: Convolution, batch: int, provider: Provider, effort: Effort, real: Array | None = None
) -> list[Measured]:
    """On made-up inputs of known r_c, and on a real one [batch, C, H, W] where it is given."""
    inputs = {f"r_c {ratio:g}": made_up(convolution, batch, ratio) for ratio in RATIOS}
    results = [_measure(name, convolution, x, _FINE, provider, effort) for name, x in inputs.items()]
    if real is not None:
        results.append(_measure("pictures", convolution, real, CLUSTERED.step, provider, effort))
    return results


def made_up(convolution: Convolution, batch: int, ratio: float) -> Array:
    """Pixels drawn from as many random ones as give this r_c in every image and sub-vector group."""
    generator = np.random.default_rng(0)
    pixels = convolution.size**2
    colours = max(1, round(ratio * pixels))
    images = []
    for _ in range(batch):
        chosen = generator.permutation(np.arange(pixels) % colours)
        images.append(generator.standard_normal((colours, convolution.channels), np.float32)[chosen].T)
    shape = (batch, convolution.channels, convolution.size, convolution.size)
    return np.ascontiguousarray(np.stack(images).reshape(shape))


def real_input(network: Network, convolution: Convolution, batch: int) -> Array | None:
    """What the layer is fed on pictures; None where model or data are not there."""
    data, proto = os.environ.get("DRPASS_DATA"), _original(network)
    if not data or proto is None:
        return None
    preprocess = Preprocess.from_toml(_REPOSITORY / network.preprocess)
    specs = input_specs(open_session(proto))
    pictures = open_data(Path(data, network.data), specs, preprocess=preprocess, limit=batch, batch=1)
    node = layers.find_convolution(proto, convolution.name)
    found = [next(iter(entry.feeds.values())) for entry in layers.activations(proto, node, pictures).batches()]
    return np.ascontiguousarray(np.concatenate(found))


@functools.cache
def _original(network: Network) -> onnx.ModelProto | None:
    """The model with its trained weights; None where it is not there."""
    if network.model in networks.network_names():
        with tempfile.TemporaryDirectory() as folder:
            export(network.model, Path(folder, "model.onnx"))
            return model_io.load_proto(Path(folder, "model.onnx"))
    path = Path(os.environ.get("DRPASS_MODELS", ""), network.model)
    return model_io.load_proto(path) if network.model and path.is_file() else None


def _measure(
    name: str, convolution: Convolution, x: Array, step: float, provider: Provider, effort: Effort
) -> Measured:
    dense = dense_model(convolution, len(x))
    clustered = ReuseParameters("grid", sub_vector_length=CLUSTERED.sub_vector_length, step=step)
    models = {
        "dense": dense,
        "exact": replaced(dense, ReuseParameters("exact")),
        "clustered": replaced(dense, clustered),
    }
    contestants = {key: _runner(model, x, provider) for key, model in models.items()}
    times: dict[str, list[float]] = {key: [] for key in contestants}
    for pair in range(effort.pairs + 1):
        order = list(contestants)[pair % 3 :] + list(contestants)[: pair % 3]
        for key in order:
            milliseconds = contestants[key](effort.calls)
            if pair:
                times[key].append(milliseconds)
    dense_ms, exact_ms, clustered_ms = (statistics.median(times[key]) for key in contestants)
    return Measured(name, dense_ms, exact_ms, clustered_ms, paired_ratio(times["dense"], times["clustered"]))


def dense_model(convolution: Convolution, batch: int) -> onnx.ModelProto:
    """A Conv with random weights and its Relu."""
    c, side = convolution, convolution.layer(batch).out_size[0]
    weights = np.random.default_rng(1).standard_normal((c.outputs, c.channels, c.kernel, c.kernel), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[c.padding] * 4, strides=[c.stride] * 2),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, c.channels, c.size, c.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, c.outputs, side, side])],
        [numpy_helper.from_array(weights / np.float32(np.sqrt(c.channels) * c.kernel), "w")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def replaced(model: onnx.ModelProto, parameters: ReuseParameters) -> onnx.ModelProto:
    """The model of `dense_model` with a DeepReuseGemm."""
    result = rewrite(model, parameters=parameters, include=["conv"], chains=False)
    if not result.report.replaced:
        raise DrpassError(f"the convolution was not replaced: {result.report.verdicts[0].reason}")
    return result.to_proto()


def _runner(model: onnx.ModelProto, x: Array, provider: Provider) -> Callable[[int], float]:
    """Milliseconds of a call, of so many that are only waited for together."""
    session = open_session(model, provider, 1)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x, provider, 0))
    binding.bind_output("y", provider, 0)
    options = ort.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(calls: int) -> float:
        begin = time.perf_counter_ns()
        for _ in range(calls):
            session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return (time.perf_counter_ns() - begin) / 1e6 / calls

    return run


def lines(convolution: Convolution, batch: int, measured: Sequence[Measured]) -> list[list[str]]:
    """For the table: one for each input."""
    return [
        [
            convolution.describe(),
            str(batch),
            entry.input,
            *(f"{value:.3f}" for value in (entry.dense_ms, entry.exact_ms, entry.clustered_ms)),
            entry.speed_up.describe(),
        ]
        for entry in measured
    ]
