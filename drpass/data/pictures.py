"""Where pictures are read from: a file, a folder or a tar archive, none of them trusted, and how they are decoded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from drpass.errors import DrpassError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")

MAX_PIXELS = 64 << 20
MAX_FILE_BYTES = 256 << 20
#: Of encoded pictures that are held at a time; archives can't be read in any other order than their own.
MAX_HELD_BYTES = 1 << 30

#: Decodes the picture of that name.
ReadPicture = Callable[[str], Image.Image]


def decode(data: bytes, name: str) -> Image.Image:
    """Decode a JPEG, PNG, BMP, WebP or PPM file to RGB. Raises DrpassError if it is none or has too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DrpassError(f"{name}: {image.width}x{image.height} pixels are too many; leave it out")
                picture: Image.Image = image.convert("RGB")
                return picture
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else error
        raise DrpassError(f"{name} can't be decoded ({reason}); leave it out") from error


def is_picture(name: str) -> bool:
    """Whether the name is that of a picture, and not of a hidden file."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def folder_names(root: Path) -> list[str]:
    """Pictures below a folder as sorted relative names with forward slashes; links to folders are not followed."""
    found = []
    for parent, folders, files in os.walk(root, onerror=_raise_unreadable):
        folders.sort()
        relative = Path(parent).relative_to(root)
        found += [(relative / name).as_posix() for name in files if is_picture(name)]
    return sorted(found)


def _raise_unreadable(error: OSError) -> None:
    raise DrpassError(f"can't read {error.filename}: {error.strerror}") from error


def folder_reader(root: Path) -> ReadPicture:
    """Read pictures of a folder when they are asked for."""

    def read(name: str) -> Image.Image:
        path = root / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DrpassError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB; leave it out")
            return decode(path.read_bytes(), str(path))
        except OSError as error:
            raise DrpassError(f"can't read {path}: {error.strerror}") from error

    return read


def names_in(path: Path) -> list[str]:
    """The pictures of a folder or tar archive, sorted, or the one picture that the path is."""
    return list(sizes_in(path))


def sizes_in(path: Path) -> dict[str, int]:
    """Encoded bytes of the pictures of `names_in`, in the same order."""
    if not path.is_dir() and not is_picture(path.name):
        return _tar_sizes(path)
    root, names = (path, folder_names(path)) if path.is_dir() else (path.parent, [path.name])
    try:
        return {name: (root / name).stat().st_size for name in names}
    except OSError as error:
        raise DrpassError(f"can't read {error.filename}: {error.strerror}") from error


def reader_of(path: Path, names: Iterable[str]) -> ReadPicture:
    """Reads these pictures of `names_in`."""
    if path.is_dir():
        return folder_reader(path)
    return folder_reader(path.parent) if is_picture(path.name) else tar_reader(path, names)


def _tar_sizes(path: Path) -> dict[str, int]:
    """Pictures in a tar archive (plain, gz, bz2 or xz), sorted, and their encoded bytes. Nothing is written to disk."""
    sizes: dict[str, int] = {}
    with _open_tar(path) as archive:
        for member in _picture_members(archive, path):
            sizes.setdefault(member.name, member.size)  # of several with one name the first is read
    return dict(sorted(sizes.items()))


def tar_reader(path: Path, names: Iterable[str]) -> ReadPicture:
    """Hold the encoded bytes of these members, read in one pass; decode when they are asked for."""
    wanted = set(names)
    held: dict[str, bytes] = {}
    total = 0
    with _open_tar(path) as archive:
        for member in _picture_members(archive, path):
            if member.name in wanted and member.name not in held:
                total += member.size
                if total > MAX_HELD_BYTES:
                    raise DrpassError(
                        f"the pictures of {path} take more than {MAX_HELD_BYTES >> 20} MiB; give a smaller --limit, "
                        f"or unpack it and give the folder"
                    )
                stream = archive.extractfile(member)
                held[member.name] = stream.read() if stream else b""
                if len(held) == len(wanted):
                    break
    return lambda name: decode(held[name], f"{path}: {name}")


def _picture_members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        if not member.isreg() or member.issparse():
            continue
        if member.size > MAX_FILE_BYTES:
            raise DrpassError(f"{path}: {member.name!r} is larger than {MAX_FILE_BYTES >> 20} MiB; not a picture set")
        if is_picture(member.name):
            yield member


class _BoundedReads(io.RawIOBase):
    """Refuses single reads that no picture needs: a tar header can claim to be of any size."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_FILE_BYTES:
            raise tarfile.ReadError("a header claims an impossible size")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


_DECOMPRESSORS: dict[bytes, Any] = {b"\xfd7zXZ\0": lzma.open, b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open by content, not by name. Turns everything that a damaged archive raises into DrpassError."""
    try:
        with open(path, "rb") as raw:
            start = raw.read(6)
            raw.seek(0)
            unpack = next((open_ for magic, open_ in _DECOMPRESSORS.items() if start.startswith(magic)), None)
            stream = unpack(raw) if unpack else raw
            with tarfile.open(fileobj=_BoundedReads(stream), mode="r:") as archive:
                yield archive
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise DrpassError(f"{path} is not a complete tar archive: {error}") from error
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
