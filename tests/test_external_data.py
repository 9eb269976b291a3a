"""Weights in files beside a model: nothing half-written or overwritten, and nothing trusted that is not checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
from command_line import drpass, refused
from large_models import deep_model, edit, names, saved, with_data
from rewriting import EXACT

from drpass import external_data, model_io
from drpass.errors import DrpassError
from drpass.execution import open_session
from drpass.rewriting import rewrite


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), ValueError("torn"), KeyboardInterrupt()])
def test_failure_in_the_middle_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    result = rewrite(saved(deep_model(), tmp_path), parameters=EXACT)
    (tmp_path / "out").mkdir()
    kept: Mapping[str, bytes] = {}

    def attempt() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(external_data, "forget", raising)
            with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else DrpassError):
                result.save(tmp_path / "out" / "out.onnx")
        assert {item.name: item.read_bytes() for item in (tmp_path / "out").iterdir()} == kept

    def raising(data: object) -> None:
        raise failure

    attempt()
    result.save(tmp_path / "out" / "out.onnx")
    kept = {item.name: item.read_bytes() for item in (tmp_path / "out").iterdir()}
    assert sorted(kept) == ["out.onnx", "out.onnx.data"]
    attempt()


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("failure", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_data_file_does_not_stay_without_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    result = rewrite(saved(deep_model(), tmp_path), parameters=EXACT)
    replace = Path.replace

    def refuse_the_model(self: Path, target: Path) -> Path:
        if target.suffix == ".onnx":
            raise failure
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_the_model)
    with pytest.raises((DrpassError, KeyboardInterrupt)):
        result.save(tmp_path / "out.onnx")
    assert names(tmp_path) == ["in.onnx", "weights.bin"]


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("location", ["in.onnx.data", "weights.bin"])
def test_model_that_replaces_itself_stays_whole(tmp_path: Path, location: str) -> None:
    path = saved(deep_model(), tmp_path, location)
    result = rewrite(path, parameters=EXACT)
    result.save(tmp_path / "first.onnx")
    expected = with_data(tmp_path / "first.onnx")
    assert drpass("rewrite", path, path, "--method", "exact", "--overwrite").status == 0
    assert with_data(path) == expected
    result.save(tmp_path / "again.onnx")
    assert with_data(tmp_path / "again.onnx") == expected


@pytest.mark.usefixtures("low_limit")
def test_data_of_the_original_is_never_overwritten(tmp_path: Path) -> None:
    path = saved(deep_model(), tmp_path, "out.onnx.data")
    before = (tmp_path / "out.onnx.data").read_bytes()
    result = rewrite(path, parameters=EXACT)
    result.save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").read_bytes() == before
    assert names(tmp_path) == ["in.onnx", "out.onnx", "out.onnx.2.data", "out.onnx.data"]
    assert open_session(tmp_path / "out.onnx")
    with pytest.raises(DrpassError, match=r"out.onnx.data holds the weights of the model; choose another output"):
        result.save(tmp_path / "out.onnx.data")


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../weights.bin"}, ["lies outside the model's folder (../weights.bin)"]),
        ({"location": "/etc/hostname"}, ["lies outside the model's folder (/etc/hostname)"]),
        ({"location": "link.bin"}, ["lies outside the model's folder (link.bin)"]),
        ({"location": "gone.bin"}, ["needs its external data gone.bin; put that file beside it"]),
        ({"location": ""}, ["lies outside the model's folder"]),
        ({"location": "."}, ["lies outside the model's folder"]),
        ({"offset": 10**12}, ["is truncated"]),
        ({"offset": -4}, ["is truncated"]),
        ({"offset": "many"}, ["has no valid offset and length"]),
        ({"length": 10**12}, ["is truncated"]),
        ({"length": 2048}, ["'w2' has 2048 bytes, which is not what its shape"]),
    ],
)
def test_external_data_that_is_not_to_be_trusted_is_refused(
    tmp_path: Path, entries: Mapping[str, object], words: list[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = saved(deep_model(), folder)
    (tmp_path / "weights.bin").write_bytes(bytes(10**6))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    edit(path, "w2", **entries)
    for command in (["inspect", path], ["rewrite", path, folder / "out.onnx"], ["explain", path, "conv"]):
        refused(drpass(*command), *words)
    assert names(folder) == ["in.onnx", "link.bin", "weights.bin"]


@pytest.mark.parametrize("location", ["/etc/hostname", "weights.bin"])
def test_message_whose_data_was_never_checked_is_refused(tmp_path: Path, location: str) -> None:
    path = saved(deep_model(), tmp_path)
    edit(path, "w2", location=location)
    proto = onnx.load(path, load_external_data=False)
    for use in (rewrite, open_session, lambda it: model_io.save(it, tmp_path / "out.onnx")):
        with pytest.raises(DrpassError):
            use(proto)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("low_limit")
def test_data_that_shrinks_after_loading_is_one_line(tmp_path: Path) -> None:
    path = saved(deep_model(), tmp_path)
    proto = model_io.load_proto(path)
    (tmp_path / "weights.bin").write_bytes(bytes(5000))
    with pytest.raises(DrpassError, match=r"in.onnx is not a valid ONNX model: .* beyond the end of its file"):
        model_io.to_ir(proto, str(path))


def test_file_of_more_than_2_gb_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "long.onnx", "wb") as file:
        file.truncate(2**31)
    refused(drpass("inspect", tmp_path / "long.onnx"), "over 2 GB, which no message can be; save it with external data")
