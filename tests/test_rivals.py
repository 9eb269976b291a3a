from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import drpass
from models_for_tests import conv_model, model, node, random_array

from drpass import rivals
from drpass.benchmark import bench
from drpass.data import open_data
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.rivals import Rival
from drpass.rivals.rival import Call, quiet, require
from drpass.tensors import Feeds, TensorSpec

X = TensorSpec("x", "tensor(float)", ("N", 4))


def absolute(path: Path, feeds: Feeds, threads: int) -> Call:
    return lambda feeds: [np.abs(feeds["x"])]


def small(op_type: str = "Abs") -> onnx.ModelProto:
    return model([node(op_type, ["x"], ["y"])], {"x": ["N", 4]}, {"y": ["N", 4]})


def test_rival_is_timed_in_turn_with_the_models_and_never_first_more_often() -> None:
    calls: list[str] = []

    def open_model(path: Path, feeds: Feeds, threads: int) -> Call:
        assert onnx.load(path).graph.node[0].op_type == "Abs"

        def call(feeds: Feeds) -> list[np.ndarray]:
            calls.append("rival")
            return [np.abs(feeds["x"])]

        return call

    report = bench(small(), small("Neg"), "random", threads=[1, 2], runs=6, warmup=1, rivals=[Rival("new", open_model)])
    assert report.rivals_left_out == {}
    for timing in report.timings:
        assert len(timing.rivals_ms["new"]) == len(timing.original_ms) == 6
        assert timing.rival_ratio("new").median > 0
    # Per series: one call to compare results, one to warm up, six timed.
    assert len(calls) == 2 * 8
    figures = report.to_dict()["timings"][0]["rivals"]["new"]
    assert set(figures) == {"median_ms", "ratio", "ms"}


def test_three_contestants_rotate() -> None:
    from drpass import benchmark

    order: list[str] = []
    contestants = {name: lambda feeds, name=name: order.append(name) for name in ("original", "rewritten", "rival")}
    batches = [benchmark.Batch({}, None, ["s"])]
    for index in range(3):
        benchmark._time_turn(contestants, batches, index)
    assert order[::3] == ["original", "rewritten", "rival"]
    assert sorted(order) == sorted(3 * list(contestants))


def opened(open_model: object) -> dict[str, str]:
    """The reasons of a rival on the model |x|."""
    feeds = {"x": random_array(2, 4)}
    made = Rival("new", open_model)  # type: ignore[arg-type]
    calls, reasons = rivals.open_rivals([made], Path("m.onnx"), feeds, [np.abs(feeds["x"])], 1)
    assert set(calls) | set(reasons) == {"new"}
    return reasons


def test_rival_that_agrees_is_taken() -> None:
    assert opened(absolute) == {}


def failing(error: Exception) -> object:
    def open_model(path: Path, feeds: Feeds, threads: int) -> Call:
        raise error

    return open_model


@pytest.mark.parametrize(
    ("open_model", "reason"),
    [
        (failing(DrpassError("not installed")), "not installed"),
        (failing(ValueError("no such\n layer")), "ValueError: no such layer"),
        (lambda *_: lambda feeds: [feeds["x"]], "other results"),
        (lambda *_: lambda feeds: [np.abs(feeds["x"][:1])], "shape"),
        (lambda *_: lambda feeds: [np.full((2, 4), np.nan)], "other results"),
        (lambda *_: lambda feeds: [], "0 outputs"),
    ],
)
def test_rival_that_fails_or_differs_is_left_out_with_the_reason(open_model: object, reason: str) -> None:
    found = opened(open_model)["new"]
    assert reason in found
    assert "\n" not in found


def test_inputs_of_different_shapes_leave_all_rivals_out() -> None:
    data = open_data("random", [X], batch=3, limit=3)
    feeds = [next(iter(data.batches())), next(iter(open_data("random", [X]).batches()))]
    mixed = type(data)(4, "mixed", False, lambda: iter(feeds))
    report = bench(small(), small(), mixed, runs=1, warmup=0, rivals=[Rival("new", absolute)])
    assert report.rivals_left_out == {"new": "the inputs are not all of one shape"}
    assert report.timings[0].rivals_ms == {}


def test_package_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(DrpassError, match=r"thing is not installed \(pip install 'drpass\[rivals\]'\)"):
        require("no_such_module_at_all", "thing")


def test_quiet_hides_what_is_written_below_python(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with quiet():
        os.write(1, b"noise")
        os.write(2, b"noise")
    os.write(1, b"kept")
    assert capfd.readouterr() == ("kept", "")


def test_command_shows_rivals_and_why_others_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    onnx.save(small(), tmp_path / "m.onnx")
    fakes = (Rival("quick", absolute), Rival("absent", failing(DrpassError("it is not there"))))  # type: ignore[arg-type]
    monkeypatch.setattr(rivals, "RIVALS", fakes)
    arguments = ("bench", tmp_path / "m.onnx", tmp_path / "m.onnx", "--runs", "3", "--rivals")
    outcome = drpass(*arguments)
    assert outcome.status == 0, outcome.err
    for words in ("quick ms", "quick ratio", "absent: left out: it is not there"):
        assert words in outcome.out
    report = json.loads(drpass(*arguments, "--json").out)
    assert report["rivals_left_out"] == {"absent": "it is not there"}
    assert set(report["timings"][0]["rivals"]) == {"quick"}
    assert "quick" not in drpass(*arguments[:-1]).out


def skip_without(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def taken(rival: Rival, path: Path) -> None:
    """Assert that the rival computes what ONNX Runtime does on a batch of two."""
    feeds = {"x": random_array(2, 3, 20, 20)}
    reference = run(open_session(path), feeds)
    calls, reasons = rivals.open_rivals([rival], path, feeds, reference, threads=1)
    assert reasons == {}
    np.testing.assert_allclose(calls[rival.name](feeds)[0], reference[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rival", "module"), [(rivals.ncnn.RIVAL, "ncnn"), (rivals.openvino.RIVAL, "openvino")])
def test_rival_that_reads_onnx_computes_a_convolution(rival: Rival, module: str, tmp_path: Path) -> None:
    skip_without(module)
    onnx.save(conv_model([node("Relu", ["conv_out"], ["y"])]), tmp_path / "m.onnx")
    taken(rival, tmp_path / "m.onnx")


def test_litert_takes_the_tflite_file_beside_the_model(tmp_path: Path) -> None:
    litert = rivals.litert.RIVAL
    skip_without("ai_edge_litert")
    path = tmp_path / "m.onnx"
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    onnx.save(proto, path)
    feeds = {"x": random_array(2, 3, 20, 20)}
    _, reasons = rivals.open_rivals([litert], path, feeds, [], threads=1)
    assert "m.tflite" in reasons["litert"]

    keras, tensorflow = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    image = keras.Input((20, 20, 3))
    conv = keras.layers.Conv2D(32, 3, activation="relu")
    twin = keras.Model(image, conv(image))
    weights, bias = (onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer)
    conv.set_weights([weights.transpose(2, 3, 1, 0), bias])
    converted = tensorflow.lite.TFLiteConverter.from_keras_model(twin).convert()
    path.with_suffix(".tflite").write_bytes(converted)
    taken(litert, path)
