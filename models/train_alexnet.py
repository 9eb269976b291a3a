"""Train AlexNet on Imagenette and write its weights.

    python models/train_alexnet.py --data FOLDER --teacher squeezenet.onnx

FOLDER holds imagenette-train.tar.xz and imagenette-val.tar.xz (CLASS/PICTURE in both), or the folders train/CLASS and
val/CLASS. The environment variable DRPASS_DATA stands in for --data.

--teacher names an ONNX classifier of ImageNet (input N x 3 x H x W, BGR of 0..255 without 103.939/116.779/123.68): what
it says of every crop is a second target, learnt by a second last layer that is dropped in the end (distillation).

Two stages, of 128² and of 224²; each takes random crops of its own, several of a picture, made once. Batch
normalization helps in training and is folded into the convolutions and dense layers in the end. Five percent of the
training pictures are held out to choose by; the test pictures are looked at once, at the end, with the weights as they
are in the file.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image
from training import (
    Images,
    Labels,
    Report,
    Schedule,
    accuracy,
    add_options,
    normalise,
    one_hot,
    open_part,
    prepare,
    run,
    split,
)

from drpass.data.preprocess import Preprocess
from drpass.files import atomic_output
from drpass.model_io import load_proto
from drpass.networks import build_network, load_weights, network_module, preprocessing_path, save_weights, weights_path

NAME = "alexnet"
PREPROCESS = Preprocess.from_toml(preprocessing_path(NAME))
TEACHER_SIDE = 160  # crops show things larger than whole pictures do, so they may be smaller
TEACHER_MEAN = np.array([103.939, 116.779, 123.68], np.float32)
TEMPERATURE = 2.0

Box = tuple[float, float, float, float]  # left, top, right, bottom
Teacher = Callable[[list[Image.Image]], npt.NDArray[np.float16]]


@dataclass(frozen=True)
class Stage:
    """Pictures of ``side``, ``crops`` of each training picture, of at least ``area`` of it."""

    side: int
    crops: int
    area: float
    epochs: int
    rate: float
    minutes: float

    @property
    def stored(self) -> int:
        """Side of a stored crop: there is room to shift it."""
        return self.side * 9 // 8


@dataclass(frozen=True)
class Crops:
    """``images``: uint8 [N, stored, stored, 3]; ``soft``: the teacher's probabilities [N, 1000], or [N, 0]."""

    images: Images
    labels: Labels
    soft: npt.NDArray[np.float16]


