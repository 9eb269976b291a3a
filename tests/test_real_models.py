"""Trained networks on real images, through the command line: exact mode is exact, and the default keeps its word.

Needs DRPASS_MODELS and DRPASS_DATA (the Makefile sets them where ../shared is there)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import drpass

PREPROCESS = Path(__file__).parent / "preprocess"


def real(variable: str, name: str) -> Path:
    folder = os.environ.get(variable)
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"{variable} names no folder with {name}")
    return Path(folder) / name


def validated(tmp_path: Path, model: str, rewrite: list[str], check: list[str]) -> dict:
    """The report of ``drpass validate`` on real images; its limits must hold."""
    original = real("DRPASS_MODELS", f"{model}.onnx")
    images = real("DRPASS_DATA", "imagenet-samples.tar.xz")
    outcome = drpass("rewrite", original, tmp_path / "out.onnx", *rewrite)
    assert outcome.status == 0, outcome.err
    assert "accuracy was NOT checked" in outcome.out + outcome.err
    data = ["--data", images, "--preprocess", PREPROCESS / f"{model}.toml"]
    outcome = drpass("validate", original, tmp_path / "out.onnx", *data, "--json", *check)
    assert outcome.status == 0, outcome.out + outcome.err
    return json.loads(outcome.out)


@pytest.mark.parametrize("model", ["squeezenet11_imagenet", "waifu2x_upconv7_photo_x2", "vgg16_imagenette"])
def test_exact_mode_differs_by_rounding_only(tmp_path: Path, model: str) -> None:
    validated(tmp_path, model, ["--method", "exact"], ["--labels", "none", "--limit", "4", "--max-rel", "1e-4"])


def test_default_of_squeezenet_keeps_the_class_of_98_in_100_images(tmp_path: Path) -> None:
    limits = ["--limit", "200", "--min-top1-agreement", "0.98"]
    report = validated(tmp_path, "squeezenet11_imagenet", [], limits)
    assert report["samples"] == 200


def test_default_of_waifu2x_stays_above_45_db(tmp_path: Path) -> None:
    validated(tmp_path, "waifu2x_upconv7_photo_x2", [], ["--limit", "4", "--peak", "1", "--min-psnr", "45"])
