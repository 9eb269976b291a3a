"""Additions of residual connections: which a convolution absorbs, and in which layout the sum is."""

from __future__ import annotations

import pytest
from chain_nets import EXACT, Net, blocked, check, residual, types

from drpass.rewriting import rewrite


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("channels", [32, 40])
def test_residual_connection_is_absorbed_and_stays_in_blocks(channels: int, order: int) -> None:
    net = Net()
    net.conv("x", "short", 8, channels)
    result = check(net.model(residual(net, "short", channels, order)))
    assert types(result) == ["DeepReuseGemm"] * 3
    assert blocked(result) == {"short", "relu"}
    assert next(v for v in result.report.verdicts if v.node == "long").absorbed == ("sum", "relu")


def test_addend_that_is_made_after_the_convolution_is_there_in_time() -> None:
    net = Net()
    net.conv("x", "long", 8, 16)
    net.conv("x", "late", 8, 16, kernel=1)
    net.node("Tanh", ["late"], "other")
    net.node("Add", ["long", "other"], "sum")
    net.conv("sum", "end", 16, 16)
    result = check(net.model("end"))
    assert types(result) == ["DeepReuseGemm", "Tanh", "DeepReuseGemm", "DeepReuseGemm"]
    assert blocked(result) == {"late", "other", "sum"}


def test_addend_in_planes_keeps_the_sum_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 8)
    net.node("Add", ["a", "x"], "b")
    net.conv("b", "c", 8, 16)
    result = check(net.model("c"))
    assert types(result) == ["DeepReuseGemm"] * 2
    assert blocked(result) == set()


def test_addition_that_might_broadcast_is_not_absorbed() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("GlobalAveragePool", ["a"], "gate")
    net.conv("a", "b", 16, 16)
    net.node("Add", ["b", "gate"], "c")
    net.conv("c", "d", 16, 16)
    result = check(net.model("d"))
    assert "Add" in types(result)
    assert blocked(result) == {"a", "gate", "b", "c"}


def test_addition_of_unknown_sizes_is_not_absorbed() -> None:
    net = Net("N", "S")
    net.conv("x", "short", 8, 32)
    result = check(net.model(residual(net, "short")))
    assert types(result).count("Add") == 1
    assert blocked(result) == {"short", "long", "sum", "relu"}


def test_sizes_of_an_example_do_not_make_an_addition_legal() -> None:
    net = Net("N", "S")
    net.conv("x", "short", 8, 32)
    result = rewrite(net.model(residual(net, "short")), parameters=EXACT, shapes={"x": [2, 8, 12, 12]})
    assert types(result).count("Add") == 1


def test_convolution_that_something_else_reads_absorbs_no_addition() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    net.node("Softmax", ["b"], "c")
    net.node("Add", ["a", "b"], "d")
    assert types(check(net.model("c", "d"))).count("Add") == 1
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("Add", ["a", "a"], "b")
    assert types(check(net.model("b"))) == ["DeepReuseGemm", "Add"]


def test_second_addition_and_addition_behind_an_activation_stay() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    net.node("Add", ["a", "b"], "c")
    net.node("Add", ["c", "a"], "d")
    net.conv("d", "e", 16, 16)
    net.node("Relu", ["e"], "f")
    net.node("Add", ["f", "d"], "g")
    result = check(net.model("g"))
    assert types(result) == ["DeepReuseGemm", "DeepReuseGemm", "Add", "DeepReuseGemm", "Add"]
