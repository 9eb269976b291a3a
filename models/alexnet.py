"""AlexNet in one tower, for the ten classes of Imagenette at 224², in Keras 3.

Layers (Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014; with the local response
normalization of ImageNet Classification with Deep Convolutional Neural Networks, 2012: radius 2, bias 2, alpha 1e-4,
beta 0.75):

    ======== =================================== ============ ==========
    name     layer                               output       parameters
    ======== =================================== ============ ==========
    conv1    11x11 convolution, stride 4, pad 2  55x55x64         23,296
    norm1    local response normalization        55x55x64
    pool1    3x3 max pooling, stride 2           27x27x64
    conv2    5x5 convolution, pad 2              27x27x192       307,392
    norm2    local response normalization        27x27x192
    pool2    3x3 max pooling, stride 2           13x13x192
    conv3    3x3 convolution, pad 1              13x13x384       663,936
    conv4    3x3 convolution, pad 1              13x13x256       884,992
    conv5    3x3 convolution, pad 1              13x13x256       590,080
    pool5    3x3 max pooling, stride 2           6x6x256
    fc6      dropout 0.5, dense                  4096         37,752,832
    fc7      dropout 0.5, dense                  4096         16,781,312
    logits   dense                               10               40,970
    ======== =================================== ============ ==========

ReLU follows every convolution and fc6 and fc7. Input: ``[N, 224, 224, 3]`` float32, RGB, prepared as ``alexnet.toml``
says. Output: ``[N, 10]`` logits, no softmax; the classes are the sorted WordNet numbers of Imagenette.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from drpass.networks import load_weights, network_module

LocalResponseNormalization = network_module("cifarnet").LocalResponseNormalization

SIDE = 224


def build(weights: Path | None = None) -> keras.Model:
    """The network with the weights of an .npz file, or with random ones.

    Raises DrpassError if the file can't be read or does not fit the network.
    """
    images = keras.Input((SIDE, SIDE, 3), name="images")
    model = keras.Model(images, logits(features(images)), name="alexnet")
    if weights is not None:
        load_weights(model, weights)
    return model


def features(images: Any, batch_norm: bool = False) -> Any:
    """``[N, 4096]``, what the last layer sees, of images of 224² or, for a faster training, of 128².

    Of 128² pool5 gives 3x3, and each place is taken four times. With ``batch_norm``, batch normalization stands before
    every ReLU; it folds into the layer in front of it.
    """
    convolution, pool = keras.layers.Conv2D, keras.layers.MaxPooling2D
    x = keras.layers.ZeroPadding2D(2, name="pad1")(images)
    x = _relu(convolution(64, 11, 4, kernel_initializer="he_normal", name="conv1")(x), batch_norm)
    x = pool(3, 2, name="pool1")(_normalization("norm1")(x))
    x = _relu(convolution(192, 5, padding="same", kernel_initializer="he_normal", name="conv2")(x), batch_norm)
    x = pool(3, 2, name="pool2")(_normalization("norm2")(x))
    for name, channels in (("conv3", 384), ("conv4", 256), ("conv5", 256)):
        x = _relu(convolution(channels, 3, padding="same", kernel_initializer="he_normal", name=name)(x), batch_norm)
    x = pool(3, 2, name="pool5")(x)
    if x.shape[1] == 3:
        x = keras.layers.UpSampling2D(2, name="spread5")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
        x = _relu(keras.layers.Dense(4096, kernel_initializer="he_normal", name=name)(x), batch_norm)
    return x


def logits(x: Any) -> Any:
    """The last layer, in float32 also where the others are not."""
    return keras.layers.Dense(10, dtype="float32", name="logits")(x)


def _relu(x: Any, batch_norm: bool) -> Any:
    name = x._keras_history.operation.name
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _normalization(name: str) -> keras.layers.Layer:
    return LocalResponseNormalization(radius=2, bias=2.0, alpha=1e-4, beta=0.75, dtype="float32", name=name)
