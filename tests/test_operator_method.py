"""What the method promises: clusters as specified, the bound of `grid`, the guard, and the same bytes every time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import Case, alike, forced_kernels, runnable_kernel_sets, session, targets


def photograph_like(seed: int = 0, batch: int = 6, channels: int = 8, size: int = 24) -> Case:
    """A 3x3 convolution over smooth, rectified maps."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(batch, channels, size // 6, size // 6))
    x = np.maximum(np.kron(coarse, np.ones((6, 6))) + 0.02 * rng.normal(size=(batch, channels, size, size)), 0)
    weights = rng.normal(size=(40, channels, 3, 3)).astype(np.float32)
    return Case(x.astype(np.float32), weights, rng.normal(size=40).astype(np.float32), None, {"pads": [1, 1, 1, 1]})


def grid_edge(x: np.ndarray, step: float) -> float:
    """σ of docs/operator.md times step, for one scope instance [images, C, ...]."""
    channels = np.moveaxis(x.astype(np.float64), 1, 0).reshape(x.shape[1], -1)
    return float(np.float32(step)) * float(np.sqrt(channels.var(axis=1).mean()))


def hyperplanes(seed: int, bits: int, length: int) -> np.ndarray:
    """The generator of docs/operator.md once more, with Python's integers."""
    mask, state, values = 2**64 - 1, seed, []
    for _ in range(bits * length):
        total = 0
        for _ in range(3):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            z ^= z >> 31
            total += sum((z >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
        values.append((total - 6 * 65536) / 65536)
    return np.array(values).reshape(bits, length)


def clustered_input(x: np.ndarray, length: int, signature) -> tuple[np.ndarray, list[int]]:
    """x [1, C, H, W] with every sub-vector replaced by its cluster's mean, and the clusters of each group."""
    planes = x[0].reshape(x.shape[1], -1).astype(np.float64)
    counts = []
    for begin in range(0, len(planes), length):
        vectors = planes[begin : begin + length]
        zero = (vectors.T == 0).all(axis=1)
        _, ids = np.unique(np.column_stack([signature(vectors.T), zero]), axis=0, return_inverse=True)
        ids = ids.reshape(-1)
        counts.append(int(ids.max()) + 1)
        members = np.bincount(ids)
        for row in vectors:
            row[:] = (np.bincount(ids, weights=row) / members)[ids]
    return planes.reshape(x.shape).astype(np.float32), counts


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("method", ["grid", "lsh"])
def test_clusters_are_those_of_the_specification(kernels: str, method: str) -> None:
    case = photograph_like(batch=1, channels=10)
    if method == "grid":
        edge = grid_edge(case.x, 0.4)
        parameters = {"step": 0.4, "sub_vector_length": 4}
        replaced, counts = clustered_input(case.x, 4, lambda v: np.round(v / edge))
    else:
        planes = hyperplanes(7, 9, 4)
        parameters = {"hash_bits": 9, "seed": 7, "sub_vector_length": 4}
        replaced, counts = clustered_input(case.x, 4, lambda v: v @ planes[:, : v.shape[1]].T > 0)
    with forced_kernels(kernels):
        model = case.reuse_model(stats=True, method=method, max_remaining_ratio=1.0, **parameters)
        actual, stats = case.run(model)
        expected = case.run(case.conv_model(), x=replaced)[0]
    assert stats.shape == (1, 1, 3)
    assert stats.flatten().tolist() == counts
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding())


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.2, 1.0, 4.0]), st.integers(1, 9), st.booleans())
def test_grid_never_exceeds_its_bound(seed: int, step: float, length: int, one_batch: bool) -> None:
    rng = np.random.default_rng(seed)
    x = (alike(rng, (3, 8, 9, 9)) * rng.normal() + rng.normal() * rng.random((3, 8, 9, 9))).astype(np.float32)
    case = Case(x, rng.normal(size=(17, 8, 2, 3)).astype(np.float32), None, None, {"pads": [1, 0, 0, 1]})
    exact = case.run(case.conv_model())[0]
    scope = "batch" if one_batch else "image"
    model = case.reuse_model(method="grid", step=step, sub_vector_length=length, scope=scope, max_remaining_ratio=1.0)
    error = np.abs(case.run(model)[0].astype(np.float64) - exact)
    weight = np.abs(case.weights.astype(np.float64)).sum(axis=(1, 2, 3))[:, None, None]
    for image in range(len(x)):
        edge = grid_edge(x if one_batch else x[image : image + 1], step)
        assert (error[image] <= edge * weight + case.rounding()).all()


@pytest.mark.parametrize("kernels", targets())
def test_every_vector_its_own_cluster_is_exact(kernels: str) -> None:
    rng = np.random.default_rng(1)
    case = Case(rng.normal(size=(2, 8, 7, 7)).astype(np.float32), rng.normal(size=(16, 8, 3, 3)).astype(np.float32))
    model = case.reuse_model(stats=True, method="grid", step=1e-3, sub_vector_length=8, max_remaining_ratio=1.0)
    with forced_kernels(kernels):
        actual, stats = case.run(model)
    assert (stats == 49).all()
    np.testing.assert_allclose(actual, case.run(case.conv_model())[0], rtol=1e-5, atol=case.rounding())


