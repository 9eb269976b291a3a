"""Plants typical faults in the kernels for CUDA, one at a time, and shows that the tests of CUDA catch each.

    DRPASS_PTXEMU=... python tests/cuda_mutations.py [--again] [part of a name ...]

Works on a copy of the sources and tests in build/mutations. Verdicts are kept there: what was judged with the same
sources and tests is not judged again, so a run that was cut off goes on where it was, and ``--again`` forgets them. The
exit status is the number of faults that were not caught (or could not be planted).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import cuda_device
from cuda_faults import FAULTS, Fault
from hypothesis import Phase, settings

from drpass import runtime

#: Copied, and built and tested there.
PARTS = ("CMakeLists.txt", "pyproject.toml", "custom_ops", "cmake", "tests", "drpass", "bench")

#: All tests of CUDA, the quick ones first.
TESTS = [
    "test_cuda_clusters.py",
    "test_zero_cluster.py",
    "test_cuda_memo.py",
    "test_cuda_errors.py",
    "test_cuda_graph.py",
    "test_cuda_half.py",
    "test_cuda_tf32.py",
    "test_operator_method.py",
    "test_cuda.py",
]

#: Which of them are most likely to catch a fault in a file, and run before the others.
FIRST = {
    "dense.h": ["test_cuda_memo.py"],
    "dense.cu": ["test_cuda.py::test_exact_equals_onnxruntime"],
    "dense_product.h": ["test_cuda_tf32.py"],
    "depthwise.cu": ["test_cuda.py::test_depthwise_equals_onnxruntime"],
    "fully_connected.cu": ["test_cuda.py::test_fully_connected_equals_the_reference"],
    "element.h": ["test_cuda_half.py"],
    "engine.cu": ["test_cuda_half.py"],
    "launch.h": ["test_cuda_errors.py", "test_cuda_graph.py"],
    "lrn.cu": ["test_cuda.py::test_lrn_of_every_exponent_equals_the_reference"],
    "memo.cu": ["test_cuda_memo.py"],
    "pool.cu": ["test_cuda.py::test_pool_equals_onnxruntime"],
    "reconstruct.cu": ["test_cuda.py::test_methods_agree_with_the_reference", "test_cuda_half.py"],
    "table.cu": [
        "test_cuda.py::test_long_sub_vectors_in_more_clusters_than_blocks_of_a_table",
        "test_cuda_tf32.py",
    ],
    "tensor_cores.h": ["test_cuda_tf32.py"],
    "upsample.cu": ["test_cuda.py::test_upsample_repeats_pixels"],
    "units.cu": ["test_cuda.py::test_methods_agree_with_the_reference"],
}

#: The first example that fails is enough: making it smaller would take most of the time. This module is the plugin.
settings.register_profile("first-failure", phases=[Phase.explicit, Phase.generate], database=None, deadline=None)


class Workshop:
    """A copy of the sources with a build of its own."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build = folder / "source", folder / "build"
        self._journal = folder / "verdicts.jsonl"
        self._copy()
        if not (self.build / "CMakeCache.txt").is_file():
            cuda_device.configure(self.source, self.build)
        digest = hashlib.sha256()
        for file in _files(cuda_device.ROOT):
            digest.update(file.read_bytes())
        self._digest = digest.hexdigest()

    def _copy(self) -> None:
        """Only what differs is written: by its time, make knows what to build again."""
        wanted = {file.relative_to(cuda_device.ROOT): file.read_bytes() for file in _files(cuda_device.ROOT)}
        for file in list(_files(self.source)):
            if file.relative_to(self.source) not in wanted:
                file.unlink()
        for name, content in wanted.items():
            file = self.source / name
            if not file.is_file() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    def verdict(self, fault: Fault | None) -> str:
        """What becomes of the sources with a fault: "passes", "caught by TEST" or "does not build"."""
        key = hashlib.sha256(f"{self._digest} {fault and astuple(fault)}".encode()).hexdigest()
        if earlier := self._earlier().get(key):
            return f"{earlier} (earlier)"
        begin = time.monotonic()
        if fault is None:
            found = self._judge(TESTS)
        else:
            path = self.source / "custom_ops" / "cuda" / fault.file
            sound = path.read_text(encoding="utf-8")
            if sound.count(fault.old) != 1:
                return f"its place is not in {fault.file} once"
            path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
            try:
                found = self._judge(FIRST.get(fault.file, []) + TESTS)
            finally:
                path.write_text(sound, encoding="utf-8")
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps([key, found]) + "\n")
        return f"{found} ({time.monotonic() - begin:.0f} s)"

    def forget(self) -> None:
        """Everything is judged again."""
        self._journal.unlink(missing_ok=True)

    def _earlier(self) -> dict[str, str]:
        if not self._journal.is_file():
            return {}
        return dict(json.loads(line) for line in self._journal.read_text(encoding="utf-8").splitlines())

    def _judge(self, tests: list[str]) -> str:
        command = ["--build", self.build, "--parallel", "2", "--target", "drpass_ops", "drpass_cuda_clusters"]
        built = subprocess.run([cuda_device.cmake(), *command], capture_output=True, text=True)
        if built.returncode:
            return f"does not build: {built.stdout[-2000:]}{built.stderr[-2000:]}"
        # One seed, so that the verdict is the same every time.
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "cuda_mutations", "-k", "cuda"]
        options += ["--hypothesis-profile=first-failure", "--hypothesis-seed=0"]
        environment = os.environ | {
            runtime.LIBRARY_VARIABLE: runtime.get_library_path(),  # for what is done on the CPU
            "DRPASS_EMULATED_BUILD": str(self.build),
            "PYTHONPATH": os.pathsep.join(str(self.source / part) for part in (".", "tests")),
        }
        run = [sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in tests)]
        done = subprocess.run(run, cwd=self.source, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return "passes"
        failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
        if failed:
            return f"caught by {failed[0].split('::')[-1]}"
        # A fault can end the process of the tests; that they could not be run at all says nothing about it.
        ended = f"pytest ended with {done.returncode}"
        return f"caught: {ended}" if done.returncode < 0 else f"not judged: {ended}: {done.stdout[-2000:]}"


def _files(root: Path) -> Iterator[Path]:
    for part in PARTS:
        for file in [root / part, *sorted((root / part).rglob("*"))]:
            if file.is_file() and file.suffix != ".so" and "__pycache__" not in file.parts:
                yield file


def main(arguments: list[str]) -> int:
    wanted = [argument for argument in arguments if argument != "--again"]
    chosen = [fault for fault in FAULTS if not wanted or any(part in fault.name for part in wanted)]
    workshop = Workshop(cuda_device.ROOT / "build" / "mutations")
    if "--again" in arguments:
        workshop.forget()
    verdict = workshop.verdict(None)
    print(f"no fault: {verdict}", flush=True)
    if not verdict.startswith("passes"):
        return len(chosen)
    missed = 0
    for fault in chosen:
        verdict = workshop.verdict(fault)
        missed += not verdict.startswith("caught")
        print(f"{fault.name}: {verdict}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were caught")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
