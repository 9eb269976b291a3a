"""Export of PyTorch modules from a function of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from drpass import entry_point, external_data
from drpass.errors import DrpassError

pytest.importorskip("torch", reason="needs the extra torch")

import torch

from drpass.export import export

SCRIPT = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.normalization = nn.BatchNorm2d(8)
        self.normalization.running_var.uniform_(0.5, 2)
        self.dropout = nn.Dropout(0.5)
        self.scores = nn.Linear(8, 5)

    def forward(self, picture):
        x = torch.relu(self.normalization(self.convolution(picture)))
        return self.scores(self.dropout(x.mean((2, 3))))

class TwoInputs(Network):
    def forward(self, picture, offset):
        scores = super().forward(picture)
        return {"moved": scores + offset, "plain": scores}

class OneSample(Network):
    def forward(self, picture):
        return super().forward(picture).reshape(5) if picture.shape[0] == 1 else None

class Branching(Network):
    def forward(self, picture):
        return super().forward(picture) if picture.sum() > 0 else picture

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.scores = nn.Linear(3 * 16 * 20, 5)

    def forward(self, picture):
        return self.scores(picture.flatten(1))

class Bessel(Network):
    def forward(self, picture):
        return torch.special.bessel_j0(super().forward(picture))

picture = torch.zeros(1, 3, 16, 20)
def network(): return Network(), picture
def two(): return TwoInputs(), (picture, torch.zeros(1, 5))
def one(): return OneSample(), picture
def branching(): return Branching(), picture
def wide(): return Wide(), picture
def bessel(): return Bessel(), picture
def number(): return 3
def no_tensor(): return Network(), "picture"
def raising(): raise ValueError("of two\\nlines")
"""
PICTURES = np.random.default_rng(7).random((4, 3, 16, 20), np.float32)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def _run(path: Path, *arrays: Any) -> Any:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((value.name for value in session.get_inputs()), arrays)))


def _expected(script: Path, function: str, *arrays: Any) -> Any:
    module, _ = entry_point.load(f"{script}:{function}")()
    with torch.no_grad():
        return module.eval()(*map(torch.from_numpy, arrays))


@pytest.mark.parametrize("opset", [18, 23])
def test_module_is_exported_for_inference_with_an_open_batch(script: Path, opset: int) -> None:
    output = script.with_suffix(".onnx")
    report = export(f"{script}:network", output, opset=opset)
    (scores,) = _run(output, PICTURES)
    np.testing.assert_allclose(scores, _expected(script, "network", PICTURES), atol=1e-5)
    assert [(spec.name, spec.shape) for spec in report.inputs] == [("picture", ("batch", 3, 16, 20))]
    assert [(spec.name, spec.shape) for spec in report.outputs] == [("output", ("batch", 5))]
    assert "photographs" in report.checked_on
    assert {entry.domain: entry.version for entry in onnx.load(output).opset_import}[""] == opset


def test_module_with_two_inputs_and_a_dict_of_outputs_keeps_their_names(script: Path) -> None:
    output = script.with_suffix(".onnx")
    report = export(f"{script}:two", output)
    offsets = np.random.default_rng(1).random((4, 5), np.float32)
    expected = _expected(script, "two", PICTURES, offsets)
    for got, name in zip(_run(output, PICTURES, offsets), ("moved", "plain")):
        np.testing.assert_allclose(got, expected[name], atol=1e-5)
    assert [spec.name for spec in report.inputs] == ["picture", "offset"]
    assert [spec.name for spec in report.outputs] == ["moved", "plain"]


def test_module_that_holds_on_to_its_batch_keeps_that_of_the_example(script: Path) -> None:
    output = script.with_suffix(".onnx")
    report = export(f"{script}:one", output)
    np.testing.assert_allclose(_run(output, PICTURES[:1])[0], _expected(script, "one", PICTURES[:1]), atol=1e-5)
    assert report.inputs[0].shape == (1, 3, 16, 20)


def test_batch_is_fixed_when_asked(script: Path) -> None:
    report = export(f"{script}:network", script.with_suffix(".onnx"), batch=4, check=False)
    assert report.inputs[0].shape == (4, 3, 16, 20)
    assert report.outputs[0].shape == (4, 5)
    assert report.checked_on is None


def test_module_that_is_too_large_for_a_message_has_its_weights_in_a_file_beside_it(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 10_000)
    output = script.with_suffix(".onnx")
    report = export(f"{script}:wide", output)
    data = output.with_name(f"{output.name}.data")
    assert {path.name for path in script.parent.iterdir() if path.is_file()} == {script.name, output.name, data.name}
    assert report.size == output.stat().st_size + data.stat().st_size
    assert data.stat().st_size >= 5 * PICTURES[0].nbytes
    assert report.max_relative_error is not None
    assert report.max_relative_error < 1e-5
    np.testing.assert_allclose(_run(output, PICTURES)[0], _expected(script, "wide", PICTURES), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("branching", "can't be converted: .*data-dependent"),
        ("bessel", "can't be converted: .*bessel_j0"),
        ("number", r"must return \(module, example inputs\), not int"),
        ("no_tensor", "tuple of tensors, as example inputs"),
        ("raising", "raised ValueError: of two lines"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_what_can_not_be_exported_is_refused_in_one_line(
    script: Path, function: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DrpassError, match=message) as raised:
        export(f"{script}:{function}", script.with_suffix(".onnx"))
    assert "\n" not in str(raised.value)
    assert not script.with_suffix(".onnx").exists()
    assert capfd.readouterr() == ("", "")


def test_opset_that_pytorch_does_not_write_is_refused(script: Path) -> None:
    with pytest.raises(DrpassError, match="opset must be one of 18, 19"):
        export(f"{script}:network", script.with_suffix(".onnx"), opset=17)


def test_without_the_extra_it_says_what_to_install(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(DrpassError, match=r"pip install 'drpass\[torch\]'"):
        export(f"{script}:network", script.with_suffix(".onnx"))
