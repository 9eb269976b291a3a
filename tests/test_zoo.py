"""A few small networks of the zoo, all three ways of the pass; `make zoo` runs all of them (docs/coverage.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from coverage_table import PAGE
from zoo import BEGIN, END, FRAMEWORKS
from zoo_check import LIMIT, Row, examine

pytest.importorskip("tensorflow", reason="needs the extra export")

import keras
from keras import layers
from zoo_keras import MEAN, SPREAD, save

from drpass.export import export


def examined(source: str, folder: Path) -> Row:
    export(source, folder / "network.onnx", opset=18, check=False)
    return examine("network", folder / "network.onnx", MEAN, SPREAD)


def test_unet_is_replaced_but_for_its_strided_transposed_convolution(tmp_path: Path) -> None:
    row = examined(save("U-Net", tmp_path), tmp_path)
    assert row.operators == {"Conv": 12, "ConvTranspose": 1}
    assert (row.replaced, row.kept) == (12, {"transposed with stride 2 (only stride 1 is one convolution)": 1})


@pytest.mark.parametrize(("name", "least"), [("YOLO-like", 40), ("MobileNetV3Small", 50)])
def test_network_is_replaced_as_a_whole(name: str, least: int, tmp_path: Path) -> None:
    row = examined(save(name, tmp_path), tmp_path)
    assert row.replaced >= least
    assert not row.kept


def test_grouped_convolutions_and_gelu_of_keras_are_exported(tmp_path: Path) -> None:
    image = keras.Input((16, 16, 32))
    depthwise = layers.Conv2D(32, 7, padding="same", groups=32)(image)
    activated = layers.Activation("gelu")(depthwise)
    network = keras.Model(image, layers.Conv2D(16, 3, padding="same", groups=2)(activated))
    network.save(tmp_path / "grouped.keras")
    report = export(tmp_path / "grouped.keras", tmp_path / "grouped.onnx", opset=18)
    assert report.max_relative_error is not None
    assert report.max_relative_error < 1e-5
    assert examine("grouped", tmp_path / "grouped.onnx", 0.0, 1.0).replaced == 2


def test_page_has_a_table_of_networks_of_every_framework_within_the_limit() -> None:
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert all(f"### {title}: " in table for title in FRAMEWORKS.values())
    errors = re.findall(r"\| (\d\S*) \| (\d\S*) \| (\d\S*) \|\n", table)
    assert len(errors) >= 70
    assert all(float(error) < LIMIT for row in errors for error in row)
