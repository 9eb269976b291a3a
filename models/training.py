"""What the training scripts of this folder share: pictures in memory, batches, the schedule, checkpoints, options."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from drpass.data.pictures import ReadPicture, folder_names, folder_reader, names_in, tar_reader
from drpass.data.preprocess import Preprocess
from drpass.data.selection import labels_of
from drpass.errors import DrpassError
from drpass.networks import build_network, preprocessing_path, save_weights

Images = npt.NDArray[np.uint8]  # [N, H, W, 3]
Labels = npt.NDArray[np.int64]  # [N]


def open_part(archive: Path, folder: Path) -> tuple[list[str], Labels, ReadPicture]:
    """Pictures of a tar archive or, without it, a folder: their sorted names, their labels and how to read one.

    Labels are indices of the sorted class folders. Raises DrpassError if neither is there.
    """
    if archive.is_file():
        names = names_in(archive)
        read = tar_reader(archive, names)
    elif folder.is_dir():
        names = folder_names(folder)
        read = folder_reader(folder)
    else:
        raise DrpassError(
            f"{archive.parent} has neither {archive.name} nor a folder {folder.name}; give another --data"
        )
    labels, _ = labels_of(names, "folders")
    return names, np.asarray(labels, np.int64), read


def load_part(archive: Path, folder: Path, preprocess: Preprocess) -> tuple[Images, Labels]:
    """All pictures of :func:`open_part`, scaled and cropped to one size, and their labels."""
    names, labels, read = open_part(archive, folder)
    return np.stack([np.asarray(preprocess.fit(read(name))) for name in names]), labels


def load_cifar10(data: str | None, preprocess: Preprocess) -> list[tuple[Images, Labels]]:
    """The training and the test images of a folder or, without one, as Keras downloads them.

    The classes are in alphabetical order in both. Raises DrpassError if the folder does not hold them.
    """
    if data:
        folder = Path(data)
        return [load_part(folder / f"cifar10-{part}.tar.xz", folder / part, preprocess) for part in ("train", "test")]
    return [(images, labels.ravel().astype(np.int64)) for images, labels in keras.datasets.cifar10.load_data()]


def normalise(images: Images, preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """The network's input for decoded RGB images, as ``Preprocess.normalise`` computes it for one."""
    mean, std = (np.array(values, np.float32) for values in (preprocess.mean, preprocess.std))
    normalised: npt.NDArray[np.float32] = (images * (np.float32(preprocess.scale) / std)) - mean / std
    return normalised


def split(count: int, options: argparse.Namespace) -> tuple[Labels, Labels]:
    """Indices of the held-out images and of those to train on; the same for the same seed.

    Raises DrpassError if the latter do not fill a batch.
    """
    if count - options.held_out < options.batch:
        raise DrpassError(
            f"{count} training images are too few to hold out {options.held_out} and to fill a batch of "
            f"{options.batch}; give more images, or a smaller --held-out and --batch"
        )
    order = np.random.default_rng(options.seed).permutation(count)
    return order[: options.held_out], order[options.held_out :]


def one_hot(labels: Labels) -> npt.NDArray[np.float32]:
    """``[N, 10]``: 1 in the column of the label, else 0."""
    return np.eye(10, dtype=np.float32)[labels]


class ShiftedBatches(keras.utils.PyDataset):
    """Shuffled batches of mirrored images, shifted by up to ``shift`` pixels; the same seed gives the same batches.

    With ``hole``, a square of so many pixels somewhere in every image is set to the data's mean, so that no single part
    of an object is enough (cutout, DeVries and Taylor 2017).
    """

    def __init__(
        self,
        images: Images,
        labels: Labels,
        preprocess: Preprocess,
        shift: int,
        options: argparse.Namespace,
        hole: int = 0,
    ) -> None:
        super().__init__(workers=1)
        margin = (shift, shift)
        self.padded = np.pad(images, ((0, 0), margin, margin, (0, 0)), mode="reflect")
        self.labels, self.preprocess = one_hot(labels), preprocess
        self.side, self.shift, self.hole = images.shape[1], shift, hole
        self.batch: int = options.batch
        self.random = np.random.default_rng(options.seed)
        self.order = self.random.permutation(len(labels))

    def __len__(self) -> int:
        return len(self.labels) // self.batch

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        top, left = self.random.integers(0, 2 * self.shift + 1, (2, self.batch))
        rows = top[:, None] + np.arange(self.side)
        columns = left[:, None] + np.arange(self.side)
        flipped = self.random.random(self.batch) < 0.5
        columns[flipped] = columns[flipped, ::-1]
        images = normalise(self.padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]], self.preprocess)
        if self.hole:
            images[self._holes()] = 0
        return images, self.labels[chosen]

    def _holes(self) -> npt.NDArray[np.bool_]:
        """Which pixels of a batch [batch, side, side] lie in the square of their image; it may stick out."""
        first = self.random.integers(-self.hole // 2, self.side - self.hole // 2, (2, self.batch, 1))
        rows, columns = (first <= np.arange(self.side)) & (np.arange(self.side) < first + self.hole)
        inside: npt.NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
        return inside

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.labels))


