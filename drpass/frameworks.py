"""Load what a framework saved: a Keras model file, a SavedModel folder or a named network, as one kind of function.

The frameworks belong to the extra ``export`` and are imported only here and in ``drpass.export``, when a model is
loaded. Loading a SavedModel can run code of its maker's choice: load only files that you trust. Keras files are loaded
in safe mode, which refuses embedded Python code.
"""

from __future__ import annotations

import os
import re
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drpass.data.preprocess import Preprocess
from drpass.errors import DrpassError
from drpass.networks import build_network, network_names, preprocessing_path, weights_path

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
IMAGE_RANK = 4
_PICTURE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class FrameworkModel:
    """A model as a function of tensors.

    ``inputs``: ``tf.TensorSpec`` with unique names, None in a shape where a dimension is open. ``outputs``: names.
    ``function``: tensors in the order of ``inputs`` to a list of tensors in the order of ``outputs``; images are
    channels last. ``preprocess``: how an image becomes the input, where that is known.
    """

    name: str
    inputs: list[Any]
    outputs: list[str]
    function: Callable[..., list[Any]]
    preprocess: Preprocess | None = None

    def channels_last_inputs(self, nhwc: bool) -> set[str]:
        """Names of the inputs ``[N, H, W, C]`` that become ``[N, C, H, W]``: none if ``nhwc``."""
        return set() if nhwc else {spec.name for spec in self.inputs if _has_channels_last(spec)}

    def channels_last_outputs(self, nhwc: bool) -> bool:
        """Whether outputs of four dimensions do so too: not where an input has its channels first already."""
        images = [spec for spec in self.inputs if spec.shape.rank == IMAGE_RANK]
        return not nhwc and all(_has_channels_last(spec) for spec in images)


def _has_channels_last(spec: Any) -> bool:
    """Four dimensions, and not ``[N, C, H, W]`` by the size of C, which only a few values are for pictures."""
    if spec.shape.rank != IMAGE_RANK:
        return False
    return spec.shape[1] not in _PICTURE_CHANNELS or spec.shape[3] in _PICTURE_CHANNELS


def import_tensorflow() -> Any:
    """TensorFlow, without its log. Raises DrpassError if the extra is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Its own kernels for some processors announce themselves on standard error whatever the log level is.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import keras
        import tensorflow
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise DrpassError(f"exporting needs the extra: pip install 'drpass[export]' ({error})") from error
    if keras.backend.backend() != "tensorflow":
        raise DrpassError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow to export")
    return tensorflow


def load_source(source: str | Path, weights: Path | None = None) -> FrameworkModel:
    """Load a named network (``weights``: an .npz file instead of its trained ones), a Keras file or a SavedModel.

    Raises DrpassError if there is no such thing, if it can't be loaded, or if the extra is not installed.
    """
    path = Path(source)
    named = str(source) in network_names()
    if weights is not None and not named:
        raise DrpassError(f"weights can be chosen only for a named network ({', '.join(network_names())})")
    if not named:
        _refuse_other_kinds(path)
    tensorflow = import_tensorflow()
    if named:
        return _named_network(str(source), weights)
    if path.is_dir():
        return _saved_model(tensorflow, path)
    return _keras_file(path)


def _refuse_other_kinds(path: Path) -> None:
    if not path.exists():
        raise DrpassError(f"there is no file {path}, and the named networks are: {', '.join(network_names())}")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise DrpassError(f"the folder {path} is not a SavedModel: it has no saved_model.pb")
    if path.is_file() and path.suffix.lower() not in KERAS_SUFFIXES:
        raise DrpassError(
            f"{path} is not a Keras model file ({', '.join(KERAS_SUFFIXES)}), a SavedModel folder or a named network"
        )
    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise DrpassError(f"{path} is damaged or not a Keras file: it is no zip archive")


def _named_network(name: str, weights: Path | None) -> FrameworkModel:
    model = build_network(name, weights or weights_path(name))
    return _from_keras(name, model, Preprocess.from_toml(preprocessing_path(name)))


def _keras_file(path: Path) -> FrameworkModel:
    import keras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the parts of the file make it raise
        raise DrpassError(f"{path} can't be loaded as a Keras model: {one_line(error)}") from error
    return _from_keras(path.name, model)


def _from_keras(name: str, model: Any, preprocess: Preprocess | None = None) -> FrameworkModel:
    import keras
    import tensorflow as tf

    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise DrpassError(f"the inputs of {name} are not known; build it, or save it with model.export(FOLDER)")
    # A plain functional model: flat inputs and outputs, also where the original is a Sequential or takes a dict.
    flat = keras.Model(model.inputs, model.outputs)
    names = _unique([tensor.name for tensor in flat.inputs] + list(flat.output_names))
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for tensor, name in zip(flat.inputs, names)]

    def function(*tensors: Any) -> list[Any]:
        results = flat(list(tensors), training=False)
        return list(results) if isinstance(results, (list, tuple)) else [results]

    return FrameworkModel(name, specs, names[len(specs) :], function, preprocess)


def _saved_model(tensorflow: Any, path: Path) -> FrameworkModel:
    try:
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
    names = _unique([keyword for keyword, _ in keywords] + results)
    specs = [tensorflow.TensorSpec(spec.shape, spec.dtype, name=name) for (_, spec), name in zip(keywords, names)]

    def function(*tensors: Any) -> list[Any]:
        # Through ``loaded``, because a signature alone does not keep its variables alive.
        found = loaded.signatures[key](**{keyword: tensor for (keyword, _), tensor in zip(keywords, tensors)})
        return [found[name] for name in results]

    return FrameworkModel(path.name, specs, names[len(specs) :], function)


def _unique(names: Iterable[str]) -> list[str]:
    """The names with other characters than TensorFlow allows replaced, and numbers added where one occurs again."""
    chosen: list[str] = []
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_.") or "tensor"
        candidate, count = base, 1
        while candidate in chosen:
            candidate, count = f"{base}_{count}", count + 1
        chosen.append(candidate)
    return chosen


def one_line(words: object) -> str:
    """What a framework says (an exception or a text), which may be pages, for a message of one line."""
    text = re.sub(r"\x1b\[[0-9;]*m|[\x00-\x1f\x7f]", " ", str(words))
    return textwrap.shorten(text, 300, placeholder=" ...") or type(words).__name__
