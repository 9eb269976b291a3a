"""What a kernel asks of a GPU, and the least time that it can take for it (Williams et al., Roofline, 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from drpass.roofline.device import Device

#: Seconds from the launch of a kernel to that of the next on the same stream, at least. An assumption, the same for all
#: cards: the host's part depends on processor, driver and runtime.
LAUNCH_SECONDS = 2e-6

#: Of a read in L2, on all cards (Ultrason. Sonochem. 99 (2023) 106546, table 3).
_L2_CYCLES = 200


@dataclass(frozen=True)
class Kernel:
    """Counts of one kernel, over all its launches in a call.

    ``fp32``: floating-point operations of CUDA cores, a multiply-add counted as two, and so is an addition or
    multiplication alone, which takes as long; ``tensor``: the same, of tensor cores in TF32; ``double``: instructions
    of threads in double precision; ``others``: all other instructions; ``shared``: bytes in shared memory, an address
    that a warp's threads share once; ``memory``: bytes of the arrays read and written, each once; ``l2``: bytes that
    multiprocessors ask of L2; ``gathered``: those of them that lie anywhere in ``gathered_from`` bytes, which go to
    memory as far as L2 does not hold them; ``waits``, ``double_chain``: reads in L2 and double instructions that one
    thread does after each other, at the most; ``blocks``: that have work.
    """

    name: str
    launches: int = 1
    blocks: float = math.inf
    fp32: float = 0.0
    tensor: float = 0.0
    double: float = 0.0
    others: float = 0.0
    shared: float = 0.0
    memory: float = 0.0
    l2: float = 0.0
    gathered: float = 0.0
    gathered_from: float = 0.0
    waits: float = 0.0
    double_chain: float = 0.0

    def memory_bytes(self, device: Device) -> float:
        """That go to memory on a device."""
        missing = max(0.0, 1.0 - device.l2_bytes / self.gathered_from) if self.gathered_from else 0.0
        return self.memory + self.gathered * missing

    def limits(self, device: Device) -> dict[str, float]:
        """Seconds that each resource needs alone. Fewer blocks than multiprocessors leave some of these idle."""
        busy = min(1.0, self.blocks / device.sms) if self.blocks else 1.0
        return {
            "fp32": self.fp32 / device.fp32_rate / busy,
            "TF32": self.tensor / device.tf32_rate / busy,
            "doubles": self.double / device.double_rate / busy,
            "issue": (self.fp32 / 2 + self.double + self.others) / device.issue_rate / busy,
            "shared memory": self.shared / device.shared_rate / busy,
            "memory": self.memory_bytes(device) / device.memory_rate,
            "L2": max(self.l2, self.memory_bytes(device)) / device.l2_rate,
            "waiting": (self.waits * _L2_CYCLES + self.double_chain * device.double_cycles) / device.clock,
        }

    def bound(self, device: Device) -> str:
        """The resource that limits it, or "launch" where that takes longer than all of its work."""
        limits = self.limits(device)
        worst = max(limits, key=lambda name: limits[name])
        return worst if limits[worst] > self.launches * LAUNCH_SECONDS else "launch"

    def seconds(self, device: Device) -> float:
        """The largest of the limits, and the launches."""
        return max(self.limits(device).values()) + self.launches * LAUNCH_SECONDS


def milliseconds(kernels: Iterable[Kernel], device: Device) -> float:
    """Of kernels one after another."""
    return 1e3 * sum(kernel.seconds(device) for kernel in kernels)
