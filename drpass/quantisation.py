"""A float network on 8-bit integers, as `onnxruntime.quantization` makes it, for the scripts of models/ and bench/."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from drpass.files import atomic_output
from drpass.tensors import Feeds


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the inputs on one by one."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def quantise(source: Path, output: Path, feeds: Iterable[Feeds]) -> None:
    """Write the network ``source`` in QDQ form: activations in uint8, weights in int8 with a scale a channel.

    The ranges of all values are those met with the inputs ``feeds``. Raises DrpassError if the file can't be written.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises fusions, which ONNX Runtime makes when it loads the file
    try:
        with atomic_output(output) as temporary:
            quantize_static(
                source,
                temporary,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    finally:
        root.setLevel(level)
