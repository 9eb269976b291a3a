"""The packed layout of docs/operator.md."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import random_array

from drpass.operator.packing import PANEL, pack_weights, scale_packed, unpack_weights

kernels = st.lists(st.integers(1, 3), min_size=0, max_size=3)


@given(group=st.integers(1, 3), per_group=st.integers(1, 40), inputs=st.integers(1, 5), kernel=kernels)
def test_unpacking_gives_back_what_was_packed(group: int, per_group: int, inputs: int, kernel: list[int]) -> None:
    weights = random_array(group * per_group, inputs, *kernel)
    packed = pack_weights(weights, group)
    assert packed.dtype == np.float32
    assert packed.flags.c_contiguous
    assert packed.shape == (group, -(-per_group // PANEL), int(np.prod(kernel, dtype=int)), inputs, PANEL)
    assert np.array_equal(unpack_weights(packed, group * per_group, kernel or None), weights)


@given(group=st.integers(1, 2), per_group=st.integers(1, 40), inputs=st.integers(1, 4), kernel=kernels)
def test_every_entry_is_where_the_specification_says(
    group: int, per_group: int, inputs: int, kernel: list[int]
) -> None:
    weights = random_array(group * per_group, inputs, *kernel)
    packed = pack_weights(weights, group)
    flat = weights.reshape(group * per_group, inputs, -1)
    for (g, p, t, c, j), value in np.ndenumerate(packed):
        channel = PANEL * p + j
        assert value == (flat[g * per_group + channel, c, t] if channel < per_group else 0.0)


@given(group=st.integers(1, 3), per_group=st.integers(1, 20))
def test_scaling_packed_weights_is_scaling_output_channels(group: int, per_group: int) -> None:
    channels = group * per_group
    weights = random_array(channels, 3, 2, 2)
    scale = random_array(channels, seed=1).astype(np.float64)
    expected = pack_weights(weights * scale[:, None, None, None], group)
    assert np.array_equal(scale_packed(pack_weights(weights, group), scale), expected)


def test_padding_stays_zero_where_a_scale_is_infinite() -> None:
    scaled = scale_packed(pack_weights(np.ones((3, 1))), np.full(3, np.inf))
    assert np.array_equal(scaled[0, 0, 0, 0, 3:], np.zeros(13))


def test_group_that_does_not_divide_the_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="5 output channels are not a multiple of group 2"):
        pack_weights(np.ones((5, 1)), 2)


def test_weights_without_an_input_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="weights need the axes"):
        pack_weights(np.ones(5))


@pytest.mark.parametrize(("channels", "kernel"), [(33, None), (20, [2]), (15, None)])
def test_unpacking_with_wrong_sizes_is_refused(channels: int, kernel: list[int] | None) -> None:
    with pytest.raises(ValueError, match="is not a packing of"):
        unpack_weights(pack_weights(np.ones((20, 2))), channels, kernel)
