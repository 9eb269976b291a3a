"""The named networks of the ``models`` folder."""

from __future__ import annotations

from drpass.data.preprocess import Preprocess
from drpass.frontends.conversion import OPSETS
from drpass.frontends.keras_file import from_keras
from drpass.frontends.model import FrameworkModel, FrontEnd, Request
from drpass.frontends.tensorflow_function import import_tensorflow
from drpass.networks import build_network, network_names, preprocessing_path, trained_weights


def _name(source: str) -> str:
    """Dashes stand for underscores: the names are those of Python files."""
    return source.replace("-", "_")


def _claims(source: str) -> bool:
    return _name(source) in network_names()


def _load(request: Request) -> FrameworkModel:
    import_tensorflow()
    name = _name(request.source)
    model = build_network(name, request.weights or trained_weights(name))
    return from_keras(name, model, Preprocess.from_toml(preprocessing_path(name)))


FRONT_END = FrontEnd("a named network (drpass export --list)", _claims, _load, OPSETS, frozenset({"weights"}))
