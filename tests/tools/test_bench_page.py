"""Tests of the page's benchmark: its histories, its arithmetic and its table."""

import pytest

from tools.bench.page import LONGEST, as_text, figures, history
from tools.bench.samples import Samples


@pytest.fixture
def samples() -> Samples:
    found = Samples()
    for case, server, browser in (("2 messages", 2.0, 10.0), ("300 messages", 2.2, 20.0)):
        found.add("", case, {"server_ms": server, "browser_ms": browser})
    found.add("", "1000 messages", {"open_s": 0.5, "reload_s": 3.0})
    return found


def test_ratios_and_what_holds(samples):
    rows = {row.name: row for row in figures(samples)}
    server = rows["server per update, 300 messages / 2 messages"]
    assert server.ratio == pytest.approx(1.1)
    assert server.holds
    assert rows["browser per update, 300 messages / 2 messages"].holds is False
    assert rows["open 1,000 messages (s)"].holds
    assert rows["reload, 1,000 / 2 messages"].reason == "not measured"


def test_the_table_says_what_does_not_hold(samples):
    text = as_text(samples, figures(samples))
    [line] = [line for line in text.splitlines() if "browser per update, 300 messages /" in line]
    assert line.split()[-4:] == ["2.000", "<=", "1.3", "NO"]


@pytest.mark.parametrize("count", [2, 3, LONGEST])
def test_a_history_is_one_path_that_ends_with_its_mark(count):
    conversation = history(count, "title", "the mark")
    path = conversation.path()
    assert len(path) == count
    assert [message.role for message in path[:2]] == ["user", "assistant"]
    assert [number for number, one in enumerate(path) if "the mark" in one.content] == [count - 1]
