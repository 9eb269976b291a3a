"""The large named networks: their layers against the published ones, their weights, and the training scripts."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import drpass, refused

pytest.importorskip("tf2onnx", reason="needs the extra export")

import keras
from PIL import Image

from drpass.data.preprocess import Preprocess
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.networks import build_network, models_folder, network_names, preprocessing_path

tf = import_tensorflow()

#: torchvision's table of weights: 61,100,840 parameters and 0.71 G multiply-adds with 1,000 classes; ten have 990 rows
#: of 4,096 weights and a bias less.
ALEXNET = (61_100_840 - 990 * 4097, 714_188_480 - 990 * 4096)
#: Simonyan and Zisserman, table 2, give 138 and 144 million; exactly, and 15.47 and 19.63 G multiply-adds: torchvision.
VGG16 = (138_357_544, 15_470_264_320)
VGG19 = (143_667_240, 19_632_062_464)
#: Nothing is published with this head. From VGG-19: its convolutions without the three dense layers and, because batch
#: normalization (four numbers a channel) follows, without the 5,504 biases; then 512 and 10 units. The images are 7 by
#: 7 times smaller.
_DENSE = [(25088, 4096), (4096, 4096), (4096, 1000)]
_HEAD = [(512, 512), (512, 10)]
VGG19_CIFAR10 = (
    VGG19[0] - sum((rows + 1) * columns for rows, columns in _DENSE) + 3 * 5504 + sum((r + 1) * c for r, c in _HEAD),
    (VGG19[1] - sum(rows * columns for rows, columns in _DENSE)) // 49 + sum(r * c for r, c in _HEAD),
)


def _described(name: str) -> Any:
    """The network in a TensorFlow graph: its weights have shapes but take no memory."""
    with tf.Graph().as_default():
        return build_network(name)


def _multiply_adds(model: Any) -> int:
    """Of convolutions and dense layers: every weight is used once at each place of the output."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sum(int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1])) for layer in layers)


@pytest.mark.parametrize(
    ("name", "published"),
    [("alexnet", ALEXNET), ("vgg16", VGG16), ("vgg19", VGG19), ("vgg19_cifar10", VGG19_CIFAR10)],
)
def test_parameters_and_multiply_adds_are_the_published_ones(name: str, published: tuple[int, int]) -> None:
    model = _described(name)
    assert (model.count_params(), _multiply_adds(model)) == published


def test_parameters_are_those_of_the_documents() -> None:
    counts = [ALEXNET[0], VGG16[0], VGG19[0], VGG19_CIFAR10[0]]
    assert counts == [57_044_810, 138_357_544, 143_667_240, 20_308_682]


@pytest.mark.parametrize("name", ["alexnet", "vgg19_cifar10"])
def test_layer_table_in_the_description_is_true(name: str) -> None:
    text = (models_folder() / f"{name}.py").read_text(encoding="utf-8")
    rows = re.findall(r"^ {4}(\w+) +\S.*? {2,}(\d+(?:x\d+x\d+)?)(?: +([\d,]+))?$", text, re.MULTILINE)
    model = _described(name)
    assert sum(int((count or "0").replace(",", "")) for _, _, count in rows) == model.count_params()
    for row, shape, count in rows:
        belonging = [layer for layer in model.layers if layer.name == row or layer.name.startswith(f"{row}_")]
        assert "x".join(map(str, belonging[-1].output.shape[1:])) == shape, row
        assert sum(layer.count_params() for layer in belonging) == int((count or "0").replace(",", "")), row
    assert len(rows) == {"alexnet": 13, "vgg19_cifar10": 8}[name]


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_vgg_takes_the_weights_of_keras_as_they_are(name: str) -> None:
    with tf.Graph().as_default():
        published = getattr(keras.applications, name.upper())(weights=None)
        model = build_network(name)
    assert [(v.path, v.shape) for v in model.weights] == [(v.path, v.shape) for v in published.weights]
    assert [layer.name for layer in published.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights
    ]


