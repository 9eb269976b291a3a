"""Whether a rewritten model is good enough: loss with its 95 % interval, on the same pictures for both models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from intervals import bootstrap_interval
from PIL import Image
from scenes import half, picture_batches

from drpass.data import Data, Preprocess
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.tensors import Array, input_specs
from drpass.validation import Classification, validate

#: Share of pictures that must keep their first class.
MIN_AGREEMENT = 0.985


@dataclass(frozen=True)
class Quality:
    """``loss`` with its 95 % ``interval``; ``words`` for the table; ``good``: the lower end of the interval does not
    exceed the limit and, for classes, agreement is at least MIN_AGREEMENT; ``data``: what was used."""

    loss: float
    interval: tuple[float, float]
    words: str
    good: bool
    data: str


def judge_classes(original: Path, rewritten: Path, data: Data, max_loss: float) -> Quality:
    """Top-1 loss (a share) and agreement. Raises DrpassError if the model gives no scores or the data no labels."""
    report = validate(original, rewritten, data)
    found = next((output.classes for output in report.outputs if output.classes), None)
    if found is None:
        raise DrpassError("the model gives no class scores")
    return class_quality(found, report.data, max_loss)


def class_quality(found: Classification, data: str, max_loss: float) -> Quality:
    """The verdict on the figures of a validation."""
    accuracy, agreement = found.accuracy, found.agreement.top1
    if accuracy is None:
        raise DrpassError("the data has no labels")
    # The interval is that of rewritten minus original.
    low, high = -accuracy.interval[1], -accuracy.interval[0]
    words = (
        f"top-1 {100 * accuracy.original:.2f} → {100 * accuracy.rewritten:.2f} %, loss {100 * accuracy.loss:+.2f} "
        f"[{100 * low:+.2f}, {100 * high:+.2f}] points, same class {100 * agreement:.2f} %, n {accuracy.n}"
    )
    good = low <= max_loss and agreement >= MIN_AGREEMENT
    return Quality(accuracy.loss, (low, high), words, good, data)


def judge_pictures(
    original: Path, rewritten: Path, truths: Sequence[Image.Image], preprocess: Preprocess, max_loss: float
) -> Quality:
    """Mean loss of PSNR in dB: each picture is halved, doubled by the network and compared with itself."""
    left, right = open_session(original), open_session(rewritten)
    data = picture_batches([half(truth) for truth in truths], preprocess, input_specs(left)[0], "halved pictures")
    pairs = []
    for truth, batch in zip(truths, data.batches()):
        expected = np.asarray(truth, np.float64).transpose(2, 0, 1)[None] / 255
        pairs.append([psnr(run(session, batch.feeds)[0], expected) for session in (left, right)])
    return picture_quality(pairs, data.describe(), max_loss)


def picture_quality(pairs: Sequence[Sequence[float]], data: str, max_loss: float) -> Quality:
    """The verdict on the PSNR in dB of each picture: (original, rewritten)."""
    losses = [before - after for before, after in pairs]
    low, high = bootstrap_interval(losses)
    loss = sum(losses) / len(losses)
    before, after = (sum(pair[side] for pair in pairs) / len(pairs) for side in (0, 1))
    words = f"PSNR {before:.2f} → {after:.2f} dB, loss {loss:+.3f} [{low:+.3f}, {high:+.3f}] dB, n {len(losses)}"
    return Quality(loss, (low, high), words, low <= max_loss, data)


def psnr(result: Array, truth: npt.NDArray[np.float64]) -> float:
    """Of values 0..1 (those outside are clipped, as in a picture), in dB."""
    if result.shape != truth.shape:
        raise DrpassError(f"the network gives {list(result.shape)} for a picture of {list(truth.shape)}")
    error = float(np.mean((np.clip(result.astype(np.float64), 0, 1) - truth) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)
