"""ncnn, through pnnx, which turns an ONNX file into ncnn's own two files."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from drpass.errors import DrpassError
from drpass.rivals.rival import Call, Rival, quiet, require
from drpass.tensors import Array, Feeds

NAME = "ncnn"

#: Seconds that a conversion may take.
_CONVERSION_LIMIT = 120


def _open_model(path: Path, feeds: Feeds, threads: int) -> Call:
    ncnn = require("ncnn", NAME)
    if any(array.ndim < 2 or array.dtype != np.float32 for array in feeds.values()):
        raise DrpassError("ncnn is given float inputs with a batch axis only")
    if len({array.shape[0] for array in feeds.values()}) != 1:
        raise DrpassError("ncnn is given inputs of one batch size only")
    with tempfile.TemporaryDirectory() as folder, quiet():
        _convert(path, feeds, Path(folder))
        net = ncnn.Net()
        net.opt.num_threads = threads
        for narrow in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(net.opt, narrow, False)
        if net.load_param(f"{folder}/model.param") or net.load_model(f"{folder}/model.bin"):
            raise DrpassError("ncnn does not know all operators of this model")
    outputs = sorted((name for name in net.output_names() if name.startswith("out")), key=lambda name: int(name[3:]))
    names = list(feeds)
    return lambda feeds: _run(ncnn, net, feeds, names, outputs)


def _run(ncnn: Any, net: Any, feeds: Feeds, names: list[str], outputs: list[str]) -> list[Array]:
    """ncnn knows no batch: one image after the other."""
    images = []
    for image in range(feeds[names[0]].shape[0]):
        with net.create_extractor() as extractor:
            for index, name in enumerate(names):
                extractor.input(f"in{index}", ncnn.Mat(np.ascontiguousarray(feeds[name][image])))
            images.append([np.array(extractor.extract(output)[1]) for output in outputs])
    return [np.stack(arrays) for arrays in zip(*images)]


def _convert(path: Path, feeds: Feeds, folder: Path) -> None:
    """Write model.param and model.bin for one image. pnnx's Python module needs torch, its program does not."""
    spec = importlib.util.find_spec("pnnx")
    programs = [Path(place, "pnnx") for place in (spec.submodule_search_locations or ()) if spec] if spec else []
    program = next((program for program in programs if program.is_file()), None)
    if program is None:
        raise DrpassError("pnnx, which converts for ncnn, is not installed (pip install 'drpass[rivals]')")
    shapes = ",".join(str([1, *array.shape[1:]]).replace(" ", "") for array in feeds.values())
    files = {
        "pnnxparam": "p.param",
        "pnnxbin": "p.bin",
        "pnnxpy": "p.py",
        "pnnxonnx": "p.onnx",
        "ncnnparam": "model.param",
        "ncnnbin": "model.bin",
        "ncnnpy": "n.py",
    }
    arguments = [f"{key}={folder / name}" for key, name in files.items()]
    command = [str(program), str(path.resolve()), f"inputshape={shapes}", "fp16=0", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_CONVERSION_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DrpassError(f"pnnx can't convert this model: {error}") from error
    if done.returncode or not (folder / "model.param").is_file():
        raise DrpassError(f"pnnx can't convert this model (status {done.returncode})")


RIVAL = Rival(NAME, _open_model)
