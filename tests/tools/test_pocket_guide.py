"""Tests of the material and the corpus of the built-in model."""

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pocket_guide import PARAMETERS
from tools.pocket_guide.conversations import conversations as endless
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.exams import Task, make_tasks
from tools.pocket_guide.facts import draw_value, splice
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.material import Material, load
from tools.pocket_guide.phrasing import Synonyms, expand, hold_out, misspell, normalise, skip_word
from tools.pocket_guide.styles import Saying, sentences
from tools.pocket_guide.topics import Topic


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


def test_what_is_added_hardly_changes_what_is_held_out() -> None:
    texts = [f"way {number} to ask" for number in range(100)]
    held = hold_out(texts, 10, "key")
    assert len(set(held)) == 10
    assert held != hold_out(texts, 10, "other key")
    more = [f"another way, the {number}th" for number in range(10)]
    assert len(set(held) & set(hold_out(more + texts, 11, "key"))) >= 8


def test_reword_replaces_words_by_others_of_their_group() -> None:
    words = Synonyms([["how do i", "how can i"], ["delete", "get rid of"]])
    said = {words.reword("how do i delete it", random.Random(seed)) for seed in range(40)}
    assert said == {
        "how do i delete it", "how can i delete it", "how do i get rid of it",
    }  # fmt: skip


def test_skip_word_leaves_out_a_word_of_letters() -> None:
    said = {skip_word("does an 8b model fit", random.Random(seed)) for seed in range(60)}
    assert said == {"an 8b model fit", "does 8b model fit", "does an 8b fit", "does an 8b model"}
    assert skip_word("what is a token", random.Random(1)) == "what is a token"


@pytest.mark.parametrize("text", ["deleted", "how do ideas grow", "un-delete", ""])
def test_reword_leaves_parts_of_words_alone(text: str) -> None:
    words = Synonyms([["delete", "erase"], ["how do i", "how to"]])
    assert words.reword(text, random.Random(1)) == text


# Material.


def test_no_synonym_stands_in_two_groups(material: Material) -> None:
    known = Counter(words for group in material.frames["alike"] for words in group)
    assert [words for words, count in known.items() if count > 1] == []


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
    return itertools.islice(endless(corpus, seed), count)


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


# Styles.


def saying(topic: Topic) -> Saying:
    return Saying(topic.answers[0], topic.short, topic.keywords)


def test_every_style_keeps_its_form_and_the_content(material: Material) -> None:
    rng = random.Random(1)
    wrong = []
    for style, topic in itertools.product(material.styles, material.topics):
        answer, lead = style.dress(saying(topic), rng)
        is_kept = style.is_kept(answer) or not topic.short
        if not (is_kept and has_keywords(answer, topic.keywords) and answer.startswith(lead)):
            wrong.append((style.id, topic.id, answer))
    assert wrong == []


def test_a_plain_answer_has_no_style(material: Material) -> None:
    in_words = [style for style in material.styles if any(map(any, style.around))]
    assert len(in_words) >= 6
    for style, topic in itertools.product(in_words, material.topics):
        assert not any(style.is_kept(answer) for answer in topic.answers), (style.id, topic.id)


def test_a_style_leaves_code_and_tables_as_they_are(material: Material) -> None:
    pirate = next(style for style in material.styles if style.id == "pirate")
    table = "| a | b |\n| --- | --- |\n| you | 1 |"
    answer, lead = pirate.dress(Saying(f"```python\nx\n```\n\n{table}"), random.Random(1))
    assert answer.startswith(f"{lead.strip()}\n\n```python\nx\n```\n\n| a | b |")


def test_sentences_are_split_after_signs_and_not_inside_numbers() -> None:
    assert sentences("It takes 3.5 GB. Why? For example: Be brief. Yes!") == [
        "It takes 3.5 GB.",
        "Why?",
        "For example: Be brief.",
        "Yes!",
    ]


def test_no_system_message_stands_in_two_patterns(material: Material) -> None:
    patterns = [text for style in material.styles for text in style.systems]
    said = [normalise(text) for pattern in patterns for text in expand(pattern)]
    said += [normalise(text) for text in material.plain_systems]
    assert [text for text, count in Counter(said).items() if count > 1] == []


def test_held_out_system_messages_are_never_generated(corpus: Corpus) -> None:
    held = {
        normalise(text)
        for patterns in corpus.held_out_systems.values()
        for pattern in patterns
        for text in expand(pattern)
    }
    said = {
        normalise(conversation.messages[0][1])
        for conversation in conversations(corpus, 3, 3000)
        if conversation.messages[0][0] == "system"
    }
    assert held & said == set()
    assert all(corpus.held_out_systems[style.id] for style in corpus.material.styles)


# Facts.


def test_facts_are_asked_with_values_and_words_that_are_never_trained(corpus: Corpus) -> None:
    for trained, held_out in zip(corpus.facts, corpus.held_out_facts, strict=True):
        assert held_out.tells
        assert held_out.asks
        for name in ("tells", "asks", "values"):
            assert set(getattr(trained, name)).isdisjoint(getattr(held_out, name))


