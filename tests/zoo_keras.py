"""Networks of Keras with random weights, for tests/zoo.py: its applications, a U-Net and a detector like YOLO.

BatchNormalization gets statistics of made-up pictures, and random factors and terms, as in tests/zoo_torch.py.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from zoo_check import pictures

#: As in tests/zoo_torch.py, by name, because Keras makes the weights to count them.
LARGE = ("ConvNeXtLarge", "ConvNeXtXLarge")
#: Pixels a side; of some others than most.
_SIZE = 96
_SIZES = {"NASNetLarge": 331, "NASNetMobile": 224, "InceptionV3": 160, "InceptionResNetV2": 160, "U-Net": 64}

#: Of the values of pictures: about those of the photographs that `drpass export` compares with.
MEAN, SPREAD = 0.5, 0.25


def names() -> list[str]:
    """Those of Keras, then our own."""
    found = [name for name in dir(keras.applications) if name[0].isupper() and name not in LARGE]
    return [*found, *OWN]


def save(name: str, folder: Path, side: int = 0) -> str:
    """The source of a network for `drpass export`: a Keras file in the folder."""
    keras.utils.set_random_seed(0)
    path = folder / f"{name}.keras"
    make(name, side).save(path)
    return str(path)


def make(name: str, side: int = 0) -> Any:
    """The network, settled on pictures; ``side``: of these, 0 for a small one."""
    size = side or _SIZES.get(name, _SIZE)
    if name in OWN:
        network = OWN[name](size)
    else:
        build = getattr(keras.applications, name)
        # What takes pixels of 0 to 255 and moves them by 1 would leave little but rounding of ours.
        plain = {"include_preprocessing": False} if "include_preprocessing" in signature(build).parameters else {}
        network = build(weights=None, input_shape=(size, size, 3), **plain)
    height, width, channels = network.input_shape[1:]
    settle(network, pictures((4, channels, height, width), 0, MEAN, SPREAD).transpose(0, 2, 3, 1))
    return network


def settle(network: Any, images: Any) -> None:
    """Statistics of these images, and random factors and terms, for BatchNormalization, a layer after the other."""
    rng = np.random.default_rng(0)
    found = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in found:
        if layer.scale:
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        if layer.center:
            layer.beta.assign(rng.normal(size=layer.beta.shape) / 10)
    momenta = [layer.momentum for layer in found]
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0  # what it saw last: this batch
        elif isinstance(layer, (layers.Dropout, layers.SpatialDropout2D)):
            layer.rate = 0.0
    network(images, training=True)
    for layer, momentum in zip(found, momenta, strict=True):
        layer.momentum = momentum


def unet(side: int) -> Any:
    """Ronneberger et al. 2015, two levels: skips by Concat, up by transposed convolutions and by Resize."""
    image = keras.Input((side, side, 3))
    first = _twice(image, 16)
    second = _twice(layers.MaxPooling2D()(first), 32)
    bottom = _twice(layers.MaxPooling2D()(second), 64)
    x = layers.Conv2DTranspose(32, 2, strides=2)(bottom)
    x = _twice(layers.Concatenate()([second, x]), 32)
    x = layers.Conv2D(16, 3, padding="same")(layers.UpSampling2D(interpolation="bilinear")(x))
    x = _twice(layers.Concatenate()([first, x]), 16)
    return keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))


def yolo(side: int) -> Any:
    """Like YOLOv5: SiLU, a cross-stage part, pyramid pooling, features joined upwards, three heads with their boxes."""
    image = keras.Input((side, side, 3))
    x = _silu(_silu(image, 16, 6, 2), 32, 3, 2)
    large = _cross_stage(_silu(_cross_stage(x, 32), 64, 3, 2), 64)
    middle = _cross_stage(_silu(large, 96, 3, 2), 96)
    small = _silu(_cross_stage(_silu(middle, 128, 3, 2), 128), 64, 1, 1)
    pools = [small]
    for _ in range(3):
        pools.append(layers.MaxPooling2D(5, 1, "same")(pools[-1]))
    small = _silu(layers.Concatenate()(pools), 128, 1, 1)
    middle = _cross_stage(layers.Concatenate()([layers.UpSampling2D()(_silu(small, 96, 1, 1)), middle]), 96)
    large = _cross_stage(layers.Concatenate()([layers.UpSampling2D()(_silu(middle, 64, 1, 1)), large]), 64)
    return keras.Model(image, [_boxes(features) for features in (large, middle, small)])


OWN: dict[str, Callable[[int], Any]] = {"U-Net": unet, "YOLO-like": yolo}


def _twice(x: Any, channels: int) -> Any:
    for _ in range(2):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return x


def _silu(x: Any, channels: int, kernel: int, stride: int) -> Any:
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False)(x)
    return layers.Activation("silu")(layers.BatchNormalization()(x))


def _cross_stage(x: Any, channels: int) -> Any:
    half = channels // 2
    left, right = _silu(x, half, 1, 1), _silu(x, half, 1, 1)
    left = layers.Add()([left, _silu(_silu(left, half, 1, 1), half, 3, 1)])
    return _silu(layers.Concatenate()([left, right]), channels, 1, 1)


def _boxes(x: Any) -> Any:
    """For three anchors of every cell: centre, size, certainty and 5 classes, all from a sigmoid."""
    x = layers.Conv2D(30, 1)(x)
    x = layers.Reshape((x.shape[1] * x.shape[2], 3, 10))(x)
    return layers.Rescaling(2.0, -0.5)(layers.Activation("sigmoid")(x))
