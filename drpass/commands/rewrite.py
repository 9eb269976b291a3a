"""``drpass rewrite``: make a model faster by deep reuse, without data or tuned on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drpass.commands import data_options as options
from drpass.commands.choice import DEFAULT, Choice, clustering, prefilled, require_none
from drpass.commands.comma_lists import names
from drpass.commands.shape_option import SHAPE_HELP, parse_shapes
from drpass.errors import DrpassError
from drpass.operator.spec import Method, ReuseParameters, Scope, TableType

if TYPE_CHECKING:
    from rich.table import Table

    from drpass.rewriting import RewriteReport

EXAMPLES = """
**Examples**

`drpass rewrite model.onnx fast.onnx`

`drpass rewrite model.onnx fast.onnx --method grid --step 0.25 --exclude 'head/*'`

`drpass rewrite model.onnx exact.onnx --method exact`

`drpass rewrite upscale.onnx film.onnx --memo 1024`

`drpass rewrite upscale.onnx film.onnx --memo 1024 --memo-prefill frames/ --preprocess net.toml`

`drpass rewrite model.onnx gpu.onnx --method exact --allow-tf32`

`drpass rewrite model.onnx one.onnx --include conv2 --method lsh -L 8 -H 12`

`drpass rewrite model.onnx fast.onnx --plan plan.toml`

`drpass rewrite model.onnx fast.onnx --calibrate photos/ --preprocess net.toml --budget agreement=0.995 --html why.html`

`drpass rewrite model.onnx fast.onnx --calibrate val.tar --budget top1-loss=0.001 --batch 8 --threads 2 --time 20`

