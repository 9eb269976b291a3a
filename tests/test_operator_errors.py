"""A bad node or input is refused with the message of docs/operator.md, whatever the kernel set; nothing crashes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from operator_models import Case, forced_kernels, session, targets

from drpass.errors import DrpassError


@pytest.fixture(autouse=True, params=[None, *(["cuda"] if "cuda" in targets() else [])])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """The CPU's own choice, and CUDA where it is: both refuse the same with the same words."""
    with forced_kernels(request.param):
        yield


def conv_case() -> Case:
    rng = np.random.default_rng(0)
    return Case(rng.normal(size=(1, 4, 8, 8)).astype(np.float32), rng.normal(size=(8, 4, 3, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"method": "magic"}, "method must be one of exact, lsh, grid, not 'magic'"),
        ({"scope": "world"}, "scope must be one of image, batch, not 'world'"),
        ({"auto_pad": "SAME"}, "auto_pad must be one of NOTSET, VALID, SAME_UPPER, SAME_LOWER, not 'SAME'"),
        (
            {"activation": "swish"},
            "activation must be one of none, relu, leaky_relu, clip, hard_sigmoid, hard_swish, sigmoid, silu, not",
        ),
        ({"activation": "clip"}, "activation 'clip' needs 2 parameters, not 0"),
        ({"activation": "relu", "activation_params": [1.0]}, "activation 'relu' needs 0 parameters, not 1"),
        ({"hash_bits": 65}, r"hash_bits must be in \[1, 64\], not 65"),
        ({"step": 0.0}, r"step must be in \[.*\], not 0.0"),
        ({"step": float("nan")}, r"step must be in \[.*\], not nan"),
        ({"max_remaining_ratio": 1.5}, r"max_remaining_ratio must be in \[.*, 1.0\], not 1.5"),
        ({"sub_vector_length": 0}, r"sub_vector_length must be in \[1, 1048576\], not 0"),
        ({"output_channels": -8}, r"output_channels must be in \[1, 1048576\], not -8"),
        ({"group": 3}, "output_channels 8 is not a multiple of group 3"),
        ({"strides": [1]}, "strides needs 2 values for a kernel of rank 2, not 1"),
        ({"pads": [1, 1]}, "pads needs 4 values for a kernel of rank 2, not 2"),
        ({"dilations": [0, 1]}, r"dilations must be in \[1, 1048576\], not 0"),
        ({"pads": [-1, 0, 0, 0]}, r"pads must be in \[0, 1048576\], not -1"),
        ({"kernel_shape": [1, 1, 1, 1]}, "kernel_shape must have 1 to 3 values, not 4"),
        ({"trans_a": 1}, "trans_a must be 0 in the convolution form, not 1"),
        ({"step": 2}, "step has the wrong type"),
        ({"method": 3}, "method has the wrong type"),
    ],
)
def test_bad_attribute_stops_the_session(attributes: dict, message: str) -> None:
    case = conv_case()
    base = dict(case.attributes)
    case.attributes = {name: value for name, value in base.items() if name != "group"}
    model = case.reuse_model(**dict(attributes.items()))
    with pytest.raises(DrpassError, match=message) as caught:
        session(model)
    assert "\n" not in str(caught.value)


def run_error(case: Case, x: np.ndarray, **attributes: object) -> str:
    made = session(case.reuse_model(**attributes))
    with pytest.raises(Exception, match="DeepReuseGemm 'node': ") as caught:
        made.run(None, {"X": x})
    return str(caught.value)


def test_wrong_number_of_channels() -> None:
    message = run_error(conv_case(), np.zeros((1, 5, 8, 8), np.float32))
    assert "X has 5 channels, but W was packed for 4" in message


def test_kernel_larger_than_the_image() -> None:
    message = run_error(conv_case(), np.zeros((1, 4, 1, 8), np.float32))
    assert "the output would have a negative size on axis 2" in message


def test_matrix_of_the_wrong_width() -> None:
    case = Case(np.zeros((2, 4), np.float32), np.zeros((8, 4), np.float32))
    assert "X has 3 channels, but W was packed for 4" in run_error(case, np.zeros((2, 3), np.float32))


def test_addend_that_does_not_broadcast() -> None:
    case = conv_case()
    case.addend = np.zeros((8, 5, 6), np.float32)
    with pytest.raises(Exception, match=r"A of shape \[8, 5, 6\] does not broadcast to \[1, 8, 6, 6\]"):
        case.run(case.reuse_model())


def test_bias_of_the_wrong_size() -> None:
    case = conv_case()
    case.bias = np.zeros(7, np.float32)
    with pytest.raises(Exception, match=r"B has shape \[7\], but \[8\] was expected"):
        case.run(case.reuse_model())


def test_weights_of_another_packing() -> None:
    case = conv_case()
    with pytest.raises(Exception, match=r"W has shape \[1, 1, 9, 4, 16\], but \[1, 2, 9, 4, 16\] was expected"):
        case.run(case.reuse_model(output_channels=20))
