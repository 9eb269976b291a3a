"""What is done to a picture before a network sees it, and the TOML file that says so."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from drpass.errors import DrpassError
from drpass.files import read_toml

Channels = Literal["RGB", "BGR", "L"]

#: Larger than any picture that a network is fed with; keeps a mistyped size from taking all memory.
MAX_SIDE = 16384


@dataclass(frozen=True)
class Preprocess:
    """Steps from a decoded picture to a network's input, in the order in which they are listed.

    ``resize``: length in pixels that the short side is scaled to (bilinear, antialiased); None: not scaled.
    ``crop``: (height, width) in pixels of the centre crop; None: not cropped.
    ``channels``: their order; ``L`` is luminance.
    ``scale``, ``mean``, ``std``: ``(pixel * scale - mean) / std``, pixels being 0..255; one number, or one a channel.
    ``pad``: pixels added on all four sides by repeating the edge.
    """

    resize: int | None = None
    crop: tuple[int, int] | None = None
    channels: Channels = "RGB"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad: int = 0

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise DrpassError(f"channels must be one of {', '.join(get_args(Channels))}, not {self.channels!r}")
        sides = [self.resize, *(self.crop or ())]
        if any(side is not None and not 1 <= side <= MAX_SIDE for side in sides):
            raise DrpassError(f"resize and crop must be between 1 and {MAX_SIDE} pixels")
        if not 0 <= self.pad <= MAX_SIDE:
            raise DrpassError(f"pad must be between 0 and {MAX_SIDE} pixels, not {self.pad}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.depth):
                raise DrpassError(
                    f"{name} needs 1 value or {self.depth} (one a channel of {self.channels}), not {len(values)}"
                )
        if not all(math.isfinite(value) for value in (self.scale, *self.mean, *self.std)) or 0.0 in self.std:
            raise DrpassError("scale, mean and std must be finite numbers, and std not zero")

    @property
    def depth(self) -> int:
        """The number of channels."""
        return len(self.channels)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Preprocess:
        """Read a TOML file whose keys are the fields of this class. Raises DrpassError on any other key."""
        path = Path(path)
        table = read_toml(path)
        try:
            return cls().override(table)
        except DrpassError as error:
            raise DrpassError(f"{path}: {error}") from error

    def override(self, values: Mapping[str, Any]) -> Preprocess:
        """A copy with the given fields (as TOML values) set. Raises DrpassError on unknown keys and wrong types."""
        known = [field.name for field in fields(self)]
        for key in values:
            if key not in known:
                raise DrpassError(f"unknown key {key!r}; the keys are {', '.join(known)}")
        return replace(self, **{key: _READERS[key](key, value) for key, value in values.items()})

    def describe(self) -> str:
        """One line for people: ``short side 256, crop 227x227, BGR, minus 103.939/116.779/123.68``."""
        parts = []
        if self.resize is not None:
            parts.append(f"short side {self.resize}")
        if self.crop is not None:
            parts.append(f"crop {self.crop[0]}x{self.crop[1]}")
        plain = self.scale == 1.0 and not any(self.mean) and set(self.std) == {1.0}
        parts.append(f"{self.channels} 0..255" if plain else self.channels)
        if self.scale != 1.0:
            parts.append(f"times {self.scale:.6g}")
        if any(self.mean):
            parts.append("minus " + "/".join(f"{value:g}" for value in self.mean))
        if set(self.std) != {1.0}:
            parts.append("over " + "/".join(f"{value:g}" for value in self.std))
        if self.pad:
            parts.append(f"edge padding {self.pad}")
        return ", ".join(parts)

    def apply(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """The network's input for one picture: float32 [height, width, channels]."""
        return self.normalise(self.fit(image))

    def fit(self, image: Image.Image) -> Image.Image:
        """Scale and crop. Raises DrpassError if the crop is larger than the picture."""
        if self.resize is not None:
            factor = self.resize / min(image.size)
            width, height = (max(self.resize, round(side * factor)) for side in image.size)
            if max(width, height) > MAX_SIDE:
                raise DrpassError(f"scaling a picture of {image.width}x{image.height} would exceed {MAX_SIDE} pixels")
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop is None:
            return image
        height, width = self.crop
        if width > image.width or height > image.height:
            raise DrpassError(
                f"the picture has {image.height}x{image.width} pixels, too few for a crop of {height}x{width}; "
                f"give a larger resize"
            )
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    def normalise(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Order the channels, scale, subtract, divide and pad."""
        pixels = np.asarray(image.convert("L" if self.channels == "L" else "RGB"), np.float32)
        pixels = pixels.reshape(image.height, image.width, self.depth)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        pixels = (pixels * np.float32(self.scale) - np.asarray(self.mean, np.float32)) / np.asarray(
            self.std, np.float32
        )
        return np.pad(pixels, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)), mode="edge")


def _integer(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DrpassError(f"{key} must be a whole number, not {value!r}")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DrpassError(f"{key} must be a number, not {value!r}")
    return float(value)


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    return tuple(_number(key, item) for item in (value if isinstance(value, (list, tuple)) else [value]))


def _size(key: str, value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, (list, tuple)) else [value, value]
    if len(sides) != 2:
        raise DrpassError(f"{key} must be one number or [height, width], not {value!r}")
    return _integer(key, sides[0]), _integer(key, sides[1])


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DrpassError(f"{key} must be a text in quotes, not {value!r}")
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "resize": _integer,
    "crop": _size,
    "channels": _text,
    "scale": _number,
    "mean": _numbers,
    "std": _numbers,
    "pad": _integer,
}
