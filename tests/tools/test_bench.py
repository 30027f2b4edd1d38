"""Tests of the benchmark: its arithmetic and its tables, its pipes, and one run of all of it."""

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.bench import report
from tools.bench.figures import Figure, Goal, clock_differences, figures
from tools.bench.plan import MEASURES, QUICK, Plan
from tools.bench.samples import Samples
from tools.bench.shapes import Prompts, TextFacts
from tools.bench.worker import ROOT, ContenderError, Worker

RUN_S = 280.0
# Rows that need what a clean environment may lack.
OPTIONAL = ("best of serve",)


@pytest.fixture
def samples() -> Samples:
    found = Samples()
    for contender, paces in {
        "ours": (29.0, 30.0, 300.0),  # the median counts, not the mean
        "tutorial": (15.0,),
        "pipeline": (25.0,),
        "serve": (20.0,),
        "serve batching": (24.0,),
    }.items():
        for pace in paces:
            found.add("0.6B", contender, {"decode_tokens_per_s": pace}, "decode: ")
    found.add("", "memory", {"sum_bytes_per_s": 20e9, "matrix_bytes_per_s": 40e9})
    found.facts["0.6B", "ours"] = {"weight_bytes": 1_000_000_000}
    found.add("0.6B", "ours", {"tokens": 1}, "stop_")
    found.add("0.6B", "ours", {"tokens": 3}, "stop_")
    found.add("0.6B", "ours", {"above": 150_000_000}, "memory_")
    found.add("0.6B", "ours", {"imported": 400, "loaded": 1400, "unloaded": 500}, "unload_")
    found.failures["0.6B", "ours 8bit"] = "load: no such precision"
    return found


def named(rows: list[Figure], part: str) -> Figure:
    (found,) = (row for row in rows if part in row.name)
    return found


@pytest.mark.parametrize(
    ("part", "ratio", "holds"),
    [
        ("ours / tutorial", 2.0, True),
        ("decode tokens/s, ours / pipeline", 1.2, True),
        ("decode tokens/s, ours / best of serve", 1.25, True),
        ("read bandwidth", 0.75, True),
        ("after Stop", 3.0, False),
        ("MB above", 150.0, True),
        ("gives back", 0.9, None),
    ],
)
def test_ratios(samples, part, ratio, holds):
    row = named(figures(samples, ["0.6B"], has_bf16=True), part)
    assert row.ratio == pytest.approx(ratio)
    assert row.holds is holds


def test_a_row_without_numbers_says_why(samples):
    rows = figures(samples, ["0.6B"], has_bf16=True)
    assert named(rows, "8-bit").reason == "ours 8bit: load: no such precision"
    assert named(rows, "turn 30").reason == "not measured"
    for part in ("8-bit", "turn 30"):
        assert named(rows, part).ratio is None
        assert named(rows, part).holds is None


def test_goals_depend_on_shape_and_processor(samples):
    def goals(has_bf16: bool) -> dict[str, str]:
        rows = figures(samples, ["135M", "0.6B"], has_bf16=has_bf16)
        return {row.name: str(row.goal) for row in rows}

    assert goals(True)["decode tokens/s, ours / tutorial, 135M"] == ">= 1.5"
    assert goals(True)["decode tokens/s, ours / tutorial, 0.6B"] == ">= 1.3"
    cold = "first token of a cold prompt, ours / pipeline, 0.6B"
    assert (goals(True)[cold], goals(False)[cold]) == ("<= 1.05", "<= 0.5")
    many = "tokens/s of 8 at once, ours / pipeline one after another, 135M"
    assert (goals(True)[many], goals(False)[many]) == (">= 4", ">= 2.5")


def test_every_row_is_there_for_every_shape(samples):
    rows = figures(samples, ["135M", "0.6B"], has_bf16=False)
    # The 11 of a shape, and the two that are told of the largest alone.
    assert [row.name.endswith("135M") for row in rows].count(True) == 11
    assert len({row.name for row in rows}) == len(rows) == 24


@pytest.mark.parametrize(
    ("goal", "ratio", "holds"),
    [
        (Goal(1.5), 1.5, True),
        (Goal(1.5), 1.49, False),
        (Goal(2, "<="), 2, True),
        (Goal(2, "<="), 2.1, False),
    ],
)
def test_goals(goal, ratio, holds):
    assert goal.holds(ratio) is holds


