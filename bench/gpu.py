"""What convolutions of known networks cost on GPUs: predicted by the cost model, and measured where there is a GPU.

    python bench/gpu.py                          print the tables (batch 16, and networks at 1, 16 and 128)
    python bench/gpu.py --json                   every layer, batch, GPU and kernel
    python bench/gpu.py --out docs/cuda.md       replace the section `roofline` of the document
    python bench/gpu.py --layers docs/cuda_layers.md   write every layer at batch 1, 16 and 128 to that document
    python bench/gpu.py --measure cuda           also time every layer; without a GPU that is an error

Exit status: 0 done, 2 bad input or no such provider.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import command
import document
import gpu_measure
import roofline_table
from convolutions import CLUSTERED, Convolution, Network, distinct, load_networks
from roofline_table import BATCHES

from drpass import console
from drpass.commands.comma_lists import whole_numbers
from drpass.errors import DrpassError
from drpass.execution import Provider
from drpass.roofline import devices

_MEASURED = ("layer", "batch", "input", "Conv ms", "exact ms", "clustered ms", "speed-up [quartiles]")
_EXPLAINED = (
    f"Batch {roofline_table.BATCH}, milliseconds as predicted. direct, best fp32, best TF32: perfect dense "
    f"convolutions (best: of direct and Winograd). exact, clustered: these kernels, TF32: with allow_tf32. clustered: "
    f"{CLUSTERED.describe()} at the r_c given. speed-up: of clustered over best fp32, and of clustered TF32 over best "
    f"TF32. r_c limit: up to which clustering pays against direct, best fp32 and best TF32; – means that it never does."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict, measure if asked to, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--networks", type=Path, default=Path(__file__).with_name("networks.toml"))
    parser.add_argument("--measure", choices=("cuda", "cpu"), help="also time every layer on this provider")
    parser.add_argument("--batches", default="1,16,128", help="of what is measured, with commas between them")
    parser.add_argument("--quick", action="store_true", help="few runs: to try out, not to report")
    parser.add_argument("--json", action="store_true", help="print JSON with the counts of all kernels")
    parser.add_argument("--out", type=Path, help="Markdown file whose sections are replaced")
    parser.add_argument("--layers", type=Path, help="Markdown file for all layers at all batches")
    options = parser.parse_args(arguments)
    return command.finish(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    networks = load_networks(options.networks)
    measured = _measure_all(networks, options) if options.measure else []
    if options.json:
        entries = [
            {"layer": layer.describe(), "batch": batch, "measured": [asdict(one) for one in found]}
            for layer, batch, found in measured
        ]
        console.emit_json({"predicted": roofline_table.to_dict(networks), "measured": entries})
        return
    sections = {"roofline": predicted(networks)}
    if measured:
        rows = [line for layer, batch, found in measured for line in gpu_measure.lines(layer, batch, found)]
        conditions = document.conditions("bench/gpu.py", None)
        sections["gpu"] = f"{conditions}; {_device(options.measure)}\n\n{document.table(_MEASURED, rows)}"
    command.publish(sections, options.out)
    if options.layers:
        document.write_sections(options.layers, {f"batch {batch}": at_batch(networks, batch) for batch in BATCHES})


def predicted(networks: list[Network]) -> str:
    """All tables, as Markdown."""
    parts = [_EXPLAINED]
    for device in devices().values():
        parts += [f"**{device.name}**", roofline_table.device_table(networks, device)]
    parts += ["**All convolutions of a network**, ms", roofline_table.network_table(networks)]
    layer = roofline_table.shown(networks).describe()
    parts += [f"**The kernels** for {layer}, batch {roofline_table.BATCH}, and what limits them"]
    return "\n\n".join([*parts, roofline_table.kernel_table(networks)])


def at_batch(networks: list[Network], batch: int) -> str:
    """What every kernel moves and computes for every layer, and what every GPU is predicted to take, as Markdown."""
    parts = [f"## Batch {batch}", roofline_table.counts_table(networks, batch)]
    for device in devices().values():
        parts += [f"**{device.name}**, ms", roofline_table.device_table(networks, device, batch)]
    return "\n\n".join(parts)


def _measure_all(
    networks: list[Network], options: argparse.Namespace
) -> list[tuple[Convolution, int, list[gpu_measure.Measured]]]:
    batches = whole_numbers("--batches", options.batches)
    if min(batches) < 1:
        raise DrpassError(f"--batches must be 1 or more: {options.batches!r}")
    effort = gpu_measure.Effort(2, 2) if options.quick else gpu_measure.Effort()
    provider: Provider = options.measure
    originals = {entry.describe(): (network, entry) for network in reversed(networks) for entry in network.layers}
    found: list[Any] = []
    for row in distinct(networks):
        for batch in batches:
            print(f"{row.describe()}, batch {batch} ...", file=sys.stderr, flush=True)
            real = gpu_measure.real_input(*originals[row.describe()], batch)
            found.append((row, batch, gpu_measure.measure(row, batch, provider, effort, real)))
    return found


def _device(provider: str) -> str:
    if provider == "cpu":
        return "measured on the CPU"
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "measured on a device that nvidia-smi does not list"
    return f"measured on {listed.splitlines()[0].partition('(UUID')[0].strip()}"


if __name__ == "__main__":
    sys.exit(main())
