"""VGG-19 for CIFAR-10, with batch normalization and one hidden dense layer of 512, in Keras 3.

The sixteen convolutions of VGG-19 (see ``vgg.py``) at 32², each without bias and followed by batch normalization:

    ========= ============================== ========== ==========
    block     layers                         output     parameters
    ========= ============================== ========== ==========
    block1    2 convolutions of 64, pool     16x16x64       39,104
    block2    2 convolutions of 128, pool    8x8x128       222,208
    block3    4 convolutions of 256, pool    4x4x256     2,068,480
    block4    4 convolutions of 512, pool    2x2x512     8,265,728
    block5    4 convolutions of 512, pool    1x1x512     9,445,376
    fc        dense, ReLU                    512           262,656
    dropout   dropout 0.5 (training only)    512
    logits    dense                          10              5,130
    ========= ============================== ========== ==========

Input: ``[N, 32, 32, 3]`` float32, RGB, prepared as ``vgg19_cifar10.toml`` says. Output: ``[N, 10]`` logits, no softmax;
the classes of CIFAR-10 in alphabetical order.
"""

from __future__ import annotations

from pathlib import Path

import keras

from drpass.networks import load_weights, network_module

vgg = network_module("vgg")


def build(weights: Path | None = None) -> keras.Model:
    """The network with the weights of an .npz file, or with random ones.

    Raises DrpassError if the file can't be read or does not fit the network.
    """
    images = keras.Input((32, 32, 3), name="images")
    x = keras.layers.Flatten(name="flatten")(vgg.blocks(images, vgg.VGG19, batch_norm=True))
    x = keras.layers.Dense(512, activation="relu", kernel_initializer="he_normal", name="fc")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    logits = keras.layers.Dense(10, dtype="float32", name="logits")(x)
    model = keras.Model(images, logits, name="vgg19_cifar10")
    if weights is not None:
        load_weights(model, weights)
    return model
