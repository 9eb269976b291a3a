"""``drpass export``: a model of another framework to an ONNX file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass.commands.comma_lists import names

if TYPE_CHECKING:
    from drpass.export import ExportReport

EXAMPLES = """
**Examples**

    drpass export cifarnet cifarnet.onnx

    drpass export model.keras model.onnx --opset 18

    drpass export saved_model_folder model.onnx --batch 1 --nhwc

    drpass export model.tflite model.onnx

    drpass export frozen.pb model.onnx --inputs image --outputs probabilities

    drpass export network.py:make model.onnx

    drpass export --list
"""


def command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A named network, a Keras file (.keras, .h5), a SavedModel folder, a TFLite file, a frozen graph "
            "(.pb), a checkpoint of TensorFlow 1 (its prefix), or file.py:function that returns a PyTorch module and "
            "example inputs."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Argument(metavar="OUT.onnx", help="The file to write.")] = None,
    opset: Annotated[
        int | None, typer.Option(help="17 or 18, for PyTorch 18 to 23; the oldest if not given.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="An .npz file instead of the trained weights of a named network."),
    ] = None,
    inputs: Annotated[
        str, typer.Option(help="Tensors that a graph of TensorFlow 1 takes, by comma; found if not given.")
    ] = "",
    outputs: Annotated[str, typer.Option(help="Tensors that it gives, by comma; found if not given.")] = "",
    batch: Annotated[int | None, typer.Option(help="Fix the batch at this size instead of leaving it open.")] = None,
    nhwc: Annotated[bool, typer.Option("--nhwc", help="Keep pictures channels last, as in the framework.")] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare with the framework on real data.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow OUT.onnx to be SOURCE itself.")] = False,
    list_networks: Annotated[bool, typer.Option("--list", help="List the named networks and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a model of TensorFlow, Keras, TFLite or PyTorch to ONNX, and check that both compute the same."""
    if list_networks:
        _print_networks(json)
        return

    from drpass import console
    from drpass.errors import DrpassError
    from drpass.export import export

    if source is None or output is None:
        raise DrpassError("give SOURCE and OUT.onnx, or --list to see the named networks")
    with console.err.status("starting") as status:
        report = export(
            source,
            output,
            opset=opset,
            weights=weights,
            inputs=names(inputs),
            outputs=names(outputs),
            batch=batch,
            nhwc=nhwc,
            check=check,
            overwrite=overwrite,
            on_step=lambda step: status.update(console.Line(step)),
        )
    if json:
        console.emit_json(asdict(report))
    else:
        _print(report)


def _print(report: ExportReport) -> None:
    from drpass import console

    console.out.print(
        f"{report.output}: {report.nodes} nodes, opset {report.opset}, {report.size / 1e6:.1f} MB", markup=False
    )
    for kind, specs in (("input", report.inputs), ("output", report.outputs)):
        for spec in specs:
            console.out.print(f"  {kind:6} {spec.describe()}", markup=False)
    if report.checked_on is None:
        console.out.print("  not compared with the framework")
        return
    console.out.print(
        f"  against the framework: max error {report.max_error:.2g}, relative {report.max_relative_error:.2g}, "
        f"on {report.checked_on}",
        markup=False,
    )
    if report.framework_spread:
        console.out.print(f"  two kinds of kernels of the framework itself differ by {report.framework_spread:.2g}")


def _print_networks(json: bool) -> None:
    from drpass import console
    from drpass.networks import describe_network, network_names, weights_path

    networks = [
        {"name": name, "description": describe_network(name), "trained": weights_path(name).is_file()}
        for name in network_names()
    ]
    if json:
        console.emit_json(networks)
        return
    for network in networks:
        weights = "" if network["trained"] else " (no trained weights; give --weights)"
        console.out.print(f"{network['name']:14} {network['description']}{weights}", markup=False)
