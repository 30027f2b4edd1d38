"""Tests of what the written texts of the built-in model say about itself."""

import re

from tools.pocket_guide import DATA_DIR, PARAMETERS
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.material import load


def test_a_size_that_is_written_out_is_that_of_the_model() -> None:
    said = {
        size
        for name in ("offtopic", "dialogues")
        for size in re.findall(
            r"[\d.]+ million(?= parameters)", (DATA_DIR / f"{name}.toml").read_text("utf-8")
        )
    }
    assert said == {PARAMETERS}


def test_every_off_topic_answer_says_the_size_and_where_larger_models_are() -> None:
    [topic] = [topic for topic in load(PARAMETERS).topics if topic.id == "off_topic"]
    for answer in (*topic.answers, topic.short):
        assert has_keywords(answer, ("tiny", PARAMETERS, "Model panel"))


def test_dialogues_are_three_turns_or_more_and_end_with_a_sentence() -> None:
    dialogues = load(PARAMETERS).dialogues
    assert len(dialogues) >= 40
    for turns in dialogues:
        assert 3 <= len(turns) <= 8
        assert all(re.search(r"([.!?|]|```|\$\$)$", answer) for _, answer in turns)
