"""Rewriting without parameters: exact nodes, and only where they are expected to make the model faster."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from chain_nets import Net

from drpass import rewrite
from drpass.operator.spec import ReuseParameters
from drpass.passes.gain import NO_GAIN


def verdicts(net: Net, *outputs: str, **options: Any) -> dict[str, str]:
    return {verdict.node: verdict.describe() for verdict in rewrite(net.model(*outputs), **options).report.verdicts}


def test_convolutions_of_a_chain_become_exact_also_those_that_only_keep_it_together() -> None:
    net = Net()
    net.conv("x", "a", 8, 64)
    net.conv("a", "b", 64, 32, kernel=1)
    net.conv("b", "c", 32, 64)
    found = rewrite(net.model("c")).report
    assert found.replaced == 3
    assert found.parameters == ReuseParameters(method="exact")
    assert all(verdict.parameters == found.parameters for verdict in found.verdicts)


@pytest.mark.parametrize("attributes", [{"kernel": 1}, {"strides": [2, 2]}, {"dilations": [2, 2]}], ids=str)
def test_model_without_a_convolution_that_gains_is_unchanged(attributes: dict[str, Any]) -> None:
    net = Net()
    net.conv("x", "a", 8, 64, **attributes)
    net.conv("a", "b", 64, 64, **attributes)
    model = net.model("b")
    result = rewrite(model)
    assert result.to_proto() == model
    assert [verdict.reason for verdict in result.report.verdicts] == [NO_GAIN, NO_GAIN]


def test_several_outputs_a_channel_few_channels_and_matrix_products_are_kept() -> None:
    net = Net()
    net.conv("x", "a", 8, 64)
    net.conv("a", "b", 64, 128, group=64)
    net.conv("b", "c", 128, 64)
    net.conv("c", "d", 64, 15)
    net.constants.append(onnx.numpy_helper.from_array(net.rng.normal(size=(12, 40)).astype("f"), "m"))
    net.node("MatMul", ["d", "m"], "e")
    found = verdicts(net, "e")
    assert found["b"] == "kept: depthwise, with several outputs a channel"
    assert found["d"] == "kept: too few output channels (15; at least 16 without clustering)"
    assert found["e"] == "kept: a matrix product gains nothing without clustering"
    assert not found["c"].startswith("kept")


def test_large_part_that_loses_outweighs_a_small_one_that_gains() -> None:
    net = Net()
    net.conv("x", "a", 8, 512, kernel=1)
    net.conv("a", "b", 512, 512, kernel=1)
    net.conv("b", "c", 512, 16, kernel=1)
    net.conv("c", "d", 16, 16)
    assert set(verdicts(net, "d").values()) == {f"kept: {NO_GAIN}"}


def test_exact_name_in_include_replaces_it_all_the_same() -> None:
    net = Net()
    net.conv("x", "a", 8, 64, kernel=1)
    net.conv("a", "b", 64, 64, group=64)
    assert verdicts(net, "b", include=["b"])["b"] == "exact"
