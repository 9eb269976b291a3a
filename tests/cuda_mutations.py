"""Plants typical faults in the kernels for CUDA, one at a time, and shows that the tests of CUDA catch each.

    DRPASS_PTXEMU=... python tests/cuda_mutations.py [part of a name ...]

Works on a copy of the sources. The exit status is the number of faults that were not caught (or could not be planted).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cuda_device

TESTS = [
    "test_cuda_clusters.py",
    "test_cuda_errors.py",
    "test_cuda_graph.py",
    "test_cuda_half.py",
    "test_cuda_tf32.py",
    "test_operator_method.py",
    "test_cuda.py",
]  # the quick ones first


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` at its only place in a file of custom_ops/cuda."""

    name: str
    file: str
    old: str
    new: str


FAULTS = [
    Fault(
        "dense: no barrier between steps",
        "dense.cu",
        "    if (more) store(v, fetched, 1 - buffer, s);\n    __syncthreads();",
        "    if (more) store(v, fetched, 1 - buffer, s);",
    ),
    Fault(
        "dense: the last step is dropped",
        "dense.cu",
        "(v.taps * count + kDepth - 1) / kDepth",
        "v.taps * count / kDepth",
    ),
    Fault(
        "dense: reads one column past the image",
        "dense.cu",
        "< static_cast<unsigned>(v.in[slot]);",
        "<= static_cast<unsigned>(v.in[slot]);",
    ),
    Fault("dense: a tile has a pixel too many", "dense.cu", "index >= tile.count ||", "index > tile.count ||"),
    Fault("dense: shared memory for a row too few", "dense.cu", "Row rows[2][kDepth];", "Row rows[2][kDepth - 1];"),
    Fault(
        "clusters: members counted without atomics",
        "clusters.cu",
        "atomicAdd(c.members + cluster, 1);",
        "++c.members[cluster];",
    ),
    Fault(
        "clusters: race on the key table",
        "clusters.cu",
        "if (seen < 0) seen = atomicCAS(table + slot, -1, pixel);",
        "if (seen < 0) table[slot] = pixel;",
    ),
    Fault("clusters: not the first pixel", "clusters.cu", "if (pixel < seen) atomicMin(table + slot, pixel);", ""),
    Fault("clusters: the guard lets one more pass", "clusters.cu", ">= c.capacity) give_up", "> c.capacity) give_up"),
    Fault(
        "clusters: a probe that does not go on", "clusters.cu", "(hash + probe) & (c.slots - 1)", "hash & (c.slots - 1)"
    ),
    Fault(
        "clusters: no barrier in the scan",
        "clusters.cu",
        "  if (lane == 31) warps[warp] = sum;\n  __syncthreads();",
        "  if (lane == 31) warps[warp] = sum;",
    ),
    Fault("clusters: sums are not begun at zero", "clusters.cu", "c.sums[cluster * words + word] = 0;", ";"),
    Fault("clusters: the high word of a sum is lost", "clusters.cu", "if (high) atomicAdd", "if (false) atomicAdd"),
    Fault("clusters: a list one place too far", "clusters.cu", "(1u << lane) - 1", "(2u << lane) - 1"),
    Fault("clusters: ids begin anew in every chunk", "clusters.cu", "int id = earlier + scan", "int id = scan"),
    Fault(
        "cell edge: one sum after the other",
        "cell_edge.cu",
        "((s[0] + s[1]) + (s[2] + s[3]))",
        "(((s[0] + s[1]) + s[2]) + s[3])",
    ),
    Fault("keys: zero counts as positive", "keys.cu", "dot[bit] > 0", "dot[bit] >= 0"),
    Fault("keys: infinity is no reason for the guard", "keys.cu", ">= 0x7F800000", "> 0x7F800000"),
    Fault(
        "reconstruction: no barrier after the look-up",
        "reconstruct.cu",
        "look_up(v, c, p, tile, first, pairs, s);\n    __syncthreads();",
        "look_up(v, c, p, tile, first, pairs, s);",
    ),
    Fault(
        "reconstruction: the padding has a row", "reconstruct.cu", "if (row < 0) continue;", "if (row < -1) continue;"
    ),
    Fault(
        "reconstruction: shared memory for a pair too few",
        "reconstruct.cu",
        "int rows[S::kPairs][S::kPixels];",
        "int rows[S::kPairs - 1][S::kPixels];",
    ),
    Fault(
        "reconstruction: earlier passes are forgotten", "reconstruct.cu", "p.k > 0 || c.dense_counts", "c.dense_counts"
    ),
    Fault(
        "reconstruction: what is in Y is forgotten", "reconstruct.cu", "p.k > 0 || c.dense_counts[area] > 0", "p.k > 0"
    ),
    Fault(
        "tables: no barrier before the next slice",
        "reconstruct.cu",
        "      __syncthreads();\n      load_slice",
        "      load_slice",
    ),
    Fault("units: too fine by a factor", "units.cu", "16 / v.taps : 1", "1 : 1"),
    Fault(
        "scratch: too short for the sums",
        "cluster_scratch.cu",
        "c.capacity, c.length, c.words}",
        "c.capacity, c.length}",
    ),
    Fault("scratch: the table is not cleared", "cluster_scratch.cu", "fill_all(table_, 0xFF);", ""),
    Fault(
        "half: four weights read from two",
        "element.h",
        "make_float4(low.x, low.y, high.x, high.y)",
        "make_float4(low.x, low.y, low.x, low.y)",
    ),
    Fault("half: no room for sums of float", "engine.cu", "  if (v.half) {", "  if (false) {"),
    Fault("half: rounded towards zero", "element.h", "__float2half_rn", "__float2half_rz"),
    Fault("tensor cores: factors are cut off, not rounded", "tensor_cores.h", "(bits + 0x1000)", "(bits)"),
    Fault(
        "tensor cores: rows and columns of B change places",
        "dense_product.h",
        "w[depth + column + 4 * e][output_ + 8 * j + row]",
        "w[depth + row][output_ + 8 * j + column + 4 * e]",
    ),
    Fault(
        "tensor cores: the lower half of a tile is put over the upper",
        "dense_product.h",
        "row + e / 2 * 8] = sum_",
        "row] = sum_",
    ),
    Fault(
        "launch: waits",
        "launch.h",
        "  if (blocks == 0) return;",
        "  if (blocks == 0 || cudaStreamSynchronize(static_cast<cudaStream_t>(stream)) != cudaSuccess) return;",
    ),
    Fault(
        "launch: the default stream",
        "launch.h",
        "<cudaStream_t>(stream))",
        "<cudaStream_t>(stream ? nullptr : stream))",
    ),
    Fault("launch: errors pass unseen", "launch.h", "if (error == cudaSuccess) return;", "return;"),
    Fault(
        "pool: a window past the image", "pool.cu", "min(start_y + v.rows.kernel, v.rows.in)", "start_y + v.rows.kernel"
    ),
    Fault("lrn: a window one channel short", "lrn.cu", "min(c + v.after,", "min(c + v.after - 1,"),
]


