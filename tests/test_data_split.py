"""Data in two parts, and data that a function of the user yields."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from command_line import refusing
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drpass.data import Data, Preprocess, open_data, open_split
from drpass.data.split import stratified
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec

Written = Callable[[str], Path]


def spec(*shape: int | str, name: str = "x") -> TensorSpec:
    return TensorSpec(name, "tensor(float)", shape)


PICTURES = [spec("N", 3, 8, 8)]
VECTORS = [spec("N", 2)]


def names(data: Data) -> list[str]:
    return [name for batch in data.batches() for name in batch.names]


def labels(data: Data) -> list[int]:
    return [int(label) for batch in data.batches() if batch.labels is not None for label in batch.labels]


def values(data: Data) -> np.ndarray:
    return np.concatenate([batch.feeds["x"] for batch in data.batches()])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folders a, b and c of 12, 24 and 36 pictures."""
    for folder, count in (("a", 12), ("b", 24), ("c", 36)):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for index in range(count):
            colour = (ord(folder), index, 0)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "pictures" / folder / f"{index:03d}.png")
    return tmp_path / "pictures"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """40 rows of which each is another, of 4 classes."""
    path = tmp_path / "vectors.npz"
    np.savez(path, x=np.arange(80, dtype=np.float32).reshape(40, 2), labels=np.arange(40) % 4)
    return path


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a Python file of generators."""

    def write(text: str) -> Path:
        path = tmp_path / "generators.py"
        path.write_text("import numpy as np\n" + dedent(text))
        return path

    return write


# Splitting


def test_the_parts_of_a_folder_are_disjoint_and_have_their_share_of_every_class(pictures: Path) -> None:
    split = open_split(pictures, PICTURES)
    assert not set(names(split.calibration)) & set(names(split.held_out))
    assert len(set(names(split.calibration) + names(split.held_out))) == 72
    assert np.bincount(labels(split.calibration)).tolist() == [6, 12, 18]
    assert np.bincount(labels(split.held_out)).tolist() == [6, 12, 18]
    assert "calibration part, seed 0" in split.calibration.describe()


def test_a_picture_keeps_its_label_and_pixels_in_its_part(pictures: Path) -> None:
    held_out = open_split(pictures, PICTURES, calibration=20).held_out
    for batch in held_out.batches():
        assert batch.labels is not None
        assert int(batch.feeds["x"][0, 0, 0, 0]) == ord(batch.names[0][0]) == ord("a") + batch.labels[0]
        assert int(batch.feeds["x"][0, 1, 0, 0]) == int(batch.names[0][2:5])


@given(st.lists(st.integers(0, 5), max_size=80), st.integers(0, 2**32))
def test_every_beginning_of_a_stratified_order_has_its_share_of_each_group(groups: list[int], seed: int) -> None:
    order = stratified(groups, seed)
    assert sorted(order) == list(range(len(groups)))
    assert order == stratified(groups, seed)
    for group in set(groups):
        share = groups.count(group) / len(groups)
        for end in range(len(groups) + 1):
            found = sum(groups[index] == group for index in order[:end])
            # Half a member of this group and half of all others at most are out of turn.
            assert abs(found - share * end) <= (len(set(groups)) + 1) / 2


def test_classes_of_one_picture_each_are_drawn_at_random() -> None:
    chosen = [tuple(stratified(range(100), seed)[:20]) for seed in range(3)]
    assert len(set(chosen)) == 3
    assert all(max(part) > 50 for part in chosen)


def test_the_same_seed_gives_the_same_split_and_another_seed_another(pictures: Path) -> None:
    first, again, other = (open_split(pictures, PICTURES, seed=seed) for seed in (0, 0, 1))
    assert names(first.calibration) == names(again.calibration)
    assert first.fingerprint == again.fingerprint
    assert set(names(first.calibration)) != set(names(other.calibration))
    assert first.fingerprint != other.fingerprint
    assert other.seed == 1


def test_the_fingerprint_tells_another_place_from_other_data(pictures: Path, tmp_path: Path) -> None:
    before = open_split(pictures, PICTURES).fingerprint
    assert open_split(pictures, PICTURES, preprocess=Preprocess(scale=0.5)).fingerprint != before
    assert open_split(pictures, PICTURES, calibration=30).fingerprint != before
    assert open_split(pictures, PICTURES, labels="none").fingerprint != before
    moved = pictures.rename(tmp_path / "moved")
    assert open_split(moved, PICTURES).fingerprint == before
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(moved / "a" / "000.png")
    assert open_split(moved, PICTURES).fingerprint != before


def test_the_fingerprint_of_arrays_tells_a_changed_value(tmp_path: Path, vectors: Path) -> None:
    x = np.arange(80, dtype=np.float32).reshape(40, 2)
    before = open_split(vectors, VECTORS).fingerprint
    np.savez(tmp_path / "same.npz", x=x, labels=np.arange(40) % 4)
    assert open_split(tmp_path / "same.npz", VECTORS).fingerprint == before
    x[0, 0] = 1
    np.savez(tmp_path / "other.npz", x=x, labels=np.arange(40) % 4)
    assert open_split(tmp_path / "other.npz", VECTORS).fingerprint != before


def test_a_tar_archive_is_split_like_its_folder_in_whatever_order_it_was_packed(pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.rglob("*.png"))
    splits = [open_split(pictures, PICTURES, seed=3)]
    for name, order in (("one.tar", files), ("two.tar", files[::-1])):
        with tarfile.open(tmp_path / name, "w") as tar:
            for file in order:
                tar.add(file, arcname=str(file.relative_to(pictures)))
        splits.append(open_split(tmp_path / name, PICTURES, seed=3))
    assert len({split.fingerprint for split in splits}) == 1
    assert names(splits[0].held_out) == names(splits[1].held_out) == names(splits[2].held_out)


def test_only_pictures_of_the_part_that_is_read_are_decoded(pictures: Path) -> None:
    split = open_split(pictures, PICTURES)
    (pictures / names(split.held_out)[0]).write_bytes(b"damaged")
    assert len(names(split.calibration)) == 36
    with pytest.raises(DrpassError, match="can't be decoded"):
        names(split.held_out)


@pytest.mark.parametrize("batch", ["N", 10], ids=["open", "fixed"])
def test_parts_are_full_batches(pictures: Path, batch: int | str) -> None:
    split = open_split(pictures, [spec(batch, 3, 8, 8)], batch=10)
    assert (split.calibration.n, split.held_out.n) == (30, 40)
    assert {entry.samples for entry in split.held_out.batches()} == {10}


def test_sizes_that_are_given_are_kept(vectors: Path) -> None:
    split = open_split(vectors, VECTORS, calibration=8, held_out=12)
    assert (split.calibration.n, split.held_out.n) == (8, 12)
    assert np.bincount(labels(split.calibration)).tolist() == [2, 2, 2, 2]
    rows = np.concatenate([values(split.calibration), values(split.held_out)])
    assert len(np.unique(rows, axis=0)) == 20


def test_many_samples_give_256_for_calibration(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", x=np.zeros((1000, 2), np.float32))
    split = open_split(tmp_path / "many.npz", VECTORS)
    assert (split.calibration.n, split.held_out.n) == (256, 744)


def test_arrays_of_several_fixed_batches_are_split_by_sample(vectors: Path) -> None:
    data = open_data(vectors, [spec(8, 2)])
    assert [batch.feeds["x"].shape for batch in data.batches()] == [(8, 2)] * 5
    split = open_split(vectors, [spec(8, 2)])
    assert (split.calibration.n, split.held_out.n) == (16, 24)
    assert open_data(vectors, [spec(8, 2)], limit=20).n == 16


def test_random_numbers_and_photographs_can_be_split() -> None:
    split = open_split("random", VECTORS, batch=4)
    assert (split.calibration.n, split.held_out.n) == (32, 32)
    assert "RANDOM" in split.held_out.describe()
    assert len(np.unique(np.concatenate([values(split.calibration), values(split.held_out)]), axis=0)) == 64
    pytest.importorskip("skimage", reason="scikit-image ships the photographs")
    split = open_split("photographs", PICTURES)
    assert not set(names(split.calibration)) & set(names(split.held_out))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 21}, "40 samples are too few to split"),
        ({"limit": 1}, "1 samples are too few to split"),
        ({"calibration": 0}, "calibration part must have at least 1"),
        ({"held_out": -1}, "held-out part must have at least 1"),
        ({"calibration": 30, "held_out": 11}, "only 40 samples for 30 + 11"),
        ({"calibration": 40}, "the held-out part has less than one call"),
        (
            {"calibration": 7, "batch": 8},
            "less than one call of the model; it must have at least 8",
        ),
    ],
)
def test_a_split_that_can_not_be_is_refused(vectors: Path, options: dict, words: str) -> None:
    with refusing(words):
        open_split(vectors, VECTORS, **options)


# The first samples of data


@pytest.mark.parametrize(("wanted", "sizes"), [(1, [1]), (8, [8]), (10, [8, 2]), (40, [8] * 5), (99, [8] * 5)])
def test_the_first_samples_of_data(vectors: Path, wanted: int, sizes: list[int]) -> None:
    data = open_data(vectors, VECTORS, batch=8)
    first = data.first(wanted)
    assert [batch.samples for batch in first.batches()] == sizes
    assert first.n == sum(sizes)
    np.testing.assert_array_equal(values(first), values(data)[: sum(sizes)])
    assert labels(first) == labels(data)[: sum(sizes)]


def test_the_first_samples_of_a_fixed_batch_are_full_batches(vectors: Path) -> None:
    first = open_data(vectors, [spec(8, 2)]).first(9)
    assert (first.n, [batch.samples for batch in first.batches()]) == (16, [8, 8])


# Generators

CALLS = """
def calls():
    generator = np.random.default_rng(1)
    for size in (2, 3, 1, 2):
        yield {"x": generator.standard_normal((size, 2)).astype(np.float32)}
