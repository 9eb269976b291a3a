"""``drpass export``: a model of TensorFlow or Keras to an ONNX file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
**Examples**

    drpass export cifarnet cifarnet.onnx

    drpass export model.keras model.onnx --opset 18

    drpass export saved_model_folder model.onnx --batch 1 --nhwc

    drpass export --list
"""


def command(
    source: Annotated[
        str | None,
        typer.Argument(help="A named network, a Keras file (.keras, .h5) or a SavedModel folder."),
    ] = None,
    output: Annotated[Path | None, typer.Argument(metavar="OUT.onnx", help="The file to write.")] = None,
    opset: Annotated[int, typer.Option(help="17 or 18.")] = 17,
    weights: Annotated[
        Path | None,
        typer.Option(help="An .npz file instead of the trained weights of a named network."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Fix the batch at this size instead of leaving it open.")] = None,
    nhwc: Annotated[bool, typer.Option("--nhwc", help="Keep pictures channels last, as in the framework.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow OUT.onnx to be SOURCE itself.")] = False,
    list_networks: Annotated[bool, typer.Option("--list", help="List the named networks and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a model of TensorFlow or Keras to ONNX, and check that both compute the same."""
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
            batch=batch,
            nhwc=nhwc,
            overwrite=overwrite,
            on_step=status.update,
        )
    if json:
        console.emit_json(asdict(report))
        return
    console.out.print(
        f"{report.output}: {report.nodes} nodes, opset {report.opset}, {report.size / 1e6:.1f} MB", markup=False
    )
    for kind, specs in (("input", report.inputs), ("output", report.outputs)):
        for spec in specs:
            console.out.print(f"  {kind:6} {spec.describe()}", markup=False)
    console.out.print(
        f"  against the framework: max error {report.max_error:.2g}, relative {report.max_relative_error:.2g}, "
        f"on {report.checked_on}",
        markup=False,
    )


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
        console.out.print(f"{network['name']:12} {network['description']}{weights}", markup=False)
