"""Reads networks.toml: the convolutions that bench/gpu.py is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drpass.files import read_tables, values_of
from drpass.operator.spec import ReuseParameters
from drpass.roofline import Layer

#: The setting that the file's r_c are of.
CLUSTERED = ReuseParameters("grid", sub_vector_length=8, step=1.0)
#: Keys of a convolution whose numbers are not 0.
_SIZES = ("channels", "outputs", "size", "kernel", "stride", "remaining_ratio")
#: r_c where none was measured.
ASSUMED_RATIO = 0.1


@dataclass(frozen=True)
class Convolution:
    """One convolution; the fields are the keys that networks.toml explains."""

    name: str
    channels: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1
    pad: int | None = None
    remaining_ratio: float | None = None
    dense: float = 0.0

    @property
    def padding(self) -> int:
        """On every side."""
        return (self.kernel - 1) // 2 if self.pad is None else self.pad

    def layer(self, batch: int) -> Layer:
        """Its sizes."""
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        ones = (1, 1)
        return Layer(
            images=batch,
            channels=self.channels,
            outputs=self.outputs,
            size=(self.size, self.size),
            out_size=(out, out),
            kernel=(self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            dilations=ones,
        )

    @property
    def ratios(self) -> list[float]:
        """r_c of 100 sub-vector groups, as measured or assumed."""
        ratio = ASSUMED_RATIO if self.remaining_ratio is None else self.remaining_ratio
        dense = round(100 * self.dense)
        return [ratio] * (100 - dense) + [1.0] * dense

    def describe(self) -> str:
        """``64→128, 3×3, 112²``."""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.channels}→{self.outputs}, {self.kernel}×{self.kernel}{stride}, {self.size}²"


@dataclass(frozen=True)
class Network:
    """``model``, ``data``, ``preprocess``: empty where there are no real inputs.

    ``pictures``: so many r_c is measured on.
    """

    name: str
    title: str
    layers: tuple[Convolution, ...]
    model: str = ""
    data: str = ""
    preprocess: str = ""
    pictures: int = 8


def load_networks(path: Path) -> list[Network]:
    """All networks of a file. Raises DrpassError that names the network and the key."""
    return list(read_tables(path, _network, "network").values())


def _network(name: str, table: Any) -> Network:
    values = values_of(table, Network, given=("name",))
    layers = (Convolution(**values_of(entry, Convolution, positive=_SIZES)) for entry in values.pop("layers"))
    return Network(name, layers=tuple(layers), **values)


def distinct(networks: list[Network]) -> dict[Convolution, list[str]]:
    """Each size once, with the titles of its networks; r_c as measured in any of them, the mean if in several."""
    found: dict[str, list[tuple[Convolution, str]]] = {}
    for network in networks:
        for convolution in network.layers:
            found.setdefault(convolution.describe(), []).append((convolution, network.title))
    rows = {}
    for text, entries in found.items():
        first = entries[0][0]
        measured = [entry for entry, _ in entries if entry.remaining_ratio is not None]
        ratio = sum(entry.remaining_ratio or 0.0 for entry in measured) / len(measured) if measured else None
        dense = sum(entry.dense for entry in measured) / len(measured) if measured else 0.0
        row = Convolution(
            text, first.channels, first.outputs, first.size, first.kernel, first.stride, first.pad, ratio, dense
        )
        rows[row] = list(dict.fromkeys(title for _, title in entries))
    return rows
