"""``drpass explain``: what one node does, why, and what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drpass.commands.shape_option import SHAPE_HELP, parse_shapes

EXAMPLES = """
**Examples**

`drpass explain model.onnx conv2`

`drpass explain model.onnx 'block3/*/conv' --shape input=8x3x224x224`

`drpass explain fast.onnx conv2 --plan plan.toml`
"""


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX file, an original or a rewritten one.", show_default=False)],
    node: Annotated[str, typer.Argument(help="A node's name, or a pattern that one matches.", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan that the model was, or is to be, rewritten with.")] = None,
    shape: Annotated[list[str] | None, typer.Option(help=SHAPE_HELP)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
) -> None:
    """Say what a node does, why, and what would change it; nothing is run or written.

    Of an original: what `rewrite` does with the node, without options or with the plan.
    """
    from rich.padding import Padding

    from drpass import console
    from drpass.explanation import explain
    from drpass.plan_file import Plan

    found = explain(model, node, plan=Plan.read(plan) if plan else None, shapes=parse_shapes(shape))
    if json:
        console.emit_json(found.to_dict())
        return
    console.out.print(found.title, style="bold", markup=False)
    sections = {"What it does": found.facts, "Why": found.reasons, "What would change it": found.changes}
    for heading, sentences in sections.items():
        console.out.print()
        console.out.print(heading)
        for sentence in sentences:
            console.out.print(Padding(console.Line(sentence), (0, 0, 0, 2), expand=False))
