"""A pytest plugin for `make sanitize`: every block that the operator asks for is one of malloc, not a part of ONNX
Runtime's arena, so that AddressSanitizer knows where it ends."""

from __future__ import annotations

import onnxruntime as ort

from drpass import runtime

_session_options = runtime.session_options


def _without_arena(threads: int | None = None) -> ort.SessionOptions:
    options = _session_options(threads)
    options.enable_cpu_mem_arena = False
    return options


runtime.session_options = _without_arena
