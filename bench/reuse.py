"""Measures r_c of the convolutions of bench/networks.toml on pictures: the figures that the file has.

    python bench/reuse.py                    all networks that have a model and data
    python bench/reuse.py vgg16              one of them
    python bench/reuse.py --json

Every convolution gets what the network without reuse feeds it. Runs on the CPU, whose clusters are those of CUDA. Needs
the folders DRPASS_DATA and DRPASS_MODELS. Exit status: 0 done, 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import command
import document
import gpu_measure
from convolutions import CLUSTERED, Convolution, Network, load_networks

from drpass import console
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.stages import collected, collecting

_COLUMNS = ("network", "layer", "r_c", "dense", "r_c in the file", "dense in the file")


@dataclass(frozen=True)
class Reuse:
    """``remaining_ratio``: the mean over the sub-vector groups and pictures that cluster, None if none does;
    ``dense``: the share of those that the guard leaves dense."""

    network: str
    layer: str
    remaining_ratio: float | None
    dense: float


def measure(network: Network, convolution: Convolution, step: float = CLUSTERED.step) -> Reuse:
    """On as many pictures as the file says. Raises DrpassError if model or data are not there."""
    x = gpu_measure.real_input(network, convolution, network.pictures)
    if x is None:
        raise DrpassError(f"{network.name}: DRPASS_MODELS and DRPASS_DATA must have {network.model} and {network.data}")
    dense = gpu_measure.dense_model(convolution, len(x))
    session = open_session(gpu_measure.replaced(dense, replace(CLUSTERED, step=step)))
    with collecting() as library:
        run(session, {"x": x})
        (entry,) = collected(library)
    groups = entry["sub_groups"]
    kept = [(clusters / pixels, instances - guarded) for clusters, pixels, instances, guarded in groups if pixels]
    of_all = sum(count for _, count in kept)
    ratio = sum(one * count for one, count in kept) / of_all if of_all else None
    guarded = sum(count for *_, count in groups) / sum(count for _, _, count, _ in groups)
    return Reuse(network.name, convolution.name, ratio, guarded)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = command.parser_of(__doc__)
    parser.add_argument("network", nargs="*", help="names of the file; without: all that have a model")
    parser.add_argument("--networks", type=Path, default=Path(__file__).with_name("networks.toml"))
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    return command.finish(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    known = {network.name: network for network in load_networks(options.networks) if network.model}
    if unknown := [name for name in options.network if name not in known]:
        raise DrpassError(f"no network with a model is called {', '.join(unknown)}; there are {', '.join(known)}")
    found = []
    for network in (known[name] for name in options.network or known):
        for convolution in network.layers:
            print(f"{network.name}, {convolution.name} ...", file=sys.stderr, flush=True)
            found.append((convolution, measure(network, convolution)))
    if options.json:
        console.emit_json([asdict(reuse) for _, reuse in found])
    else:
        print(f"{CLUSTERED.describe()}\n\n{document.table(_COLUMNS, [_line(*entry) for entry in found])}")


def _line(convolution: Convolution, reuse: Reuse) -> list[str]:
    # A layer without clusters has r_c 1 in the file.
    ratio = 1.0 if reuse.remaining_ratio is None else reuse.remaining_ratio
    noted = "–" if convolution.remaining_ratio is None else f"{convolution.remaining_ratio:.3f}"
    figures = [f"{ratio:.3f}", f"{reuse.dense:.2f}", noted, f"{convolution.dense:.2f}"]
    return [reuse.network, reuse.layer, *figures]


if __name__ == "__main__":
    sys.exit(main())
