"""Compress AlexNet as the paper does: prune the trained weights, fine-tune the rest, quantise it to 8 bits.

    python models/compress_alexnet.py --data FOLDER [--minutes 6]

FOLDER holds the pictures that `train_alexnet.py` trains on. Three steps, with the accuracy after each:

1. Of every kernel only the weights of the largest magnitude are kept. The shares are those that Han, Pool, Tran and
   Dally kept of AlexNet's layers: Learning both Weights and Connections for Efficient Neural Networks, 2015, table 4.
2. They are fine-tuned on random crops, the others stay zero. Dropout is weaker, as in section 3.2 of that article:
   with the root of the share.
3. The exported network is quantised statically (QDQ): activations in uint8 with ranges met on training pictures,
   weights in int8 with a scale a channel.

Beside the weights (--output) stand the ONNX files of steps 2 and 3, in the cache folder alexnet_pruned.onnx and
alexnet_pruned_int8.onnx. Five percent of the training pictures are held out, the same ones as in the training.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from train_alexnet import NAME, PREPROCESS, Batches, Crops, Stage, fold, make_crops, training_model, unfold
from training import (
    Images,
    Labels,
    Report,
    Schedule,
    accuracy,
    add_options,
    load_part,
    normalise,
    open_part,
    prepare,
    run,
    split,
)

from drpass.execution import open_session
from drpass.execution import run as run_session
from drpass.export import export
from drpass.networks import build_network, load_weights, network_module, save_weights, trained_weights, weights_cache
from drpass.quantisation import quantise
from drpass.tensors import Feeds

#: By layer: the share of its weights that is kept.
KEPT = {
    "conv1": 0.84,
    "conv2": 0.38,
    "conv3": 0.35,
    "conv4": 0.37,
    "conv5": 0.37,
    "fc6": 0.09,
    "fc7": 0.09,
    "logits": 0.25,
}

SIDE: int = network_module(NAME).SIDE

Mask = npt.NDArray[np.bool_]
Inputs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """Prints the accuracy on the held-out pictures and on the test pictures."""

    held_out: tuple[Images, Labels]
    test: tuple[Images, Labels]

    def report(self, what: str, share_of: Callable[[Inputs, Labels], float]) -> None:
        shares = [share_of(normalise(images, PREPROCESS), labels) for images, labels in (self.held_out, self.test)]
        counts = len(self.held_out[1]), len(self.test[1])
        print(
            f"{what}: accuracy {shares[0]:.4f} on {counts[0]} held-out pictures, "
            f"{shares[1]:.4f} on {counts[1]} test pictures",
            flush=True,
        )

    def report_network(self, what: str, network: keras.Model) -> None:
        self.report(what, lambda inputs, labels: accuracy(network, inputs, labels))

    def report_file(self, path: Path) -> None:
        self.report(str(path), lambda inputs, labels: onnx_accuracy(path, inputs, labels))


class StayZero(keras.constraints.Constraint):
    """Sets the pruned weights to zero again; Keras applies it after every step."""

    def __init__(self, mask: Mask) -> None:
        self.mask = tf.constant(mask)

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        return tf.where(self.mask, kernel, tf.zeros_like(kernel))


def largest(kernel: npt.NDArray[np.float32], share: float) -> Mask:
    """Marks that share of the weights, those of the largest magnitude; one at least."""
    count = max(1, round(share * kernel.size))
    mask = np.zeros(kernel.size, np.bool_)
    mask[np.argpartition(-np.abs(kernel.ravel()), count - 1)[:count]] = True
    return mask.reshape(kernel.shape)


def largest_weights(network: keras.Model, shares: Mapping[str, float]) -> dict[str, Mask]:
    """What is kept of the kernels, by layer; biases stay."""
    return {name: largest(network.get_layer(name).get_weights()[0], share) for name, share in shares.items()}


def fine_tune(weights: Path, masks: Mapping[str, Mask], crops: Crops, options: argparse.Namespace) -> keras.Model:
    """The network with the kept weights of a file, trained further.

    Batch normalization stands behind the layers as in the training: it makes up at once for what the pruning took from
    the sums, and is folded in the end, which leaves zeros zero.
    """
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = training_model(SIDE, 0)
    unfold(model, weights, normalise(crops.images[:256, :SIDE, :SIDE], PREPROCESS))
    keras.mixed_precision.set_global_policy("float32")
    hold_at_zero(model, masks)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the statistics of the whole network must be gone after a short training
    for name in ("fc6", "fc7"):
        model.get_layer(f"{name}_dropout").rate *= math.sqrt(masks[name].mean())
    model.compile(
        keras.optimizers.SGD(options.rate, 0.9, nesterov=True, weight_decay=5e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    batches = Batches(crops, stage(options), options)
    steps = max(1, round(len(batches) * options.epochs))
    model.fit(
        batches,
        steps_per_epoch=min(steps, len(batches)),
        epochs=math.ceil(options.epochs),
        callbacks=[Schedule(options.rate, steps, options.minutes), Report(None)],
        verbose=0,
    )
    network = build_network(NAME)
    fold(model, network)
    return network


def hold_at_zero(model: keras.Model, masks: Mapping[str, Mask]) -> None:
    """Set the pruned weights of each layer to zero, now and after every step of a training."""
    for name, mask in masks.items():
        kernel = model.get_layer(name).kernel
        kernel.constraint = StayZero(mask)
        kernel.assign(kernel.constraint(kernel.value))


def stage(options: argparse.Namespace) -> Stage:
    """Crops as in the last stage of the training."""
    return Stage(SIDE, 1, 0.4, math.ceil(options.epochs), options.rate, options.minutes)


def calibration(images: Images, batch: int) -> Iterator[Feeds]:
    """Batches of pictures, from which the ranges of all values are taken."""
    for start in range(0, len(images), batch):
        yield {"images": planes(normalise(images[start : start + batch], PREPROCESS))}


def planes(inputs: Inputs) -> Inputs:
    """[N, H, W, C] as the exported network takes it: [N, C, H, W]."""
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def onnx_accuracy(path: Path, inputs: Inputs, labels: Labels) -> float:
    """Share of the images whose largest logit is that of their label."""
    session = open_session(path)
    parts = [inputs[start : start + 16] for start in range(0, len(inputs), 16)]
    logits = np.concatenate([run_session(session, {"images": planes(part)})[0] for part in parts])
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def kept_share(masks: Mapping[str, Mask]) -> str:
    """How many weights are kept, in words."""
    kept, total = sum(int(mask.sum()) for mask in masks.values()), sum(mask.size for mask in masks.values())
    return f"{kept:,} of {total:,} weights ({kept / total:.1%})"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, weights_cache() / f"{NAME}_pruned.weights.npz", batch=64, held_out=300)
    parser.add_argument("--weights", type=Path, help="trained weights (.npz) in place of those in the cache folder")
    parser.add_argument("--rate", type=float, default=0.01, help="the highest learning rate")
    parser.add_argument("--epochs", type=float, default=3.0, help="of fine-tuning; --minutes limits it, too")
    parser.add_argument("--calibration", type=int, default=300, help="pictures that the ranges are taken from")
    options = parser.parse_args()
    if not options.data:
        parser.error("give --data, or set DRPASS_DATA")
    return options


def main() -> None:
    options = parse()
    weights = options.weights or trained_weights(NAME)
    prepare(options)
    network = build_network(NAME, weights)
    data = Path(options.data)
    names, labels, read = open_part(data / "imagenette-train.tar.xz", data / "train")
    held_out, kept = split(len(names), options)
    print(f"{len(kept)} training pictures, {len(held_out)} held out", flush=True)
    fitted = np.stack([np.asarray(PREPROCESS.fit(read(names[i]))) for i in held_out])
    judge = Judge((fitted, labels[held_out]), load_part(data / "imagenette-val.tar.xz", data / "val", PREPROCESS))
    judge.report_network("trained", network)
    masks = largest_weights(network, KEPT)
    hold_at_zero(network, masks)
    judge.report_network(kept_share(masks), network)
    pictures = (read(names[i]) for i in kept)
    crops = make_crops(pictures, labels[kept], stage(options), None, options.seed)
    print(f"{len(crops.labels)} crops of {stage(options).stored}²", flush=True)
    save_weights(fine_tune(weights, masks, crops, options), options.output)
    load_weights(network, options.output)
    judge.report_network(str(options.output), network)
    stem = options.output.name.removesuffix(".npz").removesuffix(".weights")
    pruned, quantised = (options.output.with_name(f"{stem}{end}.onnx") for end in ("", "_int8"))
    export(NAME, pruned, weights=options.output, overwrite=True)
    shown = np.stack([np.asarray(PREPROCESS.fit(read(names[i]))) for i in kept[: options.calibration]])
    quantise(pruned, quantised, calibration(shown, options.batch))
    judge.report_file(quantised)


if __name__ == "__main__":
    run(main)
