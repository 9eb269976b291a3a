"""The options that say which data is used: the same in run, validate and bench."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drpass.commands import comma_lists
from drpass.commands.shape_option import SHAPE_HELP, parse_shapes
from drpass.errors import DrpassError

if TYPE_CHECKING:
    from drpass.data import Data, Preprocess
    from drpass.data.split import Split
    from drpass.tensors import TensorSpec

_PANEL = "Data"
_PICTURES = "Preprocessing of pictures"


def _option(name: str, help_: str, panel: str = _PANEL, metavar: str | None = None) -> Any:
    return typer.Option(name, help=help_, rich_help_panel=panel, metavar=metavar, show_default=False)


DataOption = Annotated[
    str | None,
    _option(
        "--data",
        "Picture, folder or tar archive of pictures, .npz file, generator (`file.py:function`), `photographs` (shipped "
        "with installed packages) or `random`. Default: photographs if the model takes pictures, else random.",
        metavar="PATH",
    ),
]
LabelsOption = Annotated[
    str,
    _option(
        "--labels",
        "Where the class of a picture is from: `folders` (class folders in sorted order), `prefix` (0012_name.jpg), "
        "`none` or `auto`.",
        metavar="auto|folders|prefix|none",
    ),
]
LimitOption = Annotated[
    int | None, _option("--limit", "Use at most this many samples, spread evenly over the classes.", metavar="N")
]
BatchOption = Annotated[
    int | None, _option("--batch", "Samples a run. Default: the model's fixed batch, else 1.", metavar="N")
]
ShapeOption = Annotated[
    list[str] | None,
    _option("--shape", SHAPE_HELP, metavar="NAME=DIMS"),
]
SeedOption = Annotated[int, _option("--seed", "Seed of random inputs. Default: 0.", metavar="N")]
PreprocessOption = Annotated[
    Path | None,
    _option("--preprocess", "TOML file with the keys that the options below are named for.", _PICTURES, "FILE"),
]
ResizeOption = Annotated[int | None, _option("--resize", "Scale the short side to this length.", _PICTURES, "PIXELS")]
CropOption = Annotated[str | None, _option("--crop", "Centre crop: `224`, or `224,320` (H,W).", _PICTURES, "PIXELS")]
ChannelsOption = Annotated[
    str | None, _option("--channels", "Order of the channels; L is luminance.", _PICTURES, "RGB|BGR|L")
]
ScaleOption = Annotated[
    float | None, _option("--scale", "Factor for pixels 0..255, before mean and std.", _PICTURES, "X")
]
MeanOption = Annotated[
    str | None, _option("--mean", "Subtracted: one number, or one a channel with commas.", _PICTURES, "X,Y,Z")
]
StdOption = Annotated[str | None, _option("--std", "Divided by, after the mean.", _PICTURES, "X,Y,Z")]
PadOption = Annotated[int | None, _option("--pad", "Repeat the edge by this much on all sides.", _PICTURES, "PIXELS")]


@dataclass(frozen=True)
class DataOptions:
    """The values of these options; ``open`` is what validate() and bench() take as data."""

    data: str | None
    labels: str
    limit: int | None
    batch: int | None
    shape: list[str] | None
    seed: int
    preprocess: Preprocess

    @property
    def are_defaults(self) -> bool:
        """Whether the user gave none that says how data is used."""
        from drpass.data import Preprocess

        return (self.labels, self.limit, self.batch, self.preprocess) == ("auto", None, None, Preprocess())

    def open(self, inputs: Sequence[TensorSpec], default_batches: int | None = None) -> Data:
        """The data for a model with these inputs; without --limit, ``default_batches`` batches (None: all)."""
        from drpass.data import LabelsFrom, batch_size, open_data
        from drpass.tensors import with_shapes

        inputs = with_shapes(inputs, parse_shapes(self.shape))
        limit = self.limit
        if limit is None and default_batches is not None:
            limit = default_batches * batch_size(inputs, self.batch)
        return open_data(
            self.data,
            inputs,
            preprocess=self.preprocess,
            labels=parse_choice("--labels", self.labels, LabelsFrom),
            limit=limit,
            batch=self.batch,
            seed=self.seed,
        )

    def split(self, inputs: Sequence[TensorSpec], held_out: int | None) -> Split:
        """The same data in a part to calibrate with and one to judge by, of at most ``held_out`` samples."""
        from drpass.data import LabelsFrom
        from drpass.data.split import open_split
        from drpass.tensors import with_shapes

        return open_split(
            self.data,
            with_shapes(inputs, parse_shapes(self.shape)),
            preprocess=self.preprocess,
            labels=parse_choice("--labels", self.labels, LabelsFrom),
            limit=self.limit,
            batch=self.batch,
            seed=self.seed,
            held_out=held_out,
        )


def read_options(
    data: DataOption = None,
    labels: LabelsOption = "auto",
    limit: LimitOption = None,
    batch: BatchOption = None,
    shape: ShapeOption = None,
    seed: SeedOption = 0,
    preprocess: PreprocessOption = None,
    resize: ResizeOption = None,
    crop: CropOption = None,
    channels: ChannelsOption = None,
    scale: ScaleOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    pad: PadOption = None,
) -> DataOptions:
    """The options that `with_data_options` adds to a command: this signature is the one list of them."""
    steps = read_preprocess(
        preprocess, resize=resize, crop=crop, channels=channels, scale=scale, mean=mean, std=std, pad=pad
    )
    return DataOptions(data, labels, limit, batch, shape, seed, steps)


def with_data_options(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the parameters of `read_options` in place of its parameter ``source``, which gets their result.

    A parameter that the command has itself stays as it declares it, and counts for both.
    """
    all_of_them = inspect.signature(read_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)
    added = {name: parameter for name, parameter in all_of_them.items() if name not in own.parameters}

    @functools.wraps(command)
    def run(**values: Any) -> int | None:
        source = read_options(**{name: values[name] for name in all_of_them})
        return command(source=source, **{name: value for name, value in values.items() if name not in added})

    parameters = [parameter for parameter in own.parameters.values() if parameter.name != "source"]
    signature = own.replace(parameters=[*parameters, *added.values()])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads the options from
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return run


def read_preprocess(file: Path | None, **flags: Any) -> Preprocess:
    """The preprocessing of a TOML file, or the default, with the flags that were given put over it."""
    from drpass.data import Preprocess

    lists = {name: flags[name] for name in ("crop", "mean", "std") if flags[name] is not None}
    numbers = {name: comma_lists.numbers(f"--{name}", text) for name, text in lists.items()}
    if "crop" in numbers:
        numbers["crop"] = [int(side) if side == int(side) else side for side in numbers["crop"]]
        numbers["crop"] *= 2 if len(numbers["crop"]) == 1 else 1
    given = {name: value for name, value in flags.items() if value is not None} | numbers
    return (Preprocess.from_toml(file) if file else Preprocess()).override(given)


def parse_choice(option: str, value: str, choices: Any) -> Any:
    """The value if it is one of a Literal's. Raises DrpassError that lists them otherwise."""
    from typing import get_args

    if value not in get_args(choices):
        raise DrpassError(f"{option} must be one of {', '.join(get_args(choices))}, not {value!r}")
    return value
