"""Rewritten models as ONNX operators only again."""

from drpass.restoring.restore import Restored, RestoreReport, RestoreResult, restore

__all__ = ["RestoreReport", "RestoreResult", "Restored", "restore"]
