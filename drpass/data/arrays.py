"""Data that is arrays already: .npz files, and random numbers where nothing better is at hand."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from drpass.data.dataset import Batch, Data, Pool, batch_size
from drpass.data.selection import spread
from drpass.errors import DrpassError
from drpass.tensors import Array, Feeds, TensorSpec, check_feeds

_MAX_NPZ_BYTES = 8 << 30
#: What zipfile and NumPy raise for damaged files; RuntimeError where one is encrypted.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    RuntimeError,
)
#: Of random arrays, all inputs together.
_MAX_RANDOM_VALUES = 1 << 30


def read_arrays(path: Path) -> Feeds:
    """All arrays of an .npz file. Pickled objects are refused. Raises DrpassError if it can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_NPZ_BYTES:
                raise DrpassError(f"{path} unpacks to more than {_MAX_NPZ_BYTES >> 30} GiB; split it")
        with np.load(path, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise DrpassError(f"{path} is not a complete .npz file of numbers: {error}") from error
    strange = next((name for name, array in loaded.items() if not isinstance(array, np.ndarray)), None)
    if strange is not None:
        raise DrpassError(f"{path}: {strange!r} is not an array; an .npz file holds arrays named like the inputs")
    return loaded


def array_pool(path: Path, inputs: Sequence[TensorSpec], limit: int | None, batch: int | None) -> Pool:
    """Samples of an .npz file with an array for every input, and ``labels`` (int [samples]) if there are any.

    The first axis counts samples if the model leaves it open in all inputs, or fixes it to one batch of which the file
    has several; otherwise the file is one call.
    """
    arrays = read_arrays(path)
    is_input = any(spec.name == "labels" for spec in inputs)
    labels = None if is_input else arrays.pop("labels", None)
    lengths = {array.shape[0] if array.ndim else 1 for array in arrays.values()}
    n = max(lengths, default=1)
    open_batch = all(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs)
    fixed = _several_batches(inputs, lengths)
    try:
        check_feeds([_with_batch(spec, n) for spec in inputs] if fixed else inputs, arrays)
    except DrpassError as error:
        raise DrpassError(f"{path}: {error}") from error
    if open_batch and len(lengths) != 1:
        raise DrpassError(f"{path}: the first axis counts samples, so it must be the same in all arrays")
    if n == 0:
        raise DrpassError(f"{path} has no samples")
    if labels is not None and (labels.shape != (n,) or labels.dtype.kind not in "iu"):
        raise DrpassError(f"{path}: labels must be {n} whole numbers, not {labels.dtype} {list(labels.shape)}")
    classes = None if labels is None else labels.astype(np.int64)
    words = "no labels" if classes is None else "labels from the file"
    if not open_batch and not fixed:
        whole = Batch(arrays, classes, _row_names(path, range(n)))
        only = Data(n, f"{n} samples of {path} ({words})", classes is not None, lambda: iter([whole]), n)
        return Pool([0], ["all"], _checksums(path), [n], 1, lambda units: only)
    rows = spread(n, limit or n)
    call = batch_size(inputs, batch)
    if fixed:
        rows = rows[: len(rows) - len(rows) % call]
        if not rows:
            raise DrpassError(f"a limit of {limit} samples is less than the model's batch of {call}")

    def take(units: Sequence[int]) -> Data:
        chosen = [rows[unit] for unit in units]

        def batches() -> Iterator[Batch]:
            for start in range(0, len(chosen), call):
                part = chosen[start : start + call]
                feeds = {name: array[part] for name, array in arrays.items()}
                yield Batch(feeds, None if classes is None else classes[part], _row_names(path, part))

        description = f"{len(chosen)} of {n} samples of {path} ({words})"
        return Data(len(chosen), description, classes is not None, batches, call if fixed else 1)

    groups = [0] * len(rows) if classes is None else classes[rows].tolist()
    return Pool(groups, [str(row) for row in rows], _checksums(path), [1] * len(rows), call, take)


def _several_batches(inputs: Sequence[TensorSpec], lengths: set[int]) -> bool:
    """Whether the model's inputs have one fixed batch, and all arrays the same larger multiple of it."""
    batches = {spec.shape[0] if spec.shape else None for spec in inputs}
    batch = next(iter(batches), None)
    if len(batches) != 1 or len(lengths) != 1 or not isinstance(batch, int) or batch < 1:
        return False
    (n,) = lengths
    return n > batch and n % batch == 0


def _with_batch(spec: TensorSpec, n: int) -> TensorSpec:
    return replace(spec, shape=(n, *spec.shape[1:]))


def _row_names(path: Path, rows: Sequence[int]) -> list[str]:
    return [f"{path.name}[{row}]" for row in rows]


def _checksums(path: Path) -> str:
    """Of the arrays of an .npz file that was read, as the archive lists them."""
    with zipfile.ZipFile(path) as archive:
        return " ".join(sorted(f"{entry.filename} {entry.file_size} {entry.CRC:08x}" for entry in archive.infolist()))


def array_files(files: Mapping[str, Path], inputs: Sequence[TensorSpec]) -> Data:
    """One run on arrays from .npy files, or .npz files with an array of the input's name or a single one."""
    feeds = {name: _read_array(path, name) for name, path in files.items()}
    check_feeds(inputs, feeds)
    sizes = {array.shape[0] for array in feeds.values() if array.ndim}
    names = [f"sample {index}" for index in range(sizes.pop() if len(sizes) == 1 else 1)]
    listed = ", ".join(f"{name} from {path}" for name, path in files.items())
    return Data(len(names), listed, False, lambda: iter([Batch(feeds, None, names)]), len(names))


def _read_array(path: Path, name: str) -> Array:
    if zipfile.is_zipfile(path):
        arrays = read_arrays(path)
        if name not in arrays and len(arrays) != 1:
            raise DrpassError(f"{path} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
        return arrays[name] if name in arrays else next(iter(arrays.values()))
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        # numpy's text goes on to recommend loading pickled objects, which runs what is in them.
        reason = str(error).split(". If you trust", 1)[0]
        raise DrpassError(f"{path} is not a complete .npy or .npz file of numbers: {reason}") from error
    return np.asarray(array)


def random_pool(inputs: Sequence[TensorSpec], limit: int | None, batch: int, seed: int) -> Pool:
    """``limit`` random samples (rounded up to full batches; None: one batch), the same for the same seed."""
    shapes = {spec.name: _settled(spec, batch) for spec in inputs}
    if sum(int(np.prod(shape, dtype=object)) for shape in shapes.values()) > _MAX_RANDOM_VALUES:
        raise DrpassError(f"random inputs of these shapes are too large: {shapes}; give smaller ones with --shape")
    dtypes = {spec.name: spec.dtype for spec in inputs}
    runs = -(-(limit or batch) // batch)

    def draw(generator: np.random.Generator, name: str) -> Array:
        if dtypes[name].kind == "f":
            return generator.standard_normal(shapes[name], np.float32).astype(dtypes[name])
        return generator.integers(0, 2, shapes[name]).astype(dtypes[name])

    def take(units: Sequence[int]) -> Data:
        def batches() -> Iterator[Batch]:
            for run in units:
                generator = np.random.default_rng([seed, run])
                names = [f"random {run * batch + index}" for index in range(batch)]
                yield Batch({name: draw(generator, name) for name in shapes}, None, names)

        n = len(units) * batch
        words = f"{n} RANDOM samples (seed {seed}; floats normal, integers 0 or 1): reuse on real data will differ"
        return Data(n, words, False, batches, batch)

    facts = [f"run {run}" for run in range(runs)]
    return Pool([0] * runs, facts, f"random {seed} {shapes}", [batch] * runs, 1, take)


def _settled(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """The shape of a random input; the first dimension, if open, is the batch."""
    dims = [batch if axis == 0 and not isinstance(dim, int) else dim for axis, dim in enumerate(spec.shape)]
    settled = tuple(dim for dim in dims if isinstance(dim, int))
    if len(settled) < len(dims):
        raise DrpassError(f"the input {spec.describe()} has open dimensions; settle them with --shape")
    return settled
