"""Costs of instructions: every executed word is there, and the sums are the launch's."""

from __future__ import annotations

import re

import numpy as np

from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.profiler import hot

from . import synthetic


def test_every_executed_word_is_there(made, program):
    report, _ = made
    (found,) = hot.hot_programs([report])
    assert found.program is program and found.name == "gemm"
    assert [synthetic.BASE + 8 * word.index for word in found.words] == list(report.hot.addresses)
    assert [word.issued for word in found.words] == list(report.hot.issued)
    assert [word.word for word in found.words] == list(report.hot.words)


def test_sums_are_the_launch(made):
    report, _ = made
    (found,) = hot.hot_programs([report])
    total = np.sum([word.clocks for word in found.words], axis=0)
    for cause, clocks in zip(found.causes, total):
        assert clocks == report.stalls[cause]
    assert found.total == report.cycles * report.n_qpus - report.stalls["idle"]
    assert sum(word.issued for word in found.words) == report.instructions


def test_launches_of_one_program_add_up(made, program):
    words = program.words[: program.length]
    again, _ = synthetic.launch(words, seed=5, start=0xC5000000, kernel="gemm")
    (found,) = hot.hot_programs([made[0], again])
    assert found.total == sum(
        report.cycles * report.n_qpus - report.stalls["idle"] for report in (made[0], again)
    )


def test_programs_are_kept_apart(made):
    words = [encode(parse("fadd r0, r0, r1"))] * 16
    other, _ = synthetic.launch(words, seed=5, kernel="other")
    found = hot.hot_programs([made[0], other])
    assert [each.name for each in found] == ["gemm", "other"]
    assert found[1].program is None and found[1].source(0) == ""


def test_two_programs_in_one_launch():
    words = np.array([encode(parse("fadd r0, r0, r1"))] * 4, dtype=np.uint64)
    base = synthetic.BASE
    report, _ = synthetic.launch(words, n_qpus=1, kernel="two")
    counted = report.hot._replace(
        addresses=np.array([base, base + 8, base + 64, base + 72]),
        words=words,
        issued=np.array([1, 1, 5, 5]),
        stalls={"issue": np.array([4, 4, 20, 20])},
        starts=(base, base + 64, base),
    )
    found = hot.hot_programs([report.replaced(hot=counted)])
    assert [(each.total, [w.index for w in each.words]) for each in found] == [
        (40, [0, 1]),
        (8, [0, 1]),
    ]


def test_without_a_clock_the_issues_count(made):
    report = made[0].replaced(hot=made[0].hot._replace(stalls={}))
    (found,) = hot.hot_programs([report])
    assert found.causes == ("issue",)
    assert found.total == 4 * report.instructions


def test_launches_without_counts():
    assert hot.hot_programs([]) == []


def test_blocks_cover_the_program(made):
    (found,) = hot.hot_programs([made[0]])
    blocks = found.blocks()
    assert [word for block in blocks for word in block] == found.words
    assert len(blocks) == 3  # start, loop, end
    table = hot.blocks_table(found)
    costliest, *others = [int(row[1]) for row in table.rows]
    assert costliest == len(blocks[1])
    assert sorted(others) == sorted([len(blocks[0]), len(blocks[2])])


def test_source_lines(made, program):
    (found,) = hot.hot_programs([made[0]])
    table = hot.lines_table(found, limit=1000)
    clocks = sum(int(row[3].replace(",", "")) for row in table.rows)
    assert clocks == found.total
    assert all(re.fullmatch(r"\w+\.py:\d+|-", row[0]) for row in table.rows)
    assert len(hot.lines_table(found, limit=2).rows) == 2


def test_hottest_instructions(made):
    (found,) = hot.hot_programs([made[0]])
    table = hot.words_table(found, limit=5)
    costs = [int(row[2].replace(",", "")) for row in table.rows]
    assert costs == sorted((word.total for word in found.words), reverse=True)[:5]


def test_annotated_listing(made, program):
    (found,) = hot.hot_programs([made[0]])
    lines = hot.annotated(found).splitlines()
    rows = {}
    for line in lines:
        match = re.match(r"[# ]{10}  ([0-9a-f]{4})  (.{26})  (.*)", line)
        if match:
            counts = match.group(2).replace(",", "").split()
            rows[int(match.group(1), 16) // 8] = ([int(n) for n in counts], match.group(3))
    assert sorted(rows) == list(range(program.length))
    for word in found.words:
        assert rows[word.index][0] == [word.issued, word.total]
        assert found.text(word) in rows[word.index][1]
        assert found.source(word.index) in rows[word.index][1]
    for label in program.labels:
        assert f"{label}:" in lines


def test_words_that_never_ran_are_listed(program):
    # Beyond the words that the kernels with and without beta have in common.
    report, _ = synthetic.launch(program.words[:200], kernel="gemm")
    (found,) = hot.hot_programs([report])
    text = hot.annotated(found)
    assert found.program is program
    assert len(re.findall(r"^[# ]{10}  [0-9a-f]{4}  ", text, re.MULTILINE)) == program.length


def test_facts(made):
    (found,) = hot.hot_programs([made[0]])
    facts = hot.facts(found)
    assert sum(row["issued"] for row in facts["words"]) == made[0].instructions
    assert sum(sum(row["clocks"].values()) for row in facts["words"]) == facts["clocks"]
    assert {"offset", "word", "text", "issued", "clocks", "generator"} == set(facts["words"][0])


def test_text(profile):
    text = profile.hot(4)
    assert "Blocks of gemm" in text and "Source lines of gemm" in text
    assert len(text.split("Instructions of gemm")[1].splitlines()) == 1 + 1 + 4
    assert profile.listing() == hot.annotated(profile.programs[0])


def test_places(made):
    places = hot.Places([made[0]])
    found = places.at(synthetic.BASE + 8)
    assert found["offset"] == "0008" and found["generator"].startswith("gemm.py:")
    assert places.at(0x1000) == {"address": "0x00001000"}
