"""Damaged and hostile data: one line that says what is wrong, whatever the bytes are."""

from __future__ import annotations

import contextlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drpass.data import array_files, open_data
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec

PICTURES = [TensorSpec("x", "tensor(float)", ("N", 3, 8, 8))]
ARRAYS = [TensorSpec("x", "tensor(float)", ("N", 2))]


def png_of_claimed_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def jpeg() -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def tar_of(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, body in files:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return stream.getvalue()


def refused(path: Path, inputs: list[TensorSpec]) -> str:
    with pytest.raises(DrpassError) as error:
        list(open_data(path, inputs).batches())
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("text.jpg", b"hello", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("truncated.jpg", jpeg()[:700], "truncated"),
        ("huge.png", png_of_claimed_size(100_000, 100_000), "decoded"),
        ("large.png", png_of_claimed_size(9_000, 9_000), "too many"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
def test_a_bad_picture_is_named(tmp_path: Path, name: str, body: bytes, words: str, packed: bool) -> None:
    source = tmp_path / "data"
    if packed:
        source.write_bytes(tar_of((name, body)))
    else:
        source.mkdir()
        (source / name).write_bytes(body)
    message = refused(source, PICTURES)
    assert name in message
    assert words in message


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = lzma.compress(tar_of(*((f"{index}.jpg", jpeg()) for index in range(20))))
    path = tmp_path / "cut.tar.xz"
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a complete tar archive" in refused(path, PICTURES)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"\xfd7zXZ\0 nonsense", b"\x1f\x8b nonsense", b"BZh nonsense", b"\0" * 100]
)
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(body)
    refused(path, PICTURES)


def test_a_header_that_claims_a_huge_extension_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, 1 << 40
    path = tmp_path / "bomb.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    assert "not a complete tar archive" in refused(path, PICTURES)


def test_a_member_of_huge_size_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("big.jpg")
    member.size = 1 << 40
    path = tmp_path / "big.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    assert "larger than" in refused(path, PICTURES)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_an_archive_with_damaged_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, offset: int, noise: bytes
) -> None:
    body = bytearray(tar_of(("a/0.jpg", jpeg()), ("b/1.jpg", jpeg())))
    offset %= len(body)
    body[offset : offset + len(noise)] = noise
    path = tmp_path_factory.mktemp("damaged") / "d.tar"
    path.write_bytes(body)
    # Anything but DrpassError, which is a line for the user, fails.
    with contextlib.suppress(DrpassError):
        list(open_data(path, PICTURES).batches())


def test_an_npz_file_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.array([{}], object))
    assert "not a complete .npz" in refused(tmp_path / "p.npz", ARRAYS)


def test_a_truncated_npz_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.ones((50, 2), np.float32))
    body = (tmp_path / "p.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(body[:100])
    refused(tmp_path / "cut.npz", ARRAYS)
    damaged = bytearray(body)
    damaged[120:140] = b"\xff" * 20
    (tmp_path / "damaged.npz").write_bytes(damaged)
    refused(tmp_path / "damaged.npz", ARRAYS)


def test_an_npz_file_whose_header_claims_a_huge_array_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50, 2)})
    with zipfile.ZipFile(tmp_path / "h.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    assert "not a complete .npz" in refused(tmp_path / "h.npz", ARRAYS)


def test_an_npz_file_of_something_else_than_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("x.txt", "hello")
    assert "not an array" in refused(tmp_path / "z.npz", ARRAYS)


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("header", [b"{'descr': '<f4', (", b"  {\n 1\n", b"\0{}"])
def test_an_array_whose_header_is_not_python_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(npy(header))
    with pytest.raises(DrpassError, match="not a complete"):
        array_files({"x": tmp_path / "x.npy"}, ARRAYS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(header))
    assert "not a complete .npz" in refused(tmp_path / "x.npz", ARRAYS)


def test_a_damaged_npz_file_that_lzma_compressed_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"\0" * 100)
    body = bytearray((tmp_path / "x.npz").read_bytes())
    body[39] = 0xFF  # the properties of the compression, behind the local header
    (tmp_path / "x.npz").write_bytes(body)
    assert "not a complete .npz" in refused(tmp_path / "x.npz", ARRAYS)


def test_an_encrypted_npz_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((4, 2), np.float32))
    body = bytearray((tmp_path / "x.npz").read_bytes())
    directory = body.rindex(b"PK\x01\x02")
    body[6] |= 1
    body[directory + 8] |= 1
    (tmp_path / "x.npz").write_bytes(body)
    assert "encrypted" in refused(tmp_path / "x.npz", ARRAYS)


def test_a_file_that_only_begins_as_an_archive_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(DrpassError, match="not a complete"):
        array_files({"x": tmp_path / "x.npy"}, ARRAYS)


@pytest.mark.parametrize("body", [b"", b"hello", b"\x93NUMPY\x01\x00", b"\x80\x04K\x01."])
def test_a_file_that_is_no_npy_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(body)
    with pytest.raises(DrpassError, match="not a complete"):
        array_files({"x": tmp_path / "x.npy"}, ARRAYS)
