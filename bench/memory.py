"""Peak memory of a session: each is opened and run in a process of its own.

As a program: ``memory.py MODEL FOLDER THREADS`` prints the bytes that loading the model took, and running it on the
.npz files of the folder.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drpass.data import read_arrays
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.tensors import Feeds


def peak_bytes(model: Path, feeds: Sequence[Feeds], threads: int) -> int:
    """Resident memory that the session and a run on each of the feeds add at their peak, without Python and its
    libraries.

    Raises DrpassError if the system does not tell, or the model can't be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        for index, arrays in enumerate(feeds):
            np.savez(Path(folder, f"{index}.npz"), **arrays)  # type: ignore[arg-type]  # names of the model's inputs
        command = [sys.executable, __file__, str(model), folder, str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DrpassError(f"the memory was not measured: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout)


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"the system does not tell {name}")


def _measure(model: str, folder: str, threads: str) -> int:
    feeds = [read_arrays(path) for path in sorted(Path(folder).glob("*.npz"))]
    # The high-water mark of loading Python's libraries must not hide that of the session.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    session = open_session(model, threads=int(threads))
    for arrays in feeds:
        run(session, arrays)
    return _status("VmHWM") - before


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
