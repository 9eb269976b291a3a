"""Opens what the user names: pictures, an .npz file, photographs that a package ships, or random numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drpass.data import photographs, pictures
from drpass.data.arrays import array_pool, random_pool
from drpass.data.dataset import Data, Pool, batch_size, cover, fitting, picture_data, picture_input
from drpass.data.generated import generated_pool
from drpass.data.preprocess import Preprocess
from drpass.data.selection import LabelsFrom, balanced, labels_of
from drpass.entry_point import is_entry_point
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec

#: Side of photographs where neither the model nor the preprocessing sets one.
_PHOTOGRAPH_SIDE = 224

#: Words that stand for a source instead of a path.
RANDOM, PHOTOGRAPHS = "random", "photographs"


def open_data(
    source: str | Path | None,
    inputs: Sequence[TensorSpec],
    *,
    preprocess: Preprocess | None = None,
    labels: LabelsFrom = "auto",
    limit: int | None = None,
    batch: int | None = None,
    seed: int = 0,
) -> Data:
    """Open the data for a model with these inputs.

    ``source``: a picture, a folder or tar archive of pictures, an .npz file of the inputs by name (with ``labels`` if
    it has an array of that name), a generator (see `generated_pool`), ``"photographs"`` or ``"random"``; None means
    photographs if the model takes pictures, else random numbers. ``limit``: use at most this many samples, evenly
    spread. ``batch``: samples a run (None: the model's fixed batch, else 1). Raises DrpassError if the data can't be
    read or does not fit the model.
    """
    return open_pool(source, inputs, preprocess, labels, limit, batch, seed).all()


def open_pool(
    source: str | Path | None,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess | None,
    labels: LabelsFrom,
    limit: int | None,
    batch: int | None,
    seed: int,
) -> Pool:
    """What `open_data` makes data of, for parts of it."""
    if limit is not None and limit < 1:
        raise DrpassError(f"the limit must be at least 1, not {limit}")
    if seed < 0:
        raise DrpassError(f"the seed of data must be at least 0, not {seed}")
    preprocess = preprocess or Preprocess()
    if source is None:
        source = PHOTOGRAPHS if _takes_pictures(inputs, preprocess) else RANDOM
    if source == RANDOM:
        return random_pool(inputs, limit, batch_size(inputs, batch), seed)
    if source == PHOTOGRAPHS:
        return _photographs(inputs, preprocess, limit, batch_size(inputs, batch))
    path = Path(source)
    if not path.exists():
        if is_entry_point(str(source)):
            return generated_pool(str(source), inputs, limit, batch)
        raise DrpassError(
            f"{path} does not exist; give a picture, a folder, a tar archive, an .npz file, file.py:generator, "
            f"photographs or random"
        )
    if path.is_file() and zipfile.is_zipfile(path):
        return array_pool(path, inputs, limit, batch)
    return _pictures(path, inputs, preprocess, labels, limit, batch_size(inputs, batch))


def _takes_pictures(inputs: Sequence[TensorSpec], preprocess: Preprocess) -> bool:
    try:
        picture_input(inputs, preprocess.depth)
    except DrpassError:
        return False
    return True


def _pictures(
    path: Path,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    labels: LabelsFrom,
    limit: int | None,
    batch: int,
) -> Pool:
    target = picture_input(inputs, preprocess.depth)
    preprocess, size = fitting(preprocess, target)
    sizes = pictures.sizes_in(path)
    if not sizes:
        raise DrpassError(f"{path} has no pictures ({', '.join(pictures.SUFFIXES)})")
    classes, label_words = labels_of(list(sizes), labels)
    class_of = dict(zip(sizes, classes)) if classes else dict.fromkeys(sizes)
    chosen = balanced(list(sizes), list(class_of.values()), limit)
    about = f"{label_words}; {_steps(preprocess, size)}"

    def take(units: Sequence[int]) -> Data:
        names = [chosen[unit] for unit in units]
        decode = pictures.reader_of(path, names)

        def read(index: int) -> npt.NDArray[np.float32]:
            image = decode(names[index])
            try:
                return preprocess.normalise(cover(image, size) if size else preprocess.fit(image))
            except DrpassError as error:
                raise DrpassError(f"{path}: {names[index]}: {error}") from error

        count = f"{len(names)} pictures" if len(names) == len(sizes) else f"{len(names)} of {len(sizes)} pictures"
        own = [label for name in names if (label := class_of[name]) is not None]
        return picture_data(target, f"{count} of {path} ({about})", names, own if classes else None, read, batch)

    return Pool(
        groups=[class_of[name] for name in chosen],
        facts=[f"{name} {class_of[name]} {sizes[name]}" for name in chosen],
        about=f"{preprocess} {size}",
        sizes=[1] * len(chosen),
        call=batch,
        take=take,
    )


def _photographs(inputs: Sequence[TensorSpec], preprocess: Preprocess, limit: int | None, batch: int) -> Pool:
    target = picture_input(inputs, preprocess.depth)
    size = fitting(preprocess, target)[1] or preprocess.crop
    if size is None:
        height, width = (dim and dim - 2 * preprocess.pad for dim in target.size)
        side = preprocess.resize or _PHOTOGRAPH_SIDE
        size = height or side, width or side
    crops = photographs.crops(size, limit)

    def take(units: Sequence[int]) -> Data:
        chosen = [crops[unit] for unit in units]
        files = len({crop.path for crop in chosen})

        def read(index: int) -> npt.NDArray[np.float32]:
            return preprocess.normalise(photographs.read_crop(chosen[index], size))

        what = f"{len(chosen)} crops of {files} photographs that installed packages ship"
        description = f"{what} (no labels; {_steps(preprocess, size)})"
        return picture_data(target, description, [crop.name for crop in chosen], None, read, batch)

    return Pool(
        groups=[crop.path for crop in crops],
        facts=[f"{crop.name} {crop.scaled}" for crop in crops],
        about=f"{preprocess} {size}",
        sizes=[1] * len(crops),
        call=batch,
        take=take,
    )


def _steps(preprocess: Preprocess, size: tuple[int, int] | None) -> str:
    if size is None:
        return preprocess.describe()
    rest = replace(preprocess, resize=None, crop=None)
    return f"scaled and cropped to {size[0]}x{size[1]}, {rest.describe()}"


#: What `validate` and `bench` take: data, what open_data takes as a source, or a function from inputs to data.
DataSource = Data | str | Path | None | Callable[[Sequence[TensorSpec]], Data]


def as_data(source: DataSource, inputs: Sequence[TensorSpec]) -> Data:
    """The data for these inputs."""
    if isinstance(source, Data):
        return source
    return source(inputs) if callable(source) else open_data(source, inputs)
