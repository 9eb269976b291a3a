"""VGG-19 for the 1,000 classes of ImageNet at 224², in Keras 3.

The convolutions of ``vgg.py`` on 224x224 pictures give 7x7x512; then dense layers of 4096, 4096 and 1,000, ReLU behind
the first two and dropout 0.5 in training: 143,667,240 parameters, 19,632,062,464 multiplications a picture.

Input: ``[N, 224, 224, 3]`` float32, BGR, prepared as ``vgg19.toml`` says. Output: ``[N, 1000]`` logits, no softmax.
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
    model = vgg.imagenet(vgg.VGG19, "vgg19")
    if weights is not None:
        load_weights(model, weights)
    return model