def test_clocks_that_differ_are_named():
    samples = Samples()
    for name, own in {"ours": 10.0, "other": 10.9}.items():
        result = {"decode_tokens_per_s": 10.0, "own_decode_tokens_per_s": own}
        samples.add("0.6B", name, result, "decode: ")
    (sentence,) = clock_differences(samples)
    assert sentence.startswith("0.6B, other, decode: the reply says 10.90")


def test_table_and_json_agree(samples, tmp_path):
    rows = figures(samples, ["0.6B"], has_bf16=True)
    text = report.as_text(samples, rows, {"processor": "one"})
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["decode tokens/s, ours / tutorial, 0.6B"][-4:] == ["2.000", ">=", "1.3", "yes"]
    assert lines["tokens generated after Stop, 0.6B"][-1] == "NO"
    assert "0.6B: ours 8bit was not measured to the end: load: no such precision" in text

    file = tmp_path / "bench.json"
    report.write_json(file, report.as_json(samples, rows, {"cores": 2}, {"torch": "2"}))
    found = json.loads(file.read_text())
    assert found["machine"] == {"cores": 2}
    assert {"name", "ratio", "goal", "holds"} <= set(found["figures"][0])
    assert [row["holds"] for row in found["figures"]] == [row.holds for row in rows]
    assert {
        "shape": "0.6B",
        "contender": "ours",
        "measure": "decode: decode_tokens_per_s",
        "values": [29.0, 30.0, 300.0],
    } in found["raw"]


def test_prompts_have_an_exact_length_and_nothing_in_common():
    prompts = Prompts(TextFacts(["one", "two", "three", "four"], turn_tokens=10))
    texts = [prompts.prompt(64) for _ in range(20)]
    assert {len(text.split()) for text in texts} == {54}
    assert len({tuple(text.split()[:20]) for text in texts}) == 20


def test_quick_measures_the_same():
    assert QUICK.only == Plan().only == tuple(MEASURES)
    assert (QUICK.prompt_tokens, QUICK.cold_tokens) == (64, 512)


# Pipes.


@pytest.fixture
def serve(tmp_path) -> Iterator[Worker]:
    with Worker("serve", tmp_path / "log", {}) as worker:
        yield worker


def test_a_command_that_fails_is_no_end(serve):
    with pytest.raises(ContenderError, match="TypeError"):
        serve.ask("answer", nonsense=1)
    assert serve.ask("ready") == {}


def test_a_command_that_takes_too_long_ends_the_process(serve):
    with pytest.raises(ContenderError, match="took more than 0 s"):
        serve.ask("ready", deadline_s=0)
    with pytest.raises(ContenderError, match="took more than 0 s"):
        serve.ask("ready")


def test_a_process_that_dies_is_named_with_its_last_words(tmp_path):
    with (
        Worker("no_such_module", tmp_path / "log", {}) as worker,
        pytest.raises(ContenderError, match=r"its process ended during ready: .*No module named"),
    ):
        worker.ask("ready")


def test_the_asking_process_never_imports_torch():
    script = (
        "import sys, tools.bench.__main__, tools.bench.serve\n"
        "print(*sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""


@pytest.mark.torch
def test_all_of_it(tmp_path: Path) -> None:
    """A model of 2 layers, one round: every row has a number."""
    file = tmp_path / "bench.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tools.bench", "--quick", "--rounds", "1"),
            *("--shapes", "tiny", "--json", str(file)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["torch"]
    assert len(found["figures"]) == 13
    has_serve = importlib.util.find_spec("openai") is not None
    for row in found["figures"]:
        if row["ratio"] is None and not has_serve:
            assert any(part in row["name"] for part in OPTIONAL), row
            assert "serve: load: RuntimeError: needs the package openai" in row["reason"]
        else:
            assert row["ratio"] is not None, (row, run.stderr)
            assert math.isfinite(row["ratio"]), row
    raw = {(one["contender"], one["measure"]): one["values"] for one in found["raw"]}
    assert raw["ours", "first: prompt_tokens"] == [512]
    assert raw["ours", "decode: prompt_tokens"] == [64]
    # About 4,000 tokens; the next turn has them from the cache, the cold prompt has none.
    assert 3500 < raw["ours", "turn_warm_prompt_tokens"][0] < 4500
    assert raw["ours", "turn_warm_prompt_tokens"] == raw["ours", "turn_cold_prompt_tokens"]
    assert raw["ours", "turn_warm_reused_tokens"][0] > 3500
    assert raw["ours", "turn_cold_reused_tokens"] == [0]
    assert raw["ours", "memory_cache"][0] > 0
    assert raw["ours", "memory_peak"][0] > raw["ours", "memory_imported"][0]
