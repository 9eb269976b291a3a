"""Runs tests/cuda_clusters.cu, which compares clusters on CUDA with those of the CPU."""

from __future__ import annotations

import cuda_device
import pytest
from test_cuda import SEEDS

pytestmark = [
    cuda_device.needs_cuda,
    pytest.mark.skipif(cuda_device.has_gpu(), reason="the program is built for the emulator"),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_ids_and_centroids_are_those_of_the_cpu_to_the_last_bit(seed: int) -> None:
    done = cuda_device.run_emulated("drpass_cuda_clusters", seed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same") == 32
