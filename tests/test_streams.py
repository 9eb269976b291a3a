"""Standard output and error as shells leave them: closed, full, of another encoding; what of a model shows there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, model, node, random_array

from drpass import cli
from drpass.errors import DrpassError
from drpass.files import atomic_output


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def status_with(out: io.TextIOBase, *arguments: object) -> int:
    """The exit status with standard output sent to ``out``."""
    argv = ["drpass", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def named(name: str) -> onnx.ModelProto:
    """x → Conv ``name`` → y, with a batch of that name too."""
    conv = node("Conv", ["x", "w"], ["y"], name=name)
    return model([conv], {"x": [name, 3, 8, 8]}, {"y": None}, {"w": random_array(16, 3, 3, 3)})


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_names_that_the_encoding_of_the_terminal_lacks_are_escaped(tmp_path: Path, options: list[str]) -> None:
    path = saved(named("é свёртка 🙂"), tmp_path)
    raw = io.BytesIO()
    assert status_with(io.TextIOWrapper(raw, encoding="ascii"), "inspect", path, *options) == 0
    text = raw.getvalue().decode("ascii")
    if options:
        assert json.loads(text)[0]["node"] == "é свёртка 🙂"
    else:
        assert r"\xe9 \u0441" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_to_a_full_disk_is_an_error(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(conv_model(), tmp_path)
    with open("/dev/full", "w") as full:
        assert status_with(full, "inspect", path, *options) == 2
    assert capsys.readouterr().err == "error: can't write the output: No space left on device\n"


def test_closed_standard_output_is_no_error() -> None:
    command = [sys.executable, "-m", "drpass", "--version"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    path = saved(named("[/b]:x:"), tmp_path)
    outcome = drpass("inspect", path, "--all")
    assert outcome.status == 0, outcome.err
    assert "[/b]:x:×3×8×8" in outcome.out


def test_operator_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    strange = node("[/b]", ["x"], ["y"])
    strange.domain = "com.unknown"
    path = saved(model([strange], {"x": [1]}, {"y": [1]}, domains={"com.unknown": 1}), tmp_path)
    outcome = drpass("inspect", path, "--all")
    assert outcome.status == 0, outcome.err
    assert "[/b]" in outcome.out


def test_limit_that_an_output_with_a_strange_name_passes_is_reported(tmp_path: Path) -> None:
    one, other = (model([node("Mul", ["x", "k"], ["[/b]"])], {"x": [4]}, {"[/b]": [4]}, {"k": k}) for k in FACTORS)
    onnx.save(one, tmp_path / "one.onnx")
    onnx.save(other, tmp_path / "other.onnx")
    outcome = drpass("validate", tmp_path / "one.onnx", tmp_path / "other.onnx", "--data", "random", "--max-rel", "0.1")
    assert outcome.status == 1, outcome.err
    assert "[/b]" in outcome.err


FACTORS = (np.float32(1), np.float32(2))


def test_the_log_of_onnx_runtime_does_not_come_beside_the_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    impossible = node("Reshape", ["x", "s"], ["y"], name="reshape")
    path = saved(model([impossible], {"x": ["N", 3]}, {"y": None}, {"s": np.array([7, 5], np.int64)}), tmp_path)
    outcome = drpass("run", path, "--random")
    assert outcome.status == 2
    assert "reshape" in outcome.err
    assert capfd.readouterr() == ("", "")


def test_error_of_onnx_runtime_is_shown_without_the_place_in_its_source(tmp_path: Path) -> None:
    onnx.save(conv_model(opset=60), tmp_path / "new.onnx")
    outcome = drpass("run", tmp_path / "new.onnx", "--random")
    refused(outcome, "Opset 60 is under development")
    assert not {"onnxruntime_src", "ONNXRuntimeError", "FAIL"} & set(re.findall(r"\w+", outcome.err))


def test_onnx_runtime_prints_nothing_beside_the_error_of_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = conv_model([node("Relu", ["nowhere"], ["y"])])
    path.write_bytes(proto.SerializeToString().replace(b"nowhere", b"nowher\xff"))
    refused(drpass("run", path, "--random"), "can't load")


def test_what_is_no_regular_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DrpassError, match="no regular file"), atomic_output(pipe) as temporary:
        temporary.write_bytes(b"model")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
