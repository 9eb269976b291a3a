"""drpass diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drpass import console

EXAMPLES = """
**Examples**

`drpass diff net.onnx fast.onnx`

`drpass diff net.onnx fast.onnx --json | jq '.scopes[].nodes[].name'`

`drpass diff before.onnx after.onnx --exit-code && echo equal`
"""


def command(
    left: Annotated[Path, typer.Argument(help="The ONNX file before.", show_default=False)],
    right: Annotated[Path, typer.Argument(help="The ONNX file after.", show_default=False)],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with status 1 if the models differ.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int | None:
    """Show which nodes, initializers, inputs and outputs were added (+), removed (-) or changed (~)."""
    from drpass.difference import diff, lines

    found = diff(left, right)
    if json:
        console.emit_json(found.to_dict())
    else:
        for line in lines(found):
            console.out.print(line)
    return 1 if exit_code and found.different else 0
