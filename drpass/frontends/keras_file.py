"""Keras model files (.keras, .h5), loaded in safe mode, which refuses embedded Python code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.frontends.conversion import OPSETS, quiet
from drpass.frontends.large_keras import LargeKerasModel, large_variables
from drpass.frontends.model import FrameworkModel, FrontEnd, Request, one_line, unique_names
from drpass.frontends.tensorflow_function import TensorFlowFunction, described, import_tensorflow

_SUFFIXES = (".keras", ".h5", ".hdf5")


def _claims(source: str) -> bool:
    return Path(source).suffix.lower() in _SUFFIXES


def _load(request: Request) -> FrameworkModel:
    path = request.path
    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise DrpassError(f"{path} is damaged or not a Keras file: it is no zip archive")
    import_tensorflow()
    import keras

    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the parts of the file make it raise
        raise DrpassError(f"{path} can't be loaded as a Keras model: {one_line(error)}") from error
    return from_keras(path.name, model)


def from_keras(name: str, model: Any, preprocess: Preprocess | None = None) -> FrameworkModel:
    """A Keras model that has been built. Raises DrpassError if its inputs are not known."""
    import keras

    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise DrpassError(f"the inputs of {name} are not known; build it, or save it with model.export(FOLDER)")
    # A plain functional model: flat inputs and outputs, also where the original is a Sequential or takes a dict.
    flat = keras.Model(model.inputs, model.outputs)
    names = unique_names([tensor.name for tensor in flat.inputs] + list(flat.output_names))
    inputs = [described(name, tensor) for name, tensor in zip(names, flat.inputs)]

    def function(*tensors: Any) -> list[Any]:
        results = flat(list(tensors), training=False)
        return list(results) if isinstance(results, (list, tuple)) else [results]

    outputs = names[len(inputs) :]
    large = large_variables(flat)
    if large:
        return LargeKerasModel(
            name=name, inputs=inputs, outputs=outputs, preprocess=preprocess, function=function, variables=large
        )
    return TensorFlowFunction(name=name, inputs=inputs, outputs=outputs, preprocess=preprocess, function=function)


FRONT_END = FrontEnd("a Keras file (.keras, .h5)", _claims, _load, OPSETS)
