"""The table of `make bench`: its parts on constructed cases, and the whole on a tiny network."""

from __future__ import annotations

import math
import tarfile
from pathlib import Path

import layer
import measure
import numpy as np
import onnx
import pytest
import quality
import scenes
import table
from intervals import bootstrap_interval
from memory import peak_bytes
from models_for_tests import model, node, random_array
from PIL import Image
from test_bench_rows import ROW

from drpass.data import Batch, Data, Preprocess
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.validation import Accuracy, Agreement, Classification


def test_interval_of_equal_values_is_that_value() -> None:
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)


def test_interval_is_that_of_the_normal_approximation_for_many_values() -> None:
    values = np.random.default_rng(1).normal(3, 2, 4000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_interval(values) == (low, high)


def test_interval_of_two_values_reaches_both() -> None:
    # A mean of two draws is each value in a quarter of the resamples.
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def classification(lost: int, gained: int, n: int, interval: tuple[float, float], same: float) -> Classification:
    accuracy = Accuracy(n, 0.8, 0.8 - (lost - gained) / n, lost, gained, interval, 0.5)
    return Classification(Agreement(n, same, None), accuracy)


@pytest.mark.parametrize(
    ("interval", "same", "good"),
    [
        ((-0.02, 0.01), 0.99, True),
        ((-0.02, -0.0005), 0.99, True),  # the lower end of the loss is exactly the limit
        ((-0.02, -0.0006), 0.99, False),  # surely more lost than allowed
        ((-0.02, 0.01), 0.98, False),  # too many classes changed
    ],
)
def test_loss_is_judged_by_the_lower_end_of_its_interval_and_agreement(
    interval: tuple[float, float], same: float, good: bool
) -> None:
    found = quality.class_quality(classification(30, 10, 1000, interval, same), "data", 0.0005)
    assert found.good is good
    assert found.loss == pytest.approx(0.02)
    assert found.interval == (-interval[1], -interval[0])
    assert "loss +2.00" in found.words


def test_classes_without_labels_are_refused() -> None:
    with pytest.raises(DrpassError, match="no labels"):
        quality.class_quality(Classification(Agreement(3, 1.0, None), None), "data", 0.1)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((1, 3, 4, 4), 0.5)
    assert quality.psnr((truth + 0.1).astype(np.float32), truth) == pytest.approx(20, abs=1e-5)
    assert quality.psnr(truth.astype(np.float32), truth) == math.inf
    # Values outside of 0..1 are clipped, as in a picture.
    assert quality.psnr(np.full((1, 3, 4, 4), 7.0, np.float32), np.ones((1, 3, 4, 4))) == math.inf
    with pytest.raises(DrpassError, match="gives"):
        quality.psnr(np.zeros((1, 3, 8, 8), np.float32), truth)


def test_picture_loss_is_paired() -> None:
    # 0.05 dB on each picture: pictures differ by far more than that, and the interval does not.
    found = quality.picture_quality([(20.0, 19.95), (40.0, 39.95), (30.0, 29.95)], "data", 0.1)
    assert found.loss == pytest.approx(0.05)
    assert found.interval == pytest.approx((0.05, 0.05))
    assert found.good
    assert not quality.picture_quality([(20.0, 19.8), (40.0, 39.8)], "data", 0.1).good


def test_half_is_the_mean_of_four_pixels() -> None:
    pixels = np.array([[0, 100, 8, 8], [100, 200, 8, 8]], np.uint8)
    assert np.asarray(scenes.half(Image.fromarray(pixels))).tolist() == [[100, 8]]


def test_sheets_are_made_of_different_pictures_at_their_own_size(tmp_path: Path) -> None:
    for index in range(9):
        Image.new("RGB", (scenes.TILE + 8, scenes.TILE), (index * 20, 0, 0)).save(tmp_path / f"{index}.png")
    made = scenes.sheets(tmp_path, 2 * scenes.TILE, 2)
    assert [sheet.size for sheet in made] == 2 * [(2 * scenes.TILE, 2 * scenes.TILE)]
    corners = [sheet.getpixel((x, y)) for sheet in made for y in (0, scenes.TILE) for x in (0, scenes.TILE)]
    assert len(set(corners)) == 8
    with pytest.raises(DrpassError, match="pictures for 2 sheets"):
        scenes.sheets(tmp_path, 2 * scenes.TILE, 3)


def test_film_pans_by_two_pixels_and_brightens_by_a_tenth() -> None:
    pytest.importorskip("skimage")
    first, second = (np.asarray(frame) for frame in scenes.film("pan", 128, 2))
    assert np.array_equal(first[:, 2:], second[:, :-2])
    assert not np.array_equal(first, second)
    frames = [np.asarray(frame, np.float64) for frame in scenes.film("brighten", 128, scenes.FRAMES)]
    dark = frames[0] < 200
    assert frames[-1][dark].sum() == pytest.approx(1.1 * frames[0][dark].sum(), rel=0.01)


def test_noise_has_the_shape_and_range_of_the_data_and_never_repeats() -> None:
    feeds = {"x": np.linspace(-2, 3, 600, dtype=np.float32).reshape(2, 3, 10, 10)}
    data = Data(2, "data", False, lambda: iter([Batch(feeds, None, ["a", "b"])]))
    noise, other = (batch.feeds["x"] for batch in scenes.noise_like(data, 2).batches())
    assert not np.isin(noise, other).any()
    assert noise.shape == (2, 3, 10, 10)
    assert noise.dtype == np.float32
    assert -2 <= noise.min() < -1.9
    assert 2.9 < noise.max() <= 3


def two_convolutions() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"], name="conv2", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["e"]),
        node("Flatten", ["e"], ["y"]),
    ]
    constants = {"w1": random_array(16, 3, 3, 3), "w2": random_array(10, 16, 3, 3, seed=1)}
    return model(nodes, {"x": ["N", 3, 32, 32]}, {"y": ["N", 10]}, constants)


