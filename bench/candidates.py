"""Hashes for sub-vectors, written for comparison of their error and their counts, not for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]  # [P, L], in units of σ: the root mean square deviation of the layer's channels
Ids = npt.NDArray[np.int64]  # [P]


@dataclass(frozen=True)
class Clustered:
    """What one sub-vector group becomes.

    ``approximation`` [P, L]; ``clusters``: rows of the table that take a product; ``sums``: rows of the table that are
    sums of two others; ``rows``: table rows added for all P vectors, a tap. Vectors of zeros take neither.
    """

    approximation: Vectors
    clusters: int
    rows: float
    sums: int = 0


@dataclass(frozen=True)
class Candidate:
    """``cluster(vectors, others, setting)``; ``others`` are the group's vectors in other pictures, to learn from.

    ``settings``: coarsest first. ``cycles(setting)``: of hashing one vector with a kernel near the limits of AVX-512.
    """

    name: str
    length: int
    settings: tuple[float, ...]
    unit: str
    cluster: Callable[[Vectors, Vectors, float], Clustered]
    cycles: Callable[[float], float]


def dense_ids(keys: npt.NDArray[np.int64]) -> tuple[Ids, int]:
    """Ids 0, 1, ... of equal rows of keys [P, W], and how many there are."""
    mixed = keys @ np.random.default_rng(1).integers(1, 2**62, keys.shape[1])  # wraps around: a random projection
    kept, ids = np.unique(mixed, return_inverse=True)
    return ids, len(kept)


def means(vectors: Vectors, ids: Ids, count: int) -> Vectors:
    """Mean of the members of each cluster, [count, L]."""
    sums = np.stack([np.bincount(ids, column, count) for column in vectors.T], 1)
    averaged: Vectors = (sums / np.bincount(ids, minlength=count)[:, None]).astype(np.float32)
    return averaged


def by_keys(vectors: Vectors, keys: npt.NDArray[np.int64]) -> tuple[Clustered, Ids]:
    """A cluster for each key, its centroid the mean. Vectors of zeros are one more, which costs nothing."""
    some: npt.NDArray[np.bool_] = np.any(vectors != 0, axis=1)
    keys = np.concatenate([keys * some[:, None], some[:, None]], 1)
    ids, count = dense_ids(keys)
    zero = int(not some.all())
    return Clustered(means(vectors, ids, count)[ids], count - zero, float(some.sum())), ids


def grid(vectors: Vectors, others: Vectors, step: float) -> Clustered:
    """Cells of one width: the published method's replacement in this project."""
    return by_keys(vectors, np.rint(vectors / step).astype(np.int64))[0]


def companded(vectors: Vectors, others: Vectors, step: float) -> Clustered:
    """Cells that grow with the magnitude (power 0.6): activations have long tails."""
    return by_keys(vectors, np.rint(np.sign(vectors) * np.abs(vectors) ** 0.6 / step).astype(np.int64))[0]


def hyperplanes(vectors: Vectors, others: Vectors, count: float) -> Clustered:
    """Signs of random projections, as published (Ning & Shen 2019), about the mean of other pictures."""
    planes = np.random.default_rng(2).normal(size=(vectors.shape[1], int(count))).astype(np.float32)
    return by_keys(vectors, ((vectors - others.mean(0)) @ planes > 0).astype(np.int64))[0]


def learned(vectors: Vectors, others: Vectors, count: float) -> Clustered:
    """The nearest of ``count`` centres that Lloyd's algorithm found in other pictures; then the mean of members."""
    random = np.random.default_rng(3)
    sample = others[random.integers(0, len(others), 4096)]
    centres = sample[random.choice(len(sample), int(count), replace=False)]
    for _ in range(8):
        ids = _nearest(sample, centres)
        filled = np.bincount(ids, minlength=len(centres)) > 0
        with np.errstate(invalid="ignore"):
            centres = np.where(filled[:, None], means(sample, ids, len(centres)), centres)
    return by_keys(vectors, _nearest(vectors, centres)[:, None])[0]


def _nearest(vectors: Vectors, centres: Vectors) -> Ids:
    ids: Ids = np.argmax(vectors @ centres.T - 0.5 * (centres**2).sum(1), 1)
    return ids


def two_stages(vectors: Vectors, others: Vectors, step: float) -> Clustered:
    """A coarse grid, and a grid for what it leaves: two rows a vector from two small tables."""
    first = by_keys(vectors, np.rint(vectors / (3 * step)).astype(np.int64))[0]
    rest = vectors - first.approximation
    second = by_keys(rest, np.rint(rest / step).astype(np.int64))[0]
    return Clustered(
        first.approximation + second.approximation, first.clusters + second.clusters, first.rows + second.rows
    )


def joined(vectors: Vectors, others: Vectors, step: float) -> Clustered:
    """Two groups with a grid each; a pair of cells that is met three times or more has a row: the sum of its two."""
    half = vectors.shape[1] // 2
    (left, left_ids), (right, right_ids) = (
        by_keys(part, np.rint(part / step).astype(np.int64)) for part in (vectors[:, :half], vectors[:, half:])
    )
    pairs, count = dense_ids(np.stack([left_ids, right_ids], 1))
    met = np.bincount(pairs, minlength=count)
    both = np.zeros(count, bool)
    both[pairs[np.any(vectors[:, :half] != 0, axis=1) & np.any(vectors[:, half:] != 0, axis=1)]] = True
    shared = both & (met >= 3)
    return Clustered(
        np.concatenate([left.approximation, right.approximation], 1),
        # Half as long, so half of a product each.
        (left.clusters + right.clusters + 1) // 2,
        left.rows + right.rows - float(met[shared].sum()),
        int(shared.sum()),
    )


def candidates(length: int | None = None) -> Iterator[Candidate]:
    """All, each with its ladder; ``length``: with sub-vectors as long as that alone."""
    steps = (2.0, 1.6, 1.2, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
    planes = (6, 8, 10, 12, 16, 20, 24, 32)
    centres = (16, 32, 64, 128, 256, 512)
    for n in (length,) if length else (4, 8, 16):
        # A cell: scale, round, mix the lanes, look the key up in a table that fits L1; a projection: a product.
        yield Candidate("grid", n, steps, "σ", grid, partial(_cells, 12.0))
        yield Candidate("companded grid", n, steps, "σ^0.6", companded, partial(_cells, 24.0))
        yield Candidate("hyperplanes", n, planes, "planes", hyperplanes, partial(_projections, n))
        yield Candidate("learned centres", n, centres, "centres", learned, partial(_projections, n))
        yield Candidate("two stages", n, steps, "σ", two_stages, partial(_cells, 24.0))
        if n % 2 == 0:
            yield Candidate("joined pairs", n, steps, "σ", joined, partial(_cells, 36.0))


def _cells(cycles: float, setting: float) -> float:
    return cycles


def _projections(length: int, count: float) -> float:
    return count * length / 16 + 8
