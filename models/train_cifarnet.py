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
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from drpass.data.pictures import folder_names, folder_reader, names_in, tar_reader
from drpass.data.preprocess import Preprocess
from drpass.data.selection import labels_of
from drpass.errors import DrpassError
from drpass.networks import build_network, load_weights, preprocessing_path, save_weights, weights_path

NAME = "cifarnet"
PREPROCESS = Preprocess.from_toml(preprocessing_path(NAME))
SIDE = 32
BATCH = 128
SHIFT = 4  # augmentation moves an image by up to this many pixels
HELD_OUT = 2500

Images = npt.NDArray[np.uint8]  # [N, 32, 32, 3]
Labels = npt.NDArray[np.int64]  # [N]


def load_part(data: Path, part: str) -> tuple[Images, Labels]:
    """The ``train`` or ``test`` images of a folder, sorted by name; labels are indices of the sorted class folders."""
    archive, folder = data / f"cifar10-{part}.tar.xz", data / part
    if archive.is_file():
        names = names_in(archive)
        read = tar_reader(archive, names)
    elif folder.is_dir():
        names = folder_names(folder)
        read = folder_reader(folder)
    else:
        raise DrpassError(f"{data} has neither {archive.name} nor a folder {part}; give another --data")
    labels, _ = labels_of(names, "folders")
    return np.stack([np.asarray(PREPROCESS.fit(read(name))) for name in names]), np.asarray(labels, np.int64)


def load_keras_datasets() -> list[tuple[Images, Labels]]:
    """CIFAR-10 as Keras downloads it; its classes are in alphabetical order too."""
    return [(images, labels.ravel().astype(np.int64)) for images, labels in keras.datasets.cifar10.load_data()]


def prepare(images: Images) -> npt.NDArray[np.float32]:
    """The network's input for decoded images, as ``Preprocess.normalise`` computes it for one."""
    mean, std = (np.array(values, np.float32) for values in (PREPROCESS.mean, PREPROCESS.std))
    prepared: npt.NDArray[np.float32] = (images * np.float32(PREPROCESS.scale) - mean) / std
    return prepared


class Batches(keras.utils.PyDataset):
    """Shuffled batches of flipped and shifted images; the same seed gives the same batches."""

    def __init__(self, images: Images, labels: Labels, seed: int) -> None:
        super().__init__(workers=1)
        margin = (SHIFT, SHIFT)
        self.padded = np.pad(images, ((0, 0), margin, margin, (0, 0)), mode="reflect")
        self.labels = labels
        self.random = np.random.default_rng(seed)
        self.order = self.random.permutation(len(labels))

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Labels]:
        chosen = self.order[index * BATCH : (index + 1) * BATCH]
        top, left = self.random.integers(0, 2 * SHIFT + 1, (2, BATCH))
        rows = top[:, None] + np.arange(SIDE)
        columns = left[:, None] + np.arange(SIDE)
        flipped = self.random.random(BATCH) < 0.5
        columns[flipped] = columns[flipped, ::-1]
        images = self.padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return prepare(images), self.labels[chosen]

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.labels))


class KeepBest(keras.callbacks.Callback):
    """Writes the weights of every epoch that does better on the held-out images than all before it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.best, self.start = path, 0.0, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        if logs["val_accuracy"] > self.best:
            self.best = logs["val_accuracy"]
            save_weights(self.model, self.path)
        minutes = (time.monotonic() - self.start) / 60
        print(
            f"epoch {epoch + 1}: {minutes:.1f} min, loss {logs['loss']:.4f}, training {logs['accuracy']:.4f}, "
            f"held out {logs['val_accuracy']:.4f} (best {self.best:.4f})",
            flush=True,
        )


def train(images: Images, labels: Labels, options: argparse.Namespace) -> keras.Model:
    """Train with AdamW: one epoch of warm-up, then a cosine to zero. Every seed holds out images of its own."""
    keras.utils.set_random_seed(options.seed)
    order = np.random.default_rng(options.seed).permutation(len(labels))
    held_out, kept = order[:HELD_OUT], order[HELD_OUT:]
    batches = Batches(images[kept], labels[kept], options.seed)
    rate = keras.optimizers.schedules.CosineDecay(
        options.rate / 150,
        len(batches) * (options.epochs - 1),
        warmup_target=options.rate,
        warmup_steps=len(batches),
    )
    model = build_network(NAME, options.start)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.02, clipnorm=5.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        batches,
        epochs=options.epochs,
        validation_data=(prepare(images[held_out]), labels[held_out]),
        validation_batch_size=500,
        callbacks=[KeepBest(options.output)],
        verbose=1 if options.progress else 0,
    )
    return model


def accuracy(model: keras.Model, images: Images, labels: Labels) -> float:
    """Share of the images whose largest logit is that of their label."""
    logits = model.predict(prepare(images), batch_size=500, verbose=0)
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DRPASS_DATA"), help="folder of the images")
    parser.add_argument("--output", type=Path, default=weights_path(NAME), help="the .npz file to write")
    parser.add_argument("--start", type=Path, help="an .npz file to go on from; keep the seed, and so what is held out")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--epochs", type=int, default=30, help="two or more; the cosine is fitted to them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--progress", action="store_true", help="a bar for every epoch")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs must be at least 2")
    return options


def main() -> None:
    options = parse()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    if options.data:
        parts: Any = [load_part(Path(options.data), part) for part in ("train", "test")]
    else:
        parts = load_keras_datasets()
    (images, labels), (test_images, test_labels) = parts
    print(f"{len(labels)} training images, {len(test_labels)} test images", flush=True)
    model = train(images, labels, options)
    load_weights(model, options.output)
    share = accuracy(model, test_images, test_labels)
    print(f"{options.output}: accuracy {share:.4f} on {len(test_labels)} test images")


if __name__ == "__main__":
    try:
        main()
    except DrpassError as error:
        sys.exit(f"error: {error}")
