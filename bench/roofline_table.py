"""What the cost model says of the convolutions of known networks, as Markdown tables and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import document
from convolutions import CLUSTERED, Convolution, Network, distinct

from drpass.roofline import (
    Device,
    Layer,
    best_rival,
    devices,
    exact_kernels,
    largest_ratio,
    milliseconds,
    reuse_kernels,
    rivals,
)

BATCHES = (1, 16, 128)
#: The batch and the layer of the tables in the document.
BATCH, LAYER = 16, "256→256, 3×3, 56²"
#: Sub-vectors for which the limit of r_c is given.
LENGTHS = (8, 32)

_LAYERS = (
    "layer",
    "G mult.-adds",
    "MB",
    "direct",
    "best fp32",
    "best TF32",
    "exact",
    "exact TF32",
    "r_c (dense)",
    "clustered",
    "clustered TF32",
    "speed-up fp32, TF32",
    *(f"r_c limit L={length}" for length in LENGTHS),
)
_KERNELS = ("kernel", "launches", "memory MB", "L2 MB", "fp32 G", "double G", "other G")
_NETWORKS = (
    *("network", "batch", "GPU", "direct", "best fp32", "best TF32", "exact", "exact TF32"),
    *("clustered", "clustered TF32", "speed-up fp32, TF32"),
)

#: Milliseconds of what a layer of the model may be computed by.
Ways = dict[str, float]


def ways(convolution: Convolution, batch: int, device: Device) -> Ways:
    """All that are in the tables."""
    layer = convolution.layer(batch)
    ours = {}
    for suffix, tensor in (("", False), (" TF32", has_tf32(device))):
        ours["exact" + suffix] = milliseconds(exact_kernels(layer, tensor=tensor), device)
        clustered = reuse_kernels(layer, CLUSTERED, convolution.ratios, tensor=tensor)
        ours["clustered" + suffix] = milliseconds(clustered, device)
    return {
        "direct": rivals(layer, device, "fp32")["direct fp32"],
        "best fp32": best_rival(layer, device, "fp32"),
        "best TF32": best_rival(layer, device, "tf32"),
        **{name: ours[name] for name in ("exact", "exact TF32", "clustered", "clustered TF32")},
    }


def has_tf32(device: Device) -> bool:
    """Whether ``allow_tf32`` changes anything there."""
    return device.tf32_tflops is not None


def limits(layer: Layer, length: int, device: Device, times: Ways) -> dict[str, float | None]:
    """The r_c at which clustering with sub-vectors of this length stops to pay against each dense convolution.

    Against TF32 clustering has it, too.
    """
    parameters = replace(CLUSTERED, sub_vector_length=length)
    return {
        name: largest_ratio(layer, parameters, device, times[name], tensor="TF32" in name and has_tf32(device))
        for name in ("direct", "best fp32", "best TF32")
    }


def device_table(networks: Sequence[Network], device: Device, batch: int = BATCH) -> str:
    """A line for every distinct layer."""
    return document.table(_LAYERS, [_layer_line(entry, device, batch) for entry in distinct(list(networks))])


def _layer_line(convolution: Convolution, device: Device, batch: int) -> list[str]:
    layer, times = convolution.layer(batch), ways(convolution, batch, device)
    ratio = "0.1 assumed" if convolution.remaining_ratio is None else f"{convolution.remaining_ratio:.3f}"
    dense = f" ({convolution.dense:.0%})" if convolution.dense else ""
    return [
        convolution.describe(),
        f"{layer.multiplications / 1e9:.2f}",
        f"{(layer.x_bytes + layer.w_bytes + layer.y_bytes) / 1e6:.1f}",
        *(_ms(times[name]) for name in ("direct", "best fp32", "best TF32", "exact", "exact TF32")),
        f"{ratio}{dense}",
        *(_ms(times[name]) for name in ("clustered", "clustered TF32")),
        _speed_ups(times),
        *(" ".join(_limit(limit) for limit in limits(layer, length, device, times).values()) for length in LENGTHS),
    ]


def _ms(value: float) -> str:
    return f"{value:.3f}"


def _speed_ups(times: Ways) -> str:
    return ", ".join(
        f"{times[rival] / times[ours]:.2f}"
        for rival, ours in (("best fp32", "clustered"), ("best TF32", "clustered TF32"))
    )


def _limit(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def network_table(networks: Sequence[Network]) -> str:
    """The convolutions of a network together, on every GPU and at every batch."""
    lines = []
    for network in networks:
        for batch in BATCHES:
            for device in devices().values():
                every = [ways(convolution, batch, device) for convolution in network.layers]
                total = {name: sum(times[name] for times in every) for name in every[0]}
                figures = [f"{value:.2f}" for value in total.values()]
                lines.append([network.title, str(batch), device.name, *figures, _speed_ups(total)])
    return document.table(_NETWORKS, lines)


def shown(networks: Sequence[Network]) -> Convolution:
    """The layer whose kernels are shown: the first where there is none of those sizes."""
    known = {entry.describe(): entry for entry in distinct(list(networks))}
    return known.get(LAYER, next(iter(known.values())))


def kernel_table(networks: Sequence[Network]) -> str:
    """Counts of every kernel for one layer, and what bounds it on every GPU."""
    convolution = shown(networks)
    every = list(devices().values())
    lines = []
    layer = convolution.layer(BATCH)
    plain, rounding = (reuse_kernels(layer, CLUSTERED, convolution.ratios, tensor=tensor) for tensor in (False, True))
    changed = [replace(after, name=f"{after.name}, TF32") for after in rounding if after not in plain]
    for kernel in [*plain, *changed]:
        counts = [kernel.memory / 1e6, kernel.l2 / 1e6, kernel.fp32 / 1e9, kernel.double / 1e9, kernel.others / 1e9]
        times = [
            f"{1e3 * kernel.seconds(device):.3f} {kernel.bound(device)}"
            if has_tf32(device) or kernel not in changed
            else "–"
            for device in every
        ]
        lines.append([kernel.name, str(kernel.launches), *(f"{count:.3g}" for count in counts), *times])
    return document.table([*_KERNELS, *(f"{device.name} ms" for device in every)], lines)


def counts_table(networks: Sequence[Network], batch: int) -> str:
    """Megabytes from and to memory, and 10^9 operations, of every kernel for every distinct layer."""
    lines, names = [], []
    for convolution in distinct(list(networks)):
        layer = convolution.layer(batch)
        kernels = [*exact_kernels(layer), *reuse_kernels(layer, CLUSTERED, convolution.ratios)]
        names = ["exact", *(kernel.name for kernel in kernels[1:])]
        counts = [(kernel.memory / 1e6, (kernel.fp32 + kernel.double + kernel.others) / 1e9) for kernel in kernels]
        lines.append([convolution.describe(), *(f"{memory:.3g}, {work:.3g}" for memory, work in counts)])
    return document.table(["layer", *(f"{name} MB, G" for name in names)], lines)


def to_dict(networks: Sequence[Network], advance: Callable[[], Any] = lambda: None) -> list[dict[str, Any]]:
    """Every layer of every network at every batch on every GPU, with the counts of all kernels."""
    entries = []
    for network in networks:
        for convolution in network.layers:
            for batch in BATCHES:
                entries.append(_entry(network, convolution, batch))
                advance()
    return entries


def _entry(network: Network, convolution: Convolution, batch: int) -> dict[str, Any]:
    layer = convolution.layer(batch)
    kernels = reuse_kernels(layer, CLUSTERED, convolution.ratios)
    predicted = {}
    for name, device in devices().items():
        times = ways(convolution, batch, device)
        predicted[name] = {
            "ms": times,
            "largest_ratio": {length: limits(layer, length, device, times) for length in LENGTHS},
            "kernels": {
                kernel.name: {"ms": 1e3 * kernel.seconds(device), "bound": kernel.bound(device)} for kernel in kernels
            },
        }
    return {
        "network": network.name,
        "layer": convolution.name,
        "batch": batch,
        "multiply_adds": layer.multiplications,
        "bytes": layer.x_bytes + layer.w_bytes + layer.y_bytes,
        "setting": CLUSTERED.describe(),
        "remaining_ratio": convolution.remaining_ratio,
        "dense_share": convolution.dense,
        "kernels": [asdict(kernel) for kernel in kernels],
        "dense_kernel": asdict(exact_kernels(layer)[0]),
        "predicted": predicted,
    }