def open_teacher(path: Path, threads: int) -> Teacher:
    """The classifier as a function from RGB pictures to softened probabilities [N, classes]."""
    proto = load_proto(path)
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    session = ort.InferenceSession(proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def probabilities(pictures: list[Image.Image]) -> npt.NDArray[np.float16]:
        pixels = np.stack([np.asarray(picture, np.float32)[:, :, ::-1] - TEACHER_MEAN for picture in pictures])
        logits = session.run(None, {name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})[0] / TEMPERATURE
        powers = np.exp(logits - logits.max(1, keepdims=True))
        softened: npt.NDArray[np.float16] = (powers / powers.sum(1, keepdims=True)).astype(np.float16)
        return softened

    return probabilities


def random_box(picture: Image.Image, area: float, random: np.random.Generator) -> Box:
    """A box of a random share of the picture, ``area`` at least, and a random aspect ratio between 3/4 and 4/3."""
    width, height = picture.size
    pixels = width * height * random.uniform(area, 1.0)
    ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = min(width, math.sqrt(pixels * ratio)), min(height, math.sqrt(pixels / ratio))
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    return (left, top, left + w, top + h)


def resized(picture: Image.Image, box: Box, side: int) -> Image.Image:
    """A box of a picture as a square."""
    return picture.resize((side, side), Image.Resampling.BILINEAR, box)


def make_crops(
    pictures: Iterable[Image.Image], labels: Labels, stage: Stage, teacher: Teacher | None, seed: int
) -> Crops:
    """Random crops of all pictures, ``stage.crops`` of each in a row; a teacher sees the same boxes at its own size."""
    random = np.random.default_rng(seed)
    images: list[Images] = []
    soft: list[npt.NDArray[np.float16]] = []
    for picture in pictures:
        boxes = [random_box(picture, stage.area, random) for _ in range(stage.crops)]
        images += [np.asarray(resized(picture, box, stage.stored)) for box in boxes]
        if teacher is not None:
            soft.append(teacher([resized(picture, box, TEACHER_SIDE) for box in boxes]))
    stacked = np.concatenate(soft) if soft else np.zeros((len(images), 0), np.float16)
    return Crops(np.stack(images), np.repeat(labels, stage.crops), stacked)


def cached_crops(path: Path, make: Callable[[], Crops]) -> Crops:
    """The crops in ``path``, which are made if they are not there: a training that goes on does not make them again."""
    if path.is_file():
        with np.load(path) as arrays:
            return Crops(arrays["images"], arrays["labels"], arrays["soft"])
    crops = make()
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.savez(file, images=crops.images, labels=crops.labels, soft=crops.soft)
    return crops


class Batches(keras.utils.PyDataset):
    """Shuffled batches of flipped, shifted and coloured crops; an epoch takes one crop of each picture."""

    def __init__(self, crops: Crops, stage: Stage, options: argparse.Namespace) -> None:
        super().__init__(workers=1)
        self.crops, self.stage = crops, stage
        self.batch: int = options.batch
        self.random = np.random.default_rng(options.seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.crops.labels) // self.stage.crops // self.batch

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        side, room = self.stage.side, self.stage.stored - self.stage.side + 1
        images = np.empty((self.batch, side, side, 3), np.uint8)
        for row, crop in enumerate(chosen):
            top, left = self.random.integers(0, room, 2)
            image = self.crops.images[crop, top : top + side, left : left + side]
            images[row] = image[:, ::-1] if self.random.random() < 0.5 else image
        inputs = normalise(images, PREPROCESS)
        inputs *= self.random.uniform(0.7, 1.3, (self.batch, 1, 1, 1)).astype(np.float32)
        inputs += self.random.normal(0, 0.25, (self.batch, 1, 1, 3)).astype(np.float32)
        hard = one_hot(self.crops.labels[chosen])
        if not self.crops.soft.shape[1]:
            return inputs, hard
        return inputs, (hard, self.crops.soft[chosen].astype(np.float32))

    def on_epoch_end(self) -> None:
        pictures = len(self.crops.labels) // self.stage.crops
        which = self.random.integers(0, self.stage.crops, pictures)
        self.order = self.random.permutation(pictures) * self.stage.crops + which


def training_model(side: int, soft_classes: int) -> keras.Model:
    """AlexNet with batch normalization, and with a second last layer for a teacher's classes if there are any."""
    network = network_module(NAME)
    images = keras.Input((side, side, 3), name="images")
    x = network.features(images, batch_norm=True)
    outputs = [network.logits(x)]
    if soft_classes:
        outputs.append(keras.layers.Dense(soft_classes, dtype="float32", name="soft")(x))
    return keras.Model(images, outputs, name="alexnet_training")


def train_stage(
    crops: Crops,
    held_out: tuple[Images, Labels],
    stage: Stage,
    start: keras.Model | Path | None,
    options: argparse.Namespace,
) -> keras.Model:
    """SGD with Nesterov's momentum and a cosine schedule, label smoothing of 0.1."""
    model = training_model(stage.side, crops.soft.shape[1])
    if isinstance(start, Path):
        shown = crops.images[: 256 * stage.crops : stage.crops, : stage.side, : stage.side]
        unfold(model, start, normalise(shown, PREPROCESS))
    elif start is not None:
        model.set_weights(start.get_weights())
    losses = [keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)]
    if crops.soft.shape[1]:
        losses.append(keras.losses.CategoricalCrossentropy(from_logits=True))
    model.compile(
        keras.optimizers.SGD(stage.rate, 0.9, nesterov=True, weight_decay=5e-4),
        losses,
        loss_weights=[1.0, 2.0][: len(losses)],
    )
    batches = Batches(crops, stage, options)
    judge = keras.Model(model.input, model.outputs[0])
    inputs, labels = normalise(held_out[0], PREPROCESS), held_out[1]

    def report(epoch: int, logs: Any) -> None:
        if epoch % 3 == 2:
            print(f"  held out {accuracy(judge, inputs, labels):.4f}", flush=True)

    folder = options.output.with_suffix(f".checkpoint{stage.side}")
    model.fit(
        batches,
        epochs=stage.epochs,
        callbacks=[
            keras.callbacks.BackupAndRestore(folder, save_freq=400),
            Schedule(stage.rate, len(batches) * stage.epochs, stage.minutes),
            Report(None),
            keras.callbacks.LambdaCallback(on_epoch_end=report),
        ],
        verbose=0,
    )
    print(f"{stage.side}²: held out {accuracy(judge, inputs, labels):.4f}", flush=True)
    return model


