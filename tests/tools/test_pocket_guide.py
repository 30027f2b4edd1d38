"""Tests of the material and the corpus of the built-in model."""

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pocket_guide import PARAMETERS
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.material import Material, load
from tools.pocket_guide.phrasing import expand, misspell, normalise


@pytest.fixture(scope="module")
def material() -> Material:
    return load(PARAMETERS)


@pytest.fixture(scope="module")
def corpus(material: Material) -> Corpus:
    return Corpus(material, seed=1)


def held_out_texts(corpus: Corpus) -> set[str]:
    return {normalise(question.text) for question in corpus.held_out}


# Phrasings.


def test_expand_lists_each_alternative_once() -> None:
    assert expand("how {do|can} i {stop|} it") == [
        "how do i stop it",
        "how do i it",
        "how can i stop it",
        "how can i it",
    ]


def test_normalise_ignores_case_spaces_and_final_signs() -> None:
    assert normalise("  What IS a token ?!") == normalise("what is a token")


def test_normalise_keeps_a_text_of_signs_only() -> None:
    assert normalise("???") == "???"


@given(st.text(min_size=1), st.integers(0, 100))
def test_misspell_changes_the_length_by_at_most_one(text: str, seed: int) -> None:
    assert abs(len(misspell(text, random.Random(seed))) - len(text)) <= 1


# Material.


def test_every_answer_contains_the_keywords_of_its_topic(material: Material) -> None:
    wrong = [
        (topic.id, answer)
        for topic in material.topics + material.memory
        for answer in (*topic.answers, *([topic.short] if topic.short else []))
        if not has_keywords(answer, topic.keywords)
    ]
    assert wrong == []


def test_every_follow_up_answer_contains_its_keywords(material: Material) -> None:
    wrong = [
        (topic.id, answer)
        for topic in material.topics
        for part in topic.follow
        for answer in part.answers
        if not has_keywords(answer, part.keywords)
    ]
    assert wrong == []


def test_no_question_belongs_to_two_topics(material: Material) -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for topic in material.topics + material.memory:
        for pattern in topic.own + topic.framed:
            for text in expand(pattern):
                owners[normalise(text)].add(topic.id)
    assert {text: ids for text, ids in owners.items() if len(ids) > 1} == {}


def test_answers_are_whole_sentences(material: Material) -> None:
    texts = [answer for topic in material.topics for answer in (*topic.answers, topic.short)]
    assert [text for text in texts if text and not re.search(r"([.!?|]|```)$", text)] == []


# Corpus.


def conversations(corpus: Corpus, seed: int, count: int) -> Iterator[Any]:
    return itertools.islice(corpus.conversations(seed), count)


def test_corpus_is_the_same_for_the_same_seed(material: Material) -> None:
    first, second = (Corpus(material, seed=3) for _ in range(2))
    assert first.held_out == second.held_out
    assert list(conversations(first, 5, 200)) == list(conversations(second, 5, 200))


def test_corpus_differs_between_seeds(corpus: Corpus) -> None:
    assert list(conversations(corpus, 1, 20)) != list(conversations(corpus, 2, 20))


def test_held_out_phrasings_are_never_generated(corpus: Corpus) -> None:
    held = held_out_texts(corpus)
    asked = {
        normalise(content)
        for conversation in conversations(corpus, 1, 4000)
        for role, content in conversation.messages
        if role == "user"
    }
    assert asked & held == set()
    assert held & {normalise(text) for texts in corpus.train.values() for text in texts} == set()


def test_every_topic_has_something_to_train_on(corpus: Corpus) -> None:
    assert [name for name, texts in corpus.train.items() if len(texts) < 8] == []


def test_most_topics_have_something_held_out(corpus: Corpus) -> None:
    assert len({question.topic for question in corpus.held_out}) > 60


def test_conversations_alternate_and_end_with_the_model(corpus: Corpus) -> None:
    for conversation in conversations(corpus, 2, 500):
        roles = [role for role, _ in conversation.messages if role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(content.strip() == content != "" for _, content in conversation.messages)
