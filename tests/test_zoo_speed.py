"""bench/zoo_speed.py: known architectures, rewritten without options, against themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import zoo_speed
from models_for_tests import conv_model, model, node, random_array

TINY = """
[wide]
title = "wide layers"
zoo = "zoo_torch"
network = "wide"
side = 24

[dense]
title = "one product"
zoo = "zoo_torch"
network = "dense"
side = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the two networks are exported already."""
    rows = tmp_path / "rows.toml"
    rows.write_text(TINY)
    monkeypatch.setattr(zoo_speed, "_ROWS", rows)
    second = node("Conv", ["conv_out", "w"], ["y"], pads=[1] * 4)
    wide = conv_model([second], {"w": random_array(64, 64, 3, 3)}, outputs=64, size=24, pads=[1] * 4)
    (tmp_path / "zoo.wide.onnx").write_bytes(wide.SerializeToString())
    product = model([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 8]}, {"y": None}, {"w": random_array(8, 8)})
    (tmp_path / "zoo.dense.onnx").write_bytes(product.SerializeToString())
    return tmp_path


def test_networks_of_the_repository_are_read() -> None:
    rows = zoo_speed._rows([])
    assert {row.zoo for row in rows.values()} == {"zoo_torch", "zoo_keras"}
    assert list(zoo_speed._rows(["unet"])) == ["unet"]


def test_network_is_timed_and_one_that_stays_as_it_is_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo_speed.main(["--threads", "1", "--runs", "2", "--work", str(folder)]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    (wide,) = [line for line in lines if line[:1] == ["wide layers"]]
    assert wide[1:3] == ["2", "1"]
    assert float(wide[3]) > 0
    assert float(wide[7]) < 1e-4
    (dense,) = [line for line in lines if line[:1] == ["one product"]]
    assert dense[1] == "0"
    assert dense[5] == "1: the same file"


def test_what_can_not_be_measured_is_refused_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo_speed.main(["--rows", "vgg"]) == 2
    assert "has no row 'vgg'; it has wide, dense" in capsys.readouterr().err
    (folder / "rows.toml").write_text(TINY.replace("side", "size"))
    assert zoo_speed.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "row 'wide': unknown key 'size'" in line