"""


def test_a_generator_is_data_that_can_be_read_again(written: Written) -> None:
    data = open_data(f"{written(CALLS)}:calls", VECTORS)
    assert (data.n, data.has_labels) == (8, False)
    assert [batch.samples for batch in data.batches()] == [2, 3, 1, 2]
    np.testing.assert_array_equal(values(data), values(data))
    assert values(data)[0] == pytest.approx(np.random.default_rng(1).standard_normal(2))


def test_a_generator_of_a_module_is_found_from_the_current_folder(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(CALLS).rename(written(CALLS).with_name("module_of_calls.py"))
    monkeypatch.chdir(path.parent)
    assert open_data("module_of_calls:calls", VECTORS).n == 8


def test_a_generator_with_labels(written: Written) -> None:
    path = written('def calls():\n    for i in range(4):\n        yield {"x": np.zeros((1, 2), np.float32)}, [i % 2]')
    split = open_split(f"{path}:calls", VECTORS)
    assert sorted(labels(split.calibration)) == sorted(labels(split.held_out)) == [0, 1]


def test_whole_calls_of_a_generator_are_split(written: Written) -> None:
    split = open_split(f"{written(CALLS)}:calls", VECTORS)
    assert split.calibration.n + split.held_out.n == 8
    assert not set(names(split.calibration)) & set(names(split.held_out))
    both = np.concatenate([values(split.calibration), values(split.held_out)])
    assert len(np.unique(both, axis=0)) == 8
    assert open_split(f"{written(CALLS)}:calls", VECTORS).fingerprint == split.fingerprint
    changed = written(CALLS.replace("rng(1)", "rng(2)"))
    assert open_split(f"{changed}:calls", VECTORS).fingerprint != split.fingerprint


def test_a_generator_without_an_end_is_cut_by_the_limit(written: Written) -> None:
    path = written('def calls():\n    while True:\n        yield {"x": np.zeros((2, 2), np.float32)}')
    assert open_data(f"{path}:calls", VECTORS, limit=5).n == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise ValueError("two\\nlines")', "calls raised ValueError: two lines"),
        ("yield from ()", "yields nothing"),
        ("return 3", "raised TypeError"),
        ('yield {"y": np.zeros((1, 2), np.float32)}', "call 0: the model has no input 'y'"),
        ('yield {"x": np.zeros((1, 2))}', "call 0: the model expects 'x' float [N, 2], but the array has type float64"),
        ('yield {"x": np.zeros((0, 2), np.float32)}', "there are no samples"),
        ("yield np.zeros((1, 2), np.float32)", "a generator yields a dict of arrays"),
        ('yield {"x": np.zeros((2, 2), np.float32)}, [1]', "labels must be 2 whole numbers"),
        ('yield {"x": np.zeros((1, 2), np.float32)}, ["cat"]', "labels must be 1 whole numbers"),
        (
            'x = {"x": np.zeros((1, 2), np.float32)}\n    yield x\n    yield x, [0]',
            "labels for some calls only",
        ),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
    ],
)
def test_a_generator_with_a_mistake_is_refused_in_one_line(written: Written, body: str, words: str) -> None:
    path = written(f"def calls():\n    {body}\n")
    with refusing(words):
        open_data(f"{path}:calls", VECTORS)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{path}:other", "has no function 'other'"),
        ("{path}:np", "has no function 'np'"),
        ("{path}.missing.py:calls", "does not exist"),
        ("no.such.module:calls", "raised ModuleNotFoundError"),
        ("nothing", "file.py:generator"),
    ],
)
def test_a_generator_that_is_not_there_is_refused(written: Written, source: str, words: str) -> None:
    with refusing(words):
        open_data(source.format(path=written(CALLS)), VECTORS)


def test_a_file_of_generators_that_does_not_run_is_refused(written: Written) -> None:
    with pytest.raises(DrpassError, match="raised SyntaxError"):
        open_data(f"{written('def calls(:')}:calls", VECTORS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("rows = 4 - state.pop()", "yields 3 calls, but 4 before"),
        ("rows, value = 4, state.pop()", "call 0 is not what it was before"),
    ],
)
def test_a_generator_that_is_another_when_called_again_is_refused(written: Written, body: str, words: str) -> None:
    path = written(
        f"""
        state = [1, 0]
        def calls():
            value = 0
            {body}
            for _ in range(rows):
                yield {{"x": np.full((1, 2), value, np.float32)}}
        """
    )
    data = open_data(f"{path}:calls", VECTORS)
    with pytest.raises(DrpassError, match=words):
        list(data.batches())


def test_the_batch_of_a_generator_is_its_own(written: Written) -> None:
    with pytest.raises(DrpassError, match="leave --batch out"):
        open_data(f"{written(CALLS)}:calls", VECTORS, batch=2)
