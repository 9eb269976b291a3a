"""SavedModel folders. Loading one can run code of its maker's choice: load only those that you trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drpass.errors import DrpassError
from drpass.frontends.conversion import OPSETS, quiet
from drpass.frontends.model import FrameworkModel, FrontEnd, Request, one_line, unique_names
from drpass.frontends.tensorflow_function import TensorFlowFunction, described, import_tensorflow


def _claims(source: str) -> bool:
    return (Path(source) / "saved_model.pb").is_file()


def _load(request: Request) -> FrameworkModel:
    path = request.path
    tensorflow = import_tensorflow()
    try:
        with quiet():
            loaded = tensorflow.saved_model.load(str(path))
            signatures = dict(loaded.signatures)
    except Exception as error:  # TensorFlow raises whatever the parts of the folder make it raise
        raise DrpassError(f"{path} can't be loaded as a SavedModel: {one_line(error)}") from error
    if not signatures:
        raise DrpassError(f"the SavedModel {path} has no signature; save it with model.export(FOLDER)")
    key = "serving_default" if "serving_default" in signatures else min(signatures)
    signature = signatures[key]
    keywords = list(signature.structured_input_signature[1].items())
    results = sorted(signature.structured_outputs)
    names = unique_names([keyword for keyword, _ in keywords] + results)
    inputs = [described(name, spec) for name, (_, spec) in zip(names, keywords)]

    def function(*tensors: Any) -> list[Any]:
        # Through ``loaded``, because a signature alone does not keep its variables alive.
        found = loaded.signatures[key](**{keyword: tensor for (keyword, _), tensor in zip(keywords, tensors)})
        return [found[name] for name in results]

    return TensorFlowFunction(name=path.name, inputs=inputs, outputs=names[len(inputs) :], function=function)


FRONT_END = FrontEnd("a SavedModel folder", _claims, _load, OPSETS)
