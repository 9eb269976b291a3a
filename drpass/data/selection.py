"""Which class a picture is of, and which pictures are used when not all are wanted. Deterministic throughout."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from drpass.errors import DrpassError

LabelsFrom = Literal["auto", "folders", "prefix", "none"]

_PREFIX = re.compile(r"(\d{1,9})_")

Item = TypeVar("Item")


def labels_of(names: Sequence[str], how: LabelsFrom) -> tuple[list[int] | None, str]:
    """Class indices of pictures by their names (relative paths), and words that say where they are from.

    ``folders``: the index of the picture's folder among all folders, sorted. ``prefix``: the number before the first
    underscore of the file name. ``auto``: the prefix if every name has one, else folders if there are at least two.
    Raises DrpassError if the names have not what was asked for.
    """
    prefixes = [_PREFIX.match(PurePosixPath(name).name) for name in names]
    parents = [str(PurePosixPath(name).parent) for name in names]
    folders = sorted(set(parents))
    has_folders = "." not in folders
    if how == "auto":
        how = "prefix" if all(prefixes) else "folders" if has_folders and len(folders) > 1 else "none"
    if how == "prefix":
        missing = next((name for name, match in zip(names, prefixes) if match is None), None)
        if missing is not None:
            raise DrpassError(f"labels by prefix need names such as 0012_name.jpg, but there is {missing!r}")
        return [int(match.group(1)) for match in prefixes if match], "labels from file names"
    if how == "folders":
        if not has_folders:
            raise DrpassError("labels by folders need every picture to be in the folder of its class")
        index = {folder: position for position, folder in enumerate(folders)}
        return [index[parent] for parent in parents], f"labels from {len(folders)} sorted folders"
    return None, "no labels"


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` different indices below ``count``, evenly spread; all of them if there are not more."""
    wanted = min(wanted, count)
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def balanced(items: Sequence[Item], groups: Sequence[Hashable], limit: int | None) -> list[Item]:
    """At most ``limit`` items, as many of each group as possible and evenly spread in it, groups taking turns.

    ``groups[i]`` is the group of ``items[i]``. Groups take turns so that a batch is not of one class only.
    """
    members: dict[Hashable, list[Item]] = {}
    for item, group in zip(items, groups):
        members.setdefault(group, []).append(item)
    pools = list(members.values())
    quotas = _fair_quotas([len(pool) for pool in pools], len(items) if limit is None else limit)
    chosen = [[pool[index] for index in spread(len(pool), quota)] for pool, quota in zip(pools, quotas) if quota]
    turns = [(turn, group, item) for group, pool in enumerate(chosen) for turn, item in enumerate(pool)]
    return [item for _, _, item in sorted(turns, key=lambda entry: entry[:2])]


def _fair_quotas(sizes: list[int], limit: int) -> list[int]:
    """One item from each group in turn until the limit; the last turn goes to evenly spread groups."""
    quotas = [0] * len(sizes)
    left = min(limit, sum(sizes))
    while left:
        open_groups = [index for index, size in enumerate(sizes) if quotas[index] < size]
        for position in spread(len(open_groups), left):
            quotas[open_groups[position]] += 1
        left -= min(left, len(open_groups))
    return quotas
