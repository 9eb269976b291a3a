"""``drpass rewrite``: make a model faster by deep reuse, without any data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass.commands.shape_option import SHAPE_HELP, parse_shapes
from drpass.operator.spec import Method, ReuseParameters, Scope, TableType

if TYPE_CHECKING:
    from rich.table import Table

    from drpass.rewrite import RewriteReport

EXAMPLES = """
**Examples**

`drpass rewrite model.onnx fast.onnx`

`drpass rewrite model.onnx fast.onnx --method grid --step 0.25 --exclude 'head/*'`

`drpass rewrite model.onnx exact.onnx --method exact`

`drpass rewrite upscale.onnx film.onnx --memo 1024`

`drpass rewrite model.onnx one.onnx --include conv2 --method lsh -L 8 -H 12`
"""

_DEFAULT = ReuseParameters()


def command(
    model: Annotated[Path, typer.Argument(help="The ONNX file to rewrite.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.", show_default=False)],
    method: Annotated[
        Method | None,
        typer.Option(
            help="How sub-vectors are clustered (grid with any option below). Without: exact, where that is a gain.",
            show_default=False,
        ),
    ] = None,
    scope: Annotated[Scope, typer.Option(help="Which pixels share clusters.")] = _DEFAULT.scope,
    sub_vector_length: Annotated[
        int, typer.Option("--sub-vector-length", "-L", help="Channels of a sub-vector.")
    ] = _DEFAULT.sub_vector_length,
    step: Annotated[
        float, typer.Option(help="grid: edge of a cell, in standard deviations of the running input.")
    ] = _DEFAULT.step,
    hash_bits: Annotated[int, typer.Option("--hash-bits", "-H", help="lsh: number of hyperplanes.")] = (
        _DEFAULT.hash_bits
    ),
    seed: Annotated[int, typer.Option(help="lsh: seed of the hyperplanes.")] = _DEFAULT.seed,
    max_remaining_ratio: Annotated[
        float, typer.Option(help="Guard: a group with more clusters per pixel is computed densely.")
    ] = _DEFAULT.max_remaining_ratio,
    table_type: Annotated[
        TableType, typer.Option(help="Elements of the tables of products: int16 is quicker, float more exact.")
    ] = _DEFAULT.table_type,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Replace only nodes of this name or pattern; an exact name forces it. Repeatable."),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Keep nodes of this name or pattern. Repeatable.")] = None,
    op_types: Annotated[str, typer.Option(help="Replace only these, as in Conv,Gemm,MatMul,LRN.")] = "",
    shape: Annotated[list[str] | None, typer.Option(help=SHAPE_HELP)] = None,
    chains: Annotated[
        bool, typer.Option("--chains/--no-chains", help="Hand tensors on in blocks of 16 channels, pools included.")
    ] = True,
    memo: Annotated[
        int, typer.Option(min=0, max=65536, help="MiB in which a session keeps exact results from call to call: films.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow the output to be the input itself.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Replace convolutions and matrix products by DeepReuseGemm nodes, and say what was done to each and why.

    Without options nothing is approximated: convolutions that gain become exact nodes in a common layout.
    """
    from drpass import console
    from drpass.files import refuse_same_file
    from drpass.rewrite import rewrite

    refuse_same_file(output, [model], overwrite)
    parameters = ReuseParameters(
        method=method or _DEFAULT.method,
        scope=scope,
        sub_vector_length=sub_vector_length,
        step=step,
        hash_bits=hash_bits,
        seed=seed,
        max_remaining_ratio=max_remaining_ratio,
        table_type=table_type,
    )
    # An option of the clustering asks for it.
    clusters = method is not None or parameters != _DEFAULT
    result = rewrite(
        model,
        parameters=parameters if clusters else None,
        include=include or (),
        exclude=exclude or (),
        op_types=[name.strip() for name in op_types.split(",") if name.strip()],
        shapes=parse_shapes(shape),
        chains=chains,
        memo_bytes=memo << 20,
    )
    result.save(output)
    if json:
        console.emit_json(result.report.to_dict())
        return
    report = result.report
    console.out.print(_table(report))
    console.out.print(f"{report.replaced} of {len(report.verdicts)} nodes replaced; wrote {output}", markup=False)
    for note in report.notes:
        console.out.print(f"note: {note}", markup=False)
    if report.replaced:
        console.out.print(f"  drpass validate {model} {output} --data IMAGES", markup=False)


def _table(report: RewriteReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("node", "op", "verdict", "absorbed")
    for verdict in report.verdicts:
        name = f"{verdict.graph}/{verdict.node}" if verdict.graph else verdict.node
        text = f"[green]{escape(verdict.describe())}[/]" if verdict.replaced else escape(verdict.describe())
        table.add_row(escape(name), verdict.op_type, text, escape(", ".join(verdict.absorbed)))
    return table
