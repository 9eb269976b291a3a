"""Random networks compute the same before and after `rewrite`, and after `restore`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from random_networks import RandomNetwork
from rewriting import EXACT

from drpass import rewrite
from drpass.execution import open_session
from drpass.model_check import fault
from drpass.restoring import restore
from drpass.tensors import Array, Feeds

#: Of the largest value: float rounding of 20 layers, Winograd's filtering included.
TOLERANCE = 5e-5


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_computes_the_same_rewritten_and_restored(seed: int) -> None:
    network = RandomNetwork(seed)
    onnx.checker.check_model(network.proto, full_check=True)
    expected = outputs(network.proto, network.feeds)
    for parameters in (None, EXACT):
        rewritten = rewrite(network.proto, parameters=parameters).to_proto()
        restored = restore(rewritten).to_proto()
        assert {entry.domain for entry in restored.graph.node} == {""}
        for made, threads in ((rewritten, 1), (rewritten, 2), (restored, 1)):
            assert fault(made, strict=True) == ""
            assert_same(expected, outputs(made, network.feeds, threads))


def outputs(proto: onnx.ModelProto, feeds: Sequence[Feeds], threads: int = 1) -> list[Array]:
    session = open_session(proto, threads=threads)
    return [array for batch in feeds for array in session.run(None, batch)]


def assert_same(expected: Sequence[Array], found: Sequence[Array]) -> None:
    for one, other in zip(expected, found, strict=True):
        scale = max(1.0, float(np.abs(one).max(initial=0)))
        np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE * scale)
