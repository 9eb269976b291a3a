"""drpass run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass import console
from drpass.commands import data_options as options
from drpass.commands.threads_option import Threads
from drpass.errors import DrpassError

if TYPE_CHECKING:
    from drpass.inference import InferenceResult

#: More samples are not listed class by class; --json and --output give all.
_LISTED = 10

EXAMPLES = """
**Examples**

`drpass run net.onnx --data photos/ --preprocess net.toml --limit 4`

`drpass run net.onnx --input x=array.npy --output out.npz`

`drpass run net.onnx --random --shape x=1x3x224x224 --provider cuda`
"""


@options.with_data_options
def command(
    model: Annotated[Path, typer.Argument(help="The ONNX file to run.", show_default=False)],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input from a .npy file, or from the array of its name (or the only one) in an .npz file.",
            metavar="NAME=FILE",
            show_default=False,
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Random inputs; the same as --data random.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write all outputs to this .npz file.", metavar="FILE", show_default=False)
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu or cuda; an error if it can't be had.")] = "cpu",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    source: options.DataOptions,
) -> int | None:
    """Run a model, say where it ran, and show or save what it gives. Without --limit: one batch."""
    from dataclasses import replace
    from functools import partial

    from drpass.data import array_files
    from drpass.execution import Provider
    from drpass.files import refuse_taken_file, require_writable
    from drpass.inference import infer, save_outputs

    if sum((bool(inputs), random, source.data is not None)) > 1:
        raise DrpassError("give only one of --input, --random and --data")
    files = dict(_named_file(text) for text in inputs or ())
    if output:
        refuse_taken_file(output, [model, *files.values()])
        require_writable(output)
    if random:
        source = replace(source, data="random")
    result = infer(
        model,
        partial(array_files, files) if files else partial(source.open, default_batches=1),
        provider=options.parse_choice("--provider", provider, Provider),
        threads=threads,
    )
    if output:
        save_outputs(result.outputs, output)
    if json:
        console.emit_json(result.to_dict())
    else:
        _print(result)
        if output:
            console.out.print(f"Wrote {output}", markup=False)
    return 0


def _named_file(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator or not name or not file:
        raise DrpassError(f"--input must be like x=array.npy, not {text!r}")
    return name, Path(file)


def _print(result: InferenceResult) -> None:
    from rich.markup import escape
    from rich.table import Table

    from drpass.inference import summary

    console.out.print(f"Data: {escape(result.data)}")
    for provider, operators in result.placement.items():
        listed = ", ".join(f"{count} {operator}" for operator, count in operators.items())
        console.out.print(f"Ran on {provider}: {escape(listed)}")
    table = Table(box=None, header_style="bold")
    table.add_column("Output", overflow="fold")
    for heading in ("type", "shape", "min", "max", "mean", "not finite"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, array in result.outputs.items():
        figures = summary(array)
        numbers = ["-" if figures[key] is None else f"{figures[key]:.5g}" for key in ("min", "max", "mean")]
        shape = escape(str(figures["shape"]))
        table.add_row(escape(name), figures["dtype"], shape, *numbers, str(figures["not_finite"]))
    console.out.print(table)
    for name in result.outputs:
        best = result.top_five(name) or []
        for sample, classes in list(zip(result.samples, best))[:_LISTED]:
            listed = ", ".join(str(index) for index in classes)
            console.out.print(f"{escape(name)} of {escape(sample)}: best classes {listed}")
