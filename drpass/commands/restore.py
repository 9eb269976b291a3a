"""``drpass restore``: a rewritten model in operators of ONNX only again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drpass.restoring import RestoreReport

EXAMPLES = """
**Examples**

`drpass restore fast.onnx back.onnx`

`drpass restore fast.onnx back.onnx --json | jq '.nodes[].operators'`
"""


def command(
    model: Annotated[Path, typer.Argument(help="The ONNX file that was rewritten.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow the output to be the input itself.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> int | None:
    """Give a rewritten model back in ONNX operators only, exact everywhere, and say what became of every node."""
    from drpass import console
    from drpass.files import refuse_same_file
    from drpass.restoring import restore

    refuse_same_file(output, [model], overwrite)
    result = restore(model)
    result.save(output)
    if json:
        console.emit_json(result.report.to_dict())
    else:
        _print(result.report, output)
    return 0


def _print(report: RestoreReport, output: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from drpass import console

    if report.nodes:
        table = Table("node", "was", "is")
        for node in report.nodes:
            name = f"{node.graph}/{node.node}" if node.graph else node.node
            was = f"{node.op_type} {node.parameters.describe()}" if node.parameters else node.op_type
            table.add_row(escape(name), escape(was), escape(", ".join(node.operators)))
        console.out.print(table)
    console.out.print(f"{len(report.nodes)} nodes restored; wrote {output}", markup=False)
    for note in report.notes:
        console.out.print(f"note: {note}", markup=False)
