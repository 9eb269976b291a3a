"""Deep reuse for ONNX models: rewrite a model, check it, compare it, run it.

>>> result = drpass.rewrite("in.onnx")            # doctest: +SKIP
>>> result.save("out.onnx")                       # doctest: +SKIP
>>> session = drpass.session("out.onnx")          # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from drpass.benchmark import bench
from drpass.data import Preprocess, open_data, open_split
from drpass.difference import diff
from drpass.errors import DrpassError
from drpass.explanation import explain
from drpass.inference import infer
from drpass.operator.spec import ReuseParameters
from drpass.plan_file import Plan
from drpass.restoring import RestoreResult, restore
from drpass.rewrite import RewriteResult, Verdict, rewrite
from drpass.runtime import get_library_path, session, session_options
from drpass.tensors import input_specs
from drpass.tune import Budget, Tuning
from drpass.validation import validate

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

try:
    __version__ = version("drpass")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
