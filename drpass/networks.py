"""The named networks: Keras descriptions and trained weights in the ``models`` folder, one file a network.

A network NAME is three files: ``NAME.py`` with ``build(weights: Path | None = None) -> keras.Model``, ``NAME.toml``
(how an image becomes its input; see ``drpass.data``) and ``NAME.weights.npz`` (its trained weights).
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drpass.errors import DrpassError
from drpass.files import atomic_output


def models_folder() -> Path:
    """The folder of the named networks: inside an installed package, or beside the package in a source checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def network_names() -> list[str]:
    """The names that :func:`build_network` knows, sorted."""
    return sorted(path.stem for path in models_folder().glob("*.toml") if path.with_suffix(".py").is_file())


def weights_path(name: str) -> Path:
    """Where the trained weights of a named network are."""
    return models_folder() / f"{name}.weights.npz"


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
    module_name = f"drpass_network_{name}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, models_folder() / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[module_name] = module
    return module.build(weights)


def save_weights(model: Any, path: Path) -> None:
    """Write the weights of a Keras model as float16 arrays named ``layer/variable`` to an .npz file, atomically."""
    arrays: Any = {variable.path: np.asarray(variable).astype(np.float16) for variable in model.weights}
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


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
