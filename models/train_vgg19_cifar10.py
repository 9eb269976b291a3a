"""Train VGG-19 on CIFAR-10 and write its weights.

    python models/train_vgg19_cifar10.py --data FOLDER --start vgg16.onnx

FOLDER holds cifar10-train.tar.xz and cifar10-test.tar.xz (CLASS/PICTURE in both), or the folders train/CLASS and
test/CLASS. The environment variable DRPASS_DATA stands in for --data; without either, Keras downloads CIFAR-10.

--start names an ONNX model with the convolutions of VGG-16 (weights and biases called conv1_1.weight, conv1_1.bias,
..., for pictures in BGR of 0..255 without their mean). The three convolutions that VGG-19 has more begin as identities,
and batch normalization begins with the statistics of the data, so that the features are kept. Without it the weights
begin random, and need about ten times the epochs. With weights that this script wrote (.npz) the training goes on from
them.

2,500 training images are held out, and the epoch that does best on them is kept. The test images are looked at once, at
the end, with the weights as they are in the file.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import onnx
from training import (
    Images,
    Labels,
    ShiftedBatches,
    accuracy,
    add_options,
    fit,
    normalise,
    run,
    settle_normalization,
    split,
    train_on_cifar10,
)

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.model_io import load_proto
from drpass.networks import build_network, load_weights, network_module, preprocessing_path, save_weights, weights_path

NAME = "vgg19_cifar10"
PREPROCESS = Preprocess.from_toml(preprocessing_path(NAME))
SHIFT = 4  # augmentation moves an image by up to this many pixels
HOLE = 8  # and covers a square of this side
SETTLE = 10000  # images that the statistics of batch normalization are taken from at the end
EPSILON = 1e-5


def start_from(model: keras.Model, path: Path, images: npt.NDArray[np.float32]) -> None:
    """Put the convolutions of a VGG-16 into ``model``; batch normalization keeps what they compute for ``images``.

    ReLU commutes with a positive factor, so every layer is divided by the mean standard deviation of its channels.
    """
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in load_proto(path).graph.initializer}
    x = images
    scale = 1.0
    for block, widths in enumerate(network_module("vgg").VGG19, 1):
        for index in range(1, len(widths) + 1):
            name = f"block{block}_conv{index}"
            convolution, norm = model.get_layer(name), model.get_layer(f"{name}_norm")
            kernel, bias = _kernel(arrays, block, index, convolution.kernel.shape)
            convolution.kernel.assign(kernel)
            x = np.asarray(keras.ops.conv(x, kernel, padding="same"), np.float32)
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            deviation = np.sqrt(variance + EPSILON)
            before, scale = scale, deviation.mean() * scale
            shift = (mean * before + bias) / scale
            norm.set_weights([deviation * before / scale, shift, mean, variance])
            x = np.maximum((x - mean) * (before / scale) + shift, 0, dtype=np.float32)
        x = np.asarray(keras.ops.max_pool(x, 2))


def _kernel(arrays: dict[str, Any], block: int, index: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Kernel [3, 3, in, out] and bias [out] of a convolution; an identity where VGG-16 has none."""
    name = f"conv{block}_{index}"
    if f"{name}.weight" not in arrays and index == 4:
        kernel = np.zeros(shape, np.float32)
        kernel[1, 1] = np.eye(shape[2])
        return kernel, np.zeros(shape[3], np.float32)
    try:
        kernel, bias = arrays[f"{name}.weight"].transpose(2, 3, 1, 0), arrays[f"{name}.bias"]
    except KeyError as error:
        raise DrpassError(f"--start has no {error}; it must hold the convolutions of VGG-16") from error
    if (block, index) == (1, 1):  # from BGR of 0..255 to normalised RGB
        kernel = kernel[:, :, ::-1] * (np.array(PREPROCESS.std, np.float32) / PREPROCESS.scale)[:, None]
    return kernel, bias


def train(images: Images, labels: Labels, options: argparse.Namespace) -> None:
    """SGD with Nesterov momentum, a cosine schedule and label smoothing of 0.05; computed in bfloat16.

    The weight decay is what keeps the network from learning the training images by heart: it is apart from the gradient
    here, so 5e-3 does with momentum 0.9 what 5e-4 does inside of it.
    """
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    held_out, kept = split(len(labels), options)
    model = build_network(NAME)
    if options.start and options.start.suffix == ".npz":
        load_weights(model, options.start)
    elif options.start:
        start_from(model, options.start, normalise(images[kept[:512]], PREPROCESS))
    optimizer = keras.optimizers.SGD(options.rate, momentum=0.9, nesterov=True, weight_decay=5e-3)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05),
        metrics=["accuracy"],
    )
    batches = ShiftedBatches(images[kept], labels[kept], PREPROCESS, SHIFT, options, HOLE)
    fit(model, batches, (images[held_out], labels[held_out]), options)
    keras.mixed_precision.set_global_policy("float32")
    settle(images[kept[:SETTLE]], images[held_out], labels[held_out], options)


def settle(images: Images, held_out: Images, labels: Labels, options: argparse.Namespace) -> None:
    """Take the statistics of batch normalization from ``images``, if the held-out ones do no worse with them."""
    model = build_network(NAME, options.output)
    inputs = normalise(held_out, PREPROCESS)
    before = accuracy(model, inputs, labels)
    settle_normalization(model, images, PREPROCESS)
    after = accuracy(model, inputs, labels)
    print(f"statistics of {len(images)} images as they are: val_accuracy {before:.4f} to {after:.4f}", flush=True)
    if after >= before:
        save_weights(model, options.output)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, weights_path(NAME), batch=128, held_out=2500)
    parser.add_argument("--start", type=Path, help="an ONNX model with the convolutions of VGG-16, or weights (.npz)")
    parser.add_argument("--rate", type=float, default=0.03, help="the highest learning rate")
    parser.add_argument("--epochs", type=int, default=4)
    return parser.parse_args()


def main() -> None:
    train_on_cifar10(NAME, train, parse())


if __name__ == "__main__":
    run(main)
