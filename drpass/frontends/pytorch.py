"""PyTorch: a function of the user's own, ``file.py:function``, that returns a module and example inputs.

Its file runs, as in ``import``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from drpass.entry_point import is_entry_point, load, user_code
from drpass.errors import DrpassError
from drpass.frontends.conversion import converting
from drpass.frontends.model import FrameworkModel, FrontEnd, Request, type_name, unique_names
from drpass.tensors import Array, TensorSpec

_OPSETS = (18, 19, 20, 21, 22, 23)
#: Samples of the example: torch.export takes a dimension of 1 for a fixed one.
_OPEN_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class TorchModel(FrameworkModel):
    """``program``: what torch.export made of ``module``; ``example``: tensors that it takes."""

    channels_last: ClassVar[bool] = False

    module: Any
    example: tuple[Any, ...]
    program: Any

    def convert(self, opset: int, nhwc: bool) -> ir.Model:
        """See `FrameworkModel.convert`."""
        import torch

        with _silent():
            converted: Any = torch.onnx.export(
                self.program,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in self.inputs],
                output_names=self.outputs,
                verbose=False,
            )
        model: ir.Model = converted.model
        return model

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """See `FrameworkModel.run`."""
        import torch

        with torch.no_grad():
            return list(_named(self.module(*map(torch.from_numpy, arrays))).values())

    def with_batch(self, batch: int) -> TorchModel:
        """See `FrameworkModel.with_batch`."""
        fixed = super().with_batch(batch)
        example = tuple(_resized(tensor, batch) for tensor in self.example)
        with converting(self.name):
            return replace(fixed, example=example, program=_exported(self.module, example, open_batch=False))


def _claims(source: str) -> bool:
    return is_entry_point(source)


def _load(request: Request) -> FrameworkModel:
    torch = _import_torch()
    module, example = _made(torch, request.source)
    with converting(request.source), torch.no_grad():
        outputs = _named(module(*example))
        open_batch = all(tensor.ndim for tensor in example)
        larger = tuple(_resized(tensor, max(len(tensor), _OPEN_BATCH)) for tensor in example) if open_batch else example
        program = _traced_open(module, larger) if open_batch else None
        if program is not None:
            example = larger
        else:
            program, open_batch = _exported(module, example, open_batch=False), False
    names = unique_names([*_parameters(module, len(example)), *outputs])
    return TorchModel(
        name=request.source,
        inputs=[_spec(name, tensor, open_batch) for name, tensor in zip(names, example)],
        outputs=names[len(example) :],
        module=module,
        example=example,
        program=program,
    )


def _import_torch() -> Any:
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise DrpassError(f"exporting from PyTorch needs the extra: pip install 'drpass[torch]' ({error})") from error
    return torch


def _made(torch: Any, source: str) -> tuple[Any, tuple[Any, ...]]:
    """The module, for inference, and its example inputs, from the function of the user."""
    factory = load(source)
    with user_code(source):
        made = factory()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)):
        raise DrpassError(f"{source} must return (module, example inputs), not {type(made).__name__}")
    module, example = made
    example = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    if not example or not all(isinstance(tensor, torch.Tensor) for tensor in example):
        raise DrpassError(f"{source} must return a tensor, or a tuple of tensors, as example inputs")
    return module.eval().cpu(), tuple(tensor.detach().cpu() for tensor in example)


def _traced_open(module: Any, example: tuple[Any, ...]) -> Any | None:
    """What torch.export makes of it with the batch open; None if the module holds on to the size of the batch."""
    try:
        _named(module(*example))
        program = _exported(module, example, open_batch=True)
    except Exception:  # torch.export raises whatever the module makes it raise; with a fixed batch it may not
        return None
    names = set(program.graph_signature.user_inputs)
    sizes = [
        node.meta["val"].shape[0] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    return None if any(isinstance(size, int) for size in sizes) else program


def _exported(module: Any, example: tuple[Any, ...], open_batch: bool) -> Any:
    import torch

    shapes = tuple({0: torch.export.Dim.AUTO} for _ in example) if open_batch else None
    with _silent():
        return torch.export.export(module, example, dynamic_shapes=shapes)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the logs of PyTorch, whose loggers have handlers of their own, and what it prints of a failed export."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def _resized(tensor: Any, batch: int) -> Any:
    """The first ``batch`` samples of a tensor, over and over."""
    return tensor[[index % len(tensor) for index in range(batch)]]


def _parameters(module: Any, count: int) -> list[str]:
    """Names of the inputs: those of the parameters of ``forward``."""
    names = list(inspect.signature(module.forward).parameters)
    return [names[index] if index < len(names) else f"input_{index}" for index in range(count)]


def _named(results: Any) -> dict[str, Array]:
    """Outputs by name, as arrays: a tensor, a tuple or list of tensors, or a dict of them."""
    import torch

    if isinstance(results, torch.Tensor):
        return {"output": np.asarray(results.detach())}
    pairs = list(results.items()) if isinstance(results, dict) else []
    if isinstance(results, (tuple, list)):
        pairs = [(f"output_{index}", tensor) for index, tensor in enumerate(results)]
    if not pairs or not all(isinstance(tensor, torch.Tensor) for _, tensor in pairs):
        raise DrpassError("the module must return a tensor, or a tuple, list or dict of tensors")
    return {str(name): np.asarray(tensor.detach()) for name, tensor in pairs}


def _spec(name: str, tensor: Any, open_batch: bool) -> TensorSpec:
    dims = tuple(tensor.shape)
    return TensorSpec(name, type_name(np.asarray(tensor).dtype), (None, *dims[1:]) if open_batch else dims)


FRONT_END = FrontEnd("a PyTorch function (file.py:function)", _claims, _load, _OPSETS)
