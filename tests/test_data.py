from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command_line import refusing
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drpass.data import Data, Preprocess, array_files, open_data
from drpass.data.selection import balanced, labels_of, spread
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.ranking import top_classes
from drpass.tensors import TensorSpec, input_specs


def spec(*shape: int | str, name: str = "x", kind: str = "float") -> TensorSpec:
    return TensorSpec(name, f"tensor({kind})", shape)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three folders b, a, c of 2, 3 and 4 pictures of 12 by 10 pixels (lossless)."""
    root = tmp_path / "pictures"
    for folder, count in (("b", 2), ("a", 3), ("c", 4)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            picture(12, 10, seed=index).save(root / folder / f"{index:04d}.png")
    return root


def everything(data: Data) -> tuple[np.ndarray, list[int], list[str]]:
    batches = list(data.batches())
    labels = [int(label) for batch in batches if batch.labels is not None for label in batch.labels]
    names = [name for batch in batches for name in batch.names]
    return np.concatenate([batch.feeds["x"] for batch in batches]), labels, names


# Preprocessing


def test_every_step_is_done_in_the_documented_order() -> None:
    steps = Preprocess(crop=(4, 6), channels="BGR", scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), pad=1)
    image = picture(12, 10)
    found = steps.apply(image)
    pixels = np.asarray(image, np.float64)[3:7, 3:9, ::-1]
    expected = (pixels * 0.5 - [1, 2, 3]) / [2, 4, 8]
    assert found.shape == (6, 8, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1:-1, 1:-1], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[:, -1], found[:, -2])


@pytest.mark.parametrize(("width", "height", "expected"), [(12, 10, (5, 6)), (10, 12, (6, 5)), (7, 7, (5, 5))])
def test_resize_sets_the_short_side_and_keeps_the_aspect(width: int, height: int, expected: tuple[int, int]) -> None:
    assert Preprocess(resize=5).apply(picture(width, height)).shape[:2] == expected


def test_toml_file_gives_every_field(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text('resize = 32\ncrop = [28, 24]\nchannels = "BGR"\nscale = 0.1\nmean = [1, 2.5, 3]\nstd = 2\npad = 4')
    expected = Preprocess(32, (28, 24), "BGR", 0.1, (1.0, 2.5, 3.0), (2.0,), 4)
    assert Preprocess.from_toml(file) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resise = 3", "unknown key 'resise'; the keys are resize"),
        ("resize = 3.5", "resize must be a whole number"),
        ("resize = true", "resize must be a whole number"),
        ("crop = [1, 2, 3]", "crop must be one number or"),
        ("crop = 0", "between 1 and"),
        ('channels = "RGBA"', "channels must be one of RGB, BGR, L"),
        ("channels = 3", "channels must be a text"),
        ("mean = [1, 2]", "mean needs 1 value or 3"),
        ("std = 0", "std not zero"),
        ("scale = inf", "finite"),
        ("pad = -1", "pad must be between"),
        ("resize = ", "is not a TOML file"),
    ],
)
def test_toml_file_with_a_mistake_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "net.toml"
    file.write_text(text)
    with refusing(words, str(file)):
        Preprocess.from_toml(file)


def test_the_preprocessing_files_of_the_test_models_are_valid() -> None:
    for file in Path(__file__).parent.joinpath("preprocess").glob("*.toml"):
        assert Preprocess.from_toml(file).channels in ("RGB", "BGR")


# Labels and selection


def test_labels_from_sorted_folders() -> None:
    labels, words = labels_of(["b/1.png", "a/1.png", "c/1.png", "a/2.png"], "auto")
    assert labels == [1, 0, 2, 0]
    assert "3 sorted folders" in words


def test_labels_from_prefixes_win_over_folders() -> None:
    assert labels_of(["x/0012_cat.png", "y/0999_dog_2.png"], "auto")[0] == [12, 999]


@pytest.mark.parametrize("names", [["1.png", "2.png"], ["a/1.png", "a/2.png"], ["a/1.png", "2.png"], ["0012.png"]])
def test_no_labels_where_names_do_not_tell(names: list[str]) -> None:
    assert labels_of(names, "auto") == (None, "no labels")


def test_asking_for_labels_that_names_lack_is_refused() -> None:
    with pytest.raises(DrpassError, match="by prefix"):
        labels_of(["0001_a.png", "b.png"], "prefix")
    with pytest.raises(DrpassError, match="by folders"):
        labels_of(["a/1.png", "b.png"], "folders")


@given(st.integers(1, 500), st.integers(1, 500))
def test_spread_indices_are_different_and_in_range(count: int, wanted: int) -> None:
    indices = spread(count, wanted)
    assert len(set(indices)) == len(indices) == min(count, wanted)
    assert indices == sorted(indices)
    assert indices[0] >= 0
    assert indices[-1] < count
    gaps = np.diff(indices)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(1, 100))
def test_a_limited_selection_is_balanced_over_classes(groups: list[int], limit: int) -> None:
    chosen = balanced(list(range(len(groups))), groups, limit)
    assert len(set(chosen)) == len(chosen) == min(limit, len(groups))
    sizes = {group: groups.count(group) for group in set(groups)}
    taken = {group: sum(groups[index] == group for index in chosen) for group in sizes}
    most = max(taken.values())
    # A class may only have fewer than another if it has no more, or by the one that the limit cut off.
    assert all(taken[group] >= min(sizes[group], most - 1) for group in sizes)


# Pictures


def test_one_picture(tmp_path: Path) -> None:
    image = picture(5, 4)
    image.save(tmp_path / "one.png")
    data = open_data(tmp_path / "one.png", [spec("N", 3, 4, 5)], labels="auto")
    (batch,) = data.batches()
    assert (data.n, batch.names, batch.labels) == (1, ["one.png"], None)
    np.testing.assert_array_equal(batch.feeds["x"][0].transpose(1, 2, 0), np.asarray(image, np.float32))


def test_folder_of_class_folders(classes: Path) -> None:
    data = open_data(classes, [spec("N", 3, 10, 12)], batch=4)
    pixels, labels, names = everything(data)
    assert data.n == 9
    assert data.has_labels
    assert pixels.shape == (9, 3, 10, 12)
    assert sorted(labels) == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert labels[:3] == [0, 1, 2], "classes take turns"
    index = names.index("c/0003.png")
    np.testing.assert_array_equal(pixels[index], np.asarray(picture(12, 10, 3), np.float32).transpose(2, 0, 1))
    assert "9 pictures" in data.describe()
    assert "3 sorted folders" in data.describe()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_tar_archive_gives_what_the_folder_gives(classes: Path, tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "archive"  # the kind is told by content, not by name
    with tarfile.open(archive, mode) as tar:
        tar.add(classes, arcname=".", filter=lambda member: member)
    left = everything(open_data(archive, [spec("N", 3, 10, 12)], limit=5, batch=2))
    right = everything(open_data(classes, [spec("N", 3, 10, 12)], limit=5, batch=2))
    np.testing.assert_array_equal(left[0], right[0])
    assert left[1] == right[1]
    assert [name.removeprefix("./") for name in left[2]] == right[2]


def test_data_can_be_read_twice_with_the_same_result(classes: Path) -> None:
    data = open_data(classes, [spec("N", 3, 10, 12)], limit=4)
    np.testing.assert_array_equal(everything(data)[0], everything(data)[0])


def test_channels_last_is_told_from_the_input(classes: Path) -> None:
    first = everything(open_data(classes, [spec("N", 3, 10, 12)]))[0]
    last = everything(open_data(classes, [spec("N", 10, 12, 3)]))[0]
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)


def test_a_model_that_takes_bytes_gets_bytes(classes: Path) -> None:
    pixels = everything(open_data(classes, [spec("N", 3, 10, 12, kind="uint8")]))[0]
    assert pixels.dtype == np.uint8


def test_pictures_cover_a_fixed_size_without_distortion(tmp_path: Path) -> None:
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 30, 20))
    wide.save(tmp_path / "wide.png")
    pixels = everything(open_data(tmp_path, [spec("N", 3, 10, 10)]))[0]
    assert pixels.shape == (1, 3, 10, 10)
    np.testing.assert_array_equal(pixels[0, 2, :, 1:-1], 255, err_msg="the blue middle fills it")


def test_padding_counts_towards_the_fixed_size(classes: Path) -> None:
    data = open_data(classes, [spec("N", 3, 14, 16)], preprocess=Preprocess(pad=2))
    assert everything(data)[0].shape == (9, 3, 14, 16)


def test_pictures_of_different_sizes_are_not_put_in_one_batch(tmp_path: Path) -> None:
    for name, width in (("a.png", 8), ("b.png", 8), ("c.png", 9)):
        picture(width, 8).save(tmp_path / name)
    data = open_data(tmp_path, [spec("N", 3, "H", "W")], batch=3)
    assert [batch.feeds["x"].shape for batch in data.batches()] == [(2, 3, 8, 8), (1, 3, 8, 9)]


def test_a_fixed_batch_gets_full_batches_only(classes: Path) -> None:
    data = open_data(classes, [spec(4, 3, 10, 12)])
    assert data.n == 8
    assert [batch.samples for batch in data.batches()] == [4, 4]
    assert "the last 1 left out" in data.describe()


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        ([spec("N", 3, 10, 12)], {"limit": 0}, "limit must be at least 1"),
        ([spec("N", 3, 10, 12)], {"batch": 0}, "batch must be at least 1"),
        ([spec(2, 3, 10, 12)], {"batch": 4}, "fixed at 2"),
        ([spec(16, 3, 10, 12)], {}, "too few for the model's batch of 16"),
        ([spec("N", 1, 10, 12)], {}, "set channels"),
        ([spec("N", "C", "H", "W")], {}, "--shape"),
        ([spec("N", 3)], {}, "give an .npz file"),
        ([spec("N", 3, 10, 12), spec("N", name="y")], {}, "give an .npz file"),
        ([spec("N", 3, 10, 12)], {"preprocess": Preprocess(crop=(9, 9))}, "crop 10x12 is"),
        ([spec("N", 3, 10, 12)], {"preprocess": Preprocess(pad=5)}, "leaves nothing"),
        ([spec("N", 3, "H", "W")], {"preprocess": Preprocess(crop=(11, 11))}, "give a larger resize"),
    ],
)
def test_pictures_that_do_not_fit_the_model_are_refused(
    classes: Path, inputs: list[TensorSpec], options: dict, words: str
) -> None:
    with refusing(words):
        list(open_data(classes, inputs, **options).batches())


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DrpassError, match="has no pictures"):
        open_data(tmp_path, [spec("N", 3, 4, 4)])


# Arrays


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_npz_of_samples_for_an_open_batch(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    file = saved(tmp_path / "f.npz", x=x, labels=np.arange(6))
    data = open_data(file, [spec("N", 2)], batch=2, limit=3)
    assert [batch.feeds["x"].tolist() for batch in data.batches()] == [[[2, 3], [6, 7]], [[10, 11]]]
    assert [batch.labels.tolist() for batch in data.batches()] == [[1, 3], [5]]
    assert data.n == 3


def test_npz_for_a_fixed_batch_is_one_run(tmp_path: Path) -> None:
    file = saved(tmp_path / "f.npz", x=np.zeros((6, 2), np.float32))
    (batch,) = open_data(file, [spec(6, 2)]).batches()
    assert batch.feeds["x"].shape == (6, 2)
    assert batch.samples == 6


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros((2, 2), np.float32)}, "no input 'y'"),
        ({}, "was not given"),
        ({"x": np.zeros((2, 2))}, "expects 'x' float [N, 2], but the array has type float64"),
        ({"x": np.zeros((2, 3), np.float32)}, "but the array has shape [2, 3]"),
        ({"x": np.zeros((0, 2), np.float32)}, "no samples"),
        ({"x": np.zeros((2, 2), np.float32), "labels": np.zeros(3, int)}, "labels must be 2 whole numbers"),
        ({"x": np.zeros((2, 2), np.float32), "labels": np.zeros(2)}, "labels must be 2 whole numbers"),
    ],
)
def test_npz_that_does_not_fit_the_model_is_refused(tmp_path: Path, arrays: dict, words: str) -> None:
    file = saved(tmp_path / "f.npz", **arrays)
    with refusing(words):
        open_data(file, [spec("N", 2)])


def test_npz_whose_arrays_have_different_numbers_of_samples_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "f.npz", x=np.zeros((2, 2), np.float32), y=np.zeros((3, 2), np.float32))
    with pytest.raises(DrpassError, match="same in all arrays"):
        open_data(file, [spec("N", 2), spec("M", 2, name="y")])


def test_single_arrays_by_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    file = saved(tmp_path / "f.npz", other=np.zeros((3, 1), np.float32))
    (batch,) = array_files({"x": tmp_path / "x.npy", "y": file}, [spec("N", 2), spec("N", 1, name="y")]).batches()
    assert {name: array.shape for name, array in batch.feeds.items()} == {"x": (3, 2), "y": (3, 1)}
    assert batch.samples == 3


# Random numbers and photographs


def test_random_numbers_are_seeded_and_said_to_be_random() -> None:
    inputs = [spec("N", 3, name="x"), spec("N", 2, name="k", kind="int64"), spec(name="s", kind="bool")]
    data = open_data("random", inputs, limit=3, batch=2, seed=7)
    first, again = list(data.batches()), list(data.batches())
    assert data.n == 4
    assert "RANDOM" in data.describe()
    assert not data.has_labels
    assert first[0].feeds["x"].shape == (2, 3)
    assert first[0].feeds["k"].dtype == np.int64
    assert first[0].feeds["s"].shape == ()
    np.testing.assert_array_equal(first[1].feeds["x"], again[1].feeds["x"])
    assert not np.array_equal(first[0].feeds["x"], first[1].feeds["x"])
    other = next(iter(open_data("random", inputs, batch=2, seed=8).batches()))
    assert not np.array_equal(first[0].feeds["x"], other.feeds["x"])


def test_random_numbers_of_an_open_size_are_refused() -> None:
    with pytest.raises(DrpassError, match="--shape"):
        open_data("random", [spec("N", 3, "H", "W")])


def test_random_numbers_of_an_absurd_size_are_refused() -> None:
    with pytest.raises(DrpassError, match="too large"):
        open_data("random", [spec(1 << 40, 1 << 40)])


def test_photographs_are_used_where_the_model_takes_pictures_and_nothing_was_given() -> None:
    pytest.importorskip("skimage", reason="scikit-image ships the photographs")
    data = open_data(None, [spec("N", 3, 48, 64)], limit=8)
    pixels, labels, names = everything(data)
    assert pixels.shape == (8, 3, 48, 64)
    assert labels == []
    assert not data.has_labels
    assert "no labels" in data.describe()
    assert len({name.split("+")[0] for name in names}) > 3, "photographs take turns"
    assert pixels.std() > 20, "they are pictures, not blanks"
    np.testing.assert_array_equal(pixels, everything(data)[0])


def test_random_numbers_are_used_where_the_model_takes_no_pictures() -> None:
    assert "RANDOM" in open_data(None, [spec("N", 10)]).describe()


def test_a_picture_in_a_tar_may_be_named_anything(tmp_path: Path) -> None:
    stream = io.BytesIO()
    picture(4, 4).save(stream, "PNG")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for name in ("../../outside.png", "/absolute.png", "link.png"):
            member = tarfile.TarInfo(name)
            if name == "link.png":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(stream.getvalue())
                tar.addfile(member, io.BytesIO(stream.getvalue()))
    before = set(tmp_path.parent.rglob("*"))
    assert everything(open_data(tmp_path / "evil.tar", [spec("N", 3, 4, 4)]))[0].shape == (2, 3, 4, 4)
    assert set(tmp_path.parent.rglob("*")) == before, "nothing is extracted"


def test_the_archive_and_preprocessing_of_squeezenet_give_its_published_accuracy() -> None:
    """The order of channels, the crop, the means and the labels must all be right for this."""
    data, models = os.environ.get("DRPASS_DATA"), os.environ.get("DRPASS_MODELS")
    if not data or not models:
        pytest.skip("DRPASS_DATA and DRPASS_MODELS are not set")
    session = open_session(Path(models, "squeezenet11_imagenet.onnx"), threads=1)
    steps = Preprocess.from_toml(Path(__file__).parent / "preprocess" / "squeezenet11_imagenet.toml")
    archive = Path(data, "imagenet-samples.tar.xz")
    source = open_data(archive, input_specs(session), preprocess=steps, batch=10)
    hits = [top_classes(run(session, batch.feeds)[0], 1)[:, 0] == batch.labels for batch in source.batches()]
    assert source.n == 500
    assert np.concatenate(hits).mean() >= 0.58
