"""Two parts of one set of data: one that the tuner may look at, and one that judges what it chose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from drpass.data.dataset import Data, Pool, batch_size
from drpass.data.preprocess import Preprocess
from drpass.data.selection import LabelsFrom
from drpass.data.sources import RANDOM, open_pool
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec

#: Samples for calibration, where the user names no number and there are at least twice as many.
_CALIBRATION_SAMPLES = 256
#: Random samples, which have no number of their own.
_RANDOM_SAMPLES = 64


@dataclass(frozen=True)
class Split:
    """``calibration`` and ``held_out`` have no sample in common. ``fingerprint``: SHA-256 (hex) of what the samples of
    both parts are and what is done to them, of the seed and of the sizes; the same data gives the same text."""

    calibration: Data
    held_out: Data
    fingerprint: str
    seed: int


def open_split(
    source: str | Path | None,
    inputs: Sequence[TensorSpec],
    *,
    preprocess: Preprocess | None = None,
    labels: LabelsFrom = "auto",
    limit: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    calibration: int | None = None,
    held_out: int | None = None,
) -> Split:
    """Open data as `open_data` does, and split it by sample at random, in proportion over the classes.

    ``calibration``, ``held_out``: samples of the parts, rounded down to full batches (None: half of them or 256,
    whichever is less, and all that are left). A generator's calls are not parted. Raises DrpassError if there are
    too few samples, or what `open_data` raises.
    """
    for name, count in (("calibration", calibration), ("held-out", held_out)):
        if count is not None and count < 1:
            raise DrpassError(f"the {name} part must have at least 1 sample, not {count}")
    if source == RANDOM and limit is None:
        limit = max((calibration or 0) + (held_out or 0), _RANDOM_SAMPLES, 2 * batch_size(inputs, batch))
    pool = open_pool(source, inputs, preprocess, labels, limit, batch, seed)
    parts = _cut(pool, stratified(pool.groups, seed), calibration, held_out)
    left, right = (
        replace(data, description=f"{data.description}; {name} part, seed {seed}")
        for name, data in zip(("calibration", "held-out"), map(pool.take, parts))
    )
    return Split(left, right, _fingerprint(pool, parts, seed), seed)


def stratified(groups: Sequence[Hashable], seed: int) -> list[int]:
    """All indices in a random order in which every beginning has its share of each group, but for rounding."""
    priority = np.random.default_rng(seed).random(len(groups))
    members: dict[Hashable, list[int]] = {}
    for index in np.argsort(priority, kind="stable").tolist():
        members.setdefault(groups[index], []).append(index)
    place = [0.0] * len(groups)
    for own in members.values():
        for rank, index in enumerate(own):
            place[index] = (rank + 0.5) / len(own)
    return sorted(range(len(groups)), key=lambda index: (place[index], priority[index]))


def _cut(pool: Pool, order: list[int], calibration: int | None, held_out: int | None) -> tuple[list[int], list[int]]:
    """Units of both parts, in full calls."""
    total = sum(pool.sizes)
    if len(order) < 2 * pool.call:
        batches = "one call" if pool.call == 1 else f"a batch of {pool.call} samples"
        raise DrpassError(
            f"{total} samples are too few to split: calibration and held-out part take {batches} each; give more data"
            + (" or a smaller --batch" if pool.call > 1 else "")
        )
    if (calibration or 0) + (held_out or 0) > total:
        raise DrpassError(f"there are only {total} samples for {calibration or 0} + {held_out or 0} of both parts")
    first = _units(pool, order, calibration or min(total // 2, _CALIBRATION_SAMPLES))
    if calibration is None:
        first = max(first, pool.call)
    rest = order[first:]
    second = _units(pool, rest, held_out or total)
    if not first or not second:
        raise DrpassError(
            f"{'the held-out' if first else 'the calibration'} part has less than one call of the model; it must have "
            f"at least {_fewest(pool)} of the {total} samples"
        )
    return order[:first], rest[:second]


def _units(pool: Pool, order: Sequence[int], samples: int) -> int:
    """How many units from the beginning have at most so many samples and make full calls."""
    sums = np.cumsum([pool.sizes[unit] for unit in order])
    count = int(np.searchsorted(sums, samples, side="right"))
    return count - count % pool.call


def _fewest(pool: Pool) -> int:
    return pool.call if pool.call > 1 else min(pool.sizes)


def _fingerprint(pool: Pool, parts: tuple[list[int], list[int]], seed: int) -> str:
    digest = hashlib.sha256()
    for entry in ([pool.about, seed, *map(len, parts)], *([pool.facts[unit] for unit in part] for part in parts)):
        digest.update(json.dumps(entry).encode() + b"\n")
    return digest.hexdigest()
