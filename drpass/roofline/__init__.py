"""The least time that a layer can take on a GPU that is not there, from published figures (docs/cuda.md)."""

from drpass.roofline.break_even import largest_ratio
from drpass.roofline.dense import best_rival, exact_kernels, rivals
from drpass.roofline.device import Device, devices, find_device
from drpass.roofline.kernel import Kernel, milliseconds
from drpass.roofline.layer import Layer
from drpass.roofline.reuse import reuse_kernels

__all__ = [
    "Device",
    "Kernel",
    "Layer",
    "best_rival",
    "devices",
    "exact_kernels",
    "find_device",
    "largest_ratio",
    "milliseconds",
    "reuse_kernels",
    "rivals",
]
