"""The tuner on a trained network and real images: the budget is kept on the held-out part, whatever the split.

Needs DRPASS_DATA (the Makefile sets it where ../shared is there)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("tf2onnx", reason="needs the extra export")

from drpass.data import Preprocess, open_split
from drpass.execution import open_session
from drpass.export import export
from drpass.networks import preprocessing_path
from drpass.tensors import input_specs
from drpass.tune import Budget, Tuning
from drpass.validation import validate

ARCHIVE = Path(os.environ.get("DRPASS_DATA", "")) / "cifar10-test.tar.xz"


@pytest.fixture(scope="module")
def cifarnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not ARCHIVE.is_file():
        pytest.skip(f"DRPASS_DATA names no folder with {ARCHIVE.name}")
    path = tmp_path_factory.mktemp("cifarnet") / "cifarnet.onnx"
    export("cifarnet", path)
    return path


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_budget_is_kept_on_data_that_the_choice_did_not_see(cifarnet: Path, seed: int) -> None:
    inputs = input_specs(open_session(cifarnet))
    preprocess = Preprocess.from_toml(preprocessing_path("cifarnet"))
    split = open_split(ARCHIVE, inputs, preprocess=preprocess, batch=50, limit=1500, seed=seed)
    tuned = Tuning(cifarnet, split, Budget(min_agreement=0.97), threads=2, seconds=12).run()
    found = validate(cifarnet, tuned.result.to_proto(), split.held_out).outputs[0].classes
    assert found is not None
    assert found.agreement.samples == split.held_out.n >= 1000
    assert found.agreement.top1 >= 0.97
    assert all(layer.reason or layer.chosen for layer in tuned.report.layers)
