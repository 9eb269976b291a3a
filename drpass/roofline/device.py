"""GPUs by their published figures."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path

from drpass.errors import DrpassError
from drpass.files import read_tables, values_of

#: A multiprocessor a cycle: bytes read from shared memory, and from L2; threads that an instruction is issued for, by
#: four schedulers.
_SHARED_BYTES, _PORT_BYTES, _ISSUED = 128, 64, 128


@dataclass(frozen=True)
class Device:
    """One GPU; units as devices.toml explains them. Rates are per second at the boost clock."""

    name: str
    sms: int
    mhz: float
    memory_gbs: float
    l2_mib: float
    shared_kib: float
    fp32_tflops: float
    fp16_tflops: float
    doubles: float
    double_cycles: float
    l2_gbs: float | None = None
    tf32_tflops: float | None = None

    @property
    def clock(self) -> float:
        """Cycles."""
        return 1e6 * self.mhz

    @property
    def fp32_rate(self) -> float:
        """Floating-point operations of CUDA cores."""
        return 1e12 * self.fp32_tflops

    @property
    def tf32_rate(self) -> float:
        """Floating-point operations of tensor cores; of CUDA cores where there is no TF32."""
        return 1e12 * (self.tf32_tflops or self.fp32_tflops)

    @property
    def issue_rate(self) -> float:
        """Instructions of threads, of any kind."""
        return self.sms * _ISSUED * self.clock

    @property
    def double_rate(self) -> float:
        """Double-precision instructions of threads."""
        return self.sms * self.doubles * self.clock

    @property
    def shared_rate(self) -> float:
        """Bytes of shared memory."""
        return self.sms * _SHARED_BYTES * self.clock

    @property
    def memory_rate(self) -> float:
        """Bytes of the memory."""
        return 1e9 * self.memory_gbs

    @property
    def l2_rate(self) -> float:
        """Bytes of L2, or of the ports to it where that is not published."""
        return 1e9 * self.l2_gbs if self.l2_gbs else self.sms * _PORT_BYTES * self.clock

    @property
    def l2_bytes(self) -> float:
        """Size of L2."""
        return self.l2_mib * 2**20


_RATES = [entry.name for entry in fields(Device) if entry.name != "name"]


@functools.cache
def devices() -> dict[str, Device]:
    """All that the package knows, by their short names."""
    return read_devices(Path(__file__).with_name("devices.toml"))


def find_device(name: str) -> Device:
    """By its short name, such as ``h100``. Raises DrpassError that lists them."""
    known = devices()
    if name.lower() not in known:
        raise DrpassError(f"there are no figures of a GPU {name!r}; there are {', '.join(known)}")
    return known[name.lower()]


def read_devices(path: Path) -> dict[str, Device]:
    """Of a file like devices.toml. Raises DrpassError that names the GPU and the key."""
    return read_tables(path, lambda _, table: Device(**values_of(table, Device, positive=_RATES)), "GPU")