def test_values_are_mostly_words_that_no_list_has(corpus: Corpus) -> None:
    rng = random.Random(3)
    for fact in (fact for fact in corpus.facts if fact.values):
        listed = {value.lower() for value in fact.values}
        drawn = [draw_value(fact, rng, corpus.everyday).lower() for _ in range(400)]
        assert 0.15 < sum(value in listed for value in drawn) / len(drawn) < 0.5


def test_no_text_that_asks_for_a_fact_in_the_evaluation_is_trained_by_another_pattern(
    corpus: Corpus,
) -> None:
    for trained, held_out in zip(corpus.facts, corpus.held_out_facts, strict=True):
        for name in ("tells", "asks"):
            texts, held = (
                {normalise(text) for pattern in getattr(fact, name) for text in expand(pattern)}
                for fact in (trained, held_out)
            )
            assert texts.isdisjoint(held)


def test_a_spliced_word_begins_like_one_word_and_ends_like_another() -> None:
    rng = random.Random(4)
    words = {splice(rng, ("penguin", "table")) for _ in range(200)}
    assert {word[0] for word in words} == {"p", "t"}
    assert {word[-1] for word in words} == {"n", "e"}
    assert len(words) > 50


def test_no_value_of_the_evaluation_is_drawn_from_another_list_or_made_up(corpus: Corpus) -> None:
    rng = random.Random(1)
    for fact in (fact for fact in corpus.facts if fact.values):
        # "dan" and the like are spliced once in some thousand draws.
        drawn = {
            draw_value(fact, rng, ("daring", "man"), {"dan", fact.values[0].lower()}).lower()
            for _ in range(400)
        }
        assert drawn.isdisjoint({"dan", fact.values[0].lower()})
        assert "dan" in {draw_value(fact, rng, ("daring", "man")).lower() for _ in range(4000)}


def test_no_everyday_word_is_a_value_of_the_evaluation(corpus: Corpus) -> None:
    held_out = {value.lower() for fact in corpus.held_out_facts for value in fact.values}
    assert held_out.isdisjoint(corpus.everyday)


def test_numbers_of_the_evaluation_are_never_trained(corpus: Corpus) -> None:
    number = next(fact for fact in corpus.facts if not fact.values)
    rng = random.Random(2)
    trained = {draw_value(number, rng) for _ in range(2000)}
    held_out = {draw_value(number, rng, is_held_out=True) for _ in range(2000)}
    assert trained & held_out == set()


def test_what_was_told_is_said_back_as_it_was_typed(corpus: Corpus) -> None:
    name = next(fact for fact in corpus.facts if fact.id == "name")
    seen = 0
    for conversation in itertools.islice(endless(corpus, 6, only_facts=True), 2000):
        said = " ".join(text for role, text in conversation.messages if role == "user")
        for text in (text for role, text in conversation.messages if role == "assistant"):
            match = re.fullmatch(r"Your name is (.+)\.", text)
            if match and match[1] not in name.values:
                seen += 1
                assert match[1].lower() in said.lower()
    assert seen > 20


def test_nobody_is_asked_for_a_fact_by_another_topic(corpus: Corpus) -> None:
    asked = {normalise(text) for fact in corpus.facts for ask in fact.asks for text in expand(ask)}
    assert asked.isdisjoint(normalise(text) for texts in corpus.train.values() for text in texts)


# The way people write.


def test_capitals_of_buttons_are_trained(corpus: Corpus) -> None:
    assert corpus.writer.with_capitals("what happens when i press send") == (
        "what happens when i press Send"
    )
    typed = {
        corpus.writer.typed("what if i press send twice", random.Random(n), True)
        for n in range(400)
    }
    assert {
        "What if I press Send twice?",
        "what if i press send twice",
        "what if i press Send twice?",
    } <= typed


# The evaluation.


@pytest.fixture(scope="module")
def tasks(corpus: Corpus) -> list[Task]:
    return make_tasks(corpus, seed=1)


def test_tasks_end_with_a_question_that_is_never_trained(corpus: Corpus, tasks: list[Task]) -> None:
    trained = {normalise(text) for texts in corpus.train.values() for text in texts}
    for task in tasks:
        assert task.chat[-1][0] == "user"
        if task.suite in ("topics", "off topic", "styles", "memory", "never told"):
            assert normalise(task.chat[-1][1]) not in trained


def test_written_answers_are_right_in_the_evaluation(corpus: Corpus, tasks: list[Task]) -> None:
    answers = {topic.id: topic.answers[0] for topic in corpus.topics}
    asked = [task for task in tasks if task.suite.startswith("topics")]
    assert len(asked) > 200
    assert all(task.is_right(answers[task.name]) for task in asked)
    assert not any(task.is_right("I do not know.") for task in tasks)


def test_memory_is_asked_for_after_none_to_six_turns(tasks: list[Task]) -> None:
    turns = {len(task.chat) // 2 - 1 for task in tasks if task.suite == "memory"}
    assert turns == set(range(7))
    for task in tasks:
        if task.suite == "memory":
            told = task.chat[0][1]
            assert task.keywords[0].rstrip(".").split()[-1].lower() in told.lower()
