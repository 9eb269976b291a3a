"""Train CifarNet on CIFAR-10 and write its weights.

    python models/train_cifarnet.py --data FOLDER

FOLDER holds cifar10-train.tar.xz and cifar10-test.tar.xz (CLASS/PICTURE in both), or the folders train/CLASS and
test/CLASS. The environment variable DRPASS_DATA stands in for --data; without either, Keras downloads CIFAR-10.

Five percent of the training images are held out, and the epoch that does best on them is kept. The test images are
looked at once, at the end, with the weights as they are in the file.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from training import Images, Labels, ShiftedBatches, add_options, fit, run, split, train_on_cifar10

from drpass.data.preprocess import Preprocess
from drpass.networks import build_network, preprocessing_path, weights_path

NAME = "cifarnet"
PREPROCESS = Preprocess.from_toml(preprocessing_path(NAME))
SHIFT = 4  # augmentation moves an image by up to this many pixels


def train(images: Images, labels: Labels, options: argparse.Namespace) -> None:
    """AdamW with a cosine schedule. Every seed holds out images of its own."""
    held_out, kept = split(len(labels), options)
    model = build_network(NAME, options.start)
    model.compile(
        keras.optimizers.AdamW(options.rate, weight_decay=0.02, clipnorm=5.0),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = ShiftedBatches(images[kept], labels[kept], PREPROCESS, SHIFT, options)
    fit(model, batches, (images[held_out], labels[held_out]), options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, weights_path(NAME), batch=128, held_out=2500)
    parser.add_argument("--start", type=Path, help="an .npz file to go on from; keep the seed, and so what is held out")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--epochs", type=int, default=30)
    return parser.parse_args()


def main() -> None:
    train_on_cifar10(NAME, train, parse())


if __name__ == "__main__":
    run(main)