class Workshop:
    """A copy of the sources with a build of its own."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build = folder / "source", folder / "build"
        for part in ("custom_ops", "cmake", "tests", "drpass"):
            shutil.copytree(
                cuda_device.ROOT / part, self.source / part, ignore=shutil.ignore_patterns("*.so", "__pycache__")
            )
        shutil.copy(cuda_device.ROOT / "CMakeLists.txt", self.source)
        cuda_device.configure(self.source, self.build)

    def verdict(self) -> str:
        """What becomes of the sources as they are: "passes", "caught by TEST" or "does not build"."""
        targets = ["--target", "drpass_ops", "drpass_cuda_clusters"]
        built = subprocess.run(["cmake", "--build", self.build, *targets], capture_output=True, text=True)
        if built.returncode:
            return f"does not build: {built.stdout[-2000:]}"
        tests = [str(cuda_device.ROOT / "tests" / name) for name in TESTS]
        # One seed, so that the verdict is the same every time.
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "cuda",
            "--hypothesis-seed=0",
            *tests,
        ]
        environment = os.environ | {"DRPASS_EMULATED_BUILD": str(self.build)}
        done = subprocess.run(command, cwd=cuda_device.ROOT, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return "passes"
        failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
        return f"caught by {failed[0].split('::')[-1]}" if failed else f"caught: pytest ended with {done.returncode}"

    def judge(self, fault: Fault) -> bool:
        """Plants a fault, takes it out again, and says whether the tests caught it."""
        path = self.source / "custom_ops" / "cuda" / fault.file
        sound = path.read_text(encoding="utf-8")
        if sound.count(fault.old) != 1:
            print(f"{fault.name}: its place is not in {fault.file} once", flush=True)
            return False
        path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
        begin = time.monotonic()
        verdict = self.verdict()
        path.write_text(sound, encoding="utf-8")
        print(f"{fault.name}: {verdict} ({time.monotonic() - begin:.0f} s)", flush=True)
        return verdict.startswith("caught")


def main(wanted: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not wanted or any(part in fault.name for part in wanted)]
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        verdict = workshop.verdict()
        print(f"no fault: {verdict}", flush=True)
        if verdict != "passes":
            return len(chosen)
        missed = sum(not workshop.judge(fault) for fault in chosen)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were caught")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
