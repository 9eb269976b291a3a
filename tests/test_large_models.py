"""Models above 2 GB: external data in and out. Most tests lower the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import drpass, refused
from large_models import LOW, deep_model, edit, names, saved, with_data
from models_for_tests import conv_model, function_model, if_model, model, node, random_array
from onnx import TensorProto, numpy_helper
from rewriting import EXACT

from drpass import external_data, model_io
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.rewriting import EXTERNAL, rewrite


@pytest.mark.parametrize("make", [deep_model, if_model, lambda: conv_model(outputs=64)])
def test_large_model_becomes_what_it_would_become_as_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    expected = rewrite(make(), parameters=EXACT).to_proto()
    path = saved(make(), tmp_path)
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", LOW)
    result = rewrite(path, parameters=EXACT)
    result.save(tmp_path / "out.onnx")
    assert names(tmp_path) == ["in.onnx", "out.onnx", "out.onnx.data", "weights.bin"]
    assert with_data(tmp_path / "out.onnx") == expected
    assert EXTERNAL in result.report.notes
    # Shapes must be at hand without the data file.
    light = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    assert all(tensor.raw_data for tensor in light.graph.initializer if np.prod(tensor.dims) * 4 <= 1024)


@pytest.mark.usefixtures("low_limit")
def test_data_begins_at_pages_so_that_it_can_be_mapped(tmp_path: Path) -> None:
    rewrite(saved(deep_model(), tmp_path)).save(tmp_path / "out.onnx")
    proto = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    entries = [{entry.key: entry.value for entry in tensor.external_data} for tensor in proto.graph.initializer]
    held = [entry for entry in entries if entry]
    assert held
    assert {entry["location"] for entry in held} == {"out.onnx.data"}
    assert all(int(entry["offset"]) % 4096 == 0 for entry in held)


@pytest.mark.usefixtures("low_limit")
def test_model_without_nodes_to_replace_comes_back_with_its_data(tmp_path: Path) -> None:
    path = saved(deep_model(), tmp_path)
    result = rewrite(path, exclude=["*"])
    assert not result.report.replaced
    result.save(tmp_path / "out.onnx")
    assert with_data(tmp_path / "out.onnx") == with_data(path)


@pytest.mark.usefixtures("low_limit")
def test_commands_take_a_large_model(tmp_path: Path) -> None:
    path, out = saved(deep_model(), tmp_path), tmp_path / "out.onnx"
    assert "keep both together" in drpass("rewrite", path, out, "--method", "exact").out
    np.savez(tmp_path / "x.npz", x=random_array(2, 3, 20, 20))
    for arguments in (
        ["inspect", out],
        ["explain", path, "conv"],
        ["explain", out, "conv"],
        ["diff", path, out],
        ["validate", path, out, "--data", tmp_path / "x.npz", "--layers", "--max-rel", "1e-4"],
        ["restore", out, tmp_path / "back.onnx"],
        ["validate", path, tmp_path / "back.onnx", "--data", tmp_path / "x.npz", "--max-rel", "1e-4"],
    ):
        outcome = drpass(*arguments)
        assert outcome.status == 0, (arguments, outcome)
    tuned = drpass("rewrite", path, out, "--calibrate", tmp_path / "x.npz", "--budget", "sqnr=30")
    refused(tuned, "over 2 GB", "without --calibrate")


@pytest.mark.usefixtures("low_limit")
def test_message_that_refers_to_its_data_runs_as_the_file_does(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    path = saved(deep_model(), tmp_path, "deeper/weights.bin")
    proto = model_io.load_proto(path)
    assert proto.ByteSize() < 10_000
    x = {"x": random_array(2, 3, 20, 20)}
    expected, found = (run(open_session(source), x)[0] for source in (path, proto))
    assert np.array_equal(expected, found)
    assert proto == model_io.load_proto(path)


@pytest.mark.usefixtures("low_limit")
def test_large_model_has_no_message(tmp_path: Path) -> None:
    result = rewrite(saved(deep_model(), tmp_path), parameters=EXACT)
    with pytest.raises(DrpassError, match="over 2 GB, which no message can hold; save it and give its path"):
        result.to_proto()
    with pytest.raises(DrpassError, match="save it and give its path"):
        open_session(result.model)


@pytest.mark.usefixtures("low_limit")
def test_tensors_of_the_same_bytes_are_written_once(tmp_path: Path) -> None:
    tied = random_array(40, 40)
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    path = saved(model(nodes, {"x": ["N", 40]}, {"y": None}, {"a": tied, "b": tied}), tmp_path)
    proto = onnx.load(path, load_external_data=False)
    edit(path, "b", offset={entry.key: entry.value for entry in proto.graph.initializer[0].external_data}["offset"])
    rewrite(path, exclude=["*"]).save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").stat().st_size == tied.nbytes
    assert with_data(tmp_path / "out.onnx") == with_data(path)


@pytest.mark.usefixtures("low_limit")
def test_weights_shared_by_nodes_are_packed_and_written_once(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    path = saved(model(nodes, {"x": ["N", 48]}, {"y": None}, {"w": random_array(48, 48)}), tmp_path)
    result = rewrite(path, parameters=EXACT)
    assert result.report.replaced == 2
    result.save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").stat().st_size == 4 * 48 * 48


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT64])
def test_other_types_pass_bit_by_bit(tmp_path: Path, kind: int) -> None:
    count = 5001
    size = -(-count * ir.DataType(kind).bitwidth // 8)
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    held = TensorProto(name="w", data_type=kind, dims=[count], raw_data=content, doc_string="said of it")
    proto = model([node("Identity", ["x"], ["y"])], {"x": [1]}, {"y": [1]}, opset=21, ir_version=10)
    proto.graph.initializer.append(held)
    path = saved(proto, tmp_path)
    rewrite(path).save(tmp_path / "out.onnx")
    (found,) = with_data(tmp_path / "out.onnx").graph.initializer
    assert found == held


@pytest.mark.usefixtures("low_limit")
def test_constants_in_nodes_and_branches_are_in_the_message(tmp_path: Path) -> None:
    for proto in (if_model(), function_model()):
        proto.graph.initializer.append(numpy_helper.from_array(random_array(LOW), "makes it large"))
        path = tmp_path / "in.onnx"
        onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0, convert_attribute=True)
        rewrite(path, parameters=EXACT).save(tmp_path / "out.onnx")
        result = onnx.load(tmp_path / "out.onnx", load_external_data=False)
        inner = [tensor for graph in list(model_io.graphs_of(result))[1:] for tensor in graph.initializer]
        assert not any(tensor.external_data for tensor in inner)
        assert open_session(tmp_path / "out.onnx")
        (tmp_path / "w.bin").unlink()