def test_layer_is_cut_out_with_its_relu_and_fed_what_the_network_feeds_it() -> None:
    network = two_convolutions()
    conv = layer.find_convolution(network, "*2")
    alone = layer.cut_layer(network, conv)
    assert [entry.op_type for entry in alone.graph.node] == ["Conv", "Relu"]
    x = random_array(2, 3, 32, 32)
    data = Data(2, "data", False, lambda: iter([Batch({"x": x}, None, ["a", "b"])]))
    (batch,) = layer.activations(network, conv, data).batches()
    cut = run(open_session(alone), batch.feeds)[0]
    whole = run(open_session(network), {"x": x})[0]
    np.testing.assert_allclose(cut.mean(axis=(2, 3)), whole, rtol=1e-5)


@pytest.mark.parametrize("pattern", ["conv*", "none"])
def test_pattern_must_match_one_convolution(pattern: str) -> None:
    with pytest.raises(DrpassError, match="must match one Conv"):
        layer.find_convolution(two_convolutions(), pattern)


def test_layer_whose_result_has_other_uses_is_cut_without_the_relu() -> None:
    network = two_convolutions()
    network.graph.output.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["N", 10, 32, 32]))
    alone = layer.cut_layer(network, layer.find_convolution(network, "conv2"))
    assert [entry.op_type for entry in alone.graph.node] == ["Conv"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rows file with a network and labelled pictures that are there."""
    onnx.save(two_convolutions(), tmp_path / "tiny.onnx")
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "tiny.tar", "w") as archive:
        for index in range(6):
            picture = tmp_path / "picture.png"
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(picture)
            archive.add(picture, f"{index:04}_picture.png")
    (tmp_path / "rows.toml").write_text(ROW, encoding="utf-8")
    monkeypatch.setenv("DRPASS_MODELS", str(tmp_path))
    monkeypatch.setenv("DRPASS_DATA", str(tmp_path))
    measure._open_once.cache_clear()
    return tmp_path


def test_table_of_a_tiny_network(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tiny / "performance.md"
    options = ["--rows-file", tiny / "rows.toml", "--work", tiny / "work", "--threads", "1,2", "--out", out]
    assert table.main([str(option) for option in options]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.strip() in f"<!-- measured: table -->\n{capsys.readouterr().out.strip()}\n<!-- end of table -->"
    lines = [line for line in text.splitlines() if line.startswith("| tiny \\| network")]
    assert [line.split(" | ")[2].strip() for line in lines[:2]] == ["1", "2"]
    assert "same class 100.00 %, n 6" in lines[2]
    assert "6 pictures of tiny.tar" in text
    assert str(tiny) not in text.split("`", 2)[2]


def test_row_whose_data_is_missing_says_so(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "tiny.tar").unlink()
    assert table.main(["--rows-file", str(tiny / "rows.toml"), "--work", str(tiny / "work")]) == 0
    assert "not measured: DRPASS_DATA names no folder with tiny.tar" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "one"], "--threads must be whole numbers"),
        (["--quick", "--out", "x.md"], "leave out --quick and --rows"),
        (["--rows", "none"], "has no row 'none'"),
        (["--rows-file", "none.toml"], "can't read none.toml"),
    ],
)
def test_table_refuses_bad_options_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert table.main([*arguments, "--work", str(tmp_path / "work")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def doubling(path: Path, factor: float) -> Path:
    """A network that repeats each pixel twice along both axes, times the factor."""
    nodes = [
        node("Resize", ["x", "", "s"], ["z"], mode="nearest", coordinate_transformation_mode="asymmetric"),
        node("Mul", ["z", "f"], ["y"]),
    ]
    constants = {"s": np.array([1, 1, 2, 2], np.float32), "f": np.array(factor, np.float32)}
    onnx.save(model(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H2", "W2"]}, constants), path)
    return path


def test_super_resolution_is_judged_on_pictures_that_were_halved(tmp_path: Path) -> None:
    right, darker = doubling(tmp_path / "right.onnx", 1.0), doubling(tmp_path / "darker.onnx", 0.9)
    # Squares of 2 x 2 pixels but for one pixel of noise: doubling is nearly right.
    pixels = np.random.default_rng(0).integers(0, 250, (8, 8, 3), np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    pixels[0, 0] += 4
    truths = [Image.fromarray(pixels)]
    preprocess = Preprocess(scale=1 / 255)
    same = quality.judge_pictures(right, right, truths, preprocess, 0.1)
    assert (same.loss, same.good) == (0, True)
    assert float(same.words.split()[1]) > 60
    worse = quality.judge_pictures(right, darker, truths, preprocess, 0.1)
    assert worse.loss > 20
    assert not worse.good
    assert quality.judge_pictures(darker, right, truths, preprocess, 0.1).loss == pytest.approx(-worse.loss)


def test_memory_of_a_session_counts_its_weights(tmp_path: Path) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("the system does not tell the peak memory of a process")
    constants = {"w": np.ones((4096, 4096), np.float32)}
    big = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4096]}, {"y": ["N", 4096]}, constants)
    small = model([node("Abs", ["x"], ["y"])], {"x": ["N", 4096]}, {"y": ["N", 4096]})
    for name, proto in (("big", big), ("small", small)):
        onnx.save(proto, tmp_path / f"{name}.onnx")
    feeds = 2 * [{"x": random_array(2, 4096)}]
    sizes = [peak_bytes(tmp_path / f"{name}.onnx", feeds, 1) for name in ("big", "small")]
    assert sizes[0] - sizes[1] >= 60 << 20
    with pytest.raises(DrpassError, match=r"memory was not measured: .*no such file"):
        peak_bytes(tmp_path / "none.onnx", feeds, 1)
