"""The compressed AlexNet: its steps on small networks, and how bench/table.py finds it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import measure
import numpy as np
import onnx
import pytest
from models_for_tests import model, node, random_array
from test_bench_rows import ROW

pytest.importorskip("tf2onnx", reason="needs the extra export")

import keras
from rows import load_rows

from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.model_io import save
from drpass.networks import build_network, models_folder
from drpass.rewriting import rewrite

tf = import_tensorflow()


@pytest.fixture
def compress(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(models_folder()))
    return importlib.import_module("compress_alexnet")


def test_every_layer_with_weights_has_a_share(compress: Any) -> None:
    with tf.Graph().as_default():
        network = build_network("alexnet")
    assert [layer.name for layer in network.layers if layer.weights] == list(compress.KEPT)


@pytest.mark.parametrize("share", [0.09, 0.5, 1.0, 1e-9])
def test_kept_weights_are_the_largest_and_as_many_as_the_share_says(compress: Any, share: float) -> None:
    # Rounded: many have the same magnitude, and both signs.
    kernel = np.round(np.random.default_rng(1).normal(size=(3, 3, 4, 8)), 1).astype(np.float32)
    mask = compress.largest(kernel, share)
    assert mask.shape == kernel.shape
    assert mask.sum() == max(1, round(share * kernel.size))
    assert np.abs(kernel[mask]).min() >= np.abs(kernel[~mask]).max(initial=0)


def test_pruned_weights_stay_zero_while_the_others_are_trained(compress: Any) -> None:
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Flatten()])
    network.add(keras.layers.Dense(10, name="dense"))
    masks = compress.largest_weights(network, {"conv": 0.5, "dense": 0.1})
    whole = {name: network.get_layer(name).get_weights()[0] for name in masks}
    compress.hold_at_zero(network, masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(network.get_layer(name).get_weights()[0], np.where(mask, whole[name], 0))
    network.compile(keras.optimizers.SGD(0.1, 0.9, nesterov=True, weight_decay=0.01), "mse")
    random = np.random.default_rng(1)
    network.fit(random.normal(size=(12, 8, 8, 3)), random.normal(size=(12, 10)), batch_size=4, epochs=2, verbose=0)
    for name, mask in masks.items():
        kernel = network.get_layer(name).get_weights()[0]
        assert not kernel[~mask].any()
        assert (kernel[mask] != whole[name][mask]).all()


@pytest.fixture
def small_network(tmp_path: Path) -> Path:
    """Two convolutions with LRN and a pool between them, and a dense layer."""
    steps = [
        node("Conv", ["images", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("LRN", ["r1"], ["n1"], size=5, bias=2.0, name="norm1"),
        node("MaxPool", ["n1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3]),
        node("Relu", ["c2"], ["r2"]),
        node("Flatten", ["r2"], ["f"]),
        node("MatMul", ["f", "w3"], ["logits"]),
    ]
    weights = {
        "w1": random_array(16, 3, 3, 3),
        "b1": random_array(16),
        "w2": random_array(16, 16, 3, 3),
        "b2": random_array(16),
        "w3": random_array(16 * 5 * 5, 10),
    }
    path = tmp_path / "small.onnx"
    save(model(steps, {"images": ["N", 3, 16, 16]}, {"logits": ["N", 10]}, weights), path)
    return path


def test_quantised_network_keeps_its_products_and_only_its_lrn_is_replaced(
    compress: Any, small_network: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), np.uint8)
    quantised, again = tmp_path / "int8.onnx", tmp_path / "again.onnx"
    for path in (quantised, again):
        compress.quantise(small_network, path, compress.calibration(images, 10))
    assert quantised.read_bytes() == again.read_bytes()

    result = rewrite(quantised)
    assert {verdict.op_type: verdict.replaced for verdict in result.report.verdicts} == {
        "Conv": False,
        "MatMul": False,
        "LRN": True,
    }
    assert all("8-bit integers" in verdict.reason for verdict in result.report.verdicts if not verdict.replaced)

    feeds = {"images": compress.planes(compress.normalise(images, compress.PREPROCESS))}
    original, rewritten = (run(open_session(file), feeds)[0] for file in (quantised, result.to_proto()))
    last = next(n for n in reversed(onnx.load(quantised).graph.node) if n.op_type == "QuantizeLinear")
    quantum = next(t for t in onnx.load(quantised).graph.initializer if t.name == last.input[1])
    assert np.abs(original - rewritten).max() <= onnx.numpy_helper.to_array(quantum) * 1.001
    whole = run(open_session(small_network), feeds)[0]
    assert np.corrcoef(original.ravel(), whole.ravel())[0, 1] > 0.99


def test_accuracy_of_a_file_is_the_share_of_right_classes(compress: Any, small_network: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (21, 16, 16, 3), np.uint8)
    inputs = compress.normalise(images, compress.PREPROCESS)
    classes = np.argmax(run(open_session(small_network), {"images": compress.planes(inputs)})[0], axis=1)
    classes[::3] = (classes[::3] + 1) % 10
    assert compress.onnx_accuracy(small_network, inputs, classes) == pytest.approx(14 / 21)


def test_without_trained_weights_it_says_how_to_train_them(
    compress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["compress_alexnet.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: there are no trained weights of 'alexnet'.*train_alexnet\.py"):
        importlib.import_module("training").run(compress.main)


def test_row_finds_its_model_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DRPASS_MODELS", raising=False)
    rows = tmp_path / "rows.toml"
    rows.write_text(ROW.replace("tiny.onnx", "compressed.onnx"))
    (row,) = load_rows(rows)
    cached = tmp_path / "drpass" / "compressed.onnx"
    with pytest.raises(DrpassError, match=r"compressed\.onnx"):
        measure.Workshop(tmp_path).original(row)
    cached.parent.mkdir()
    cached.touch()
    assert measure.Workshop(tmp_path).original(row) == cached
