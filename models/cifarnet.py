"""CifarNet, the small CIFAR-10 network of TF-slim and of the Deep Reuse paper, in Keras 3.

Layers (TF-slim, ``nets/cifarnet.py``; LRN: radius 4, bias 1, alpha 0.001/9, beta 0.75):

    ======== ============================== ============ ==========
    name     layer                          output       parameters
    ======== ============================== ============ ==========
    conv1    5x5 convolution, SAME, ReLU    32x32x64          4,864
    pool1    2x2 max pooling, stride 2      16x16x64
    norm1    local response normalization   16x16x64
    conv2    5x5 convolution, SAME, ReLU    16x16x64        102,464
    norm2    local response normalization   16x16x64
    pool2    2x2 max pooling, stride 2      8x8x64
    fc3      dense, ReLU                    384           1,573,248
    dropout3 dropout 0.5 (training only)    384
    fc4      dense, ReLU                    192              73,920
    logits   dense                          10                1,930
    ======== ============================== ============ ==========

Input: ``[N, 32, 32, 3]`` float32, RGB, prepared as ``cifarnet.toml`` says. Output: ``[N, 10]`` logits, no softmax; the
classes of CIFAR-10 in alphabetical order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from drpass.networks import load_weights


@keras.saving.register_keras_serializable(package="drpass")
class LocalResponseNormalization(keras.layers.Layer):
    """``x / (bias + alpha * sum of x² over 2·radius+1 neighbouring channels) ** beta``, shapes kept.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks (2012), section 3.3.
    """

    def __init__(self, radius: int, bias: float, alpha: float, beta: float, **options: Any) -> None:
        super().__init__(**options)
        self.radius, self.bias, self.alpha, self.beta = radius, bias, alpha, beta

    def call(self, inputs: Any) -> Any:
        return tf.nn.local_response_normalization(inputs, self.radius, self.bias, self.alpha, self.beta)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"radius": self.radius, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}


def _convolution(name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(64, 5, padding="same", activation="relu", kernel_initializer="he_normal", name=name)


def _normalization(name: str) -> keras.layers.Layer:
    return LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name=name)


def build(weights: Path | None = None) -> keras.Model:
    """The network with the weights of an .npz file, or with random ones.

    Raises DrpassError if the file can't be read or does not fit the network.
    """
    images = keras.Input((32, 32, 3), name="images")
    x = _convolution("conv1")(images)
    x = keras.layers.MaxPooling2D(2, name="pool1")(x)
    x = _normalization("norm1")(x)
    x = _convolution("conv2")(x)
    x = _normalization("norm2")(x)
    x = keras.layers.MaxPooling2D(2, name="pool2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(384, activation="relu", kernel_initializer="he_normal", name="fc3")(x)
    x = keras.layers.Dropout(0.5, name="dropout3")(x)
    x = keras.layers.Dense(192, activation="relu", kernel_initializer="he_normal", name="fc4")(x)
    logits = keras.layers.Dense(10, name="logits")(x)
    model = keras.Model(images, logits, name="cifarnet")
    if weights is not None:
        load_weights(model, weights)
    return model
