"""Reading and writing files: one clear line for every bad file, and never a crash, whatever the bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_for_tests import conv_model, function_model, if_model, node, random_array
from onnx import helper

from drpass import external_data, model_io
from drpass.errors import DrpassError
from drpass.inspection import inspect
from drpass.rewriting import rewrite


def error_of(path: Path) -> str:
    with pytest.raises(DrpassError) as caught:
        model_io.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def external_model(folder: Path) -> Path:
    """A model whose weights lie in weights.bin beside it."""
    path = folder / "model.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_missing_file() -> None:
    assert error_of(Path("/nowhere/model.onnx")) == "can't read /nowhere/model.onnx: No such file or directory"


def test_folder(tmp_path: Path) -> None:
    assert "is a folder; give an ONNX file" in error_of(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert error_of(tmp_path / "empty.onnx").endswith("is empty")


@pytest.mark.parametrize("content", [b"hello, this is text", b"\x89PNG\r\n\x1a\n" + bytes(40), b"PK" + bytes(60)])
def test_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    assert "is not an ONNX" in error_of(tmp_path / "other")


def test_message_without_a_graph(tmp_path: Path) -> None:
    (tmp_path / "bare.onnx").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    assert "is not an ONNX model (it has no graph" in error_of(tmp_path / "bare.onnx")


def test_truncated_file(tmp_path: Path) -> None:
    data = conv_model().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    assert "is not an ONNX file, or it is truncated" in error_of(tmp_path / "cut.onnx")


def test_weights_that_do_not_fit_their_shape(tmp_path: Path) -> None:
    proto = conv_model()
    proto.graph.initializer[0].dims[0] = 33
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(DrpassError, match=r"'conv.weight' has 3456 bytes, which is not what its shape"):
        rewrite(tmp_path / "odd.onnx")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    data = conv_model().SerializeToString().replace(b"conv_out", b"conv_ou\xf4")
    (tmp_path / "odd.onnx").write_bytes(data)
    with pytest.raises(DrpassError, match="holds text that is not UTF-8"):
        rewrite(tmp_path / "odd.onnx")


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.onnx"
    onnx.save(conv_model(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    assert error_of(path) == f"can't read {path}: Permission denied"


def test_external_data_is_read(tmp_path: Path) -> None:
    loaded = model_io.load(external_model(tmp_path))
    expected = random_array(32, 3, 3, 3)
    assert np.array_equal(loaded.graph.initializers["conv.weight"].const_value.numpy(), expected)


def test_external_data_is_in_the_rewritten_file(tmp_path: Path) -> None:
    result = rewrite(external_model(tmp_path), exclude=["conv"])
    (tmp_path / "elsewhere").mkdir()
    result.save(tmp_path / "elsewhere" / "out.onnx")
    assert model_io.load(tmp_path / "elsewhere" / "out.onnx").graph.initializers["conv.weight"].const_value is not None


def test_missing_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert error_of(path) == f"{path} needs its external data weights.bin; put that file beside it"


def test_truncated_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    assert "its external data weights.bin is truncated" in error_of(path)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = external_model(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())
    assert "lies outside the model's folder" in error_of(path)


@pytest.mark.parametrize("value", ["-8", "many"])
def test_external_data_with_a_nonsensical_offset_is_refused(tmp_path: Path, value: str) -> None:
    path = external_model(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "offset":
            entry.value = value
    path.write_bytes(proto.SerializeToString())
    assert "external data" in error_of(path)


def fuzz(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz(300)
@given(
    key=st.sampled_from(["location", "offset", "length"]),
    value=st.one_of(st.text(), st.integers().map(str), st.sampled_from(["\0", "a\nb", "../x", "a" * 5000, "9" * 5000])),
    limit=st.sampled_from([0, 2**31]),
)
def test_damaged_references_to_external_data_never_crash(tmp_path: Path, key: str, value: str, limit: int) -> None:
    path = external_model(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    with mock.patch.object(external_data, "LARGEST_MESSAGE", limit):
        survives(proto.SerializeToString(), tmp_path)


def test_location_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"weights\xf4bin"))
    assert "has no valid location" in error_of(path)


def test_link_to_external_data_in_the_folder_is_followed(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "blob")
    (tmp_path / "weights.bin").symlink_to("blob")
    assert np.array_equal(
        model_io.load(path).graph.initializers["conv.weight"].const_value.numpy(), random_array(32, 3, 3, 3)
    )


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="can't write"):
        model_io.save(conv_model(), tmp_path / "missing" / "out.onnx")
    model_io.save(conv_model(), tmp_path / "out.onnx")
    assert [item.name for item in tmp_path.iterdir()] == ["out.onnx"]


def test_round_trip_keeps_a_model(tmp_path: Path) -> None:
    for proto in (conv_model(), if_model(), function_model()):
        model_io.save(model_io.to_ir(proto, "it"), tmp_path / "out.onnx")
        assert onnx.load(tmp_path / "out.onnx") == proto


MODELS = [proto.SerializeToString() for proto in (conv_model([node("Relu", ["conv_out"], ["y"])]), if_model())]


def survives(data: bytes, folder: Path) -> None:
    """All that reads a model either works or raises DrpassError in one line."""
    path = folder / "fuzzed.onnx"
    path.write_bytes(data)
    assert "\n" not in complaint(inspect, path)
    assert "\n" not in complaint(rewrite, path)


def complaint(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except DrpassError as error:
        return str(error)
    return ""


@fuzz(60)
@given(data=st.sampled_from(MODELS), cut=st.floats(0, 1))
def test_truncated_files_never_crash(tmp_path: Path, data: bytes, cut: float) -> None:
    survives(data[: int(cut * len(data))], tmp_path)


@fuzz(300)
@given(data=st.sampled_from(MODELS), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 7)), max_size=4))
def test_files_with_flipped_bits_never_crash(tmp_path: Path, data: bytes, flips: list[tuple[float, int]]) -> None:
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[int(place * len(data))] ^= 1 << bit
    survives(bytes(damaged), tmp_path)


@fuzz(200)
@given(data=st.data())
def test_models_with_damaged_structure_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    """Flipped bits hit mostly weights; here the parts that the pass reads are damaged one at a time."""
    proto = conv_model([node("Relu", ["conv_out"], ["y"])], pads=[1, 1, 1, 1], strides=[1, 1])
    conv, weights = proto.graph.node[0], proto.graph.initializer[0]
    damage = data.draw(
        st.sampled_from(
            [
                lambda: weights.dims.extend([2]),
                lambda: weights.dims.pop(),
                lambda: weights.dims.__setitem__(0, -5),
                lambda: weights.dims.__setitem__(0, 2**40),
                lambda: setattr(weights, "data_type", data.draw(st.integers(0, 40))),
                lambda: setattr(weights, "raw_data", weights.raw_data[:-3]),
                lambda: conv.input.pop(),
                lambda: conv.input.__setitem__(0, "y"),
                lambda: conv.input.__setitem__(1, "nothing"),
                lambda: conv.input.insert(0, ""),
                lambda: conv.output.__setitem__(0, ""),
                lambda: conv.output.append("second"),
                lambda: conv.attribute.append(helper.make_attribute("group", data.draw(st.integers(-2, 9)))),
                lambda: conv.attribute.append(helper.make_attribute("dilations", data.draw(st.text(max_size=2)))),
                lambda: conv.attribute[0].ints.extend([3]),
                lambda: setattr(conv.attribute[0], "type", data.draw(st.integers(0, 13))),
                lambda: proto.graph.node.insert(0, conv),
                lambda: proto.opset_import.extend(list(proto.opset_import)),
                lambda: setattr(proto.opset_import[0], "version", data.draw(st.integers(-1, 99))),
                lambda: setattr(proto, "ir_version", data.draw(st.integers(1, 99))),
                lambda: proto.graph.output.extend(list(proto.graph.output)),
                lambda: proto.graph.initializer.extend([weights]),
                lambda: setattr(weights, "name", ""),
            ]
        )
    )
    damage()
    survives(proto.SerializeToString(), tmp_path)
