"""Two owners times every method times every kind of id: a stranger learns and changes nothing."""

import secrets

import pytest

from chat_ui.errors import NotFoundError

STORES = ("file", "memory")

MALFORMED = [
    None,
    "",
    " ",
    0,
    True,
    b"0" * 32,
    ["0" * 32],
    {"id": 1},
    float("nan"),
    "0" * 31,
    "0" * 33,
    "0" * 1_000_000,
    "0" * 31 + "\0",
    "0" * 31 + "\ud800",
    "0" * 32 + "\n",
    "\N{ARABIC-INDIC DIGIT ZERO}" * 32,  # digits, but not ours
    "' OR 1=1 --",
    "%",
    "../../etc/passwd",
]


@pytest.fixture
def theirs(store, stranger):
    """A stranger's conversation with a question and its answer."""
    conversation = store.create(stranger, "Secret", "Secret system")
    question, answer = store.add_question(stranger, conversation.id, "Secret", None, "Secret")
    store.update_answer(answer.id, "Secret", "complete")
    return store.conversation(stranger, conversation.id), question, answer


@pytest.fixture
def ours(store, owner):
    return store.create(owner, "Ours", "").id


def calls(store, owner, ours, conversation_id, question_id, answer_id):
    """Every way to name something by its id, one wrong id at a time."""
    return {
        "conversation": lambda: store.conversation(owner, conversation_id),
        "question": lambda: store.add_question(owner, conversation_id, "x", None, ""),
        "question, parent": lambda: store.add_question(
            owner, ours, "x", answer_id or "", ""
        ),  # None: the head
        "answer": lambda: store.add_answer(owner, conversation_id, question_id),
        "answer, question": lambda: store.add_answer(owner, ours, question_id),
        "version": lambda: store.versions.ask(owner, conversation_id, question_id, "x", ""),
        "version, question": lambda: store.versions.ask(owner, ours, question_id, "x", ""),
        "edit": lambda: store.versions.write(owner, conversation_id, answer_id, "x"),
        "edit, answer": lambda: store.versions.write(owner, ours, answer_id, "x"),
        "show": lambda: store.versions.show(owner, conversation_id, answer_id),
        "show, answer": lambda: store.versions.show(owner, ours, answer_id),
        "rename": lambda: store.list.rename(owner, conversation_id, "x"),
        "pin": lambda: store.list.pin(owner, conversation_id, True),
        "delete": lambda: store.list.delete(owner, conversation_id),
        "restore": lambda: store.list.restore(owner, conversation_id),
    }


CALLS = list(calls(None, None, None, None, None, None))


def refusal(call):
    with pytest.raises(NotFoundError) as raised:
        call()
    return type(raised.value), str(raised.value)


@pytest.mark.parametrize("name", CALLS)
def test_foreign_unknown_and_malformed_ids_read_alike(store, owner, stranger, theirs, ours, name):
    conversation, question, answer = theirs

    def refused(*ids):
        return refusal(calls(store, owner, ours, *ids)[name])

    unknown = refused(*(secrets.token_hex(16) for _ in range(3)))
    assert refused(conversation.id, question.id, answer.id) == unknown
    # Where an id is compared without regard to case, this would find the stranger's.
    assert refused(conversation.id.upper(), question.id.upper(), answer.id.upper()) == unknown
    for id_ in MALFORMED:
        assert refused(id_, id_, id_) == unknown, repr(id_)[:60]
    # And nothing has changed.
    assert store.conversation(stranger, conversation.id) == conversation
    assert store.conversation(owner, ours).messages == ()


def test_the_list_holds_only_ones_own(store, owner, stranger, theirs, ours):
    assert [c.id for c in store.list.newest(owner)] == [ours]
    assert [c.id for c in store.list.newest(stranger)] == [theirs[0].id]
    assert store.list.newest("0" * 64) == []
    assert store.list.newest("%") == []


def test_only_answers_are_updated(store, stranger, theirs):
    conversation, question, _ = theirs
    unknown = refusal(lambda: store.update_answer(secrets.token_hex(16), "x", "complete"))
    for id_ in [question.id, conversation.id, *MALFORMED]:
        assert refusal(lambda id_=id_: store.update_answer(id_, "x", "complete")) == unknown
    assert store.conversation(stranger, conversation.id) == conversation
