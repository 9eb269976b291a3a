from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import cuda_device
import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, model, node, random_array
from onnx import helper
from rewriting import rewrite

from drpass import runtime
from drpass.inference import infer, summary


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """x [N, 4] → scores [N, 7]."""
    held = {"w": random_array(4, 7)}
    onnx.save(
        model([node("MatMul", ["x", "w"], ["scores"])], {"x": ["N", 4]}, {"scores": ["N", 7]}, held),
        tmp_path / "m.onnx",
    )
    return tmp_path / "m.onnx"


@pytest.fixture
def x(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", random_array(3, 4, seed=1))
    return tmp_path / "x.npy"


def test_outputs_are_shown_and_saved(scores: Path, x: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    outcome = drpass("run", scores, "--input", f"x={x}", "--output", out)
    assert outcome.status == 0
    expected = random_array(3, 4, seed=1) @ random_array(4, 7)
    np.testing.assert_allclose(np.load(out)["scores"], expected, rtol=1e-4, atol=1e-5)
    best = ", ".join(map(str, np.argsort(-expected[0])[:5]))
    assert f"sample 0: best classes {best}" in outcome.out
    assert "Ran on CPUExecutionProvider: 1 " in outcome.out
    assert "[3, 7]" in outcome.out


def test_json_gives_figures_and_placement(scores: Path, x: Path) -> None:
    report = json.loads(drpass("run", scores, "--input", f"x={x}", "--json").out)
    expected = random_array(3, 4, seed=1) @ random_array(4, 7)
    (output,) = report["outputs"]
    assert (output["name"], output["dtype"], output["shape"]) == ("scores", "float32", [3, 7])
    assert output["mean"] == pytest.approx(expected.mean(), rel=1e-4)
    assert output["top5"] == np.argsort(-expected, axis=1)[:, :5].tolist()
    assert list(report["placement"]) == ["CPUExecutionProvider"]


def test_placement_counts_replaced_nodes() -> None:
    result = infer(rewrite(conv_model([node("Relu", ["conv_out"], ["y"])])).model, "random")
    assert result.placement == {"CPUExecutionProvider": {"DeepReuseGemm": 1}}


def test_batches_are_joined(scores: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=random_array(5, 4, seed=1))
    common = ("run", scores, "--data", tmp_path / "x.npz", "--batch", "2", "--json")
    assert json.loads(drpass(*common, "--limit", "5").out)["outputs"][0]["shape"] == [5, 7]
    assert json.loads(drpass(*common).out)["outputs"][0]["shape"] == [2, 7], "one batch unless told"


def test_random_input_of_a_given_shape(tmp_path: Path) -> None:
    onnx.save(model([node("Abs", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, {"y": None}), tmp_path / "m.onnx")
    outcome = drpass("run", tmp_path / "m.onnx", "--random", "--shape", "x=2x3x5x7", "--json")
    assert json.loads(outcome.out)["outputs"][0]["shape"] == [2, 3, 5, 7]
    assert "RANDOM" in outcome.out
    refused(drpass("run", tmp_path / "m.onnx", "--random"), "open dimensions", "--shape")
    refused(drpass("run", tmp_path / "m.onnx", "--random", "--shape", "x=2x4x5x7"), "does not fit", "[N, 3, H, W]")
    refused(drpass("run", tmp_path / "m.onnx", "--random", "--shape", "z=2x4x5x7"), "no input 'z'")


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    figures = summary(np.array([1.0, np.nan, np.inf, 3.0]))
    assert (figures["min"], figures["max"], figures["mean"], figures["not_finite"]) == (1, 3, 2, 2)
    assert summary(np.array([np.nan]))["mean"] is None
    assert summary(np.zeros((0, 3)))["min"] is None
    assert summary(np.array(["text"], object))["not_finite"] == 0


def test_outputs_with_awkward_names_are_saved(tmp_path: Path) -> None:
    names = ["file", "a/b:0", "allow_pickle"]
    nodes = [node("Identity", ["x"], [name]) for name in names]
    onnx.save(model(nodes, {"x": [2]}, {name: [2] for name in names}), tmp_path / "m.onnx")
    assert drpass("run", tmp_path / "m.onnx", "--random", "--output", tmp_path / "o.npz").status == 0
    with np.load(tmp_path / "o.npz") as arrays:
        assert sorted(arrays.files) == sorted(names)


# Bad input


def test_wrong_inputs_name_what_is_expected(scores: Path, x: Path, tmp_path: Path) -> None:
    expected = "'x' float [N, 4]"
    refused(drpass("run", scores, "--input", f"y={x}"), "no input 'y'", expected)
    for array, words in ((np.zeros((3, 5), np.float32), "shape [3, 5]"), (np.zeros((3, 4)), "type float64")):
        np.save(tmp_path / "bad.npy", array)
        refused(drpass("run", scores, "--input", f"x={tmp_path / 'bad.npy'}"), expected, words)
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    refused(drpass("run", scores, "--input", f"x={tmp_path / 'two.npz'}"), "no array 'x'; it has a, b")
    refused(drpass("run", scores, "--input", f"x={tmp_path / 'missing.npy'}"), "can't read", "No such file")
    refused(drpass("run", scores, "--input", "x"), "--input must be like")
    refused(drpass("run", scores, "--input", f"x={x}", "--random"), "only one of")


def test_a_missing_second_input_is_named(tmp_path: Path, x: Path) -> None:
    onnx.save(model([node("Add", ["x", "z"], ["y"])], {"x": ["N", 4], "z": ["N", 4]}, {"y": None}), tmp_path / "m.onnx")
    refused(drpass("run", tmp_path / "m.onnx", "--input", f"x={x}"), "'z' that was not given")


def test_a_shape_that_only_the_run_can_find_wrong_is_one_line(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "s"], ["y"])]
    onnx.save(model(nodes, {"x": ["N"]}, {"y": None}, {"s": np.array([2, 3])}), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros(5, np.float32))
    refused(drpass("run", tmp_path / "m.onnx", "--input", f"x={tmp_path / 'x.npy'}"), "can't run on this input")


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    made = helper.make_node("SequenceConstruct", ["x"], ["y"])
    proto = model([made], {"x": [2]}, {})
    element = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    proto.graph.output.append(helper.make_value_info("y", helper.make_sequence_type_proto(element)))
    onnx.save(proto, tmp_path / "m.onnx")
    refused(drpass("run", tmp_path / "m.onnx", "--random"), "'y' is seq(tensor(float))", "only tensors")


def test_text_inputs_are_refused(tmp_path: Path) -> None:
    proto = model([node("Identity", ["x"], ["y"])], {"x": [2]}, {"y": [2]}, element=onnx.TensorProto.STRING)
    onnx.save(proto, tmp_path / "m.onnx")
    refused(drpass("run", tmp_path / "m.onnx", "--random"), "only tensors of numbers")


@pytest.mark.skipif(cuda_device.has_gpu(), reason="this machine has a GPU")
def test_cuda_that_can_not_be_had_is_an_error_and_not_a_silent_fall_back(scores: Path, x: Path) -> None:
    # In a process of its own: tests of CUDA may have loaded an emulator into this one.
    command = [sys.executable, "-m", "drpass", "run", str(scores), "--input", f"x={x}", "--provider", "cuda"]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=scores.parent)
    assert outcome.returncode == 2
    assert "CUDAExecutionProvider" in outcome.stderr
    assert outcome.stdout == ""


def test_cuda_with_a_library_for_cpus_alone_is_refused(scores: Path, x: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_cuda", lambda: False)
    refused(drpass("run", scores, "--input", f"x={x}", "--provider", "cuda"), "built without CUDA", "nvcc")


# Output files


def test_an_output_that_can_not_be_written_leaves_nothing(scores: Path, tmp_path: Path) -> None:
    refused(
        drpass("run", scores, "--random", "--output", tmp_path / "no" / "o.npz"), "can't write", "there is no folder"
    )
    refused(drpass("run", scores, "--random", "--output", scores), "by the same command already")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]


def test_no_space_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    onnx.save(model([node("Identity", ["x"], ["y"])], {"x": [1000, 1000]}, {"y": None}), tmp_path / "m.onnx")
    old = tmp_path / "o.npz"
    old.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        outcome = drpass("run", tmp_path / "m.onnx", "--random", "--output", old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    refused(outcome, "can't write", "File too large")
    assert old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "o.npz"]
