"""Registers and shared memory of the kernels for CUDA against the table in docs/cuda.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import cuda_resources
import pytest
from cuda_resources import Usage, allowed, excesses

TABLE = Path(__file__).parents[1] / "docs" / "cuda.md"
LOG = """\
ptxas info    : Compiling entry function '_ZN1a11bend_kernelILi64ELi16EEEvNS_1VE' for 'sm_75'
ptxas info    : Function properties for _ZN1a11bend_kernelILi64ELi16EEEvNS_1VE
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 100 registers, used 1 barriers, 28928 bytes smem, 776 bytes cmem[0]
"""


def test_log_of_the_assembler_is_read() -> None:
    assert cuda_resources.parse(LOG) == [Usage("bend<64, 16>", 100, 28928, 12)]


def test_occupancy_is_that_of_the_scarcest_resource() -> None:
    assert Usage("k", 64, 0, 0).occupancy(75) == 1
    assert Usage("k", 65, 0, 0).occupancy(75) == 0.75  # 72 registers: 3 blocks of 8 warps
    assert Usage("k", 32, 30 << 10, 0).occupancy(75) == 0.5
    assert Usage("list", 20, 0, 0).occupancy(75) == 0.5  # 16 blocks of one warp
    assert Usage("k", 32, 30 << 10, 0).occupancy(86) == 0.5  # 1 KiB a block is reserved: 3 blocks of 48 warps


def test_kernel_that_takes_more_than_the_table_is_reported() -> None:
    limits = {"k": (1024, 40)}
    assert excesses({75: [Usage("k", 40, 1024, 0)]}, limits) == []
    assert "takes 41 registers" in excesses({75: [Usage("k", 41, 1024, 0)]}, limits)[0]
    assert "1025 bytes of shared" in excesses({75: [Usage("k", 40, 1025, 0)]}, limits)[0]
    assert "8 bytes of local memory" in excesses({75: [Usage("k", 40, 1024, 8)]}, limits)[0]
    assert "is not in the table" in excesses({75: [Usage("other", 4, 0, 0)]}, limits)[0]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_hot_kernels_stay_within_the_table() -> None:
    files = [cuda_resources.SOURCES / name for name in ("dense.cu", "reconstruct.cu", "table.cu")]
    assert excesses({80: cuda_resources.measure(80, files)}, allowed(TABLE)) == []
