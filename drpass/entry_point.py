"""Functions of the user's own, named ``package.module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from drpass.errors import DrpassError

_FORM = re.compile(r"(?P<module>.+):(?P<name>[A-Za-z_]\w*)")


def is_entry_point(text: str) -> bool:
    """Whether the text has the form of one."""
    return _FORM.fullmatch(text) is not None


def load(text: str) -> Callable[..., Any]:
    """The function of that name. Its module runs, as in ``import``; modules in the current folder (or the file's own)
    are found. Raises DrpassError if there is none, or its module raises."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise DrpassError(f"{text!r} names no function; write package.module:function or path/to/file.py:function")
    module = _file(Path(form["module"]), text) if form["module"].endswith(".py") else _module(form["module"], text)
    function: Any = getattr(module, form["name"], None)
    if not callable(function):
        raise DrpassError(f"{form['module']} has no function {form['name']!r}")
    return function  # type: ignore[no-any-return]


@contextmanager
def user_code(text: str) -> Iterator[None]:
    """Turns whatever code of the user raises into one line that begins with ``text``."""
    try:
        yield
    except DrpassError:
        raise
    except (Exception, SystemExit) as error:
        message = " ".join(f"{text} raised {type(error).__name__}: {error}".split())
        raise DrpassError(message.removesuffix(":")) from error


def _module(name: str, text: str) -> ModuleType:
    with _importing_from(Path.cwd()), user_code(text):
        return importlib.import_module(name)


def _file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        raise DrpassError(f"{path} does not exist; {text!r} must be path/to/file.py:function")
    path = path.resolve()
    name = f"drpass_user_{path.stem}_{zlib.crc32(str(path).encode(errors='surrogateescape')):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    with _importing_from(path.parent), user_code(text):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
