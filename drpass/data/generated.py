"""Data that a Python function of the user yields."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from drpass.data.dataset import Batch, Data, Pool
from drpass.entry_point import load, user_code
from drpass.errors import DrpassError
from drpass.tensors import Feeds, TensorSpec, check_feeds

#: A generator that yields more than this is taken to have no end.
_MAX_CALLS = 1_000_000


def generated_pool(text: str, inputs: Sequence[TensorSpec], limit: int | None, batch: int | None) -> Pool:
    """Calls of the model that a generator function gives, run through once to count and check them.

    The function is called without arguments, once for every pass, and must yield the same every time: mappings of
    arrays by input name, one a call of the model, whose first axis counts samples; or pairs of such a mapping and
    labels (int [samples]). ``limit``: use the first calls with at most so many samples together, and at least one.
    """
    if batch is not None:
        raise DrpassError(f"{text} decides itself how many samples a call has; leave --batch out")
    function = load(text)
    calls: list[tuple[int, int]] = []
    labelled: set[bool] = set()
    groups: list[int] = []
    samples = 0
    for entry in _calls(text, function, inputs):
        if calls and limit is not None and samples + entry.samples > limit:
            break
        if len(calls) == _MAX_CALLS:
            raise DrpassError(f"{text} yields more than {_MAX_CALLS} calls; give --limit if it has no end")
        calls.append((entry.samples, _checksum(entry)))
        labelled.add(entry.labels is not None)
        groups.append(int(entry.labels[0]) if entry.labels is not None and entry.samples == 1 else -1)
        samples += entry.samples
    if not calls:
        raise DrpassError(f"{text} yields nothing")
    if len(labelled) > 1:
        raise DrpassError(f"{text} yields labels for some calls only; yield them for all or for none")
    has_labels = labelled.pop()
    fixed = any(spec.shape and isinstance(spec.shape[0], int) for spec in inputs)

    def take(units: Sequence[int]) -> Data:
        chosen = set(units)

        def batches() -> Iterator[Batch]:
            index = -1
            for index, entry in enumerate(_calls(text, function, inputs)):
                if index == len(calls):
                    return
                if (entry.samples, _checksum(entry)) != calls[index]:
                    raise DrpassError(f"{text}: call {index} is not what it was before; seed whatever is random in it")
                if index in chosen:
                    yield entry
            if index + 1 < len(calls):
                raise DrpassError(
                    f"{text} yields {index + 1} calls, but {len(calls)} before; it must yield the same every time"
                )

        n = sum(calls[unit][0] for unit in chosen)
        words = "with labels" if has_labels else "no labels"
        description = f"{n} samples in {len(chosen)} calls from {text} ({words})"
        return Data(n, description, has_labels, batches, calls[0][0] if fixed else 1)

    facts = [f"{size} {checksum:08x}" for size, checksum in calls]
    return Pool(groups, facts, "generated", [size for size, _ in calls], 1, take)


def _calls(text: str, function: Callable[[], Any], inputs: Sequence[TensorSpec]) -> Iterator[Batch]:
    with user_code(text):
        iterator = iter(function())
    end = object()
    for index in range(_MAX_CALLS + 1):
        with user_code(text):
            call = next(iterator, end)
        if call is end:
            return
        try:
            yield _batch(call, inputs, index)
        except DrpassError as error:
            raise DrpassError(f"{text}, call {index}: {error}") from error


def _batch(call: Any, inputs: Sequence[TensorSpec], index: int) -> Batch:
    arrays, given = call if isinstance(call, tuple) and len(call) == 2 else (call, None)
    if not isinstance(arrays, Mapping):
        raise DrpassError(f"a generator yields a dict of arrays by input, or (dict, labels), not {type(call).__name__}")
    feeds: Feeds = {str(name): np.asarray(array) for name, array in arrays.items()}
    check_feeds(inputs, feeds)
    lengths = {array.shape[0] for array in feeds.values() if array.ndim}
    if len(lengths) != 1:
        raise DrpassError("the first axis counts samples, so it must be the same in all arrays")
    (n,) = lengths
    if n == 0:
        raise DrpassError("there are no samples")
    labels = None if given is None else np.asarray(given)
    if labels is not None and (labels.shape != (n,) or labels.dtype.kind not in "iu"):
        raise DrpassError(f"labels must be {n} whole numbers, not {labels.dtype} {list(labels.shape)}")
    names = [f"call {index}" if n == 1 else f"call {index}[{row}]" for row in range(n)]
    return Batch(feeds, None if labels is None else labels.astype(np.int64), names)


def _checksum(batch: Batch) -> int:
    checksum = 0
    for name in sorted(batch.feeds):
        checksum = zlib.crc32(np.ascontiguousarray(batch.feeds[name]).data, checksum)
    return checksum if batch.labels is None else zlib.crc32(batch.labels.tobytes(), checksum)
