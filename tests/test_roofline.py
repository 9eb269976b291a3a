"""The cost model of GPUs: counts worked out by hand, limits that it can't go below, and the tuner that goes by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gpu
import gpu_measure
import numpy as np
import pytest
from convolutions import CLUSTERED, Convolution, load_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tuning_models import classifier, split

from drpass import model_io
from drpass.errors import DrpassError
from drpass.roofline import (
    Device,
    Kernel,
    Layer,
    device,
    devices,
    exact_kernels,
    find_device,
    largest_ratio,
    milliseconds,
    reuse_kernels,
    rivals,
)
from drpass.roofline.dense import direct, winograd
from drpass.roofline.device import read_devices
from drpass.roofline.kernel import LAUNCH_SECONDS
from drpass.roofline.model import layers_of
from drpass.roofline.passes import Passes
from drpass.tune import Budget, Tuning

#: Two images of 16 channels and 8×8 pixels; 3×3 taps, 64 outputs.
SMALL = Layer(2, 16, 64, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1))
GRID = replace(CLUSTERED, sub_vector_length=4)
ALL = list(devices().values())


def kernels(layer: Layer, ratio: float) -> dict[str, Kernel]:
    return {kernel.name: kernel for kernel in reuse_kernels(layer, GRID, ratio)}


def test_dense_counts_are_those_worked_out_by_hand() -> None:
    found = exact_kernels(SMALL)[0]
    # 128 pixels and 64 outputs are one tile; 144 rows are 9 steps of 16.
    assert found.blocks == 1
    assert found.fp32 == 2 * 128 * 64 * 144
    assert found.l2 == 4 * 144 * (128 + 64) + 4 * 2 * 64 * 64
    assert found.memory == 4 * (2 * 16 * 64 + 9 * 16 * 64 + 2 * 64 * 64)


def test_perfect_rivals_are_those_worked_out_by_hand() -> None:
    assert direct(SMALL, "fp32").fp32 == 2 * 2 * 64 * 64 * 9 * 16
    filtered = winograd(SMALL, "tf32")
    assert filtered is not None
    assert filtered.tensor == 2 * 36 * (2 * 4) * 64 * 16
    assert filtered.fp32 == 8 * (16 * 12 * 13 + 64 * 10 * 10)
    assert winograd(replace(SMALL, strides=(2, 2)), "fp32") is None


def test_clustered_counts_are_those_worked_out_by_hand() -> None:
    # 2 images × 4 sub-vector groups are 8 parts of 64 pixels, with 16 clusters each; tables of 64 slots.
    found = kernels(SMALL, 0.25)
    assert found["fills"].memory == 4 * (8 * (64 + 2) + 2 * 16)
    assert found["moments"].double == 4 * 2 * 16 * 64
    assert found["sum"].l2 == 8192 + 8 * 64 * (8 + 32 + 64 * (1 + (1 + 23 / 32) * 4))
    # 16 clusters fill half of a tile of 32; 9 taps, 64 columns, 4 elements.
    assert found["table"].fp32 == 2 * 8 * 9 * 32 * 64 * 4
    # A row of 64 numbers of 2 bytes for each of 64 pixels, 9 taps and 4 groups of 2 images.
    assert found["reconstruct"].gathered == 2 * 64 * 64 * 9 * 4 * 2
    assert found["dense"].fp32 == 0


def test_tables_bring_their_weights_once_a_block_where_they_fit_in_a_slice() -> None:
    # 8 parts, 9 taps, one tile of columns; 64 pixels give at most 32 clusters: one tile. Weights are 16 elements of 64
    # columns, centroids of 32 rows; the product reads 4 + 64 values for 4 · 64 multiply-adds.
    tiles = 8 * 9
    found = kernels(SMALL, 0.25)["table"]
    assert found.shared == 4 * 68 / 256 * tiles * 32 * 64 * 4 + tiles * 4 * 16 * (64 + 32)
    assert found.others == tiles * 256 * (42 + 55 + 4 * 5.5 + 69 + 83)
    # 640 pixels with 320 clusters: ten tiles in ten blocks; a sub-vector of 16 still is one slice, one of 20 is two.
    large = Layer(1, 40, 64, (640,), (640,), (1,), (1,), (1,))
    one, two = (
        reuse_kernels(large, replace(GRID, sub_vector_length=length), 0.5)[-2].others / 256 / parts / 10
        for length, parts in ((16, 3), (20, 2))
    )
    assert one == pytest.approx(42 + 55 + 16 * 5.5 + 69 + 83)
    assert two == pytest.approx(2 * 42 + 2 * 55 + 20 * 5.5 + 69 + 83)


def test_tensor_cores_take_the_products_of_tables_and_dense_part_and_nothing_else() -> None:
    for ratio in (0.25, [0.1, 0.9, 0.1, 1.0]):
        plain, rounded = (reuse_kernels(SMALL, GRID, ratio, tensor=tensor) for tensor in (False, True))
        for before, after in zip(plain, rounded, strict=True):
            if before.name in ("table", "dense"):
                assert (before.tensor, after.fp32) == (0, 0)
            else:
                assert before == after
        # Sub-vectors of 4 elements are filled up to the 8 of an instruction.
        assert rounded[-2].tensor == 2 * plain[-2].fp32
    assert exact_kernels(SMALL, tensor=True)[0].tensor == exact_kernels(SMALL)[0].fp32


def test_what_the_guard_leaves_is_dense_work() -> None:
    half = {k.name: k for k in reuse_kernels(SMALL, GRID, [0.1, 0.9, 0.1, 1.0])}
    assert half["dense"].fp32 == 2 * 2 * 128 * 64 * 80  # a tile an image; 8 channels × 9 taps fill five steps
    assert half["reconstruct"].gathered == kernels(SMALL, 0.1)["reconstruct"].gathered / 2


def test_passes_divide_tables_that_have_no_room() -> None:
    # A table is 1000 clusters × 9 taps × 64 columns × 4 bytes: 116 of them fit in 256 MiB.
    many = replace(SMALL, channels=1024, images=2)
    found = Passes(many, 2, 256, 1000)
    assert (found.width, found.sub_groups, found.k_passes, found.count) == (64, 116, 3, 6)


layers = st.builds(
    lambda n, c, m, side, k: Layer(n, c, m, (side, side), (side, side), (k, k), (1, 1), (1, 1)),
    st.integers(1, 32), st.integers(1, 200), st.integers(1, 300), st.integers(4, 60), st.sampled_from([1, 3, 5]),
)  # fmt: skip


@settings(max_examples=60)
@given(layers, st.sampled_from(ALL), st.sampled_from(["grid", "lsh"]), st.sampled_from([4, 8, 16]))
def test_more_clusters_never_take_less_time(layer: Layer, card: Device, method: str, length: int) -> None:
    parameters = replace(CLUSTERED, method=method, sub_vector_length=length)
    times = [milliseconds(reuse_kernels(layer, parameters, ratio), card) for ratio in (0.02, 0.1, 0.2, 0.45)]
    if 0.45 * layer.pixels <= (1 << parameters.hash_bits):
        assert times == sorted(times)


@settings(max_examples=60)
@given(layers, st.sampled_from(ALL), st.floats(0.01, 1.0))
def test_no_prediction_is_below_memory_or_arithmetic(layer: Layer, card: Device, ratio: float) -> None:
    for kernel in [*reuse_kernels(layer, GRID, ratio), *exact_kernels(layer), direct(layer, "fp32")]:
        seconds = kernel.seconds(card)
        assert seconds >= kernel.launches * LAUNCH_SECONDS
        assert seconds >= kernel.memory / (1e9 * card.memory_gbs)
        assert seconds >= kernel.fp32 / (1e12 * card.fp32_tflops)


def test_limit_of_r_c_is_where_the_times_meet() -> None:
    layer, card = Layer(16, 512, 512, (28, 28), (28, 28), (3, 3), (1, 1), (1, 1)), find_device("a100")
    parameters = replace(CLUSTERED, sub_vector_length=32)
    reference = rivals(layer, card, "fp32")["direct fp32"]
    limit = largest_ratio(layer, parameters, card, reference)
    assert limit is not None
    assert milliseconds(reuse_kernels(layer, parameters, limit), card) <= reference
    assert milliseconds(reuse_kernels(layer, parameters, 1.2 * limit), card) > reference
    assert largest_ratio(layer, parameters, card, 0.0) is None
    assert largest_ratio(layer, parameters, card, 1e9) == pytest.approx(0.5)


def test_rates_agree_with_clock_and_units() -> None:
    lanes = {"T4": 64, "A100 SXM 40 GB": 64, "H100 SXM5": 128, "RTX 4090": 128}
    for card in ALL:
        assert card.fp32_rate == pytest.approx(2 * lanes[card.name] * card.sms * card.clock, rel=0.01)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sms = 40", "sms = 0", "GPU 't4': sms must be"),
        ("sms = 40", "", "sms is missing"),
        ("mhz = 1590", "hz = 1", "key 'hz'"),
    ],
)
def test_file_of_devices_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "d.toml"
    path.write_text(Path(device.__file__).with_name("devices.toml").read_text().replace(old, new, 1))
    with pytest.raises(DrpassError, match=words):
        read_devices(path)


def test_unknown_device_is_refused_with_the_list() -> None:
    with pytest.raises(DrpassError, match=r"'p4'; there are t4, a100"):
        find_device("p4")


def test_layers_of_a_model_have_its_sizes() -> None:
    found = layers_of(classifier(), {"x": [3, 8, 16, 16]})
    assert found["", "first"] == Layer(3, 8, 32, (16, 16), (16, 16), (3, 3), (1, 1), (1, 1))
    assert found["", "last"] == Layer(1, 48, 10, (3,), (3,))


def test_tuner_without_gain_on_the_device_says_that_times_are_predicted(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    model_io.save(classifier(), path)
    report = Tuning(path, split(), Budget(min_sqnr=8.0), threads=1, device=find_device("t4")).run().report
    assert report.speed is None
    assert "predicted for T4, not measured" in report.verdict
    assert report.to_dict()["predicted_for"] == "T4"


def test_tuner_clusters_where_the_model_predicts_a_gain_and_the_plan_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    original = classifier()
    for entry in (node for node in original.graph.node if node.op_type == "Conv"):
        entry.attribute[0].ints[:] = [2] * 4  # the pads of a dilated kernel, which Winograd's filtering does not serve
        entry.attribute.append(helper.make_attribute("dilations", [2, 2]))
    model_io.save(original, path)
    # Arithmetic of a thousandth, everything else a hundred times as fast, so that products are what costs.
    slow = replace(find_device("t4"), name="slow", fp32_tflops=0.002, l2_gbs=1e5, memory_gbs=1e5, sms=1000)
    tuned = Tuning(path, split(), Budget(min_sqnr=8.0), threads=1, device=slow).run()
    assert tuned.report.speed is not None
    assert tuned.report.speed.ratio.median > 1.0
    assert tuned.report.speed.pairs == 0
    assert "predicted for slow, not measured" in tuned.report.verdict
    tuned.plan.write(tmp_path / "plan.toml")
    text = (tmp_path / "plan.toml").read_text()
    assert 'times_predicted_for = "slow"' in text
    assert "predicted_ms" in text
    assert any(entry.parameters and entry.parameters.method != "exact" for entry in tuned.plan.nodes)


NETWORKS = """[tiny]
title = "Tiny"
layers = [{ name = "one", channels = 8, outputs = 32, size = 12, kernel = 3 }]
"""


def test_json_has_every_batch_device_and_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "n.toml"
    path.write_text(NETWORKS)
    assert gpu.main(["--networks", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predicted"]
    assert [entry["batch"] for entry in found] == [1, 16, 128]
    assert list(found[0]["predicted"]) == list(devices())
    assert {kernel["name"] for kernel in found[0]["kernels"]} >= {"insert", "table", "reconstruct"}


def test_layers_are_written_at_every_batch_with_the_counts_of_the_kernels(tmp_path: Path) -> None:
    path = tmp_path / "layers.md"
    path.write_text("# Kept\n")
    assert gpu.main(["--layers", str(path)]) == 0
    text = path.read_text()
    assert text.startswith("# Kept\n")
    counts = [line for line in text.splitlines() if line.startswith("| 256→256, 3×3, 56²")]
    assert len(counts) == 3 * (1 + len(devices()))
    memory, operations = counts[0].split("|")[2].split(",")
    layer = Layer(1, 256, 256, (56, 56), (56, 56), (3, 3), (1, 1), (1, 1))
    assert float(memory) >= 0.99 * (layer.x_bytes + layer.w_bytes + layer.y_bytes) / 1e6  # three digits
    assert float(operations) >= layer.multiplications / 1e9


def test_measuring_writes_predicted_and_measured_sections(tmp_path: Path) -> None:
    path, out = tmp_path / "n.toml", tmp_path / "out.md"
    path.write_text(NETWORKS)
    arguments = ["--networks", str(path), "--measure", "cpu", "--batches", "2", "--quick", "--out", str(out)]
    assert gpu.main(arguments) == 0
    text = out.read_text()
    assert "<!-- measured: roofline -->" in text
    assert text.count("| 8→32, 3×3, 12² | 2 ") == 3
    assert "measured on the CPU" in text


def test_measuring_covers_every_input(tmp_path: Path) -> None:
    path = tmp_path / "n.toml"
    path.write_text(NETWORKS)
    found = gpu_measure.measure(load_networks(path)[0].layers[0], 2, "cpu", gpu_measure.Effort(2, 1))
    assert [entry.input for entry in found] == ["r_c 0.05", "r_c 0.1", "r_c 0.2"]
    assert all(entry.dense_ms > 0 and entry.clustered_ms > 0 for entry in found)


def test_made_up_input_has_the_wanted_share_of_different_pixels() -> None:
    x = gpu_measure.made_up(Convolution("c", 3, 4, 10, 3), 2, 0.2)
    for image in x:
        assert len(np.unique(image.reshape(3, -1).T, axis=0)) == 20


def test_networks_that_are_wrong_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "n.toml"
    path.write_text(NETWORKS.replace("kernel = 3", "kernel = 0"))
    assert gpu.main(["--networks", str(path)]) == 2
    assert "network 'tiny': kernel must be" in capsys.readouterr().err
