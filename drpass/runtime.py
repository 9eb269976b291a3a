"""Sessions of ONNX Runtime that know the operator."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drpass.errors import DrpassError

if TYPE_CHECKING:
    import onnxruntime as ort

#: Environment variable that forces a kernel set; see docs/operator.md.
KERNEL_VARIABLE = "DRPASS_KERNELS"

#: Environment variable that names another operator library, such as one built with sanitizers.
LIBRARY_VARIABLE = "DRPASS_LIBRARY"


def get_library_path() -> str:
    """Path of the operator library, for ``SessionOptions.register_custom_ops_library``: the package's own, or the one
    that DRPASS_LIBRARY names.

    Raises DrpassError if there is none.
    """
    if chosen := os.environ.get(LIBRARY_VARIABLE):
        if not os.path.isfile(chosen):
            raise DrpassError(f"{LIBRARY_VARIABLE} names {chosen}, which is no file; unset it or build that library")
        return chosen
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    path = Path(__file__).with_name(f"libdrpass_ops{suffix}")
    if not path.is_file():
        raise DrpassError(f"the operator library {path.name} was not built: install drpass with pip, or run make build")
    return str(path)


def kernel_set() -> str:
    """Name of the kernel set that a session created now would use: avx512, avx2, portable or reference.

    Raises DrpassError if DRPASS_KERNELS names one that does not exist or can't run on this CPU.
    """
    library = ctypes.CDLL(get_library_path())
    library.drpass_kernel_set.restype = ctypes.c_char_p
    name = str(library.drpass_kernel_set().decode())
    if name.startswith("error: "):
        raise DrpassError(name.removeprefix("error: "))
    return name


def has_cuda() -> bool:
    """Whether the operator library was built with kernels for CUDA."""
    return bool(ctypes.CDLL(get_library_path()).drpass_has_cuda())


def session_options(threads: int | None = None) -> ort.SessionOptions:
    """Options with the operator library registered and every graph optimisation on.

    ``threads``: size of the pool that runs a node; None leaves it to ONNX Runtime (all cores).
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return options


def session(
    model: str | os.PathLike[str] | bytes,
    providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
    threads: int | None = None,
    options: ort.SessionOptions | None = None,
) -> ort.InferenceSession:
    """A session for a model that may hold DeepReuseGemm nodes.

    ``model`` is a path or a serialised ModelProto; ``providers``, each a name or a name with options, defaults to the
    CPU alone; ``options``, where given, should come from ``session_options``. Raises DrpassError in one line if the
    model can't be loaded, or the first provider is not the one that ONNX Runtime took or has no kernels in the library.
    """
    import onnxruntime as ort

    wanted = list(providers or ["CPUExecutionProvider"])
    first = wanted[0] if isinstance(wanted[0], str) else wanted[0][0]
    if first == "CUDAExecutionProvider" and not has_cuda():
        raise DrpassError(
            "the operator library was built without CUDA, so CUDAExecutionProvider would leave its nodes to the CPU: "
            "install the CUDA toolkit (nvcc) and build drpass again"
        )
    source = model if isinstance(model, bytes) else os.fspath(model)
    if isinstance(source, str) and not os.path.isfile(source):
        raise DrpassError(f"{source}: no such file")
    try:
        # Its fallback prints to standard output, and hides which provider failed.
        made = ort.InferenceSession(source, options or session_options(threads), providers=wanted, enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises many types, all with a text for the user
        name = "the model" if isinstance(source, bytes) else source
        raise DrpassError(f"ONNX Runtime can't load {name}: {reason_of(error)}") from error
    if first not in made.get_providers():
        raise DrpassError(f"ONNX Runtime fell back to {made.get_providers()[0]}: {first} is not usable on this machine")
    return made


#: What ONNX Runtime's messages begin with, and the place in its source with the function there.
_ERROR_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE_LINE = re.compile(r"/onnxruntime_src/\S+:\d+ [^()]*\([^()]*\)( const)?( \[with [^\]]*\])? ?")


def reason_of(error: Exception) -> str:
    """The part of ONNX Runtime's message that says what is wrong, without its error code and source lines."""
    return _SOURCE_LINE.sub(" ", _ERROR_CODE.sub("", " ".join(str(error).split()))).replace("  ", " ")
