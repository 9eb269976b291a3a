"""The command line: gathers the commands and turns every error into one line and an exit status.

A command is one file in ``drpass/commands`` with a function ``command`` whose signature describes its arguments.
Heavy imports (onnxruntime, tensorflow) belong inside that function, so that ``--help`` answers at once.
Exit status: 0 done; 1 a check failed (validate, diff --exit-code); 2 bad input or usage; 70 a defect; 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import functools
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape

from drpass import console
from drpass.errors import DrpassError

#: In the order in which a user meets them; ``NAME`` is ``drpass/commands/NAME.py``.
COMMANDS = ("export", "inspect", "rewrite", "restore", "explain", "validate", "diff", "run", "bench")

app = typer.Typer(
    name="drpass",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Make convolutional networks in ONNX files faster by deep reuse.",
)


def _version(value: bool) -> None:
    if value:
        from drpass import __version__

        print(f"drpass {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """The command with its status and every exception turned into an exit status and at most one line."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            with _output():
                status = command(*args, **options) or 0
        except DrpassError as error:
            console.err.print(f"[bold red]error:[/] {_one_line(error)}")
            status = 2
        except KeyboardInterrupt:
            console.err.print("interrupted")
            status = 130
        except BrokenPipeError:  # the reader of a pipe has seen enough
            _drop_output()
            status = 0
        except Exception as error:
            if os.environ.get("DRPASS_DEBUG"):
                raise
            console.err.print(
                f"[bold red]defect:[/] {type(error).__name__}: {_one_line(error)} (DRPASS_DEBUG=1 shows where)"
            )
            status = 70
        raise typer.Exit(status)

    return run


@contextmanager
def _output() -> Iterator[None]:
    """Raise DrpassError where standard output can't take what is printed, as a file on a full disk."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # What fails to be written fails here, not when Python ends.
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        raise DrpassError(f"can't write the output: {error.strerror}") from error


def _drop_output() -> None:
    """Send what standard output still holds nowhere, so that Python does not try to write it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: BaseException) -> str:
    return escape(" ".join(str(error).split()))


for _name in COMMANDS:
    _module = importlib.import_module(f"drpass.commands.{_name}")
    app.command(name=_name, epilog=_module.EXAMPLES, no_args_is_help=True)(_guarded(_module.command))


def main() -> None:
    """Entry point of the ``drpass`` script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of a model that the terminal's encoding lacks
    app()
