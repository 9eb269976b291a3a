"""The ONNX schema of DeepReuseGemm, with type and shape inference; docs/operator.md is its specification.

With it registered, ``onnx.checker`` (full check, custom domains) and strict shape inference accept rewritten models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import TensorProto, TypeProto, defs, helper

from drpass.operator.shapes import (
    Dim,
    ShapeError,
    check_windows,
    infer,
    infer_depthwise,
    infer_fully_connected,
    infer_pool,
    infer_upsample,
)
from drpass.operator.spec import (
    ACTIVATIONS,
    DEFAULTS,
    DEPTHWISE,
    DOMAIN,
    FULLY_CONNECTED,
    LAYOUTS,
    LRN,
    MEMO_WINDOWS,
    METHODS,
    OP_TYPE,
    POOL,
    POOL_MODES,
    SCOPES,
    TABLE_TYPES,
    UPSAMPLE,
    VERSION,
    W,
)

_OpSchema = defs.OpSchema
_Option = _OpSchema.FormalParameterOption
_AttrType = _OpSchema.AttrType

_DOC = """A convolution (with kernel_shape) or matrix product with constant weights, bias, an optional addend and an
optional activation, computed by deep reuse: similar sub-vectors share one centroid and its products."""


_T = ("T", ["tensor(float)", "tensor(float16)"], "the type of all tensors but the statistics")


def register() -> None:
    """Make the schemas known to the ``onnx`` package in this process; a second call does nothing."""
    schemas = (
        (OP_TYPE, _schema, _infer),
        (LRN, _lrn_schema, _infer_same),
        (POOL, _pool_schema, _infer_pool),
        (DEPTHWISE, _depthwise_schema, _infer_depthwise),
        (FULLY_CONNECTED, _fully_connected_schema, _infer_fully_connected),
        (UPSAMPLE, _upsample_schema, _infer_upsample),
    )
    for name, make, infer_types in schemas:
        if not defs.has(name, VERSION, DOMAIN):
            schema = make()
            schema.set_type_and_shape_inference_function(infer_types)
            defs.register_schema(schema)


def _schema() -> defs.OpSchema:
    parameter = _OpSchema.FormalParameter
    return _OpSchema(
        OP_TYPE,
        DOMAIN,
        VERSION,
        _DOC,
        inputs=[
            parameter("X", "T", "[N, C, *spatial] (or in NCHW16c), or [..., R, K] in the matrix form"),
            parameter("W", "T", "packed weights [group, P, T, Cg, 16], constant"),
            parameter("B", "T", "bias [M]", param_option=_Option.Optional),
            parameter("A", "T", "addend, broadcasts to Y", param_option=_Option.Optional),
        ],
        outputs=[
            parameter("Y", "T", "[N, M, *spatial] (or in NCHW16c), or [..., R, M] in the matrix form"),
            parameter("stats", "I", "clusters [S, group, G]; -1 where dense", param_option=_Option.Optional),
        ],
        type_constraints=[_T, ("I", ["tensor(int64)"], "counts")],
        attributes=_attributes(),
    )


def _lrn_schema() -> defs.OpSchema:
    return _one_tensor_schema(
        LRN,
        "Local response normalisation, with the formula and attributes of ONNX LRN.",
        ("[N, C, *spatial], or in NCHW16c", "the shape of X"),
        _OpSchema.Attribute("size", _AttrType.INT, "channels of the window", required=True),
        *_optional({"layout": LAYOUTS[0], "alpha": 1e-4, "beta": 0.75, "bias": 1.0}),
    )


def _pool_schema() -> defs.OpSchema:
    lists = ("kernel_shape", "strides", "pads")
    defaults: dict[str, int | float | str] = {
        "mode": POOL_MODES[0],
        "auto_pad": "NOTSET",
        "ceil_mode": 0,
        "count_include_pad": 0,
        "y_layout": LAYOUTS[0],
    }
    return _one_tensor_schema(
        POOL,
        "Max or average pooling of a tensor in NCHW16c; without kernel_shape over the whole image.",
        ("[N, ceil(C / 16), H, W, 16]", "[N, C, H', W'], or in NCHW16c"),
        _OpSchema.Attribute("channels", _AttrType.INT, "C", required=True),
        *(_OpSchema.Attribute(name, _AttrType.INTS, "", required=False) for name in lists),
        *_optional(defaults),
    )


def _depthwise_schema() -> defs.OpSchema:
    lists = {
        "kernel_shape": _AttrType.INTS,
        "strides": _AttrType.INTS,
        "dilations": _AttrType.INTS,
        "pads": _AttrType.INTS,
        "activation_params": _AttrType.FLOATS,
    }
    defaults = {name: DEFAULTS[name] for name in ("auto_pad", "activation", "x_layout", "y_layout")}
    parameter = _OpSchema.FormalParameter
    return _one_tensor_schema(
        DEPTHWISE,
        "A convolution with a kernel of its own for every channel, over two spatial axes, its bias and an activation.",
        ("[N, C, H, W], or in NCHW16c", "[N, C, H', W'], or in NCHW16c"),
        _OpSchema.Attribute("channels", _AttrType.INT, "C", required=True),
        *(_OpSchema.Attribute(name, kind, "", required=name == "kernel_shape") for name, kind in lists.items()),
        *_optional(defaults),
        constants=[
            parameter("W", "T", "weights [ceil(C / 16), taps, 16]"),
            parameter("B", "T", "bias [C]", param_option=_Option.Optional),
        ],
    )


def _upsample_schema() -> defs.OpSchema:
    return _one_tensor_schema(
        UPSAMPLE,
        "Repeats the rows and pixels of a tensor in NCHW16c, as a Resize to the nearest neighbour does.",
        ("[N, ceil(C / 16), H, W, 16]", "[N, ceil(C / 16), H · scales[0], W · scales[1], 16]"),
        _OpSchema.Attribute("scales", _AttrType.INTS, "how often a row and a pixel are repeated", required=True),
    )


def _fully_connected_schema() -> defs.OpSchema:
    parameter = _OpSchema.FormalParameter
    return _one_tensor_schema(
        FULLY_CONNECTED,
        "The product of few rows with many constant weights, its bias and an activation.",
        ("[..., K]", "[..., M]"),
        _OpSchema.Attribute("output_channels", _AttrType.INT, "M", required=True),
        _OpSchema.Attribute("activation_params", _AttrType.FLOATS, "", required=False),
        *_optional({"activation": DEFAULTS["activation"]}),
        constants=[
            parameter("W", "T", "weights [ceil(M / 256), K, 256]"),
            parameter("B", "T", "bias [M]", param_option=_Option.Optional),
        ],
    )


def _one_tensor_schema(
    name: str,
    doc: str,
    shapes: tuple[str, str],
    *attributes: defs.OpSchema.Attribute,
    constants: Sequence[defs.OpSchema.FormalParameter] = (),
) -> defs.OpSchema:
    """An operator of one running tensor in and one out; ``shapes`` describes X and Y."""
    return _OpSchema(
        name,
        DOMAIN,
        VERSION,
        doc,
        inputs=[_OpSchema.FormalParameter("X", "T", shapes[0]), *constants],
        outputs=[_OpSchema.FormalParameter("Y", "T", shapes[1])],
        type_constraints=[_T],
        attributes=list(attributes),
    )


def _optional(defaults: Mapping[str, int | float | str]) -> list[defs.OpSchema.Attribute]:
    return [_OpSchema.Attribute(name, helper.make_attribute(name, value), "") for name, value in defaults.items()]


def _infer_pool(context: onnx.shape_inference.InferenceContext) -> None:
    _infer_one(context, POOL, infer_pool, {"mode": POOL_MODES, "y_layout": LAYOUTS})


def _infer_depthwise(context: onnx.shape_inference.InferenceContext) -> None:
    choices = {name: _CHOICES[name] for name in ("activation", "x_layout", "y_layout")}
    _infer_one(context, DEPTHWISE, infer_depthwise, choices, inputs=3)


def _infer_fully_connected(context: onnx.shape_inference.InferenceContext) -> None:
    _infer_one(context, FULLY_CONNECTED, infer_fully_connected, {"activation": _CHOICES["activation"]}, inputs=3)


def _infer_upsample(context: onnx.shape_inference.InferenceContext) -> None:
    _infer_one(context, UPSAMPLE, infer_upsample, {})


def _infer_one(
    context: onnx.shape_inference.InferenceContext,
    op_type: str,
    infer_shape: Callable[..., list[Dim] | None],
    choices: dict[str, tuple[str, ...]],
    inputs: int = 1,
) -> None:
    """Of one output: ``infer_shape`` makes its shape of the attributes and the shapes of all inputs."""
    attributes = _attributes_of(context, op_type)
    try:
        _check_names(attributes, choices)
        output = infer_shape(attributes, *(_input_shape(context, index) for index in range(inputs)))
    except ShapeError as error:
        raise onnx.shape_inference.InferenceError(f"{op_type} {context.get_display_name()}: {error}") from error
    _set_type_of_inputs(context, output)


def _infer_same(context: onnx.shape_inference.InferenceContext) -> None:
    _set_type_of_inputs(context, _input_shape(context, 0))


def _attributes() -> list[defs.OpSchema.Attribute]:
    optional = {
        "kernel_shape": _AttrType.INTS,
        "strides": _AttrType.INTS,
        "dilations": _AttrType.INTS,
        "pads": _AttrType.INTS,
        "activation_params": _AttrType.FLOATS,
        MEMO_WINDOWS: _AttrType.TENSOR,
    }
    return [
        _OpSchema.Attribute("output_channels", _AttrType.INT, "M", required=True),
        *(_OpSchema.Attribute(name, kind, "", required=False) for name, kind in optional.items()),
        *_optional(DEFAULTS),
    ]


def _infer(context: onnx.shape_inference.InferenceContext) -> None:
    """Called by ``onnx`` for every node; failing is raising InferenceError."""
    attributes = _attributes_of(context, OP_TYPE)
    shapes = [_input_shape(context, index) for index in range(4)]
    try:
        _check_names(attributes, _CHOICES)
        output, stats = infer(attributes, *shapes)
        _check_windows(attributes, shapes[W])
    except ShapeError as error:
        raise onnx.shape_inference.InferenceError(f"{OP_TYPE} {context.get_display_name()}: {error}") from error
    _set_type_of_inputs(context, output)
    if context.get_num_outputs() > 1:
        context.set_output_type(1, _tensor_type(TensorProto.INT64, stats))


def _check_windows(attributes: Mapping[str, object], w: list[Dim] | None) -> None:
    windows = attributes.get(MEMO_WINDOWS)
    if windows is None:
        return
    if not isinstance(windows, TensorProto) or windows.data_type != TensorProto.FLOAT:
        raise ShapeError(f"{MEMO_WINDOWS} must be a tensor of float, as large as its shape says")
    check_windows(list(windows.dims), w, attributes)


_CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "scope": SCOPES,
    "table_type": TABLE_TYPES,
    "activation": tuple(ACTIVATIONS),
    "x_layout": LAYOUTS,
    "y_layout": LAYOUTS,
}


def _attributes_of(context: onnx.shape_inference.InferenceContext, op_type: str) -> dict[str, object]:
    return {
        name: helper.get_attribute_value(attribute)
        for name in defs.get_schema(op_type, VERSION, DOMAIN).attributes
        if (attribute := context.get_attribute(name)) is not None and not attribute.ref_attr_name
    }


def _check_names(attributes: dict[str, object], choices: dict[str, tuple[str, ...]]) -> None:
    for name, allowed in choices.items():
        value = attributes.get(name, allowed[0].encode())
        if not isinstance(value, bytes) or value.decode(errors="replace") not in allowed:
            shown = value.decode(errors="replace") if isinstance(value, bytes) else value
            raise ShapeError(f"{name} must be one of {', '.join(allowed)}, not '{shown}'")


def _set_type_of_inputs(context: onnx.shape_inference.InferenceContext, shape: list[Dim] | None) -> None:
    """Give the first output this shape and the type of the inputs, where one of them is known."""
    known = [context.get_input_type(i) for i in range(context.get_num_inputs()) if context.has_input(i)]
    elements = [kind.tensor_type.elem_type for kind in known if kind is not None and kind.tensor_type.elem_type]
    if elements:
        context.set_output_type(0, _tensor_type(elements[0], shape))


def _input_shape(context: onnx.shape_inference.InferenceContext, index: int) -> list[Dim] | None:
    if index >= context.get_num_inputs() or not context.has_input(index):
        return None
    known = context.get_input_type(index)  # None where the node before it has no inference
    if known is None or not known.tensor_type.HasField("shape"):
        return None
    tensor = known.tensor_type
    return [dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim]


def _tensor_type(element: int, shape: list[Dim] | None) -> TypeProto:
    return helper.make_tensor_type_proto(element, shape)
