"""Models above 2 GB: external data in and out, little memory, nothing half-written. Most tests lower the limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, function_model, if_model, model, node, random_array
from onnx import TensorProto, numpy_helper
from rewriting import EXACT

from drpass import external_data, model_io
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.operator.packing import unpack_weights
from drpass.rewriting import EXTERNAL, rewrite

#: Bytes in place of 2 GB; more than a branch of `if_model` has.
LOW = 6000
SIZE = 2.5e9
CHANNELS = 1024
#: Inputs and outputs of 2.5 GB, and some room.
DISK, MEMORY = 6e9, 4e9


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", LOW)


def deep_model() -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Conv, Add, Flatten, Gemm: folds into weights, and kinds of constants."""
    rng = np.random.default_rng(1)
    statistics = {name: rng.uniform(0.5, 2, 32).astype(np.float32) for name in ("g", "b", "m", "v")}
    nodes = [
        node("BatchNormalization", ["conv_out", "g", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "shift"], ["s"]),
        node("GlobalAveragePool", ["s"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc"], ["y"], name="gemm"),
    ]
    constants = {
        **statistics,
        "w2": random_array(64, 32, 3, 3),
        "shift": random_array(64, 1, 1),
        "fc": random_array(64, 100),
    }
    return conv_model(nodes, constants)


def saved(proto: onnx.ModelProto, folder: Path, location: str = "weights.bin") -> Path:
    """``proto`` as in.onnx with its weights in another file."""
    path = folder / "in.onnx"
    onnx.save(proto, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def edit(path: Path, tensor: str, **entries: object) -> None:
    """Change where a tensor says its data is."""
    proto = onnx.load(path, load_external_data=False)
    (found,) = [one for one in proto.graph.initializer if one.name == tensor]
    for entry in found.external_data:
        entry.value = str(entries.get(entry.key, entry.value))
    path.write_bytes(proto.SerializeToString())


def with_data(path: Path) -> onnx.ModelProto:
    """The message with all data in it, as if it were one file."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return proto


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


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


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), ValueError("torn"), KeyboardInterrupt()])
def test_failure_in_the_middle_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    result = rewrite(saved(deep_model(), tmp_path), parameters=EXACT)
    (tmp_path / "out").mkdir()
    kept: Mapping[str, bytes] = {}

    def attempt() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(external_data, "forget", raising)
            with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else DrpassError):
                result.save(tmp_path / "out" / "out.onnx")
        assert {item.name: item.read_bytes() for item in (tmp_path / "out").iterdir()} == kept

    def raising(data: object) -> None:
        raise failure

    attempt()
    result.save(tmp_path / "out" / "out.onnx")
    kept = {item.name: item.read_bytes() for item in (tmp_path / "out").iterdir()}
    assert sorted(kept) == ["out.onnx", "out.onnx.data"]
    attempt()


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("failure", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_data_file_does_not_stay_without_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    result = rewrite(saved(deep_model(), tmp_path), parameters=EXACT)
    replace = Path.replace

    def refuse_the_model(self: Path, target: Path) -> Path:
        if target.suffix == ".onnx":
            raise failure
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_the_model)
    with pytest.raises((DrpassError, KeyboardInterrupt)):
        result.save(tmp_path / "out.onnx")
    assert names(tmp_path) == ["in.onnx", "weights.bin"]


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("location", ["in.onnx.data", "weights.bin"])
def test_model_that_replaces_itself_stays_whole(tmp_path: Path, location: str) -> None:
    path = saved(deep_model(), tmp_path, location)
    result = rewrite(path, parameters=EXACT)
    result.save(tmp_path / "first.onnx")
    expected = with_data(tmp_path / "first.onnx")
    assert drpass("rewrite", path, path, "--method", "exact", "--overwrite").status == 0
    assert with_data(path) == expected
    result.save(tmp_path / "again.onnx")
    assert with_data(tmp_path / "again.onnx") == expected


@pytest.mark.usefixtures("low_limit")
def test_data_of_the_original_is_never_overwritten(tmp_path: Path) -> None:
    path = saved(deep_model(), tmp_path, "out.onnx.data")
    before = (tmp_path / "out.onnx.data").read_bytes()
    result = rewrite(path, parameters=EXACT)
    result.save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").read_bytes() == before
    assert names(tmp_path) == ["in.onnx", "out.onnx", "out.onnx.2.data", "out.onnx.data"]
    assert open_session(tmp_path / "out.onnx")
    with pytest.raises(DrpassError, match=r"out.onnx.data holds the weights of the model; choose another output"):
        result.save(tmp_path / "out.onnx.data")


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../weights.bin"}, ["lies outside the model's folder (../weights.bin)"]),
        ({"location": "/etc/hostname"}, ["lies outside the model's folder (/etc/hostname)"]),
        ({"location": "link.bin"}, ["lies outside the model's folder (link.bin)"]),
        ({"location": "gone.bin"}, ["needs its external data gone.bin; put that file beside it"]),
        ({"location": ""}, ["lies outside the model's folder"]),
        ({"location": "."}, ["lies outside the model's folder"]),
        ({"offset": 10**12}, ["is truncated"]),
        ({"offset": -4}, ["is truncated"]),
        ({"offset": "many"}, ["has no valid offset and length"]),
        ({"length": 10**12}, ["is truncated"]),
        ({"length": 2048}, ["'w2' has 2048 bytes, which is not what its shape"]),
    ],
)
def test_external_data_that_is_not_to_be_trusted_is_refused(
    tmp_path: Path, entries: Mapping[str, object], words: list[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = saved(deep_model(), folder)
    (tmp_path / "weights.bin").write_bytes(bytes(10**6))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    edit(path, "w2", **entries)
    for command in (["inspect", path], ["rewrite", path, folder / "out.onnx"], ["explain", path, "conv"]):
        refused(drpass(*command), *words)
    assert names(folder) == ["in.onnx", "link.bin", "weights.bin"]


@pytest.mark.parametrize("location", ["/etc/hostname", "weights.bin"])
def test_message_whose_data_was_never_checked_is_refused(tmp_path: Path, location: str) -> None:
    path = saved(deep_model(), tmp_path)
    edit(path, "w2", location=location)
    proto = onnx.load(path, load_external_data=False)
    for use in (rewrite, open_session, lambda it: model_io.save(it, tmp_path / "out.onnx")):
        with pytest.raises(DrpassError):
            use(proto)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("low_limit")
def test_data_that_shrinks_after_loading_is_one_line(tmp_path: Path) -> None:
    path = saved(deep_model(), tmp_path)
    proto = model_io.load_proto(path)
    (tmp_path / "weights.bin").write_bytes(bytes(5000))
    with pytest.raises(DrpassError, match=r"in.onnx is not a valid ONNX model: .* beyond the end of its file"):
        model_io.to_ir(proto, str(path))


def test_file_of_more_than_2_gb_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "long.onnx", "wb") as file:
        file.truncate(2**31)
    refused(drpass("inspect", tmp_path / "long.onnx"), "over 2 GB, which no message can be; save it with external data")


@pytest.fixture
def big(tmp_path: Path) -> Iterator[Path]:
    """A chain of 3×3 convolutions and a matrix product of 2.5 GB in all; the folder does not outlive the test."""
    if shutil.disk_usage(tmp_path).free < DISK:
        pytest.skip("needs 6 GB of disk")
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < MEMORY:
        pytest.skip("needs 4 GB of memory")
    write_big(tmp_path)
    yield tmp_path / "in.onnx"
    shutil.rmtree(tmp_path)


def write_big(folder: Path) -> None:
    noise = 0.01 * random_array(9 * CHANNELS, CHANNELS)
    nodes, tensors, value = [], [], "x"
    with open(folder / "weights.bin", "wb") as file:

        def add(name: str, *dims: int) -> str:
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
            size, offset = 4 * int(np.prod(dims)), file.tell()
            for key, entry in (("location", "weights.bin"), ("offset", offset), ("length", size)):
                tensor.external_data.add(key=key, value=str(entry))
            start = int(np.random.default_rng(offset).integers(noise.nbytes))
            rolled = memoryview(noise).cast("B")  # type: ignore[arg-type]
            while size > 0:
                part = rolled[start - start % 4 : start - start % 4 + size]
                size, start = size - file.write(part), 0
            tensors.append(tensor)
            return name

        while file.tell() < SIZE - 4 * CHANNELS * 65536:
            number = len(nodes) // 2
            weights = add(f"w{number}", CHANNELS, CHANNELS, 3, 3)
            nodes.append(node("Conv", [value, weights], [f"c{number}"], name=f"conv{number}", pads=[1, 1, 1, 1]))
            nodes.append(node("Relu", [f"c{number}"], [f"r{number}"]))
            value = f"r{number}"
        nodes += [node("GlobalAveragePool", [value], ["p"]), node("Flatten", ["p"], ["f"])]
        nodes.append(node("Gemm", ["f", add("fc", CHANNELS, 65536)], ["y"], name="gemm"))
    proto = model(nodes, {"x": ["N", CHANNELS, 8, 8]}, {"y": ["N", 65536]})
    proto.graph.initializer.extend(tensors)
    (folder / "in.onnx").write_bytes(proto.SerializeToString())


#: A process between: what a child has at most in memory begins with what its parent had when it was forked, and the
#: process of the tests is large.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def peak_memory(*arguments: object) -> int:
    """Runs drpass in a process of its own; the most bytes that it had in memory."""
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "drpass", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir())
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a child process is known on POSIX only")
def test_model_of_2_5_gb_goes_through_in_less_memory_than_1_3_times_the_file(big: Path) -> None:
    out, size = big.with_name("out.onnx"), big.with_name("weights.bin").stat().st_size
    assert size > 2.45e9
    # All nodes are replaced, the matrix product too.
    peaks = {
        "rewrite": peak_memory("rewrite", big, out, "--method", "exact"),
        "inspect": peak_memory("inspect", out),
        "explain": peak_memory("explain", big, "conv0"),
    }
    # Linux gives back at once what was read, so that weights are in memory one at a time.
    assert max(peaks.values()) < (0.5 if sys.platform == "linux" else 1.3) * size, peaks
    assert names(big.parent) == ["in.onnx", "out.onnx", "out.onnx.data", "weights.bin"]
    # Packing pads nothing here, so data that were larger would be there twice.
    assert out.with_name("out.onnx.data").stat().st_size <= size + 4096 * 100
    before, after = (model_io.load(path).graph.initializers for path in (big, out))
    for name in ("w0", "w50"):
        weights = before[name].const_value.numpy()  # type: ignore[union-attr]
        packed = after[f"{name}_packed"].const_value.numpy()  # type: ignore[union-attr]
        assert np.array_equal(weights, unpack_weights(packed, CHANNELS, (3, 3)))
    matrix = after["fc_packed"].const_value.numpy()  # type: ignore[union-attr]
    assert np.array_equal(before["fc"].const_value.numpy().T, unpack_weights(matrix, 65536, None))  # type: ignore[union-attr]
