"""The named networks: Keras descriptions and trained weights in the ``models`` folder, one file a network.

A network NAME is three files: ``NAME.py`` with ``build(weights: Path | None = None) -> keras.Model``, ``NAME.toml``
(how an image becomes its input; see ``drpass.data``) and ``NAME.weights.npz`` (its trained weights, which may also be
in a cache folder where they are too large to ship).
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drpass.errors import DrpassError
from drpass.files import atomic_output

#: Networks whose weights ``models/fetch_imagenet.py`` gets.
_IN_KERAS = ("vgg16", "vgg19")


def models_folder() -> Path:
    """The folder of the named networks: inside an installed package, or beside the package in a source checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def network_names() -> list[str]:
    """The names that :func:`build_network` knows, sorted."""
    return sorted(path.stem for path in models_folder().glob("*.toml") if path.with_suffix(".py").is_file())


def weights_path(name: str) -> Path:
    """Where the trained weights of a named network are: in :func:`models_folder`, else in :func:`weights_cache`."""
    shipped = models_folder() / f"{name}.weights.npz"
    return shipped if shipped.is_file() else weights_cache() / shipped.name


def weights_cache() -> Path:
    """The folder of trained weights that are too large to ship: ``$XDG_CACHE_HOME/drpass``, or ``~/.cache/drpass``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drpass"


def trained_weights(name: str) -> Path:
    """The file of :func:`weights_path`. Raises DrpassError if it is not there, with how to get it."""
    path = weights_path(name)
    if path.is_file():
        return path
    raise DrpassError(f"there are no trained weights of '{name}' ({path}); {_way_to_weights(name)}")


def _way_to_weights(name: str) -> str:
    if name in _IN_KERAS:
        script = models_folder() / "fetch_imagenet.py"
        return f"when online, `python {script} {name}` gets those of Keras for ImageNet, or give --weights FILE.npz"
    script = models_folder() / f"train_{name}.py"
    return (f"train them with `python {script}`, or " if script.is_file() else "") + "give --weights FILE.npz"


def preprocessing_path(name: str) -> Path:
    """Where it is written how an image becomes the input of a named network."""
    return models_folder() / f"{name}.toml"


def describe_network(name: str) -> str:
    """The first line of the description of a named network, without its full stop."""
    module = ast.parse((models_folder() / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(module) or "").partition("\n")[0].rstrip(".")


def build_network(name: str, weights: Path | None = None) -> Any:
    """The Keras model of a named network, with ``weights`` (an .npz file) or random ones.

    Raises DrpassError for an unknown name and for weights that don't fit.
    """
    if name not in network_names():
        raise DrpassError(f"there is no network '{name}'; there are: {', '.join(network_names())}")
    return network_module(name).build(weights)


def network_module(name: str) -> Any:
    """The module ``NAME.py`` of the folder of the named networks, imported once."""
    module_name = f"drpass_network_{name}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, models_folder() / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[module_name] = module
    return module


def save_weights(model: Any, path: Path) -> None:
    """Write the weights of a Keras model as float16 arrays named ``layer/variable`` to an .npz file, atomically.

    They are not compressed: that takes several times as long and saves a tenth.
    """
    arrays: Any = {variable.path: np.asarray(variable).astype(np.float16) for variable in model.weights}
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_weights(model: Any, path: Path) -> None:
    """Read an .npz file of :func:`save_weights` into a Keras model; every weight must be there in its shape.

    Raises DrpassError if the file can't be read or does not fit the model.
    """
    arrays = _read_arrays(path)
    wanted = {variable.path: tuple(variable.shape) for variable in model.weights}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        names = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise DrpassError(
            f"{path} does not hold the weights of '{model.name}': {names[0]} should have shape "
            f"{wanted.get(names[0], 'none')}, not {found.get(names[0], 'none')}"
        )
    for variable in model.weights:
        variable.assign(arrays[variable.path].astype(np.float32))


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DrpassError(f"{path} is not a complete .npz file of weights: {error}") from error