@pytest.mark.parametrize("kernels", targets())
def test_guard_computes_densely_what_does_not_repeat(kernels: str) -> None:
    case = photograph_like(batch=1)
    case.x[:, :4] = np.random.default_rng(0).normal(size=case.x[:, :4].shape)
    parameters = {"method": "grid", "step": 0.1, "sub_vector_length": 4}
    with forced_kernels(kernels):
        actual, stats = case.run(case.reuse_model(stats=True, max_remaining_ratio=0.9, **parameters))
    assert stats[0, 0, 0] == -1
    assert 0 < stats[0, 0, 1] <= 0.9 * 24 * 24
    only_second = case.x.copy()
    replaced, _ = clustered_input(case.x[:, 4:], 4, lambda v: np.round(v / grid_edge(case.x, 0.1)))
    only_second[:, 4:] = replaced
    np.testing.assert_allclose(actual, case.run(case.conv_model(), x=only_second)[0], rtol=1e-5, atol=case.rounding())


@pytest.mark.parametrize("kernels", runnable_kernel_sets())
@pytest.mark.parametrize("method", ["exact", "lsh", "grid"])
@pytest.mark.parametrize("scope", ["image", "batch"])
def test_same_bytes_for_threads_repetition_and_concurrency(kernels: str, method: str, scope: str) -> None:
    case = photograph_like()
    case.x[2] = np.random.default_rng(5).normal(size=case.x[2].shape)  # one image for the guard
    model = case.reuse_model(method=method, scope=scope, hash_bits=8, step=0.3)
    with forced_kernels(kernels):
        sessions = [session(model, threads=threads) for threads in (1, 2, 3)]
    expected = sessions[0].run(None, {"X": case.x})[0].tobytes()
    for made in sessions:
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(made.run, None, {"X": case.x}) for _ in range(8)]
            assert all(run.result()[0].tobytes() == expected for run in runs)


@pytest.mark.parametrize("kernels", [None, *targets()[len(runnable_kernel_sets()) :]])
@pytest.mark.parametrize("method", ["exact", "lsh", "grid"])
def test_image_scope_gives_the_same_bytes_for_every_batch_split(kernels: str | None, method: str) -> None:
    case = photograph_like()
    with forced_kernels(kernels):
        made = session(case.reuse_model(method=method, hash_bits=8, step=0.3), threads=2)
    whole = made.run(None, {"X": case.x})[0]
    for size in (1, 2, 5):
        parts = [made.run(None, {"X": case.x[i : i + size]})[0] for i in range(0, len(case.x), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("method", ["exact", "lsh", "grid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_reach_the_outputs_that_they_reach_in_conv(kernels: str, method: str, value: float) -> None:
    case = photograph_like(batch=3)
    case.x[1, 2, 5, 7] = value
    parameters = {"method": method, "hash_bits": 8, "step": 0.3}
    with np.errstate(all="ignore"), forced_kernels(kernels):
        actual = case.run(case.reuse_model(**parameters))[0]
        expected = case.run(case.conv_model())[0]
        clean = Case(np.delete(case.x, 1, axis=0), case.weights, case.bias, None, case.attributes)
        untouched = clean.run(clean.reuse_model(**parameters))[0]
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(actual), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(actual), np.isneginf(expected))
    assert np.delete(actual, 1, axis=0).tobytes() == untouched.tobytes()


@pytest.mark.parametrize("kernels", targets())
def test_grid_computes_an_outlier_without_a_cell_densely(kernels: str) -> None:
    case = photograph_like(batch=1)
    case.x[0, 2, 5, 7] = 3e38  # a finite mean exists, but the spread makes every other value one cell
    with np.errstate(all="ignore"), forced_kernels(kernels):
        actual, stats = case.run(case.reuse_model(stats=True, method="grid", step=1e-5))
        expected = case.run(case.conv_model())[0]
    assert stats[0, 0, 0] == -1
    np.testing.assert_array_equal(np.isinf(actual), np.isinf(expected))


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize(("activation", "params"), [("relu", ()), ("leaky_relu", (0.1,)), ("clip", (0.0, 6.0))])
def test_activations_pass_nan_on(kernels: str, activation: str, params: tuple[float, ...]) -> None:
    case = photograph_like(batch=1)
    case.x[0, 0, 0, 0] = np.nan
    case.activation, case.activation_params = activation, params
    with forced_kernels(kernels):
        assert np.isnan(case.run(case.reuse_model())[0][0, :, 0, 0]).all()


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("method", ["exact", "lsh", "grid"])
def test_zero_sized_and_one_element_inputs(kernels: str, method: str) -> None:
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(5, 3, 1, 1)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    one = rng.normal(size=(1, 3, 1, 1)).astype(np.float32)
    case = Case(one, weights, bias)
    with forced_kernels(kernels):
        made = session(case.reuse_model(stats=True, method=method))
        for shape in [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)]:
            y, _ = made.run(None, {"X": np.zeros(shape, np.float32)})
            assert y.shape == (shape[0], 5, *shape[2:])
        np.testing.assert_allclose(
            made.run(None, {"X": one})[0].ravel(), weights[:, :, 0, 0] @ one.ravel() + bias, rtol=1e-5, atol=1e-6
        )
        rows = Case(np.zeros((4, 0), np.float32), np.zeros((5, 0), np.float32), bias)
        np.testing.assert_array_equal(rows.run(rows.reuse_model(method=method))[0], np.tile(bias, (4, 1)))


@pytest.mark.parametrize("kernels", targets())
def test_constant_input_without_spread_is_computed_densely(kernels: str) -> None:
    case = Case(np.full((1, 4, 8, 8), 3.0, np.float32), np.ones((16, 4, 3, 3), np.float32))
    with forced_kernels(kernels):
        y, stats = case.run(case.reuse_model(stats=True, method="grid"))
    assert (stats == -1).all()
    assert (y == 108.0).all()
