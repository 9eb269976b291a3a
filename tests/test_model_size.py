"""What `rewrite` says where the file grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import drpass
from models_for_tests import model, node, random_array
from rewriting import rewrite_exactly

from drpass import model_io
from drpass.console import size_text
from drpass.model_size import Growth


def conv(outputs: int, *others: onnx.NodeProto, results: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    """Of 8 channels and 3x3 weights, with more nodes behind."""
    nodes = [node("Conv", ["x", "w"], ["y"], "conv"), *others]
    return model(nodes, {"x": [1, 8, 9, 9]}, dict.fromkeys(results), {"w": random_array(outputs, 8, 3, 3)})


def growth(original: onnx.ModelProto) -> Growth:
    return rewrite_exactly(original).report.growth


def test_weights_in_full_panels_take_what_they_took() -> None:
    found = growth(conv(32))
    assert (found.before, found.after, found.reasons) == (32 * 72 * 4, 32 * 72 * 4, ())
    assert found.describe() == ""


def test_last_panel_that_is_not_full_is_named_with_its_bytes() -> None:
    found = growth(conv(20))
    assert (found.before, found.after) == (20 * 72 * 4, 32 * 72 * 4)
    assert found.reasons == (f"packed weights fill panels of 16 output channels (+{size_text(12 * 72 * 4)})",)
    assert found.describe().startswith("constants grow from 5.6 KiB to 9.0 KiB: packed weights fill")


def test_weights_of_8_bits_that_become_floating_point_are_named() -> None:
    weights = np.random.default_rng(0).integers(-128, 128, (16, 8, 3, 3), dtype=np.int8)
    nodes = [node("DequantizeLinear", ["w", "s"], ["wd"]), node("Conv", ["x", "wd"], ["y"])]
    held = {"w": weights, "s": np.array(0.01, np.float32)}
    found = growth(model(nodes, {"x": [1, 8, 9, 9]}, {"y": None}, held))
    assert (found.before, found.after) == (weights.size + 4, 4 * weights.size)
    assert found.reasons == (f"quantised weights are folded into floating point (+{size_text(3 * weights.size)})",)


def test_weights_that_a_kept_node_reads_too_are_there_twice() -> None:
    found = growth(conv(32, node("Identity", ["w"], ["copy"], "copy"), results=("y", "copy")))
    assert found.after == 2 * found.before
    assert found.reasons[0].startswith("weights that several nodes read in different forms, or that kept nodes read")


def test_constants_of_bodies_count(tmp_path: Path) -> None:
    body = onnx.helper.make_graph(
        [node("Conv", ["x", "v"], ["b"], "inner")],
        "body",
        [],
        [onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(random_array(20, 8, 3, 3), "v")],
    )
    choice = node("If", ["c"], ["z"], "choice", then_branch=body, else_branch=body)
    whole = conv(32, choice, results=("y", "z"))
    whole.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    found = growth(whole)
    assert found.before == (32 + 2 * 20) * 72 * 4
    assert found.after == (32 + 2 * 32) * 72 * 4


@pytest.mark.parametrize(("outputs", "says"), [(20, True), (32, False)])
def test_command_says_it_in_text_and_json(tmp_path: Path, outputs: int, says: bool) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    model_io.save(conv(outputs), source)
    text = drpass("rewrite", source, target, "--method", "exact")
    assert ("note: constants grow from 5.6 KiB to 9.0 KiB" in " ".join(text.out.split())) is says
    found = json.loads(drpass("rewrite", source, target, "--method", "exact", "--json").out)["constants"]
    assert (found["before"], found["after"]) == (outputs * 288, 32 * 288)
    assert bool(found["reasons"]) is says