def test_vgg_prepares_pictures_as_keras_does() -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8))
    expected = keras.applications.vgg16.preprocess_input(np.asarray(picture, np.float32)[None])
    for name in ("vgg16", "vgg19"):
        preprocess = Preprocess.from_toml(preprocessing_path(name)).override({"resize": 224})
        found = preprocess.normalise(preprocess.fit(picture))
        np.testing.assert_allclose(found, expected[0], atol=1e-4)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "drpass"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("alexnet", "train_alexnet.py"),
        ("vgg19_cifar10", "train_vgg19_cifar10.py"),
        ("vgg16", "fetch_imagenet.py vgg16"),
        ("vgg19", "fetch_imagenet.py vgg19"),
    ],
)
def test_missing_weights_are_told_with_how_to_get_them(empty_cache: Path, tmp_path: Path, name: str, way: str) -> None:
    outcome = drpass("export", name, tmp_path / "out.onnx")
    refused(outcome, str(empty_cache / f"{name}.weights.npz"), f"python {models_folder() / way}`", "--weights FILE.npz")
    assert not (tmp_path / "out.onnx").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights = models_folder() / "cifarnet.weights.npz"
    outcome = drpass("export", "vgg19-cifar10", tmp_path / "out.onnx", "--weights", weights)
    refused(outcome, "does not hold the weights of 'vgg19_cifar10'")


def test_misspelt_network_is_refused_with_the_names(tmp_path: Path) -> None:
    refused(drpass("export", "vgg19cifar10", tmp_path / "out.onnx"), *network_names())


def _pictures(folder: Path, parts: tuple[str, str], side: int) -> Path:
    """Two pictures of noise of each of ten classes, for training and for testing."""
    random = np.random.default_rng(0)
    for part in parts:
        for number in range(10):
            (folder / part / f"class{number}").mkdir(parents=True)
            for name in ("a.png", "b.png"):
                pixels = random.integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / f"class{number}" / name)
    return folder


def _train(script: str, data: Path, cache: Path, *options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, str(models_folder() / script), "--data", data, "--threads", 1, *options]
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120)


def _trained(finished: subprocess.CompletedProcess[str], weights: Path) -> None:
    """A step was made, at a rate, and the weights were judged and are all that is left."""
    assert finished.returncode == 0, finished.stderr
    rates = re.findall(r"^epoch 1: .*rate ([\d.e+-]+),", finished.stdout, re.MULTILINE)
    assert rates
    assert all(float(rate) > 0 for rate in rates)
    assert re.search(rf"^{re.escape(str(weights))}: accuracy \d\.\d+ on 20 test ", finished.stdout, re.MULTILINE)
    assert list(weights.parent.iterdir()) == [weights]


def test_cifarnet_trains_a_step_from_its_own_weights(tmp_path: Path) -> None:
    data = _pictures(tmp_path / "data", ("train", "test"), 32)
    weights = tmp_path / "out" / "cifarnet.npz"
    start = models_folder() / "cifarnet.weights.npz"
    small = ("--epochs", 1, "--batch", 16, "--held-out", 4, "--start", start, "--output", weights)
    _trained(_train("train_cifarnet.py", data, tmp_path / "cache", *small), weights)
    with np.load(start) as before, np.load(weights) as after:
        assert set(before) == set(after)
        assert any((before[name] != after[name]).any() for name in before)


def test_alexnet_trains_a_step_and_hands_its_weights_to_the_second_stage(tmp_path: Path) -> None:
    data = _pictures(tmp_path / "data", ("train", "val"), 224)
    small = ("--epochs", 1, 0, "--batch", 4, "--held-out", 16)
    finished = _train("train_alexnet.py", data, tmp_path / "cache", *small)
    _trained(finished, tmp_path / "cache" / "drpass" / "alexnet.weights.npz")
    assert "128²: held out" in finished.stdout
    assert "224²: held out" in finished.stdout


def test_vgg19_trains_a_step_and_its_weights_are_exported_from_the_cache(empty_cache: Path, tmp_path: Path) -> None:
    data = _pictures(tmp_path / "data", ("train", "test"), 32)
    small = ("--epochs", 1, "--batch", 4, "--held-out", 16)
    _trained(
        _train("train_vgg19_cifar10.py", data, empty_cache.parent, *small), empty_cache / "vgg19_cifar10.weights.npz"
    )
    outcome = drpass("export", "vgg19-cifar10", tmp_path / "out.onnx")
    assert outcome.status == 0, outcome.err
    kernels = [tensor for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer if len(tensor.dims) == 4]
    with np.load(empty_cache / "vgg19_cifar10.weights.npz") as arrays:
        wanted = [arrays[name] for name in arrays if arrays[name].ndim == 4]
    assert sorted(tuple(kernel.dims) for kernel in kernels) == sorted(a.transpose(3, 2, 0, 1).shape for a in wanted)


def test_too_few_images_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(models_folder()))
    training = importlib.import_module("training")
    options = argparse.Namespace(held_out=16, batch=5, seed=1)
    with pytest.raises(SystemExit, match="error: 20 training images are too few to hold out 16"):
        training.run(lambda: training.split(20, options))
    assert [len(part) for part in training.split(21, options)] == [16, 5]
