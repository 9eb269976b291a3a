"""Checkpoints of TensorFlow 1: PREFIX.meta (the graph), PREFIX.index and PREFIX.data-* (the variables)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drpass.errors import DrpassError
from drpass.frontends.conversion import OPSETS, quiet
from drpass.frontends.graph import chosen, from_graph, listed, results
from drpass.frontends.model import FrameworkModel, FrontEnd, Request, one_line
from drpass.frontends.tensorflow_function import import_tensorflow

#: Parts of a graph that train or save it: their results are not the model's.
_NOT_INFERENCE = ("save", "gradients", "train", "init", "report_uninitialized", "Adam", "Momentum", "GradientDescent")


def _prefix(source: str) -> str:
    return source.removesuffix(".meta").removesuffix(".index")


def _claims(source: str) -> bool:
    prefix = _prefix(source)
    return prefix != source or Path(f"{prefix}.meta").is_file() or Path(f"{prefix}.index").is_file()


def _load(request: Request) -> FrameworkModel:
    prefix = _prefix(request.source)
    for suffix in (".meta", ".index"):
        if not Path(prefix + suffix).is_file():
            reason = "the graph; save the model as a Keras file or SavedModel" if suffix == ".meta" else "the variables"
            raise DrpassError(f"there is no {prefix}{suffix}, which holds {reason}")
    tensorflow = import_tensorflow()
    v1 = tensorflow.compat.v1
    graph = tensorflow.Graph()
    try:
        with quiet(), graph.as_default(), v1.Session(graph=graph) as session:
            meta = v1.MetaGraphDef()
            meta.ParseFromString(Path(f"{prefix}.meta").read_bytes())
            saver = v1.train.import_meta_graph(meta, clear_devices=True)
            if saver is not None:
                saver.restore(session, prefix)
            takes, gives = _signature(meta, graph, request)
            kept = [tensor.op.name for tensor in [*gives, *takes]]
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(add_shapes=True), kept)
    except DrpassError:
        raise
    except Exception as error:  # TensorFlow raises whatever the parts of the files make it raise
        raise DrpassError(f"{prefix} can't be loaded as a checkpoint: {one_line(error)}") from error
    return from_graph(Path(prefix).name, frozen, takes, gives)


def _signature(meta: Any, graph: Any, request: Request) -> tuple[list[Any], list[Any]]:
    """What the user named, else what the signature in the file names, else the one result that is not of training."""
    inputs, outputs = request.inputs, request.outputs
    signatures = meta.signature_def
    if signatures and not outputs:
        signature = signatures["serving_default" if "serving_default" in signatures else min(signatures)]
        inputs = inputs or tuple(info.name for _, info in sorted(signature.inputs.items()))
        outputs = tuple(info.name for _, info in sorted(signature.outputs.items()))
    if not outputs:
        found = [
            tensor for tensor in results(graph) if tensor.dtype.is_floating and _scope(tensor) not in _NOT_INFERENCE
        ]
        if len(found) != 1:
            raise DrpassError(
                f"a checkpoint does not say what the model gives; name it with --outputs: {listed(found)}"
            )
        outputs = (found[0].name,)
    return chosen(graph, inputs, outputs)


def _scope(tensor: Any) -> str:
    """The outermost scope of its name."""
    return str(tensor.op.name.split("/")[0])


FRONT_END = FrontEnd(
    "a checkpoint of TensorFlow 1 (PREFIX of PREFIX.meta)", _claims, _load, OPSETS, frozenset({"inputs", "outputs"})
)
