"""The tally: what was counted stays as it was told."""

from typing import Any

import pytest

from chat_ui.chat.messages import Numbers
from chat_ui.errors import BusyError
from chat_ui.service.tally import Tally


def test_figures_stay_as_they_were_whatever_is_counted_later() -> None:
    tally = Tally()
    first = tally.figures(0, 0)
    tally.answered("complete", Numbers(prompt_tokens=5, completion_tokens=3), "", 1.0)
    tally.answered("failed", Numbers(), "EngineError", 1.0)
    then = tally.figures(running=1, waiting=2)
    tally.answered("complete", Numbers(), "", 1.0)
    tally.answered("failed", Numbers(), "", 1.0)
    tally.refused(BusyError("It is busy."))
    assert (first.answers, first.prompt_tokens) == ({}, 0)
    assert (then.answers, then.errors) == ({"complete": 1, "failed": 1}, {"EngineError": 1})
    assert (then.refusals, then.running, then.waiting) == ({}, 1, 2)
    now = tally.figures(0, 0)
    assert (now.answers, now.errors) == (
        {"complete": 2, "failed": 2},
        {"EngineError": 1, "unknown": 1},
    )
    assert (now.refusals, now.prompt_tokens, now.generated_tokens) == ({"BusyError": 1}, 5, 3)


def test_nobody_who_reads_figures_can_change_them() -> None:
    tally = Tally()
    tally.refused(ValueError())
    figures: Any = tally.figures(0, 0)
    for counted in (figures.answers, figures.errors, figures.refusals):
        with pytest.raises(TypeError):
            counted["defect"] = 7
    assert tally.figures(0, 0).refusals == {"defect": 1}
