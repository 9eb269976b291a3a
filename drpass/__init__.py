"""Deep reuse for ONNX models: rewrite a model, check it, compare it, run it.

>>> result = drpass.rewrite("in.onnx")            # doctest: +SKIP
>>> result.save("out.onnx")                       # doctest: +SKIP
>>> session = drpass.session("out.onnx")          # doctest: +SKIP

What it offers is imported when it is first asked for: ONNX and its runtime take most of a second, which
``drpass --help`` need not wait for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drpass.benchmark import bench
    from drpass.data import Preprocess, open_data, open_split
    from drpass.difference import diff
    from drpass.errors import DrpassError
    from drpass.explanation.explain import explain
    from drpass.inference import infer
    from drpass.operator.spec import ReuseParameters
    from drpass.plan_file import Plan
    from drpass.restoring.restore import RestoreResult, restore
    from drpass.rewriting import RewriteResult, Verdict, rewrite
    from drpass.runtime import get_library_path, session, session_options
    from drpass.tensors import input_specs
    from drpass.tune import Budget, Tuning
    from drpass.validation import validate

    __version__: str

__all__ = [
    "Budget",
    "DrpassError",
    "Plan",
    "Preprocess",
    "RestoreResult",
    "ReuseParameters",
    "RewriteResult",
    "Tuning",
    "Verdict",
    "bench",
    "diff",
    "explain",
    "get_library_path",
    "infer",
    "input_specs",
    "open_data",
    "open_split",
    "restore",
    "rewrite",
    "session",
    "session_options",
    "validate",
]

#: Where the names above are. No module of the package may have one of them: once imported it would hide the function.
_MODULES = {
    "benchmark": ("bench",),
    "data": ("Preprocess", "open_data", "open_split"),
    "difference": ("diff",),
    "errors": ("DrpassError",),
    "explanation": ("explain",),
    "inference": ("infer",),
    "operator.spec": ("ReuseParameters",),
    "plan_file": ("Plan",),
    "restoring": ("RestoreResult", "restore"),
    "rewriting": ("RewriteResult", "Verdict", "rewrite"),
    "runtime": ("get_library_path", "session", "session_options"),
    "tensors": ("input_specs",),
    "tune": ("Budget", "Tuning"),
    "validation": ("validate",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = _version()
    elif name in _PLACES:
        value = getattr(importlib.import_module(f"drpass.{_PLACES[name]}"), name)
    else:
        raise AttributeError(f"module 'drpass' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("drpass")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
