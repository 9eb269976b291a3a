"""bench/hashes.py: candidates against each other, and its convolution against ONNX Runtime's."""

from __future__ import annotations

import candidates
import hashes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from drpass.execution import open_session, run


def sparse_vectors(length: int, seed: int = 0) -> np.ndarray:
    """A hundred vectors, many of them alike and some of them zero, as after a Relu."""
    random = np.random.default_rng(seed)
    kinds = np.maximum(random.normal(size=(9, length)), 0).astype(np.float32)
    kinds[0] = 0
    return kinds[random.integers(0, 9, 100)]


@pytest.mark.parametrize("cluster", [candidates.grid, candidates.companded, candidates.two_stages, candidates.joined])
def test_fine_cells_keep_the_vectors(cluster) -> None:
    vectors = sparse_vectors(8)
    found = cluster(vectors, vectors, 1e-3)
    np.testing.assert_allclose(found.approximation, vectors, atol=1e-6)


def test_vectors_of_zeros_take_no_row_and_no_product() -> None:
    vectors = sparse_vectors(4)
    some = vectors.any(1)
    found = candidates.grid(vectors, vectors, 1e-3)
    assert found.rows == some.sum() < len(vectors)
    assert found.clusters == len(np.unique(vectors[some], axis=0))


def test_joined_pairs_are_what_the_grid_of_half_the_length_gives_with_fewer_rows() -> None:
    vectors = sparse_vectors(8)
    halves = [candidates.grid(vectors[:, part], vectors[:, part], 0.5) for part in (slice(4), slice(4, None))]
    found = candidates.joined(vectors, vectors, 0.5)
    np.testing.assert_array_equal(found.approximation, np.concatenate([half.approximation for half in halves], 1))
    assert found.rows < halves[0].rows + halves[1].rows


@pytest.mark.parametrize("segments", [False, True])
def test_the_product_is_the_convolution(segments: bool) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(2, 3, 7, 9)).astype(np.float32)
    weights = random.normal(size=(40, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 0, 1, 2])
    shapes = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", shapes[:1], shapes[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    expected = run(open_session(model), {"x": x})[0][:, :32]
    one = hashes.problem(node, model, x, x, segments=segments)
    sigma = float(np.sqrt(np.mean(x.var((0, 2, 3)))))
    np.testing.assert_allclose(one.product(one.inputs) * sigma, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
