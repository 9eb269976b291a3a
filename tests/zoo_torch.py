"""Networks of torchvision with random weights, for tests/zoo.py.

BatchNormalization gets statistics of made-up pictures: with those that it starts with, activations of deep networks
overflow or vanish, and then no comparison proves anything. Its factors and terms are random, so that folds show.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

#: torchvision holds operators of detectors, which its package has for builds of PyTorch for GPUs only, and does not
#: import where they are not declared. No network here uses them.
for _name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision import models  # noqa: E402
from zoo_check import pictures  # noqa: E402

#: Millions of parameters from which a network is left out: its smaller sisters have the same nodes.
LARGEST = 150
#: Pixels a side; what s3d pools is larger than what is left of fewer, and the others are made for one size.
_SIZE, _LARGER = 96, {"inception_v3": 160, "s3d": 224, "maxvit_t": 224, "mvit_v1_b": 224, "mvit_v2_s": 224}
#: Of the values of pictures.
MEAN, SPREAD = 0.0, 1.0


def names() -> list[str]:
    """Classifiers of images and films, and segmentation; the smallest first."""
    kinds = (models, models.segmentation, models.video)
    found = sorted((name for kind in kinds for name in models.list_models(module=kind)), key=_parameters)
    return [name for name in found if _parameters(name) < LARGEST * 1e6]


def save(name: str, folder: Path, side: int = 0) -> str:
    """The source of a network for `drpass export`: a script in the folder, whose function makes it."""
    script = folder / f"{name}.py"
    text = f"import zoo_torch\n\ndef make():\n    return zoo_torch.make({name!r}, {side})\n"
    script.write_text(text, encoding="utf-8")
    return f"{script}:make"


def make(name: str, side: int = 0) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network with fixed weights, and images for it; ``side``: of these, 0 for a small one."""
    torch.manual_seed(0)
    network = _build(name)
    size = side or _LARGER.get(name, _SIZE)
    film = name in models.list_models(module=models.video)
    images = torch.from_numpy(pictures((4, 3, *([16] if film else []), size, size), 0, MEAN, SPREAD))
    settle(network, images)
    return network, images[:1]


def settle(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Statistics of these images, and random factors and terms, for BatchNormalization."""
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.momentum = None  # the mean of all batches: of this one
            module.train()
    with torch.no_grad():
        network(images)
    network.eval()


def _build(name: str) -> Any:
    build: Callable[..., Any] = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if name in models.list_models(module=models.segmentation):
        options["weights_backbone"] = None
    if name in ("inception_v3", "googlenet"):
        options |= {"init_weights": False, "aux_logits": False}
    if name.startswith("vit"):
        options["image_size"] = _SIZE
    network = build(**options)
    if name.startswith("vit"):
        torch.nn.init.normal_(network.heads.head.weight, std=0.02)  # zero at first, and so would be all that comes out
    return network


def _parameters(name: str) -> int:
    (first, *_) = models.get_model_weights(name)
    return int(first.meta["num_params"])
