"""Photographs that an installed package ships: real pictures where the user has given none. They have no labels."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from drpass.data.pictures import decode
from drpass.data.selection import balanced
from drpass.errors import DrpassError

#: Colour photographs (no drawings, no medical images): package, its folder, files.
_SHIPPED = (
    (
        "skimage",
        "data",
        ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png", "rocket.jpg"),
    ),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
)

#: A crop of ``size`` shows at least this share of a photograph's side: a small crop of a large photograph would be
#: smoother than any picture that a network for small pictures was made for.
_CROPS_PER_SIDE = 3


@dataclass(frozen=True)
class Crop:
    """A part of a photograph: after scaling it to ``scaled`` (width, height), the box at (left, top)."""

    path: Path
    scaled: tuple[int, int]
    left: int
    top: int

    @property
    def name(self) -> str:
        return f"{self.path.name}+{self.left}+{self.top}"


def find_photographs() -> list[Path]:
    """Those really on disk. Packages are located, not imported. Raises DrpassError if there are none."""
    found = []
    for package, folder, files in _SHIPPED:
        module = importlib.util.find_spec(package)
        for location in (module.submodule_search_locations or ()) if module else ():
            found += [path for path in (Path(location, folder, file) for file in files) if path.is_file()]
    if not found:
        raise DrpassError("no installed package ships photographs; pip install scikit-image, or give --data")
    return found


def crops(size: tuple[int, int], limit: int | None) -> list[Crop]:
    """Crops of ``size`` (height, width) that do not overlap, photographs taking turns; at most ``limit``."""
    height, width = size
    found: list[Crop] = []
    for path in find_photographs():
        with Image.open(path) as image:
            original_width, original_height = image.size
        # Enlarged where it must be, reduced where a crop would show too little.
        cover = max(width / original_width, height / original_height)
        factor = max(cover, min(1.0, cover * _CROPS_PER_SIDE))
        scaled = max(width, round(original_width * factor)), max(height, round(original_height * factor))
        found += [
            Crop(path, scaled, left, top)
            for top in range(0, scaled[1] - height + 1, height)
            for left in range(0, scaled[0] - width + 1, width)
        ]
    return balanced(found, [crop.path for crop in found], limit)


def read_crop(crop: Crop, size: tuple[int, int]) -> Image.Image:
    """The crop as an RGB picture of ``size`` (height, width)."""
    image = decode(crop.path.read_bytes(), str(crop.path)).resize(crop.scaled, Image.Resampling.BILINEAR)
    return image.crop((crop.left, crop.top, crop.left + size[1], crop.top + size[0]))
