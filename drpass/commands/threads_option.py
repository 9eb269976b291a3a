"""The option for the threads of an operator."""

from __future__ import annotations

from typing import Annotated

import typer

Threads = Annotated[
    int | None, typer.Option(help="Threads an operator. Default: ONNX Runtime's choice.", show_default=False)
]
