"""Energy that the processor counts itself (RAPL), where the system lets us read it. Nothing is estimated."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

#: Linux's power capping interface; the packages are intel-rapl:0, intel-rapl:1, ... on AMD too.
_POWERCAP = Path("/sys/class/powercap")
#: A counter is updated about every millisecond, so that a measurement must be much longer.
_SECONDS = 1.0


def joules_per_call(call: Callable[[], object], folder: Path = _POWERCAP, seconds: float = _SECONDS) -> float | None:
    """Energy of all packages over repeated calls, divided by their number; None where it can't be measured.

    What else the machine does in that time is counted too.
    """
    before = _counters(folder)
    if not before:
        return None
    calls, begin = 0, time.monotonic()
    while calls == 0 or time.monotonic() - begin < seconds:
        call()
        calls += 1
    after = _counters(folder)
    if after.keys() != before.keys():
        return None
    used = 0
    for package, (count, largest) in after.items():
        # A counter that is lower than before began again at zero.
        used += (count - before[package][0]) % (largest + 1)
    return used / 1e6 / calls


def _counters(folder: Path) -> dict[str, tuple[int, int]]:
    """Microjoules of each package, and the largest value of its counter; empty if any can't be read."""
    found = {}
    try:
        for package in sorted(folder.glob("intel-rapl:[0-9]*")):
            if package.name.count(":") == 1:  # others are parts of a package
                readings = ((package / name).read_text() for name in ("energy_uj", "max_energy_range_uj"))
                count, largest = map(int, readings)
                found[package.name] = (count, largest)
    except (OSError, ValueError):  # only root may read it on most systems
        return {}
    return found
