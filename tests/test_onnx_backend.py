"""ONNX's own backend tests of Conv, Gemm and MatMul nodes: weights made constant, rewritten in exact mode, run.

In the node tests every operand is a graph input; here weights and C become initializers, as in trained models.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rewriting import EXACT

from drpass.rewrite import rewrite
from drpass.runtime import session

#: Node tests that the pass keeps, with the reason.
KEPT = {
    "test_matmul_3d": "batched right side (3 axes)",
    "test_matmul_4d": "batched right side (4 axes)",
    "test_matmul_bcast": "batched right side (4 axes)",
    "test_matmul_1d_3d": "batched right side (3 axes)",
    "test_matmul_4d_1d": "the right side is a vector",
    "test_matmul_1d_1d": "the right side is a vector",
}


@cache
def node_tests() -> dict[str, Any]:
    """The test cases of models that are a single Conv, Gemm or MatMul, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Making the data of other operators overflows and divides by zero.
        cases = collect_testcases(None)
    return {case.name: case for case in cases if _ops(case) in (["Conv"], ["Gemm"], ["MatMul"])}


def _ops(case: Any) -> list[str]:
    return [node.op_type for node in case.model.graph.node]


def with_constant_weights(case: Any) -> tuple[onnx.ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """The model with all inputs but the first as initializers, the feed of the first, and the expected outputs."""
    inputs, outputs = case.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [value.name for value in model.graph.input]
    del model.graph.input[1:]
    arrays = dict(zip(names, inputs, strict=True))
    model.graph.initializer.extend(numpy_helper.from_array(arrays[name], name) for name in names[1:])
    return model, {names[0]: arrays[names[0]]}, list(outputs)


CONVERTED = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"


@pytest.mark.parametrize("folder", sorted(CONVERTED.glob("test_Conv[123]d*")), ids=lambda folder: folder.name)
def test_convolution_converted_from_pytorch_is_replaced_and_passes(folder: Path) -> None:
    """These have IR version 3, where the weights are graph inputs and constants at once."""

    def arrays(name: str) -> list[np.ndarray]:
        paths = sorted(folder.glob(f"test_data_set_0/{name}_*.pb"))
        return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]

    result = rewrite(folder / "model.onnx", parameters=EXACT)
    assert result.report.replaced == 1
    opened = session(result.to_proto().SerializeToString(), threads=1)
    feeds = dict(zip([value.name for value in opened.get_inputs()], arrays("input"), strict=True))
    for left, right in zip(opened.run(None, feeds), arrays("output"), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-6)


def test_there_are_node_tests_of_all_three_operators() -> None:
    assert {_ops(case)[0] for case in node_tests().values()} == {"Conv", "Gemm", "MatMul"}
    assert len(node_tests()) >= 24


def test_every_node_test_is_replaced_and_passes_or_is_kept_for_the_listed_reason() -> None:
    kept = {}
    for name, case in node_tests().items():
        model, feeds, expected = with_constant_weights(case)
        result = rewrite(model, parameters=EXACT)
        (verdict,) = result.report.verdicts
        if not verdict.replaced:
            kept[name] = verdict.reason
        found = session(result.to_proto().SerializeToString(), threads=1).run(None, feeds)
        for left, right in zip(found, expected, strict=True):
            assert left.shape == right.shape, name
            np.testing.assert_allclose(left, right, rtol=case.rtol, atol=case.atol, err_msg=name)
    assert kept == KEPT


def test_node_tests_as_they_are_are_kept_for_their_weights_are_not_constant() -> None:
    reasons = {rewrite(case.model, parameters=EXACT).report.verdicts[0].reason for case in node_tests().values()}
    assert reasons == {"weights are not constant"}


@pytest.mark.parametrize("name", KEPT)
def test_table_of_kept_tests_names_tests_that_exist(name: str) -> None:
    assert name in node_tests()
