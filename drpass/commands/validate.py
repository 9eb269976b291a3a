"""drpass validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass import console
from drpass.commands import data_options as options
from drpass.commands.threads_option import Threads

if TYPE_CHECKING:
    from rich.table import Table

    from drpass.validation import Accuracy, Agreement, ValidationReport
    from drpass.validation.errors import ErrorFigures

EXAMPLES = """
**Examples**

`drpass validate net.onnx fast.onnx --data photos/ --preprocess net.toml`

`drpass validate net.onnx fast.onnx --data val.tar.xz --limit 200 --min-top1-agreement 0.98 --max-accuracy-loss 0.005`

`drpass validate net.onnx fast.onnx --data inputs.npz --layers --json`
"""

_FIGURES = ("max |d|", "mean |d|", "max rel", "rms rel", "SQNR dB", "PSNR dB", "cosine")
_LIMITS = "Limits (exit status 1 if one is passed)"


def _limit(name: str, help_: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, help=help_, rich_help_panel=_LIMITS, show_default=False)
    return option


@options.with_data_options
def command(
    original: Annotated[Path, typer.Argument(help="The ONNX file before rewriting.", show_default=False)],
    rewritten: Annotated[Path, typer.Argument(help="The ONNX file after rewriting.", show_default=False)],
    layers: Annotated[bool, typer.Option("--layers", help="Also compare the value after every replaced node.")] = False,
    max_abs: Annotated[float | None, _limit("--max-abs", "Largest absolute error.")] = None,
    max_rel: Annotated[float | None, _limit("--max-rel", "Largest error over the largest value.")] = None,
    min_sqnr: Annotated[float | None, _limit("--min-sqnr", "Signal to error, dB.")] = None,
    min_psnr: Annotated[float | None, _limit("--min-psnr", "Peak signal to error, dB.")] = None,
    min_top1_agreement: Annotated[
        float | None, _limit("--min-top1-agreement", "Share of samples with the same first class, 0..1.")
    ] = None,
    max_accuracy_loss: Annotated[
        float | None, _limit("--max-accuracy-loss", "Accuracy lost, as a share 0..1; needs labels.")
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="Peak for PSNR. Default: range of the original's output.", show_default=False)
    ] = None,
    provider: Annotated[str, typer.Option(help="Where the rewritten model runs: cpu or cuda.")] = "cpu",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    source: options.DataOptions,
) -> int | None:
    """Compare a rewritten model with its original on the same data: errors, classes, accuracy."""
    from rich.markup import escape

    from drpass.execution import Provider
    from drpass.validation import Thresholds, validate

    report = validate(
        original,
        rewritten,
        source.open,
        layers=layers,
        thresholds=Thresholds(max_abs, max_rel, min_sqnr, min_psnr, min_top1_agreement, max_accuracy_loss),
        peak=peak,
        provider=options.parse_choice("--provider", provider, Provider),
        threads=threads,
        show_progress=True,
    )
    if json:
        console.emit_json(report.to_dict())
    else:
        _print(report)
    for failure in report.failures:
        console.err.print(f"[bold red]failed:[/] {escape(failure)}")
    return 0 if report.passed else 1


def _print(report: ValidationReport) -> None:
    from rich.markup import escape

    console.out.print(f"Data: {escape(report.data)}")
    outputs = [(output.name, *_figures(output.errors)) for output in report.outputs]
    console.out.print(_table("Output", _FIGURES, outputs))
    if report.layers:
        layers = [(layer.node, *_figures(layer.errors)) for layer in report.layers]
        console.out.print(_table("Replaced node", _FIGURES, layers))
        console.out.print("(the error after a node has those of all replaced nodes before it in it)")
    for output in report.outputs:
        if output.classes:
            console.out.print(f"{escape(output.name)}: {_agreement(output.classes.agreement)}")
            if output.classes.accuracy:
                console.out.print(f"{escape(output.name)}: {_accuracy(output.classes.accuracy)}")


def _agreement(agreement: Agreement) -> str:
    top5 = "" if agreement.top5 is None else f", top-5 {agreement.top5:.2%}"
    return f"same class: top-1 {agreement.top1:.2%}{top5} of {agreement.samples} samples"


def _accuracy(accuracy: Accuracy) -> str:
    difference, low, high = (f"{share * 100:+.2f}" for share in (0.0 - accuracy.loss, *accuracy.interval))
    return (
        f"accuracy: original {accuracy.original:.2%}, rewritten {accuracy.rewritten:.2%}, difference {difference} "
        f"points (95 % interval {low} to {high}; {accuracy.lost} lost, {accuracy.gained} gained, McNemar p = "
        f"{accuracy.p_value:.2g}) of {accuracy.n} samples"
    )


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column(title, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, *figures in rows:
        table.add_row(escape(name), *figures)
    return table


def _figures(errors: ErrorFigures) -> tuple[str, ...]:
    small = (errors.max_abs, errors.mean_abs, errors.max_rel, errors.rms_rel)
    decibels = (_or_dash(errors.sqnr_db, ".1f"), _or_dash(errors.psnr_db, ".1f"))
    return (*(f"{value:.3g}" for value in small), *decibels, _or_dash(errors.cosine, ".6f"))


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