def unfold(trained: keras.Model, weights: Path, images: npt.NDArray[np.float32]) -> None:
    """Put folded weights into the training model; batch normalization keeps what they compute for ``images``."""
    x = trained.input
    network = build_network(NAME, weights)
    plain = network_module(NAME).features(x)
    layers = [layer for layer in keras.Model(x, plain).layers if layer.weights]
    for layer in layers:
        layer.set_weights(network.get_layer(layer.name).get_weights())
    sums = keras.Model(x, [layer.output for layer in layers]).predict(images, batch_size=64, verbose=0)
    for layer, values in zip(layers, sums, strict=True):
        trained.get_layer(layer.name).set_weights(layer.get_weights())
        norm = trained.get_layer(f"{layer.name}_norm")
        axes = tuple(range(values.ndim - 1))
        mean, variance = np.float32(values.mean(axes)), np.float32(values.var(axes))
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean, mean, variance])
    trained.get_layer("logits").set_weights(network.get_layer("logits").get_weights())


def fold(trained: keras.Model, network: keras.Model) -> None:
    """Fill AlexNet as it is run: batch normalization goes into the weights of the layer in front of it."""
    for layer in network.layers:
        if not layer.weights:
            continue
        kernel, bias = trained.get_layer(layer.name).get_weights()
        if layer.name != "logits":
            norm = trained.get_layer(f"{layer.name}_norm")
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + norm.epsilon)
            kernel, bias = kernel * factor, beta + (bias - mean) * factor
        layer.set_weights([kernel, bias])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, weights_path(NAME), batch=64, held_out=300)
    parser.add_argument("--teacher", type=Path, help="an ONNX classifier of ImageNet to learn from")
    parser.add_argument("--start", type=Path, help="weights (.npz) that this script wrote: go on from them")
    parser.add_argument("--rate", type=float, default=0.05, help="the highest learning rate of the first stage")
    parser.add_argument("--epochs", type=int, nargs=2, default=(40, 4), help="of the two stages")
    options = parser.parse_args()
    if not options.data:
        parser.error("give --data, or set DRPASS_DATA")
    return options


def main() -> None:
    options = parse()
    prepare(options)
    data = Path(options.data)
    names, labels, read = open_part(data / "imagenette-train.tar.xz", data / "train")
    held_out, kept = split(len(names), options)
    print(f"{len(kept)} training pictures, {len(held_out)} held out", flush=True)
    teacher = open_teacher(options.teacher, options.threads) if options.teacher else None
    model, network = options.start, build_network(NAME)
    for stage in (
        Stage(128, 3, 0.25, options.epochs[0], options.rate, options.minutes * 0.75),
        Stage(224, 1, 0.4, options.epochs[1], options.rate / 5, options.minutes * 0.25),
    ):
        cache = options.output.with_suffix(f".crops{stage.side}.npz")
        pictures = (read(names[i]) for i in kept)
        crops = cached_crops(cache, partial(make_crops, pictures, labels[kept], stage, teacher, options.seed))
        print(f"{len(crops.labels)} crops of {stage.stored}²", flush=True)
        fit = PREPROCESS.override({"resize": stage.side * 9 // 8 if stage.side < 224 else 224, "crop": stage.side})
        judged = np.stack([np.asarray(fit.fit(read(names[i]))) for i in held_out])
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        model = train_stage(crops, (judged, labels[held_out]), stage, model, options)
        keras.mixed_precision.set_global_policy("float32")
        fold(model, network)
        save_weights(network, options.output)
        cache.unlink()
    names, labels, read = open_part(data / "imagenette-val.tar.xz", data / "val")
    images = np.stack([np.asarray(PREPROCESS.fit(read(name))) for name in names])
    load_weights(network, options.output)
    share = accuracy(network, normalise(images, PREPROCESS), labels)
    print(f"{options.output}: accuracy {share:.4f} on {len(labels)} test pictures")


if __name__ == "__main__":
    run(main)
