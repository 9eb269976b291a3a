"""CifarNet: the layers of TF-slim's description, and the weights that are checked in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("tf2onnx", reason="needs the extra export")

from drpass.data.preprocess import Preprocess
from drpass.data.sources import open_data
from drpass.export import export
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.networks import build_network, preprocessing_path, weights_path
from drpass.operator.spec import ReuseParameters
from drpass.restoring import restore
from drpass.rewriting import rewrite
from drpass.tensors import input_specs

tf = import_tensorflow()

TEST_ARCHIVE = Path(os.environ.get("DRPASS_DATA", "")) / "cifar10-test.tar.xz"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cifarnet") / "cifarnet.onnx"
    export("cifarnet", path)
    return path


def test_layers_are_those_of_tf_slim() -> None:
    model = build_network("cifarnet")
    table = [(layer.name, layer.output.shape[1:], layer.count_params()) for layer in model.layers]
    assert table == [
        ("images", (32, 32, 3), 0),
        ("conv1", (32, 32, 64), 5 * 5 * 3 * 64 + 64),
        ("pool1", (16, 16, 64), 0),
        ("norm1", (16, 16, 64), 0),
        ("conv2", (16, 16, 64), 5 * 5 * 64 * 64 + 64),
        ("norm2", (16, 16, 64), 0),
        ("pool2", (8, 8, 64), 0),
        ("flatten", (4096,), 0),
        ("fc3", (384,), 4096 * 384 + 384),
        ("dropout3", (384,), 0),
        ("fc4", (192,), 384 * 192 + 192),
        ("logits", (10,), 192 * 10 + 10),
    ]
    assert [layer.activation.__name__ for layer in model.layers if hasattr(layer, "activation")] == [
        *["relu"] * 4,
        "linear",
    ]


def test_local_response_normalization_follows_its_formula() -> None:
    layer = build_network("cifarnet").get_layer("norm1")
    x = np.random.default_rng(1).normal(0, 100, (2, 3, 5, 64))
    padded = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (4, 4)))
    sums = sum(padded[..., offset : offset + 64] for offset in range(9))
    expected = x / (1 + 0.001 / 9 * sums) ** 0.75
    np.testing.assert_allclose(layer(x.astype(np.float32)), expected, rtol=1e-4, atol=1e-4)


def test_local_response_normalization_survives_saving(tmp_path: Path) -> None:
    import keras

    model = build_network("cifarnet", weights_path("cifarnet"))
    model.save(tmp_path / "cifarnet.keras")
    again = keras.saving.load_model(tmp_path / "cifarnet.keras", safe_mode=True)
    pictures = np.random.default_rng(2).random((3, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(model(pictures), again(pictures))


def test_weights_are_half_precision_and_small() -> None:
    path = weights_path("cifarnet")
    assert path.stat().st_size <= 5_000_000
    with np.load(path, allow_pickle=False) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
        assert sum(array.size for array in arrays.values()) == 1_756_426
        assert all(np.isfinite(array).all() for array in arrays.values())


def test_exported_network_has_its_convolutions_and_takes_channels_first(exported: Path) -> None:
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("images", ["batch", 3, 32, 32])]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [("logits", ["batch", 10])]


@pytest.mark.skipif(not TEST_ARCHIVE.is_file(), reason="DRPASS_DATA names no folder with cifar10-test.tar.xz")
def test_trained_weights_reach_their_accuracy_on_the_test_images(exported: Path) -> None:
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    data = open_data(
        TEST_ARCHIVE,
        input_specs(session),
        preprocess=Preprocess.from_toml(preprocessing_path("cifarnet")),
        batch=100,
    )
    right = 0
    for batch in data.batches():
        assert batch.labels is not None
        logits: Any = session.run(None, batch.feeds)[0]
        right += int(np.sum(np.argmax(logits, axis=1) == batch.labels))
    assert data.n == 5000
    assert right / data.n >= 0.78


@pytest.mark.parametrize(
    "options",
    [{}, {"parameters": ReuseParameters()}, {"parameters": ReuseParameters(method="exact"), "memo_bytes": 1 << 20}],
)
def test_rewriting_again_changes_nothing_and_restoring_gives_the_bits_of_the_original(
    exported: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    first = rewrite(exported, **options)
    first.save(tmp_path / "fast.onnx")
    for again in (rewrite(tmp_path / "fast.onnx", **options), rewrite(tmp_path / "fast.onnx", plan=first.plan())):
        again.save(tmp_path / "again.onnx")
        assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "fast.onnx").read_bytes()
    restore(tmp_path / "fast.onnx").save(tmp_path / "back.onnx")
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    outputs = []
    for path in (exported, tmp_path / "back.onnx"):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {session.get_inputs()[0].name: images})[0])
    np.testing.assert_array_equal(outputs[1], outputs[0])
