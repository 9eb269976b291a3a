"""Opens what the user names: pictures, an .npz file, photographs that a package ships, or random numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drpass.data import photographs, pictures
from drpass.data.arrays import array_data, random_data
from drpass.data.dataset import Data, batch_size, cover, fitting, picture_data, picture_input
from drpass.data.preprocess import Preprocess
from drpass.data.selection import LabelsFrom, balanced, labels_of
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
    it has an array of that name), ``"photographs"`` or ``"random"``; None means photographs if the model takes
    pictures, else random numbers. ``limit``: use at most this many samples, evenly spread. ``batch``: samples a run
    (None: the model's fixed batch, else 1). Raises DrpassError if the data can't be read or does not fit the model.
    """
    if limit is not None and limit < 1:
        raise DrpassError(f"the limit must be at least 1, not {limit}")
    preprocess = preprocess or Preprocess()
    if source is None:
        source = PHOTOGRAPHS if _takes_pictures(inputs, preprocess) else RANDOM
    if source == RANDOM:
        return random_data(inputs, limit, batch_size(inputs, batch), seed)
    if source == PHOTOGRAPHS:
        return _photographs(inputs, preprocess, limit, batch_size(inputs, batch))
    path = Path(source)
    if not path.exists():
        raise DrpassError(
            f"{path} does not exist; give a picture, a folder, a tar archive, an .npz file, photographs or random"
        )
    if path.is_file() and zipfile.is_zipfile(path):
        return array_data(path, inputs, limit, batch)
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
) -> Data:
    target = picture_input(inputs, preprocess.depth)
    preprocess, size = fitting(preprocess, target)
    names = pictures.names_in(path)
    if not names:
        raise DrpassError(f"{path} has no pictures ({', '.join(pictures.SUFFIXES)})")
    classes, label_words = labels_of(names, labels)
    chosen = balanced(list(range(len(names))), classes or [0] * len(names), limit)
    chosen_names = [names[index] for index in chosen]
    decode = pictures.reader_of(path, chosen_names)

    def read(index: int) -> npt.NDArray[np.float32]:
        image = decode(chosen_names[index])
        try:
            return preprocess.normalise(cover(image, size) if size else preprocess.fit(image))
        except DrpassError as error:
            raise DrpassError(f"{path}: {chosen_names[index]}: {error}") from error

    count = f"{len(chosen)} pictures" if len(chosen) == len(names) else f"{len(chosen)} of {len(names)} pictures"
    return picture_data(
        target,
        f"{count} of {path} ({label_words}; {_steps(preprocess, size)})",
        chosen_names,
        None if classes is None else [classes[index] for index in chosen],
        read,
        batch,
    )


def _photographs(inputs: Sequence[TensorSpec], preprocess: Preprocess, limit: int | None, batch: int) -> Data:
    target = picture_input(inputs, preprocess.depth)
    size = fitting(preprocess, target)[1] or preprocess.crop
    if size is None:
        height, width = (dim and dim - 2 * preprocess.pad for dim in target.size)
        side = preprocess.resize or _PHOTOGRAPH_SIDE
        size = height or side, width or side
    chosen = photographs.crops(size, limit)
    files = len({crop.path for crop in chosen})

    def read(index: int) -> npt.NDArray[np.float32]:
        return preprocess.normalise(photographs.read_crop(chosen[index], size))

    what = f"{len(chosen)} crops of {files} photographs that installed packages ship"
    description = f"{what} (no labels; {_steps(preprocess, size)})"
    return picture_data(target, description, [crop.name for crop in chosen], None, read, batch)


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
