"""Front ends of ``drpass export``: one file for each kind of source, each with a ``FRONT_END`` that is listed here.

The frameworks belong to the extras ``export`` and ``torch`` and are imported only when a model is loaded. To add a
front end, write a file with a `FrontEnd` and a subclass of `FrameworkModel` (or a function for `TensorFlowFunction`),
add it to `FRONT_ENDS`, and a test of it beside the others.
"""

from __future__ import annotations

from drpass.errors import DrpassError
from drpass.frontends import checkpoint, frozen_graph, keras_file, network, pytorch, saved_model, tflite
from drpass.frontends.model import IMAGE_RANK, FrameworkModel, FrontEnd, Request, one_line
from drpass.networks import network_names

__all__ = ["FRONT_ENDS", "IMAGE_RANK", "FrameworkModel", "FrontEnd", "Request", "front_end", "one_line"]

#: The first one that claims a source has it.
FRONT_ENDS: tuple[FrontEnd, ...] = (
    network.FRONT_END,
    keras_file.FRONT_END,
    saved_model.FRONT_END,
    tflite.FRONT_END,
    frozen_graph.FRONT_END,
    checkpoint.FRONT_END,
    pytorch.FRONT_END,
)
#: Sources that are no files of their own: the name of a network, a prefix of files, a function in a file.
_NO_FILES = (network.FRONT_END, checkpoint.FRONT_END, pytorch.FRONT_END)


def front_end(request: Request) -> FrontEnd:
    """The front end for a source. Raises DrpassError if there is no such source, or none of an option."""
    path = request.path
    found = next((one for one in FRONT_ENDS if one.claims(request.source)), None)
    if found is not None:
        _refuse_options(request, found)
    if found not in _NO_FILES and not path.exists():
        raise DrpassError(f"there is no file {path}, and the named networks are: {', '.join(network_names())}")
    if found is None and path.is_dir():
        raise DrpassError(f"the folder {path} is not a SavedModel: it has no saved_model.pb")
    if found is None:
        raise DrpassError(f"{path} is none of these: {'; '.join(one.kind for one in FRONT_ENDS)}")
    return found


def _refuse_options(request: Request, found: FrontEnd) -> None:
    for option in ("weights", "inputs", "outputs"):
        if getattr(request, option) and option not in found.options:
            takers = " or ".join(one.kind for one in FRONT_ENDS if option in one.options)
            raise DrpassError(f"--{option} is for {takers}, not for {found.kind}")