`drpass rewrite model.onnx gpu.onnx --calibrate val.tar --batch 16 --device a100`
"""

_TUNING = "Tuning"


def _tuning(name: str, help_: str, metavar: str | None = None) -> Any:
    return typer.Option(name, help=help_, rich_help_panel=_TUNING, metavar=metavar, show_default=False)


@options.with_data_options
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
    scope: Annotated[Scope, typer.Option(help="Which pixels share clusters.")] = DEFAULT.scope,
    sub_vector_length: Annotated[
        int, typer.Option("--sub-vector-length", "-L", help="Channels of a sub-vector.")
    ] = DEFAULT.sub_vector_length,
    step: Annotated[
        float, typer.Option(help="grid: edge of a cell, in standard deviations of the running input.")
    ] = DEFAULT.step,
    hash_bits: Annotated[int, typer.Option("--hash-bits", "-H", help="lsh: number of hyperplanes.")] = (
        DEFAULT.hash_bits
    ),
    seed: Annotated[
        int, typer.Option(help="Seed of lsh's hyperplanes, and of the parts of --calibrate.")
    ] = DEFAULT.seed,
    max_remaining_ratio: Annotated[
        float, typer.Option(help="Guard: a group with more clusters per pixel is computed densely.")
    ] = DEFAULT.max_remaining_ratio,
    table_type: Annotated[
        TableType, typer.Option(help="Elements of the tables of products: int16 is quicker, float more exact.")
    ] = DEFAULT.table_type,
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
    memo_prefill: Annotated[
        str | None,
        typer.Option(
            help="Store the inputs of tiles that recur most in this data (given as for --calibrate; of 16 batches, if "
            "there is no --limit), so that the memo begins warm.",
            metavar="DATA",
            show_default=False,
        ),
    ] = None,
    memo_prefill_limit: Annotated[
        int, typer.Option(min=1, max=1024, help="MiB by which --memo-prefill may let the file grow.")
    ] = 4,
    allow_tf32: Annotated[
        bool, typer.Option("--allow-tf32", help="Tensor cores of CUDA may round factors to 10 bits; nothing else may.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(help="A choice for every node, in a file; takes the place of the options above.")
    ] = None,
    plan_out: Annotated[
        Path | None, typer.Option(help="Write what was done as a plan, to edit and apply again.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow the output to be the input itself.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data: Annotated[
        str | None,
        _tuning(
            "--calibrate",
            "Choose every layer's parameters by measurement on this machine with this data: a folder or tar archive of "
            "pictures, an .npz file, a generator (file.py:name) or `photographs`. Part of it is held out and judges.",
            "DATA",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        _tuning(
            "--budget",
            "What may be lost: `top1-loss=0.001`, `agreement=0.995`, `sqnr=35`, `psnr=40`, `max-rel=0.001`, "
            "`metric-loss=X` or `exact`. Repeatable: all are kept. Default: agreement=0.995 for class scores, else "
            "sqnr=35.",
            "LIMIT",
        ),
    ] = None,
    peak: Annotated[float | None, _tuning("--peak", "Of the signal, for psnr. Default: the output's range.")] = None,
    metric: Annotated[
        str | None,
        _tuning(
            "--metric",
            "Your own score, higher is better: module:function, file.py:function or a command with {outputs}.",
            "SCORE",
        ),
    ] = None,
    minutes: Annotated[
        float | None, _tuning("--time", "Stop after so many minutes with the best so far. Default: 10.")
    ] = None,
    threads: Annotated[int | None, _tuning("--threads", "Of an operator in future use. Default: all cores.")] = None,
    held_out: Annotated[
        int | None, _tuning("--held-out", "At most this many samples judge. Default: what is left.")
    ] = None,
    resume: Annotated[bool, _tuning("--resume", "Go on with an interrupted run; what it measured is kept.")] = False,
    device: Annotated[
        str | None,
        _tuning(
            "--device",
            "Tune for a GPU that is not here: t4, a100, h100 or rtx4090. Times are predicted by a cost model, not "
            "measured; errors are measured.",
            "NAME",
        ),
    ] = None,
    html: Annotated[Path | None, _tuning("--html", "Write a page with table and plots.", "FILE")] = None,
    *,
    source: options.DataOptions,
) -> int | None:
    """Replace convolutions and matrix products by DeepReuseGemm nodes, and say what was done to each and why.

    Without options nothing is approximated: convolutions that gain become exact nodes in a common layout.
    """
    from drpass import console
    from drpass.commands.calibration import Calibration, calibrate

    _require_own_files(model, output, plan_out, overwrite)
    others = ReuseParameters(
        scope=scope,
        sub_vector_length=sub_vector_length,
        step=step,
        hash_bits=hash_bits,
        seed=seed,
        max_remaining_ratio=max_remaining_ratio,
        table_type=table_type,
    )
    choice = Choice(
        clustering(method, others),
        tuple(include or ()),
        tuple(exclude or ()),
        tuple(names(op_types)),
        chains,
        memo,
        allow_tf32,
        plan,
    )
    tuning = Calibration(budget or [], peak, metric, minutes, threads, held_out, resume, plan_out, html, device, json)
    if data is not None:
        require_none(choice, memo_prefill)
        return calibrate(model, output, source, tuning)
    if tuning.is_asked_for or not (source.are_defaults or memo_prefill):
        raise DrpassError("options of the tuning and of its data need --calibrate DATA")
    result = choice.rewrite(model, parse_shapes(shape))
    done = result.plan() if plan_out else None
    if memo_prefill is not None:
        result = prefilled(result, replace(source, data=memo_prefill), memo_prefill_limit)
    result.save(output)
    if plan_out is not None and done is not None:
        done.write(plan_out)
    if json:
        console.emit_json(result.report.to_dict())
    else:
        _print(result.report, model, output, plan_out)
    return 0


def _require_own_files(model: Path, output: Path, plan_out: Path | None, overwrite: bool) -> None:
    """Raise DrpassError if what is to be written is read or written by the command already, or can't be written."""
    from drpass.files import refuse_same_file, refuse_taken_file, require_writable

    refuse_same_file(output, [model], overwrite)
    if plan_out is not None:
        refuse_taken_file(plan_out, [model, output])
        require_writable(plan_out)


def _print(report: RewriteReport, model: Path, output: Path, plan_out: Path | None) -> None:
    from drpass import console

    console.out.print(_table(report))
    console.out.print(f"{report.replaced} of {len(report.verdicts)} nodes replaced; wrote {output}", markup=False)
    for note in filter(None, (*report.notes, report.growth.describe())):
        console.out.print(f"note: {note}", markup=False)
    if plan_out is not None:
        console.out.print(f"the plan is {plan_out}; apply it with --plan", markup=False)
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
