"""Pictures of the sizes that a row asks for: photographs, sheets of small pictures, and films of one photograph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from drpass.data import Batch, Data, Preprocess
from drpass.data.photographs import crops, find_photographs, read_crop
from drpass.data.pictures import decode, names_in, reader_of
from drpass.data.selection import spread
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec

#: Side of the pictures of a sheet: the short side of those in the archive, so that none is enlarged.
TILE = 256

#: The photograph of the films: the widest for its height, enlarged by at most 1.03 for a side of 512.
_FILM = "motorcycle_left.png"

#: Pixels a frame, and by how much the last frame is brighter than the first.
_PAN, _GAIN = 2, 0.10

#: The length of a film; a shorter one is its beginning.
FRAMES = 60


def photographs(side: int, count: int) -> list[Image.Image]:
    """Square crops of the photographs that installed packages ship; small ones are enlarged to the side."""
    return [read_crop(crop, (side, side)) for crop in crops((side, side), count or None)]


def sheets(archive: Path, side: int, count: int) -> list[Image.Image]:
    """Squares put together of the centres of pictures at their own resolution; no picture is used twice."""
    names = names_in(archive)
    across = side // TILE
    wanted = [names[index] for index in spread(len(names), count * across * across)]
    read = reader_of(archive, wanted)
    made = []
    for start in range(0, len(wanted) - across * across + 1, across * across):
        sheet = Image.new("RGB", (across * TILE, across * TILE))
        for place, name in enumerate(wanted[start : start + across * across]):
            tile = Preprocess(resize=TILE, crop=(TILE, TILE)).fit(read(name))
            sheet.paste(tile, (place % across * TILE, place // across * TILE))
        made.append(sheet)
    if len(made) < count:
        raise DrpassError(f"{archive} has pictures for {len(made)} sheets of {across * across}, not for {count}")
    return made


def film(motion: str, side: int, frames: int) -> list[Image.Image]:
    """The first frames of a film of one photograph.

    The window pans to the right, or it grows brighter, or it stands still while a negative square moves through it.
    """
    path = next((path for path in find_photographs() if path.name == _FILM), None)
    if path is None:
        raise DrpassError(f"the film is made of scikit-image's {_FILM}, which is not installed")
    photograph = decode(path.read_bytes(), str(path))
    reach = side + _PAN * (FRAMES - 1)
    factor = max(reach / photograph.width, side / photograph.height)
    size = max(reach, round(photograph.width * factor)), max(side, round(photograph.height * factor))
    canvas = photograph.resize(size, Image.Resampling.BICUBIC)
    return [_frame(canvas, motion, side, index) for index in range(frames)]


def _frame(canvas: Image.Image, motion: str, side: int, index: int) -> Image.Image:
    left = _PAN * index if motion == "pan" else 0
    frame = canvas.crop((left, 0, left + side, side))
    if motion == "brighten":
        gain = 1 + _GAIN * index / (FRAMES - 1)
        frame = Image.fromarray(np.clip(np.rint(np.asarray(frame, np.float32) * gain), 0, 255).astype(np.uint8))
    if motion == "still":
        size = side // 8
        corner = size + 4 * index % (side - 2 * size), side // 2
        box = (*corner, corner[0] + size, corner[1] + size)
        frame.paste(ImageOps.invert(frame.crop(box)), box)
    return frame


def half(picture: Image.Image) -> Image.Image:
    """Half the size, each pixel the mean of four."""
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)


def picture_batches(pictures: Sequence[Image.Image], preprocess: Preprocess, spec: TensorSpec, words: str) -> Data:
    """Data of one picture a batch, [1, 3, H, W], in the order given."""

    def batches() -> Iterator[Batch]:
        for index, picture in enumerate(pictures):
            array = np.ascontiguousarray(preprocess.normalise(picture).transpose(2, 0, 1)[None])
            yield Batch({spec.name: array}, None, [f"picture {index}"])

    return Data(len(pictures), f"{len(pictures)} {words} ({preprocess.describe()})", False, batches)


def noise_like(data: Data, count: int) -> Data:
    """Different batches of uniform random numbers, of the shape and range of the first batch of the data."""
    first = next(iter(data.batches()))

    def batches() -> Iterator[Batch]:
        generator = np.random.default_rng(0)
        for _ in range(count):
            feeds = {
                name: generator.uniform(array.min(), array.max(), array.shape).astype(array.dtype)
                for name, array in first.feeds.items()
            }
            yield Batch(feeds, None, first.names)

    return Data(count * first.samples, "uniform noise", False, batches)
