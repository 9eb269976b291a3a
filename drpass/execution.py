"""Opening models and running them, with every failure of ONNX Runtime turned into one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from google.protobuf.message import EncodeError

from drpass import model_io, runtime
from drpass.errors import DrpassError
from drpass.external_data import relative_to_folder
from drpass.tensors import Array, Feeds, Interface, describe_all, output_specs

Model = str | os.PathLike[str] | onnx.ModelProto | ir.Model
Provider = Literal["cpu", "cuda"]

#: What ONNX Runtime calls them; the CPU takes what CUDA has no kernel for.
PROVIDERS: dict[Provider, list[str]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}


def open_session(
    model: Model,
    provider: Provider = "cpu",
    threads: int | None = None,
    profile: str | None = None,
    optimized: bool = True,
) -> ort.InferenceSession:
    """A session with the operator library, at all graph optimisations unless it is not to be ``optimized``.

    ``threads``: of one operator; None: ONNX Runtime's choice. ``profile``: start of the path of a profile to write.
    Raises DrpassError if the model can't be loaded or the provider can't be had.
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise DrpassError(f"the number of threads must be between 1 and 1024, not {threads}")
    # What fails is said in one line by the DrpassError; the runtime's own log would come beside it.
    ort.set_default_logger_severity(4)
    options = runtime.session_options(threads)
    options.log_severity_level = 4
    # Sessions that are run in turn must not disturb each other: idle threads sleep once a run has ended.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    source, folder = _loadable(model)
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return runtime.session(source, providers=PROVIDERS[provider], options=options)


def _loadable(model: Model) -> tuple[str | os.PathLike[str] | bytes, str | None]:
    """What ONNX Runtime loads, and the folder of its external data if the model itself does not say it."""
    if isinstance(model, (str, os.PathLike)):
        return model, None
    proto, folder = relative_to_folder(model_io.to_proto(model) if isinstance(model, ir.Model) else model)
    try:
        return bytes(proto.SerializeToString()), folder
    except (EncodeError, ValueError) as error:
        raise DrpassError("the model is over 2 GB; save it and give its path") from error


def run(session: ort.InferenceSession, feeds: Feeds, outputs: Sequence[str] | None = None) -> list[Array]:
    """Run once; all outputs, or those named. Raises DrpassError if that fails or an output is no tensor."""
    try:
        results = session.run(outputs, feeds)
    except Exception as error:  # ONNX Runtime raises a class of its own for every status.
        raise DrpassError(f"the model can't run on this input: {runtime.reason_of(error)}") from error
    for spec, result in zip(output_specs(session), results):
        if not isinstance(result, np.ndarray):
            raise DrpassError(f"the output {spec.name!r} is {spec.type}, but drpass handles only tensors")
    return list(results)


def check_same_interface(original: Interface, rewritten: Interface) -> None:
    """Raise DrpassError unless inputs and outputs have the same names and types, in any order."""
    for what, left, right in zip(Interface._fields, original, rewritten):
        if {(spec.name, spec.type) for spec in left} != {(spec.name, spec.type) for spec in right}:
            raise DrpassError(
                f"the models have different {what}, so they can't be compared: {describe_all(left)} against "
                f"{describe_all(right)}"
            )
