"""What the kernels for CUDA take of a multiprocessor: registers, shared memory, and the occupancy that leaves.

python bench/cuda_resources.py                        a table for every architecture
python bench/cuda_resources.py --check docs/cuda.md   fail where a kernel takes more than the table there allows
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "custom_ops" / "cuda"
THREADS = 256  # of a block
SMALL_BLOCKS = {
    "list": 32,
    "moments<false>": 32,
    "moments<true>": 32,
    "take": 32,
    "give_back": 32,
}  # other numbers of threads
REGISTERS = 65536  # of a multiprocessor, on all architectures


@dataclass(frozen=True)
class Architecture:
    """Limits of a multiprocessor (CUDA C++ Programming Guide, Technical Specifications per Compute Capability)."""

    warps: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int  # of shared memory, for every block


ARCHITECTURES = {
    75: Architecture(32, 16, 64 << 10, 0),
    80: Architecture(64, 32, 164 << 10, 1024),
    86: Architecture(48, 16, 100 << 10, 1024),
    89: Architecture(48, 24, 100 << 10, 1024),
    90: Architecture(64, 32, 228 << 10, 1024),
    100: Architecture(64, 32, 228 << 10, 1024),
    120: Architecture(48, 24, 100 << 10, 1024),
}


@dataclass(frozen=True)
class Usage:
    """Of one kernel on one architecture."""

    kernel: str
    registers: int
    shared_bytes: int
    local_bytes: int  # stack and spills

    def occupancy(self, architecture: int) -> float:
        """Warps that can be resident, as a share of the most: registers come in units of 256 a warp."""
        limits, warps = ARCHITECTURES[architecture], SMALL_BLOCKS.get(self.kernel, THREADS) // 32
        by_registers = REGISTERS // (-(-self.registers * 32 // 256) * 256 * warps)
        by_shared = limits.shared_bytes // max(self.shared_bytes + limits.reserved_bytes, 1)
        return min(by_registers, by_shared, limits.blocks, limits.warps // warps) * warps / limits.warps


def measure(architecture: int, files: Sequence[Path]) -> list[Usage]:
    """Compile files with the options of custom_ops/CMakeLists.txt and read what ptxas says."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise SystemExit("error: nvcc is not on PATH")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            options = [
                "-std=c++17",
                "-O3",
                "-fmad=false",
                f"-arch=sm_{architecture}",
                "-Xptxas=-v",
                f"-I{ROOT / 'custom_ops'}",
            ]
            command = [nvcc, *options, "-cubin", "-o", str(Path(folder, "out.cubin")), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found += parse(done.stderr)
    return found


def parse(log: str) -> list[Usage]:
    """The kernels of what `ptxas -v` prints."""
    pattern = re.compile(
        r"Function properties for (\S+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores.*?"
        r"Used (\d+) registers(.*?)\n",
        re.DOTALL,
    )
    found = []
    for symbol, stack, spills, registers, rest in pattern.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        found.append(Usage(name_of(symbol), int(registers), int(shared[1]) if shared else 0, int(stack) + int(spills)))
    return found


def name_of(symbol: str) -> str:
    """`dense_kernelILi128ELb1EE...` of a mangled name as `dense<128, true>`."""
    match = re.search(r"\d+([a-z_]+)_kernel(?:I((?:L[ib]\d+E)+)E)?", symbol)
    if match is None:
        return symbol
    values = [
        number if kind == "i" else ("false", "true")[int(number)]
        for kind, number in re.findall(r"L([ib])(\d+)E", match[2] or "")
    ]
    return match[1] + (f"<{', '.join(values)}>" if values else "")


def table(usages: dict[int, list[Usage]]) -> list[str]:
    """Markdown: for every kernel registers and occupancy on all architectures."""
    lines = ["| kernel | shared bytes | " + " | ".join(f"sm_{number}" for number in usages) + " |"]
    lines.append("| --- " * (len(usages) + 2) + "|")
    for row in zip(*usages.values(), strict=True):
        cells = [f"{usage.registers}, {usage.occupancy(number):.0%}" for number, usage in zip(usages, row, strict=True)]
        lines.append(f"| {row[0].kernel} | {max(usage.shared_bytes for usage in row)} | " + " | ".join(cells) + " |")
    return lines


def allowed(document: Path) -> dict[str, tuple[int, int]]:
    """Shared bytes and registers of every kernel, the most that the table in a document has."""
    limits = {}
    for line in document.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 2 and all(re.fullmatch(r"\d+, \d+%", cell) for cell in cells[2:]):
            limits[cells[0]] = (int(cells[1]), max(int(cell.split(",")[0]) for cell in cells[2:]))
    return limits


def excesses(usages: dict[int, list[Usage]], limits: dict[str, tuple[int, int]]) -> list[str]:
    """What takes more than it may, uses local memory, or is not in the table."""
    problems = []
    for architecture, usage in ((number, usage) for number, all_of in usages.items() for usage in all_of):
        where = f"{usage.kernel} on sm_{architecture}"
        if usage.kernel not in limits:
            problems.append(f"{where} is not in the table")
            continue
        shared, registers = limits[usage.kernel]
        if usage.local_bytes:
            problems.append(f"{where} uses {usage.local_bytes} bytes of local memory")
        if usage.registers > registers or usage.shared_bytes > shared:
            problems.append(
                f"{where} takes {usage.registers} registers and {usage.shared_bytes} bytes of shared memory; the table "
                f"allows {registers} and {shared}"
            )
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, help="the document whose table is the limit")
    parser.add_argument("--arch", type=int, nargs="*", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    arguments = parser.parse_args()
    files = sorted(SOURCES.glob("*.cu"))
    with ThreadPoolExecutor(2) as pool:
        usages = dict(zip(arguments.arch, pool.map(lambda number: measure(number, files), arguments.arch), strict=True))
    if arguments.check is None:
        print("\n".join(table(usages)))
        return 0
    problems = excesses(usages, allowed(arguments.check))
    print("\n".join(problems) or "no kernel takes more than the table allows")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main())
