"""`rewrite --memo-prefill`: what recurs in data is stored in the file, and the first call finds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from chain_nets import Net
from command_line import drpass, refused
from rewriting import attributes
from test_memo_windows import MEMO, recalled

from drpass import restore, rewrite
from drpass.data import open_data
from drpass.difference import diff
from drpass.errors import DrpassError
from drpass.explanation.explain import explain
from drpass.prefilling import prefill


def network() -> onnx.ModelProto:
    net = Net(size=24)
    net.conv("x", "a", 8, 64)
    net.node("Relu", ["a"], "b")
    net.conv("b", "c", 64, 32)
    return net.model("c")


def film(tmp_path: Path) -> Path:
    """Two images of noise with a flat area."""
    x = np.random.default_rng(0).normal(size=(2, 8, 24, 24)).astype(np.float32)
    x[:, :, 8:] = 0.5
    np.savez(tmp_path / "film.npz", x=x)
    return tmp_path / "film.npz"


def test_prefill_stores_what_recurs_and_the_first_call_finds_it(tmp_path: Path) -> None:
    data = film(tmp_path)
    result = rewrite(network(), memo_bytes=MEMO)
    warm = prefill(result, data, 1 << 20)
    model = warm.to_proto()
    onnx.checker.check_model(model, full_check=True)
    stored = {node.name: attributes(node)["memo_windows"] for node in model.graph.node}
    assert {name: list(tensor.dims) for name, tensor in stored.items()} == {
        "a": [1, 1, 6, 6, 16],
        "c": [1, 4, 6, 6, 16],
    }
    size = sum(len(tensor.raw_data) for tensor in stored.values())
    assert f"{size / 1024:.1f} KiB" in warm.report.notes[0]
    x = np.load(data)["x"]
    plain, none = recalled(result.to_proto().SerializeToString(), x, name="x")
    output, found = recalled(model.SerializeToString(), x, name="x")
    assert (output, none) == (plain, 0)
    # Of both nodes and images the tiles of two rows of four are flat, and not cut off by a border.
    assert found == 2 * 2 * 2 * 4
    assert warm.report.notes[0].startswith("windows that memos begin with: 2, which 50 % of the inner tiles of")


def test_limit_leaves_the_least_useful_windows_out(tmp_path: Path) -> None:
    data, result = film(tmp_path), rewrite(network(), memo_bytes=MEMO)
    one = 6 * 6 * 16 * 4  # bytes of a window of the first node, which has more outputs
    names = []
    for limit in (one - 1, one, 5 * one):
        nodes = prefill(result, data, limit).to_proto().graph.node
        names.append([node.name for node in nodes if "memo_windows" in attributes(node)])
    assert names == [[], ["a"], ["a", "c"]]


def test_prefilled_model_is_rewritten_restored_compared_and_explained_as_any_other(tmp_path: Path) -> None:
    data, result = film(tmp_path), rewrite(network(), memo_bytes=MEMO)
    warm = prefill(result, data, 1 << 20)
    assert rewrite(warm.to_proto()).to_proto() == warm.to_proto()
    assert prefill(rewrite(warm.to_proto()), data, 1 << 20).to_proto() == warm.to_proto()
    assert restore(warm.to_proto()).to_proto() == restore(result.to_proto()).to_proto()
    warm.save(tmp_path / "warm.onnx")
    result.save(tmp_path / "cold.onnx")
    changes = diff(tmp_path / "cold.onnx", tmp_path / "warm.onnx").nodes()
    assert [(change.kind, change.name) for change in changes] == [("changed", "a"), ("changed", "c")]
    assert any(
        "begins with 1 window of calibration data: 2.2 KiB" in fact
        for fact in explain(tmp_path / "warm.onnx", "a").facts
    )


def test_command_says_how_much_the_file_grows(tmp_path: Path) -> None:
    data, model = film(tmp_path), tmp_path / "model.onnx"
    onnx.save(network(), model)
    done = drpass("rewrite", model, tmp_path / "warm.onnx", "--memo", "8", "--memo-prefill", data)
    assert "windows that memos begin with: 2" in " ".join(done.out.split())
    assert (tmp_path / "warm.onnx").stat().st_size > (tmp_path / "model.onnx").stat().st_size


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    data, model, output = film(tmp_path), tmp_path / "model.onnx", tmp_path / "warm.onnx"
    onnx.save(network(), model)
    refused(drpass("rewrite", model, output, "--memo", "8", "--calibrate", data), "--calibrate can't judge a memo")
    refused(drpass("rewrite", model, output, "--memo-prefill", data), "no node of the model keeps results")
    refused(drpass("rewrite", model, output, "--memo", "8", "--memo-prefill", tmp_path / "none"), "none")
    refused(drpass("rewrite", model, output, "--memo", "8", "--limit", "3"), "--calibrate")
    assert not output.exists()


def test_plan_with_a_memo_can_be_prefilled(tmp_path: Path) -> None:
    data, model, plan = film(tmp_path), tmp_path / "model.onnx", tmp_path / "plan.toml"
    onnx.save(network(), model)
    warm, again = tmp_path / "warm.onnx", tmp_path / "again.onnx"
    done = drpass("rewrite", model, warm, "--memo", "8", "--memo-prefill", data, "--plan-out", plan)
    assert done.status == 0
    assert drpass("rewrite", model, again, "--plan", plan, "--memo-prefill", data).status == 0
    windows = [[attributes(node)["memo_windows"] for node in onnx.load(path).graph.node] for path in (warm, again)]
    assert windows[0] == windows[1]


def test_prefill_that_can_do_nothing_says_why(tmp_path: Path) -> None:
    data = film(tmp_path)
    with pytest.raises(DrpassError, match="no node of the model keeps results"):
        prefill(rewrite(network()), data, 1 << 20)
    with pytest.raises(DrpassError, match="only memos of at most 4096 MiB together"):
        prefill(rewrite(network(), memo_bytes=1 << 33), data, 1 << 20)
    small = Net(size=4)
    small.conv("x", "a", 8, 64)
    np.savez(tmp_path / "small.npz", x=np.zeros((1, 8, 4, 4), np.float32))
    with pytest.raises(DrpassError, match="too small for a tile"):
        prefill(rewrite(small.model("a"), memo_bytes=MEMO), lambda inputs: open_data(tmp_path / "small.npz", inputs), 1)