class Schedule(keras.callbacks.Callback):
    """The learning rate: a linear warm-up over the first 3 %, then a cosine to zero.

    Its progress is that of the steps or, where ``minutes`` pass sooner, that of the time: so a training on a busy
    machine ends in time and properly, with fewer epochs.
    """

    def __init__(self, rate: float, steps: int, minutes: float) -> None:
        super().__init__()
        self.rate, self.steps, self.minutes = rate, steps, minutes
        self.start = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        done = int(self.model.optimizer.iterations) / self.steps
        done = max(done, (time.monotonic() - self.start) / 60 / self.minutes)
        warm = min(1.0, done / 0.03 + 1e-3)
        self.model.optimizer.learning_rate = self.rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if done >= 1.0:
            self.model.stop_training = True


class Report(keras.callbacks.Callback):
    """Prints a line an epoch; with ``path``, writes the weights of every epoch that is the best so far.

    The best is that of the held-out images. A training that is resumed compares anew.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path, self.best, self.start = path, -1.0, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        if self.path is not None and logs["val_accuracy"] > self.best:
            self.best = logs["val_accuracy"]
            save_weights(self.model, self.path)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in logs.items() if "loss" in name or "acc" in name)
        minutes = (time.monotonic() - self.start) / 60
        print(
            f"epoch {epoch + 1}: {minutes:.1f} min, rate {float(self.model.optimizer.learning_rate):.2e}, {figures}",
            flush=True,
        )


def fit(
    model: keras.Model, batches: ShiftedBatches, held_out: tuple[Images, Labels], options: argparse.Namespace
) -> None:
    """Train a compiled model that measures ``accuracy``; the best epoch's weights are then in ``options.output``.

    A training that was broken off goes on after its last whole epoch.
    """
    model.fit(
        batches,
        epochs=options.epochs,
        validation_data=(normalise(held_out[0], batches.preprocess), one_hot(held_out[1])),
        validation_batch_size=100,
        callbacks=[
            keras.callbacks.BackupAndRestore(options.output.with_suffix(".checkpoint")),
            Schedule(options.rate, len(batches) * options.epochs, options.minutes),
            Report(options.output),
        ],
        verbose=0,
    )


def settle_normalization(model: keras.Model, images: Images, preprocess: Preprocess, batch: int = 100) -> None:
    """Set the statistics of batch normalization to the mean over ``images`` as they are.

    Training leaves those of its last few batches, of images that were shifted and covered (precise batch normalization,
    Wu and Johnson 2021).
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for index in range(len(images) // batch):
        for layer in layers:
            layer.momentum = index / (index + 1)
        model(normalise(images[index * batch : (index + 1) * batch], preprocess), training=True)


def accuracy(model: keras.Model, inputs: npt.NDArray[np.float32], labels: Labels) -> float:
    """Share of the images whose largest logit is that of their label."""
    logits = model.predict(inputs, batch_size=100, verbose=0)
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def add_options(parser: argparse.ArgumentParser, output: Path, batch: int, held_out: int) -> None:
    """The options that every training has, with the defaults of one."""
    parser.add_argument("--data", default=os.environ.get("DRPASS_DATA"), help="folder of the images")
    parser.add_argument("--output", type=Path, default=output, help="the .npz file to write")
    parser.add_argument("--batch", type=int, default=batch, help="images of a training step")
    parser.add_argument("--held-out", type=int, default=held_out, help="training images that are held out")
    parser.add_argument("--minutes", type=float, default=1e9, help="end by then, with fewer epochs if need be")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)


def prepare(options: argparse.Namespace) -> None:
    """Make the folder of the output, set the seed and the threads of one operation; operations run one by one."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def train_on_cifar10(
    name: str, train: Callable[[Images, Labels, argparse.Namespace], None], options: argparse.Namespace
) -> None:
    """Call ``train`` on the training images; then judge what it wrote on the test images, once."""
    prepare(options)
    preprocess = Preprocess.from_toml(preprocessing_path(name))
    (images, labels), (test_images, test_labels) = load_cifar10(options.data, preprocess)
    print(f"{len(labels)} training images, {len(test_labels)} test images", flush=True)
    train(images, labels, options)
    model = build_network(name, options.output)
    share = accuracy(model, normalise(test_images, preprocess), test_labels)
    print(f"{options.output}: accuracy {share:.4f} on {len(test_labels)} test images")


def run(main: Callable[[], None]) -> None:
    """Call ``main`` as a script: bad input ends it with one line."""
    try:
        main()
    except DrpassError as error:
        sys.exit(f"error: {error}")
