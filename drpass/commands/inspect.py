"""``drpass inspect``: a table of the nodes that do work, and what ``rewrite`` would do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass.commands.shape_option import SHAPE_HELP, parse_shapes

if TYPE_CHECKING:
    from drpass.inspection import Dims, NodeInfo

EXAMPLES = """
**Examples**

`drpass inspect model.onnx`

`drpass inspect model.onnx --shape input=8x3x224x224`

`drpass inspect model.onnx --all --json`
"""


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    shape: Annotated[list[str] | None, typer.Option(help=SHAPE_HELP)] = None,
    all_nodes: Annotated[bool, typer.Option("--all", help="Show every node.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Show shapes, multiply-adds and verdict of the nodes of a model; nothing is run."""
    from drpass import console
    from drpass.inspection import inspect

    nodes = inspect(model, shapes=parse_shapes(shape), every_node=all_nodes)
    if json:
        console.emit_json([node.to_dict() for node in nodes])
        return
    _print(nodes)


def _print(nodes: list[NodeInfo]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from drpass import console

    table = Table()
    table.add_column("node", overflow="fold")
    for name in ("op", "input", "output"):
        table.add_column(name, no_wrap=True)
    for name in ("MACs", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for node in nodes:
        name = f"{node.graph}/{node.node}" if node.graph else node.node
        macs = "?" if node.macs is None and node.verdict else _count(node.macs)
        share = "" if node.share is None else f"{node.share:.1%}"
        verdict = f"[green]{escape(node.verdict)}[/]" if node.replaceable else escape(node.verdict)
        shapes = (escape(_dims(node.input_shape)), escape(_dims(node.output_shape)))
        table.add_row(escape(name), escape(node.op_type), *shapes, macs, share, verdict)
    console.out.print(table)
    total = sum(node.macs or 0 for node in nodes)
    unknown = sum(node.macs is None and bool(node.verdict) for node in nodes)
    console.out.print(f"{_count(total)} multiply-adds for one call; a symbolic batch counts as 1")
    if unknown:
        console.out.print(f"{unknown} nodes of unknown size: --shape gives sizes to the inputs")


def _dims(shape: Dims | None) -> str:
    return "?" if shape is None else "×".join("?" if dim is None else str(dim) for dim in shape) or "scalar"


def _count(number: int | None) -> str:
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)
