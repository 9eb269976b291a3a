"""`import drpass`: quick, and with all that it offers."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import drpass


def test_the_command_line_is_there_before_anything_heavy_is_imported() -> None:
    code = "import sys, drpass.cli; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "drpass.commands.rewrite" in found
    assert {"numpy", "onnx", "onnx_ir", "onnxruntime", "PIL"}.isdisjoint(found)


@pytest.mark.parametrize("name", [*drpass.__all__, "__version__"])
def test_every_name_that_the_package_offers_is_there(name: str) -> None:
    assert getattr(drpass, name).__name__ == name if name != "__version__" else drpass.__version__
    assert name in dir(drpass)


def test_no_module_hides_what_the_package_offers() -> None:
    """Importing ``drpass.NAME`` would put a module in the place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(drpass.__path__)}
    assert "rewriting" in modules
    assert modules.isdisjoint(drpass.__all__)


def test_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'rewrit'"):
        drpass.rewrit  # noqa: B018
