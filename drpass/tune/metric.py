"""The user's own score of a model's outputs; higher is better."""

from __future__ import annotations

import math
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drpass.data.dataset import Labels
from drpass.entry_point import is_entry_point, load, user_code
from drpass.errors import DrpassError
from drpass.inference import save_outputs
from drpass.tensors import Feeds

#: What stands for the file of outputs in a command.
_PLACE = "{outputs}"
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Metric:
    """``text``: how the user named it; ``rate``: gives the score of outputs and labels."""

    text: str
    rate: Callable[[Feeds, Labels | None], Any]

    @classmethod
    def of(cls, text: str) -> Metric:
        """A Python function or a command.

        ``package.module:function`` or ``path/to/file.py:function`` is called with the outputs by name, each of all
        samples joined along the first axis, and the labels (int64 [samples]) or None; it returns the score. A command
        has ``{outputs}`` where it takes the path of an .npz file with the outputs, and ``labels`` if there are any; it
        runs without a shell, and the last line that it prints is the score. Raises DrpassError if it is neither.
        """
        if _PLACE in text:
            arguments = _arguments(text)
            return cls(text, lambda outputs, labels: _run(arguments, outputs, labels))
        if is_entry_point(text):
            return cls(text, load(text))
        raise DrpassError(
            f"the metric {text!r} must be package.module:function, file.py:function or a command with {_PLACE} in it"
        )

    def score(self, outputs: Feeds, labels: Labels | None) -> float:
        """Of these outputs. Raises DrpassError if the user's code fails or gives no finite number."""
        with user_code(f"the metric {self.text}"):
            score = float(self.rate(outputs, labels))
        if not math.isfinite(score):
            raise DrpassError(f"the metric {self.text} gives {score}; it must give a finite number")
        return score


def _arguments(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise DrpassError(f"the metric {text!r} is no command: {error}") from error


def _run(arguments: list[str], outputs: Feeds, labels: Labels | None) -> float:
    if labels is not None:
        if "labels" in outputs:
            raise DrpassError("the model has an output 'labels', so a metric can't be given the labels beside it")
        outputs = {**outputs, "labels": labels}
    program = arguments[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "outputs.npz")
        save_outputs(outputs, path)
        command = [argument.replace(_PLACE, str(path)) for argument in arguments]
        try:
            ended = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DrpassError(f"the metric {program} took more than {_TIMEOUT_SECONDS} s") from error
        except (OSError, ValueError) as error:
            raise DrpassError(f"can't run the metric {program}: {error}") from error
    if ended.returncode:
        reason = _last_line(ended.stderr) or "no message"
        raise DrpassError(f"the metric {program} failed with status {ended.returncode}: {reason}")
    line = _last_line(ended.stdout)
    try:
        return float(line)
    except ValueError as error:
        raise DrpassError(f"the last line that the metric {program} prints must be its score, not {line!r}") from error


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
