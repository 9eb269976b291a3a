"""What another runtime must offer to be timed against ONNX Runtime."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from drpass.errors import DrpassError
from drpass.tensors import Array, Feeds

#: Runs the model once; the outputs in the order of the ONNX model.
Call = Callable[[Feeds], list[Array]]


@dataclass(frozen=True)
class Rival:
    """``open_model(path, feeds, threads)`` makes a call for inputs of the shapes of ``feeds``; it raises DrpassError
    with the reason where the runtime is not installed or can't read the model."""

    name: str
    open_model: Callable[[Path, Feeds, int], Call]


def require(module: str, package: str) -> ModuleType:
    """Import a rival's module. Raises DrpassError if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DrpassError(f"{package} is not installed (pip install 'drpass[rivals]')") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that C++ code writes to standard output or error while it reads a model is shown."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        for target, copy in enumerate(saved, start=1):
            os.dup2(copy, target)
            os.close(copy)
        os.close(null)
