"""A model that is really above 2 GB: how much memory it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from large_models import names
from models_for_tests import model, node, random_array
from onnx import TensorProto

from drpass import model_io
from drpass.operator.packing import unpack_fully_connected, unpack_weights

SIZE = 2.5e9
CHANNELS = 1024
#: Inputs and outputs of 2.5 GB, and some room.
DISK, MEMORY = 6e9, 4e9


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
    matrix = after["fc_packed_own"].const_value.numpy()  # type: ignore[union-attr]
    assert np.array_equal(before["fc"].const_value.numpy().T, unpack_fully_connected(matrix, 65536))  # type: ignore[union-attr]
