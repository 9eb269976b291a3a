"""bench/reuse.py: r_c of pictures whose colours are counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import gpu_measure
import numpy as np
import onnx
import pytest
import reuse
from convolutions import Convolution
from PIL import Image

NETWORKS = """\
[small]
title = "Small"
model = "small.onnx"
data = "pictures"
preprocess = "models/cifarnet.toml"
pictures = 2
layers = [
  { name = "conv", channels = 3, outputs = 4, size = 32, kernel = 3, remaining_ratio = 0.25, dense = 0.5 },
]
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of one convolution, and two pictures with 2 and 4 colours that lie far apart."""
    model = gpu_measure.dense_model(Convolution("conv", 3, 4, 32, 3), 1)
    onnx.save(model, tmp_path / "small.onnx")
    (tmp_path / "pictures").mkdir()
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]], np.uint8)
    for count in (2, 4):
        pixels = colours[np.arange(32 * 32) % count].reshape(32, 32, 3)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{count}.png")
    (tmp_path / "networks.toml").write_text(NETWORKS)
    monkeypatch.setenv("DRPASS_MODELS", str(tmp_path))
    monkeypatch.setenv("DRPASS_DATA", str(tmp_path))
    return tmp_path / "networks.toml"


def test_ratio_is_the_mean_of_the_pictures(networks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reuse.main(["--networks", str(networks), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {"network": "small", "layer": "conv", "remaining_ratio": 3 / 1024, "dense": 0.0}


def test_table_has_the_figures_of_the_file_beside_those_found(
    networks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reuse.main(["small", "--networks", str(networks)]) == 0
    out = capsys.readouterr().out
    assert [cell.strip() for cell in out.splitlines()[-1].strip("|").split("|")] == [
        *("small", "conv", "0.003", "0.00", "0.250", "0.50"),
    ]


def test_layer_that_the_guard_leaves_dense_has_no_ratio(networks: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (tmp_path / "pictures").glob("*.png"):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    (network,) = reuse.load_networks(networks)
    coarse = reuse.measure(network, network.layers[0])
    assert coarse.dense == 0.0
    assert coarse.remaining_ratio is not None
    fine = reuse.measure(network, network.layers[0], step=0.01)
    assert (fine.remaining_ratio, fine.dense) == (None, 1.0)


def test_what_is_not_there_is_named(
    networks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reuse.main(["other", "--networks", str(networks)]) == 2
    assert "no network with a model is called other; there are small" in capsys.readouterr().err
    monkeypatch.delenv("DRPASS_DATA")
    assert reuse.main(["--networks", str(networks)]) == 2
    assert "small: DRPASS_MODELS and DRPASS_DATA must have small.onnx and pictures" in capsys.readouterr().err
