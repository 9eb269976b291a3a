"""Frozen graphs of TensorFlow 1: a GraphDef (.pb) whose variables are constants."""

from __future__ import annotations

from pathlib import Path

from drpass.errors import DrpassError
from drpass.frontends.conversion import OPSETS, quiet
from drpass.frontends.graph import chosen, from_graph
from drpass.frontends.model import FrameworkModel, FrontEnd, Request, one_line
from drpass.frontends.tensorflow_function import import_tensorflow

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")


def _claims(source: str) -> bool:
    return Path(source).suffix.lower() == ".pb"


def _load(request: Request) -> FrameworkModel:
    path = request.path
    if path.name == "saved_model.pb":
        raise DrpassError(f"{path} is part of a SavedModel; give its folder {path.parent}")
    tensorflow = import_tensorflow()
    graph_def = tensorflow.compat.v1.GraphDef()
    graph = tensorflow.Graph()
    try:
        with quiet(), graph.as_default():
            graph_def.ParseFromString(path.read_bytes())
            tensorflow.graph_util.import_graph_def(graph_def, name="")
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror}") from error
    except Exception as error:  # TensorFlow raises whatever the nodes of the graph make it raise
        raise DrpassError(f"{path} can't be loaded as a frozen graph: {one_line(error)}") from error
    variable = next((node.name for node in graph_def.node if node.op in _VARIABLES), None)
    if variable is not None:
        raise DrpassError(f"{path} is not frozen: '{variable}' is a variable; give the checkpoint instead")
    return from_graph(path.name, graph_def, *chosen(graph, request.inputs, request.outputs))


FRONT_END = FrontEnd("a frozen graph (.pb)", _claims, _load, OPSETS, frozenset({"inputs", "outputs"}))
