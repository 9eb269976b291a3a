"""The options of `drpass rewrite` that choose nodes and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drpass.errors import DrpassError
from drpass.operator.spec import Method, ReuseParameters

if TYPE_CHECKING:
    from drpass.commands.data_options import DataOptions
    from drpass.rewriting import RewriteResult

DEFAULT = ReuseParameters()
#: Of the data of --memo-prefill, where --limit does not say how much.
_PREFILL_BATCHES = 16


@dataclass(frozen=True)
class Choice:
    """As `drpass.rewrite` takes it, but for the plan, which is a file here, and the memo, which is in MiB."""

    parameters: ReuseParameters | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    chains: bool = True
    memo: int = 0
    allow_tf32: bool = False
    plan: Path | None = None

    def rewrite(self, model: Path, shapes: Mapping[str, Sequence[int]]) -> RewriteResult:
        """The model, rewritten so. Raises as `drpass.rewrite` does, and DrpassError if the plan can't be read."""
        from drpass.plan_file import Plan
        from drpass.rewriting import rewrite

        return rewrite(
            model,
            parameters=self.parameters,
            include=self.include,
            exclude=self.exclude,
            op_types=self.op_types,
            shapes=shapes,
            chains=self.chains,
            memo_bytes=self.memo << 20,
            allow_tf32=self.allow_tf32,
            plan=Plan.read(self.plan) if self.plan else None,
        )


def clustering(method: Method | None, others: ReuseParameters) -> ReuseParameters | None:
    """What the user asks all nodes to do, or None: by a method, or by an ``other`` option of the clustering."""
    if method is not None:
        return replace(others, method=method)
    return None if others == replace(DEFAULT, seed=others.seed) else others


def require_none(choice: Choice, memo_prefill: str | None) -> None:
    """Raise DrpassError if the user chose anything that --calibrate is to choose."""
    if choice.memo or memo_prefill:
        raise DrpassError(
            "--calibrate can't judge a memo, because it runs the same samples again and again, which a memo knows: "
            "write a plan (--plan-out), set memo_mib in it, and rewrite with --plan (and --memo-prefill)"
        )
    if choice != Choice():
        raise DrpassError("--calibrate chooses everything: leave out the options that choose nodes and parameters")


def prefilled(result: RewriteResult, source: DataOptions, limit: int) -> RewriteResult:
    """With the inputs of tiles that recur most in the data, in at most ``limit`` MiB."""
    from drpass.prefilling import prefill

    return prefill(result, lambda inputs: source.open(inputs, default_batches=_PREFILL_BATCHES), limit << 20)
