"""The VGG networks of Simonyan and Zisserman in Keras 3: what vgg16.py, vgg19.py and vgg19_cifar10.py share.

Five blocks of 3x3 convolutions (SAME, stride 1, ReLU), each followed by 2x2 max pooling with stride 2. Source: Very
Deep Convolutional Networks for Large-Scale Image Recognition (2015), table 1, columns D and E.
"""

from __future__ import annotations

from typing import Any

import keras

#: Output channels of the convolutions of each block.
VGG16 = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


def blocks(x: Any, table: tuple[tuple[int, ...], ...], batch_norm: bool = False) -> Any:
    """The convolutions and poolings of ``table`` on ``x`` ``[N, H, W, C]``; layers are named as in Keras.

    With ``batch_norm`` a convolution has no bias and batch normalization stands between it and its ReLU.
    """
    for block, widths in enumerate(table, 1):
        for index, channels in enumerate(widths, 1):
            x = _convolution(x, channels, f"block{block}_conv{index}", batch_norm)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def _convolution(x: Any, channels: int, name: str, batch_norm: bool) -> Any:
    options = {"padding": "same", "kernel_initializer": "he_normal", "name": name}
    if not batch_norm:
        return keras.layers.Conv2D(channels, 3, activation="relu", **options)(x)
    x = keras.layers.Conv2D(channels, 3, use_bias=False, **options)(x)
    x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def imagenet(table: tuple[tuple[int, ...], ...], name: str) -> keras.Model:
    """A published network at 224² with random weights; 1,000 logits. Layers are named as in Keras' own description."""
    images = keras.Input((224, 224, 3), name="images")
    x = keras.layers.Flatten(name="flatten")(blocks(images, table))
    x = keras.layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="fc1")(x)
    x = keras.layers.Dropout(0.5, name="dropout1")(x)
    x = keras.layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="fc2")(x)
    x = keras.layers.Dropout(0.5, name="dropout2")(x)
    return keras.Model(images, keras.layers.Dense(1000, name="predictions")(x), name=name)
