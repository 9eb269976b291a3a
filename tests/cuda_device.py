"""Where tests find CUDA: a GPU, or the emulator that DRPASS_PTXEMU names, under the real CUDAExecutionProvider.

The emulator is a folder with a script `build` that makes stand-ins for NVIDIA's libraries; kernels run on it as PTX,
with checks of bounds, initialisation, races and barriers.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import onnxruntime as ort
import pytest

from drpass import runtime

ROOT = Path(__file__).parents[1]
EMULATOR_VARIABLE = "DRPASS_PTXEMU"

#: Where the library for the emulator is built; tests/cuda_mutations.py names another folder.
BUILD = Path(os.environ.get("DRPASS_EMULATED_BUILD", ROOT / "build" / "emulated"))
PROVIDER = "CUDAExecutionProvider"
_LIBRARIES = ("libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10")


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi", "-L"]).returncode == 0


def missing() -> str | None:
    """Why no kernel for CUDA can run here, or None."""
    if has_gpu():
        return None
    if not os.environ.get(EMULATOR_VARIABLE):
        return f"no GPU, and {EMULATOR_VARIABLE} names no emulator"
    if shutil.which("nvcc") is None:
        return "no GPU, and no nvcc to compile for the emulator"
    return None


needs_cuda = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@cache
def library() -> str:
    """The operator library with kernels for the device that tests run on; loads the emulator where there is no GPU."""
    if has_gpu():
        return runtime.get_library_path()
    folder = stand_ins()
    build("drpass_ops")
    interposer()
    for name in _LIBRARIES:  # the provider asks for these names, and finds them loaded
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    return str(BUILD / "custom_ops" / "libdrpass_ops.so")


@cache
def stand_ins() -> Path:
    """The folder of the emulator's libraries."""
    folder = ROOT / "build" / "ptxemu"
    provider = Path(ort.__file__).with_name("capi") / "libonnxruntime_providers_cuda.so"
    if not (folder / _LIBRARIES[-1]).is_file():
        _run("bash", Path(os.environ[EMULATOR_VARIABLE], "build"), folder, provider)
    return folder


def build(*targets: str) -> None:
    """Builds with PTX alone and with the shared CUDA runtime, for which the emulator stands in."""
    _configured()
    _run(cmake(), "--build", BUILD, "--parallel", "2", "--target", *targets)


def run_emulated(program: str, seed: int) -> subprocess.CompletedProcess[str]:
    """Build a program of tests/*.cu and run it on the emulator, in the order that the seed gives."""
    build(program)
    environment = os.environ | {"LD_LIBRARY_PATH": str(stand_ins()), "PTXEMU_SEED": str(seed)}
    return subprocess.run([BUILD / "custom_ops" / program], env=environment, capture_output=True, text=True)


@cache
def _configured() -> None:
    """Once a run, because a build folder from before does not know of new targets."""
    configure(ROOT, BUILD)


def configure(source: Path, folder: Path) -> None:
    """Makes a build folder for the emulator."""
    options = {
        "DRPASS_CUDA": "ON",
        "CMAKE_CUDA_ARCHITECTURES": "75-virtual",
        "CMAKE_CUDA_RUNTIME_LIBRARY": "Shared",
        # PTX as text, faults with their source line, little room for tables, no tensor cores.
        "CMAKE_CUDA_FLAGS": "-no-compress -lineinfo -DDRPASS_TABLE_BYTES=200000 -DDRPASS_SOFTWARE_MMA",
    }
    if headers := next(ROOT.glob("build/*/onnxruntime-headers/unpacked/usr/include/onnxruntime"), None):
        options["ONNXRUNTIME_INCLUDE_DIR"] = str(headers)
    _run(cmake(), "-S", source, "-B", folder, *(f"-D{name}={value}" for name, value in options.items()))


def cmake() -> str:
    """The program: that of this environment, where it has one."""
    found = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found is not None
    return found


@cache
def interposer() -> ctypes.CDLL:
    """tests/cuda_interposer.c, between the library and the emulator."""
    built = ROOT / "build" / "cuda_interposer.so"
    _run("cc", "-shared", "-fPIC", "-Wall", "-O1", "-o", built, Path(__file__).with_name("cuda_interposer.c"), "-ldl")
    loaded = ctypes.CDLL(str(built), mode=ctypes.RTLD_GLOBAL)
    loaded.interposer_count.restype = ctypes.c_size_t
    loaded.interposer_graph_launches.restype = ctypes.c_size_t
    loaded.interposer_stream.restype = ctypes.c_void_p
    loaded.interposer_stream.argtypes = [ctypes.c_size_t]
    return loaded


def _run(*command: object) -> None:
    # What sanitizers preload into Python is not for compilers.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


_active = False


def is_active() -> bool:
    """Whether this is inside on_cuda()."""
    return _active


@contextmanager
def on_cuda() -> Iterator[None]:
    """Sessions made inside use the library with kernels for CUDA."""
    global _active
    before = os.environ.get(runtime.LIBRARY_VARIABLE)
    os.environ[runtime.LIBRARY_VARIABLE] = library()
    _active = True
    try:
        yield
    finally:
        _active = False
        del os.environ[runtime.LIBRARY_VARIABLE]
        if before is not None:
            os.environ[runtime.LIBRARY_VARIABLE] = before


@contextmanager
def schedule(seed: int) -> Iterator[None]:
    """Blocks and warps run in an order drawn from the seed (0: in order); only the emulator knows how to."""
    os.environ["PTXEMU_SEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["PTXEMU_SEED"]
