"""Export: what is written computes what the framework computes, and what can't be exported is refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from drpass.errors import DrpassError

pytest.importorskip("tf2onnx", reason="needs the extra export")

import keras

from drpass import export as export_module
from drpass import external_data
from drpass.commands.export import command
from drpass.export import ExportReport, export
from drpass.frontends import large_keras
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.networks import models_folder, save_weights

tf = import_tensorflow()
layers = keras.layers


def _with_statistics(model: keras.Model) -> keras.Model:
    """Give BatchNormalization other statistics than 0 and 1, which would hide a wrong order of operations."""
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(3)
    for variable in model.weights:
        if "moving" in variable.path or "gamma" in variable.path:
            variable.assign(random.uniform(0.5, 2.0, variable.shape))
    return model


@pytest.fixture(scope="module")
def sequential() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((16, 20, 3), name="picture"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(5, name="scores"),
        ]
    )


@pytest.fixture(scope="module")
def functional() -> keras.Model:
    inputs = keras.Input((12, 12, 3), name="picture")
    x = layers.Conv2D(6, 3, strides=2, padding="same")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3)(x)
    maps = layers.LeakyReLU(name="maps")(x)
    scores = layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D()(maps))
    return _with_statistics(keras.Model(inputs, [maps, scores]))


def _run(path: Path, *arrays: Any) -> list[Any]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, dict(zip((value.name for value in session.get_inputs()), arrays)))
    return outputs


def _pictures(*shape: int) -> Any:
    return np.random.default_rng(5).random(shape, np.float32)


def _export(model: keras.Model, folder: Path, kind: str, **options: Any) -> tuple[ExportReport, Path]:
    source, output = folder / f"model{kind}", folder / "model.onnx"
    if kind:
        model.save(source)
    else:
        model.export(source, verbose=False)
    return export(source, output, **options), output


@pytest.mark.parametrize("kind", [".keras", ".h5", ""], ids=["keras", "h5", "saved_model"])
def test_sequential_model_is_exported_channels_first(sequential: keras.Model, tmp_path: Path, kind: str) -> None:
    report, path = _export(sequential, tmp_path, kind)
    pictures = _pictures(4, 16, 20, 3)
    (scores,) = _run(path, pictures.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(scores, sequential(pictures), atol=1e-5)
    assert report.inputs[0].shape == ("batch", 3, 16, 20)
    assert report.outputs[0].shape == ("batch", 5)
    assert "photographs" in report.checked_on
    assert report.max_relative_error < 1e-5


@pytest.mark.parametrize("opset", [17, 18])
def test_functional_model_with_batch_normalization_and_two_outputs_keeps_their_order(
    functional: keras.Model, tmp_path: Path, opset: int
) -> None:
    report, path = _export(functional, tmp_path, ".keras", opset=opset)
    pictures = _pictures(2, 12, 12, 3)
    expected = [np.asarray(tensor) for tensor in functional(pictures)]
    maps, scores = _run(path, pictures.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(maps, expected[0].transpose(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)
    assert [spec.name for spec in report.outputs] == ["maps", "scores"]
    opsets = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert opsets[""] == opset


def test_nhwc_keeps_pictures_channels_last(functional: keras.Model, tmp_path: Path) -> None:
    report, path = _export(functional, tmp_path, ".keras", nhwc=True)
    pictures = _pictures(2, 12, 12, 3)
    maps, _ = _run(path, pictures)
    np.testing.assert_allclose(maps, functional(pictures)[0], atol=1e-5)
    assert report.inputs[0].shape == ("batch", 12, 12, 3)


def test_batch_is_fixed_when_asked(sequential: keras.Model, tmp_path: Path) -> None:
    report, path = _export(sequential, tmp_path, ".keras", batch=2)
    assert report.inputs[0].shape == (2, 3, 16, 20)
    assert report.outputs[0].shape == (2, 5)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [2, 3, 16, 20]


def test_batch_that_contradicts_the_model_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(4, 8, 8, 3))
    with pytest.raises(DrpassError, match="no batch of 2"):
        _export(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)), tmp_path, ".keras", batch=2)


def test_open_picture_sides_stay_open(tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.UpSampling2D(2)(layers.Conv2D(3, 3, padding="same")(inputs)))
    _, path = _export(model, tmp_path, ".keras")
    for size in ((5, 9), (8, 4)):
        pictures = _pictures(1, *size, 3)
        (larger,) = _run(path, pictures.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(larger, np.asarray(model(pictures)).transpose(0, 3, 1, 2), atol=1e-5)


def test_constants_that_the_model_holds_do_not_become_inputs(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(inputs)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    report, path = _export(model, tmp_path, ".keras")
    assert len(report.inputs) == 1
    pictures = _pictures(1, 8, 8, 3)
    (maps,) = _run(path, pictures.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(maps, np.asarray(model(pictures)).transpose(0, 3, 1, 2), atol=1e-5)


def test_model_with_two_inputs_is_checked_on_random_numbers_and_says_so(tmp_path: Path) -> None:
    pictures, numbers = keras.Input((8, 8, 3), name="pictures"), keras.Input((6,), name="numbers")
    joined = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(pictures)), numbers])
    report, _ = _export(keras.Model([pictures, numbers], layers.Dense(3)(joined)), tmp_path, "")
    assert "RANDOM" in report.checked_on
    assert sorted(spec.name for spec in report.inputs) == ["numbers", "pictures"]


def test_subclassed_model_is_exported_as_saved_model(tmp_path: Path) -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(2, 3)

        def call(self, inputs: Any) -> Any:
            return {"second": self.convolution(inputs), "first": tf.reduce_mean(inputs, axis=[1, 2])}

    model = Subclassed()
    model(tf.zeros((1, 8, 8, 3)))
    report, _ = _export(model, tmp_path, "")
    assert [spec.name for spec in report.outputs] == ["first", "second"]


def test_model_that_is_too_large_for_a_message_has_its_weights_in_a_file_beside_it(
    sequential: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 10_000)
    monkeypatch.setattr(large_keras, "LARGE_MODEL", 10_000)
    monkeypatch.setattr(large_keras, "LARGE_VARIABLE", 500)
    report, path = _export(sequential, tmp_path, ".keras")
    assert {found.name for found in tmp_path.iterdir()} == {"model.keras", "model.onnx", "model.onnx.data"}
    assert report.size == path.stat().st_size + (tmp_path / "model.onnx.data").stat().st_size
    assert report.max_relative_error is not None
    assert report.max_relative_error < 1e-5
    pictures = _pictures(2, 16, 20, 3)
    np.testing.assert_allclose(_run(path, pictures.transpose(0, 3, 1, 2))[0], sequential(pictures), atol=1e-5)
    assert [value.name for value in report.inputs] == ["picture"]


def test_weights_of_a_large_model_are_those_of_keras(
    functional: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_keras, "LARGE_MODEL", 500)
    monkeypatch.setattr(large_keras, "LARGE_VARIABLE", 100)
    report, path = _export(functional, tmp_path, ".keras")
    assert report.max_relative_error is not None
    assert report.max_relative_error < 1e-5
    weights = next(node for node in onnx.load(path).graph.node if node.op_type == "Conv").input[1]
    held = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    expected = next(layer for layer in functional.layers if isinstance(layer, layers.Conv2D)).kernel.numpy()
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(held[weights]), expected.transpose(3, 2, 0, 1))


def test_conversion_that_changes_the_result_is_refused_and_nothing_is_written(
    sequential: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = export_module._convert

    def convert_badly(*arguments: Any) -> Any:
        converted = convert(*arguments)
        weights = next(value for value in converted.graph.initializers.values() if len(value.const_value.shape) == 4)
        weights.const_value = ir.tensor(weights.const_value.numpy() * 1.1, name=weights.name)
        return converted

    monkeypatch.setattr(export_module, "_convert", convert_badly)
    with pytest.raises(DrpassError, match="differs from"):
        _export(sequential, tmp_path, ".keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def _damaged_keras(folder: Path) -> Path:
    path = folder / "model.keras"
    path.write_bytes(b"PK\x03\x04 and no more")
    return path


def _damaged_h5(folder: Path) -> Path:
    path = folder / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    return path


def _truncated_keras(folder: Path) -> Path:
    path = folder / "whole.keras"
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Dense(2)(inputs)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _lambda_keras(folder: Path) -> Path:
    path = folder / "code.keras"
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Lambda(lambda x: x * 2)(inputs)).save(path)
    return path


def _weights_h5(folder: Path) -> Path:
    path = folder / "only.weights.h5"
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Dense(2)(inputs)).save_weights(path)
    return path


def _folder_of_something(folder: Path) -> Path:
    path = folder / "something"
    path.mkdir()
    return path


def _damaged_saved_model(folder: Path) -> Path:
    path = _folder_of_something(folder)
    (path / "saved_model.pb").write_bytes(b"\x12\x34 no graph")
    return path


def _onnx_file(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.keras", "there is no file .*missing.keras.*cifarnet"),
        (_damaged_keras, "no zip archive"),
        (_truncated_keras, "no zip archive"),
        (_damaged_h5, "can't be loaded as a Keras model"),
        (_weights_h5, "can't be loaded as a Keras model"),
        (_lambda_keras, "can't be loaded as a Keras model.*Lambda"),
        (_folder_of_something, "is not a SavedModel"),
        (_damaged_saved_model, "can't be loaded as a SavedModel"),
        (_onnx_file, "is none of these: .*SavedModel folder"),
    ],
)
def test_source_that_is_no_model_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DrpassError, match=message) as raised:
        export(source, tmp_path / "out.onnx")
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_operation_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(inputs))
    with pytest.raises(DrpassError, match=r"can't be converted.*Erfinv"):
        _export(model, tmp_path, ".keras")


def test_unbuilt_sequential_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="build it"):
        _export(keras.Sequential([layers.Dense(2)]), tmp_path, ".keras")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 19}, "opset must be one of 17, 18"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"weights": "missing.npz"}, "can't read missing.npz"),
    ],
)
def test_option_out_of_range_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match=message):
        export("cifarnet", tmp_path / "out.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_weights_for_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="--weights is for a named network"):
        export(tmp_path / "model.keras", tmp_path / "out.onnx", weights="other.npz")


def test_weights_of_another_network_are_refused(sequential: keras.Model, tmp_path: Path) -> None:
    save_weights(sequential, tmp_path / "other.npz")
    with pytest.raises(DrpassError, match="does not hold the weights of 'cifarnet'"):
        export("cifarnet", tmp_path / "out.onnx", weights=tmp_path / "other.npz")


def test_file_that_is_no_npz_is_refused_as_weights(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    with pytest.raises(DrpassError, match=r"is not a complete \.npz file"):
        export("cifarnet", tmp_path / "out.onnx", weights=tmp_path / "bad.npz")


def test_output_in_a_missing_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(DrpassError, match="can't write"):
        export("cifarnet", tmp_path / "missing" / "out.onnx", on_step=steps.append)
    assert steps == []


def test_folder_as_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="is a folder"):
        export("cifarnet", tmp_path)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(DrpassError, match=r"pip install 'drpass\[export\]'"):
        export("cifarnet", tmp_path / "out.onnx")


def test_json_report_holds_what_was_written_and_checked(
    sequential: keras.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequential.save(tmp_path / "model.keras")
    command(str(tmp_path / "model.keras"), tmp_path / "out.onnx", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["size"] == (tmp_path / "out.onnx").stat().st_size
    assert report["inputs"] == [{"name": "picture", "type": "float", "shape": ["batch", 3, 16, 20]}]
    assert 0 <= report["max_relative_error"] < 1e-5


def test_list_names_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    command(list_networks=True)
    printed = capsys.readouterr().out
    assert all(path.stem in printed for path in models_folder().glob("*.toml"))
    assert "cifarnet" in printed


def test_command_without_arguments_says_what_to_give() -> None:
    with pytest.raises(DrpassError, match=r"give SOURCE and OUT\.onnx"):
        command()
