"""Data as a model takes it: batches of named arrays, with labels where there are any."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.tensors import Array, Feeds, TensorSpec, describe_all

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What one run takes. ``labels``: int64 [samples], or None; ``names``: one a sample, for messages."""

    feeds: Feeds
    labels: Labels | None
    names: list[str]

    @property
    def samples(self) -> int:
        return len(self.names)

    def first(self, samples: int) -> Batch:
        """The first samples alone."""
        feeds = {name: array[:samples] if array.ndim else array for name, array in self.feeds.items()}
        return Batch(feeds, None if self.labels is None else self.labels[:samples], self.names[:samples])


@dataclass(frozen=True)
class Data:
    """A finite, repeatable source of batches. ``n`` counts samples; ``description`` says in words what they are.

    ``indivisible``: that many samples can only be run together, because the model's batch is fixed.
    """

    n: int
    description: str
    has_labels: bool
    batches: Callable[[], Iterator[Batch]]
    indivisible: int = 1

    def describe(self) -> str:
        return self.description

    def first(self, samples: int) -> Data:
        """The first samples alone, in as many full batches as they need if the model's batch is fixed."""
        samples = -(-samples // self.indivisible) * self.indivisible
        if samples >= self.n:
            return self

        def batches() -> Iterator[Batch]:
            left = samples
            for batch in self.batches():
                yield batch if batch.samples <= left else batch.first(left)
                left -= batch.samples
                if left <= 0:
                    return

        return replace(self, n=samples, description=f"the first {samples} of {self.description}", batches=batches)


@dataclass(frozen=True)
class Pool:
    """What data is made of: units that `take` puts together in the order given. A unit is a sample or, where samples
    can't be parted, a whole call of the model.

    ``groups``: the class of each unit, the same of all where there are no labels; ``facts``: of each, words that are
    others where the unit is another; ``about``: such words of all together; ``sizes``: samples in each; ``call``: units
    that a call takes.
    """

    groups: Sequence[Hashable]
    facts: Sequence[str]
    about: str
    sizes: Sequence[int]
    call: int
    take: Callable[[Sequence[int]], Data]

    def all(self) -> Data:
        """Data of everything."""
        return self.take(range(len(self.groups)))


@dataclass(frozen=True)
class PictureInput:
    """The one input of a model that takes pictures. ``size``: (height, width), None where the model leaves it open."""

    spec: TensorSpec
    channels_first: bool
    size: tuple[int | None, int | None]

    def stack(self, pixels: Sequence[npt.NDArray[np.float32]]) -> Array:
        """Pictures [height, width, channels] as the array that the model takes."""
        array = np.stack(pixels)
        if self.channels_first:
            array = array.transpose(0, 3, 1, 2)
        if self.spec.dtype.kind in "iu":
            limits = np.iinfo(self.spec.dtype)
            array = np.clip(np.rint(array), limits.min, limits.max)
        return np.ascontiguousarray(array, self.spec.dtype)


def picture_input(inputs: Sequence[TensorSpec], depth: int) -> PictureInput:
    """Find it. Raises DrpassError if the model takes anything but one batch of pictures of ``depth`` channels."""
    spec = inputs[0] if len(inputs) == 1 else None
    if spec is None or len(spec.shape) != 4 or spec.dtype == np.bool_:
        raise DrpassError(f"pictures can't be the inputs of this model ({describe_all(inputs)}); give an .npz file")
    if spec.shape[1] == depth or spec.shape[3] == depth:
        first = spec.shape[1] == depth
    elif isinstance(spec.shape[1], int) and isinstance(spec.shape[3], int):
        raise DrpassError(
            f"the input {spec.describe()} takes no pictures of {depth} channels; set channels (RGB, BGR or L) or "
            f"give an .npz file"
        )
    else:
        raise DrpassError(f"the input {spec.describe()} does not say where its channels are; give --shape")
    height, width = (dim if isinstance(dim, int) else None for dim in (spec.shape[2:4] if first else spec.shape[1:3]))
    return PictureInput(spec, first, (height, width))


def batch_size(inputs: Sequence[TensorSpec], wanted: int | None) -> int:
    """Samples a run: the model's fixed batch, else what is wanted, else 1."""
    if wanted is not None and wanted < 1:
        raise DrpassError(f"the batch must be at least 1, not {wanted}")
    fixed = next((spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)), None)
    if fixed is not None and wanted is not None and wanted != fixed:
        raise DrpassError(f"the model's batch is fixed at {fixed}, so it can't be {wanted}")
    return wanted or fixed or 1


def picture_data(
    target: PictureInput,
    description: str,
    names: Sequence[str],
    labels: Sequence[int] | None,
    read: Callable[[int], npt.NDArray[np.float32]],
    batch: int,
) -> Data:
    """Data of pictures that are read when they are needed; ``read(i)`` gives [height, width, channels].

    A batch ends early where the size changes, and at the end. A model with a fixed batch gets full batches only.
    """
    fixed = isinstance(target.spec.shape[0], int)
    n = len(names) - len(names) % batch if fixed else len(names)
    if n == 0:
        raise DrpassError(f"{len(names)} pictures are too few for the model's batch of {batch}")
    if n < len(names):
        description += f"; the last {len(names) - n} left out, as the model's batch is {batch}"

    def make(held: list[npt.NDArray[np.float32]], end: int) -> Batch:
        chosen = slice(end - len(held), end)
        array = None if labels is None else np.asarray(labels[chosen], np.int64)
        return Batch({target.spec.name: target.stack(held)}, array, list(names[chosen]))

    def batches() -> Iterator[Batch]:
        held: list[npt.NDArray[np.float32]] = []
        for index in range(n):
            pixels = read(index)
            if held and pixels.shape != held[0].shape:
                if fixed:
                    raise DrpassError(f"{names[index]} has another size than those before; give a crop")
                yield make(held, index)
                held = []
            held.append(pixels)
            if len(held) == batch:
                yield make(held, index + 1)
                held = []
        if held:
            yield make(held, n)

    return Data(n, description, labels is not None, batches, batch if fixed else 1)


def fitting(preprocess: Preprocess, target: PictureInput) -> tuple[Preprocess, tuple[int, int] | None]:
    """The preprocessing with what the model's size settles: (preprocessing, size to scale and crop to).

    If neither resize nor crop is given and the model's size is fixed, a picture is scaled until it covers that size
    (returned as (height, width) without padding) and its centre is used. Raises DrpassError if the crop is not the
    model's size.
    """
    height, width = target.size
    if height is None or width is None:
        return preprocess, None
    inner = height - 2 * preprocess.pad, width - 2 * preprocess.pad
    if min(inner) < 1:
        raise DrpassError(f"a padding of {preprocess.pad} leaves nothing of the input {target.spec.describe()}")
    if preprocess.crop is None and preprocess.resize is None:
        return preprocess, inner
    if preprocess.crop is None:
        return preprocess.override({"crop": list(inner)}), None
    if preprocess.crop != inner:
        raise DrpassError(
            f"crop {preprocess.crop[0]}x{preprocess.crop[1]} with padding {preprocess.pad} is not the size of the "
            f"input {target.spec.describe()}; crop {inner[0]}x{inner[1]} is"
        )
    return preprocess, None


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture until it just covers ``size`` (height, width), and crop its centre."""
    height, width = size
    factor = max(width / image.width, height / image.height)
    scaled = max(width, round(image.width * factor)), max(height, round(image.height * factor))
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return image.resize(scaled, Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))
