"""The ONNX schema: what onnx.checker and strict shape inference make of DeepReuseGemm nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import Dims, model, node, random_array
from onnx import TensorProto, helper

from drpass.operator import schema
from drpass.operator.packing import pack_weights
from drpass.operator.spec import ACTIVATIONS, DOMAIN, METHODS, OP_TYPE, SCOPES, TABLE_TYPES


def reuse_model(
    x: Dims, weights: np.ndarray, *, group: int = 1, extra: dict[str, Any] | None = None, **attributes: Any
) -> onnx.ModelProto:
    """One DeepReuseGemm from x to y; ``extra`` holds the constants B and A."""
    extra = extra or {}
    inputs = ["x", "w", *(name if name in extra else "" for name in ("B", "A"))]
    if group != 1:
        attributes["group"] = group
    reuse = helper.make_node(OP_TYPE, inputs, ["y"], domain=DOMAIN, output_channels=weights.shape[0], **attributes)
    constants = {"w": pack_weights(weights, group), **extra}
    return model([reuse], {"x": x}, {"y": None}, constants, domains={DOMAIN: 1})


def infer(proto: onnx.ModelProto, output: int = 0) -> list[int | str | None] | None:
    """Dimensions of a graph output by strict inference; symbols that the inference makes up count as None."""
    schema.register()
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    tensor = inferred.graph.output[output].type.tensor_type
    if not tensor.HasField("shape"):
        return None
    symbols = [None if dim.dim_param.startswith("unk__") else dim.dim_param or None for dim in tensor.shape.dim]
    return [
        dim.dim_value if dim.HasField("dim_value") else symbol
        for dim, symbol in zip(tensor.shape.dim, symbols, strict=True)
    ]


@given(data=st.data(), rank=st.integers(1, 3), group=st.integers(1, 2))
def test_shapes_agree_with_those_of_conv(data: st.DataObject, rank: int, group: int) -> None:
    def draw(low: int, high: int, size: int = rank) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))

    window: dict[str, Any] = {"kernel_shape": draw(1, 3), "strides": draw(1, 3), "dilations": draw(1, 2)}
    auto_pad = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto_pad == "NOTSET":
        window["pads"] = draw(0, 2, 2 * rank)
    else:
        window["auto_pad"] = auto_pad
    weights = random_array(4, 3, *window["kernel_shape"])
    x: list[int | str | None] = ["N", 3 * group, *draw(5, 9)]
    conv = node("Conv", ["x", "w"], ["y"], group=group, **window)
    expected = infer(model([conv], {"x": x}, {"y": None}, {"w": weights}))
    assert expected is not None
    assert len(expected) == rank + 2
    assert infer(reuse_model(x, weights, group=group, **window)) == expected


@pytest.mark.parametrize(
    ("x", "attributes", "expected"),
    [
        (["N", 8], {}, ["N", 20]),
        (["N", "T", 8], {}, ["N", "T", 20]),
        ([2, None, 8], {}, [2, None, 20]),
        ([8, "R"], {"trans_a": 1}, ["R", 20]),
        ([0, 8], {}, [0, 20]),
        (None, {}, None),
    ],
)
def test_matrix_form_keeps_leading_dimensions(x: Dims, attributes: dict[str, int], expected: Dims) -> None:
    assert infer(reuse_model(x, random_array(20, 8), **attributes)) == expected


@pytest.mark.parametrize(
    ("kernel", "attributes", "expected"),
    [
        (1, {}, ["N", 20, "H", "W"]),
        (3, {"pads": [1, 1, 1, 1]}, ["N", 20, "H", "W"]),
        (3, {"auto_pad": "SAME_UPPER"}, ["N", 20, "H", "W"]),
        (3, {}, ["N", 20, None, None]),
        (1, {"strides": [2, 1]}, ["N", 20, None, "W"]),
    ],
)
def test_symbolic_sizes_are_kept_where_they_pass_through(kernel: int, attributes: Any, expected: Dims) -> None:
    weights = random_array(20, 3, kernel, kernel)
    proto = reuse_model(["N", 3, "H", "W"], weights, kernel_shape=[kernel] * 2, **attributes)
    assert infer(proto) == expected


@pytest.mark.parametrize(
    ("scope", "x", "form", "expected"),
    [
        ("image", ["N", 6, 9, 9], {"kernel_shape": [1, 1]}, ["N", 1, 2]),
        ("batch", ["N", 6, 9, 9], {"kernel_shape": [1, 1]}, [1, 1, 2]),
        ("image", [2, 3, 9, 6], {}, [6, 1, 2]),
        ("image", [9, 6], {}, [1, 1, 2]),
        ("image", ["S", 9, 6], {}, ["S", 1, 2]),
    ],
)
def test_statistics_have_one_row_a_scope_instance(scope: str, x: Dims, form: Any, expected: Dims) -> None:
    proto = reuse_model(x, random_array(20, 6, *([1, 1] if form else [])), scope=scope, sub_vector_length=4, **form)
    proto.graph.node[0].output.append("stats")
    proto.graph.output.append(helper.make_tensor_value_info("stats", TensorProto.INT64, None))
    assert infer(proto, output=1) == expected


FORM = {"kernel_shape": [3, 3]}


@pytest.mark.parametrize(
    ("x", "attributes", "message"),
    [
        (["N", 4, 9, 9], FORM, "X has 4 channels, but W was packed for 3"),
        (["N", 3, 9], FORM, "X has rank 3, but a kernel of rank 2 needs 4"),
        (["N", 3, 9, 9], {"kernel_shape": [5, 5]}, "W has shape"),
        (["N", 3, 9, 1], FORM, "the output would have a negative size on axis 3"),
        (["N", 3, 9, 9], {**FORM, "pads": [1, 1]}, "pads needs 4 values for a kernel of rank 2, not 2"),
        (["N", 3, 9, 9], {**FORM, "strides": [0, 1]}, "strides must be in"),
        (["N", 3, 9, 9], {**FORM, "auto_pad": "SAME"}, "auto_pad must be one of"),
        (["N", 3, 9, 9], {**FORM, "method": "magic"}, "method must be one of exact, lsh, grid, not 'magic'"),
        (["N", 3, 9, 9], {**FORM, "activation": "gelu"}, "activation must be one of"),
        (["N", 3, 9, 9], {**FORM, "sub_vector_length": 0}, "sub_vector_length must be in"),
    ],
)
def test_contradictions_are_reported(x: Dims, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(onnx.shape_inference.InferenceError, match=message):
        infer(reuse_model(x, random_array(20, 3, 3, 3), **attributes))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"B": random_array(19)}, r"B has shape \[19\], but \[20\] was expected"),
        ({"A": random_array(20, 6, 7)}, "A of shape .* does not broadcast to"),
        ({"A": random_array(1, 1, 20, 7, 7)}, "A of shape .* does not broadcast to"),
    ],
)
def test_bias_or_addend_that_does_not_fit_is_reported(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(onnx.shape_inference.InferenceError, match=message):
        infer(reuse_model([1, 3, 9, 9], random_array(20, 3, 3, 3), extra=extra, kernel_shape=[3, 3]))


def test_addend_may_broadcast() -> None:
    proto = reuse_model([1, 3, 9, 9], random_array(20, 3, 3, 3), extra={"A": random_array(20, 1, 7)}, **FORM)
    assert infer(proto) == [1, 20, 7, 7]


def test_checker_accepts_a_node_with_every_attribute() -> None:
    proto = reuse_model(
        ["N", 3, 9, 9], random_array(20, 3, 3, 3), extra={"B": random_array(20)}, kernel_shape=[3, 3], strides=[1, 1],
        dilations=[1, 1], pads=[0] * 4, auto_pad="NOTSET", group=1, trans_a=0, method="grid", scope="batch",
        sub_vector_length=8, step=0.5, hash_bits=12, seed=3, max_remaining_ratio=0.25, table_type="int16",
        activation="clip", activation_params=[0.0, 6.0],
    )  # fmt: skip
    proto.graph.output[0].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("y", 1, ["N", 20, 7, 7]).type.tensor_type.shape
    )
    schema.register()
    onnx.checker.check_model(proto, full_check=True, check_custom_domain=True)


def test_checker_reports_an_unknown_attribute() -> None:
    schema.register()
    with pytest.raises(onnx.checker.ValidationError, match="nonsense"):
        onnx.checker.check_node(
            reuse_model([1, 3], random_array(20, 3), nonsense=1).graph.node[0],
            _context(),
        )


def test_attributes_and_defaults_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "operator.md").read_text(encoding="utf-8")
    table = text.split("## Attributes")[1].split("## Shapes")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "`" in line]
    documented = {name.strip(" `"): row[2].strip("`") for row in rows for name in row[0].split(",")}
    schema.register()
    attributes = onnx.defs.get_schema(OP_TYPE, 1, DOMAIN).attributes
    assert set(documented) == set(attributes)
    assert {name: documented[name] for name in schema.DEFAULTS} == {n: str(v) for n, v in schema.DEFAULTS.items()}


def test_registering_twice_does_nothing() -> None:
    schema.register()
    first = onnx.defs.get_schema(OP_TYPE, 1, DOMAIN)
    schema.register()
    assert onnx.defs.get_schema(OP_TYPE, 1, DOMAIN).doc == first.doc


@pytest.mark.parametrize("names", [METHODS, SCOPES, TABLE_TYPES, tuple(ACTIVATIONS)])
def test_all_documented_names_are_accepted(names: tuple[str, ...]) -> None:
    attribute = {METHODS: "method", SCOPES: "scope", TABLE_TYPES: "table_type"}.get(names, "activation")
    for name in names:
        assert infer(reuse_model([5, 8], random_array(20, 8), **{attribute: name})) == [5, 20]


def _context() -> onnx.checker.C.CheckerContext:
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = 8, {"": 17, DOMAIN: 1}
    return context
