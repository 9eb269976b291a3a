from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drpass import runtime
from drpass.errors import DrpassError


def test_environment_variable_names_another_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(runtime.LIBRARY_VARIABLE, raising=False)
    own = runtime.get_library_path()
    other = shutil.copy(own, tmp_path / "other.so")
    monkeypatch.setenv(runtime.LIBRARY_VARIABLE, str(other))
    assert runtime.get_library_path() == str(other) != own
    assert runtime.kernel_set()


def test_library_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(runtime.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(DrpassError, match=r"DRPASS_LIBRARY names .*none.so, which is no file"):
        runtime.get_library_path()
