"""Plan files: what is written is read, and what can't be meant is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import LSH, a_node

from drpass import DrpassError, Plan, ReuseParameters
from drpass.passes import EXACT
from drpass.plan_file import KEPT, NodePlan

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIGURES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans(), NAMES
)
TABLES = st.dictionaries(NAMES, FIGURES, max_size=3)
POSITIVE = st.floats(1e-30, 1e30)
PARAMETERS = st.one_of(
    st.just(EXACT),
    st.builds(
        ReuseParameters,
        method=st.just("grid"),
        scope=st.sampled_from(["image", "batch"]),
        sub_vector_length=st.integers(1, 2**31 - 1),
        step=POSITIVE,
        max_remaining_ratio=st.floats(0, 1, exclude_min=True),
        table_type=st.sampled_from(["float", "int16"]),
    ),
    st.builds(
        ReuseParameters,
        method=st.just("lsh"),
        hash_bits=st.integers(1, 64),
        seed=st.integers(-(2**63), 2**63 - 1),
    ),
)
NODES = st.builds(
    NodePlan,
    node=NAMES,
    graph=NAMES,
    op_type=st.sampled_from(["Conv", "Gemm", "MatMul"]),
    shape=st.lists(st.integers(1, 10**9), max_size=4).map(tuple),
    parameters=st.one_of(st.none(), PARAMETERS),
    reason=NAMES,
    measured=TABLES,
)
PLANS = st.builds(
    Plan,
    nodes=st.lists(NODES, max_size=3, unique_by=lambda entry: entry.key).map(tuple),
    chains=st.booleans(),
    memo_bytes=st.integers(0, 1 << 36),
    allow_tf32=st.booleans(),
    about=st.dictionaries(NAMES.map("about {}".format), TABLES, max_size=2),
)


@given(PLANS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    plan.write(path)
    assert Plan.read(path) == plan


def test_file_says_what_it_is_and_keeps_floats_as_a_person_wrote_them(tmp_path: Path) -> None:
    Plan((a_node(reason="quick"),)).write(tmp_path / "plan.toml")
    text = (tmp_path / "plan.toml").read_text()
    assert text.startswith("# A plan of drpass")
    assert "--plan" in text
    assert text.endswith("\n")
    lines = text.splitlines()
    assert {"format = 1", 'shape = "32x3x3x3"', "step = 0.1", 'reason = "quick"'} <= set(lines)
    assert not any(line.startswith(("hash_bits", "graph")) for line in lines)


def test_figures_that_toml_can_not_hold_are_left_out_or_made_plain(tmp_path: Path) -> None:
    measured = {"ms": np.float32(0.5), "n": np.int64(3), "nan": math.nan, "inf": np.float64(math.inf), "none": None}
    about = {"data": {"big": 2**64, "list": [1.0, None, math.nan], "path": Path("a/b")}}
    Plan((a_node(measured=measured),), about=about).write(tmp_path / "plan.toml")
    read = Plan.read(tmp_path / "plan.toml")
    assert read.nodes[0].measured == {"ms": 0.5, "n": 3}
    assert read.about == {"data": {"list": [1.0], "path": "a/b"}}


def test_edited_plan_may_leave_out_what_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        'format = 1\n[[node]]\nname = "a"\nop_type = "Conv"\nmethod = "grid"\nstep = 1\n'
        '[[node]]\nname = "b"\nop_type = "Gemm"\nkeep = ""\n'
    )
    plan = Plan.read(tmp_path / "plan.toml")
    assert plan.assignment() == {("", "a"): ReuseParameters(step=1.0), ("", "b"): KEPT}
    assert (plan.chains, plan.memo_bytes, plan.allow_tf32) == (True, 0, False)


def test_table_for_people_can_not_take_the_place_of_a_setting() -> None:
    with pytest.raises(ValueError, match="none of them called"):
        Plan((), about={"node": {}})


NODE = '[[node]]\nname = "conv"\nop_type = "Conv"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "format is missing"),
        ("format = 2", "format 2, where this version of drpass reads format 1"),
        ("format = true", "format must be a whole number, not true or false"),
        ("format = 0x" + "f" * 9000, "format has more than 64 bits"),
        ("format = 1\nchain = false", "unknown key 'chain'"),
        ('format = 1\nchains = "no"', "chains must be true or false, not 'no'"),
        ("format = 1\nmemo_mib = -1", "memo_mib can't be -1; it must be in 0 to 65536"),
        ("format = 1\nmemo_mib = nan", "memo_mib can't be nan"),
        ("format = 1\nmemo_mib = 65537", "memo_mib can't be 65537"),
        ("format = 1\nallow_tf32 = 1", "allow_tf32"),
        ("format = 1\nnode = 3", "node must be a list, not a whole number"),
        ("format = 1\nnode = [3]", "[[node]]"),
        ("format = 1\n[[nodes]]\nname = 'a'", "unknown key 'nodes'"),
        ("format = 1\n[[node]]\nop_type = 'Conv'", "node 1: name is missing"),
        ("format = 1\n[[node]]\nname = 'a'\nop_type = 'Relu'", "node 1 (a): op_type can't be 'Relu'"),
        (f"format = 1\n{NODE}", "node 1 (conv): it needs either method or keep"),
        (f"format = 1\n{NODE}keep = ''\nmethod = 'exact'", "it needs either method or keep"),
        (f"format = 1\n{NODE}keep = true", "keep must be text, not true or false"),
        (f"format = 1\n{NODE}keep = ''\nstep = 0.1", "unknown key 'step'"),
        (f"format = 1\n{NODE}method = 'magic'", "method can't be 'magic'; it must be exact, lsh or grid"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = -0.5", "step can't be -0.5; it must be a positive number"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = '0.5'", "step must be a number, not '0.5'"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = nan", "step can't be nan"),
        (f"format = 1\n{NODE}method = 'grid'\nsub_vector_length = 4.0", "sub_vector_length must be a whole number"),
        (f"format = 1\n{NODE}method = 'grid'\nsub_vector_length = 0", "sub_vector_length can't be 0"),
        (f"format = 1\n{NODE}method = 'lsh'\nhash_bits = 65", "hash_bits can't be 65; it must be in 1 to 64"),
        (f"format = 1\n{NODE}method = 'lsh'\nstep = 0.1", "step has no meaning for the method lsh"),
        (f"format = 1\n{NODE}method = 'grid'\nstpe = 0.1", "unknown key 'stpe'"),
        (f"format = 1\n{NODE}method = 2000-01-01", "method must be text, not a date or time"),
        (f"format = 1\n{NODE}keep = ''\nshape = [1, 2]", "shape must be text, not a list"),
        (f"format = 1\n{NODE}keep = ''\nshape = '3x-1'", "shape must be written as in 64x3x3x3"),
        (f"format = 1\n{NODE}keep = ''\nmeasured = 3", "measured must be a table, not a whole number"),
        (f"format = 1\n{NODE}keep = ''\n{NODE}method = 'exact'", "two different choices for 'conv'"),
        ("format = 1\n[[node]]\nname = 'n'\nop_type = 'LRN'\nmethod = 'grid'", "LRN has no method but exact"),
        ("format = 1\na = " + "[" * 100_000, "is not a TOML file"),
        ("format = 1" + "0" * 9000, "is not a TOML file"),
        ("\x00", "is not a TOML file"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(DrpassError) as caught:
        Plan.read(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert len(message) < 400


def test_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"format = 1\n# \xe9")
    for name, words in (("latin.toml", "is not a TOML file"), ("none.toml", "can't read"), (".", "can't read")):
        with pytest.raises(DrpassError, match=words):
            Plan.read(tmp_path / name)


def test_plan_in_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="can't write"):
        Plan(()).write(tmp_path / "missing" / "plan.toml")


@given(st.lists(st.tuples(st.integers(0, 600), st.sampled_from([*'"[]=.\n0x-', "", "nan", "true"])), max_size=4))
def test_damaged_plan_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    Plan((a_node(), a_node(node="b", parameters=LSH)), about={"machine": {"threads": 2}}).write(path)
    text = path.read_text()
    text = text[text.index("format") :]
    for position, new in damages:
        text = text[:position] + new + text[position + 1 :]
    path.write_text(text)
    try:
        plan = Plan.read(path)
    except DrpassError:
        return
    assert isinstance(plan, Plan)
