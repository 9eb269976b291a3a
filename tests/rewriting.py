"""Shorthands of the tests of the pass: rewrite in exact mode, look at the result, compare it with the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from drpass import rewrite as drpass_rewrite
from drpass.operator.spec import ReuseParameters
from drpass.restoring import restore
from drpass.rewriting import ModelLike, RewriteResult

EXACT = ReuseParameters(method="exact")

Arrays = dict[str, npt.NDArray[Any]]


def rewrite(model: ModelLike, **options: Any) -> RewriteResult:
    """Rewrite with the method that clusters, where none is given."""
    return drpass_rewrite(model, **{"parameters": ReuseParameters(), **options})


def rewrite_exactly(model: onnx.ModelProto, **options: Any) -> RewriteResult:
    """Rewrite with the dense method, which replaces whatever can be replaced."""
    return rewrite(model, parameters=EXACT, **options)


def ops(model: onnx.ModelProto) -> list[str]:
    """The operators of the main graph, in order."""
    return [node.op_type for node in model.graph.node]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def run(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Run a model, restored to ONNX operators, on the CPU with one thread: the op library is not needed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    data = restore(model).to_proto().SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def reason(model: onnx.ModelProto, name: str | None = None, **options: Any) -> str:
    """Why the node is kept in exact mode; without a name, why the only one is."""
    verdicts = rewrite_exactly(model, **options).report.verdicts
    (chosen,) = [verdict for verdict in verdicts if name is None or verdict.node == name]
    assert not chosen.replaced, chosen
    return chosen.reason


def assert_same_outputs(
    original: onnx.ModelProto, rewritten: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Both models give the same outputs: to the bit, but for the rounding of folded constants."""
    expected, found = run(original, feeds), run(rewritten, feeds)
    assert list(expected) == list(found)
    for name, values in expected.items():
        scale = float(np.abs(values).max(initial=1e-30, where=np.isfinite(values)))
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=2e-6 * scale, err_msg=name)
