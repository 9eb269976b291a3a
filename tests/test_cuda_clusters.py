"""Runs tests/cuda_clusters.cu, which compares clusters on CUDA with those of the CPU."""

from __future__ import annotations

import os
import subprocess

import cuda_device
import pytest
from test_cuda import SEEDS

pytestmark = [
    cuda_device.needs_cuda,
    pytest.mark.skipif(cuda_device.has_gpu(), reason="the program is built for the emulator"),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_ids_and_centroids_are_those_of_the_cpu_to_the_last_bit(seed: int) -> None:
    cuda_device.build("drpass_cuda_clusters")
    program = cuda_device.BUILD / "custom_ops" / "drpass_cuda_clusters"
    environment = os.environ | {"LD_LIBRARY_PATH": str(cuda_device.stand_ins()), "PTXEMU_SEED": str(seed)}
    done = subprocess.run([program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same") == 32
