"""The contract of `chat_ui/engine/protocol.py`, point by point, for every engine."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.protocol import Cancel, Delta, Event, Failed, Finished, Request, Started
from chat_ui.errors import EngineStoppedError, PromptTooLongError
from tests.contract.harness import DEADLINE_S, Harness, Reader

SENTENCE = "Grüße, 你好 and 👩🏽‍🚀 say: naïve cafés."


def begin(harness: Harness, request: Request) -> tuple[Reader, Cancel]:
    reader = Reader()
    return reader, harness.engine.start(request, reader)


# 1. start returns at once; nothing of the model's work happens on the caller's thread.


def test_start_returns_at_once_while_the_model_is_busy(harness: Harness) -> None:
    busy = [begin(harness, harness.endless()) for _ in range(3)]
    busy[0][0].wait_for_tokens(1)
    started = time.monotonic()
    late = begin(harness, harness.endless())
    took_s = time.monotonic() - started
    for _, cancel in [*busy, late]:
        cancel()
    for reader, _ in [*busy, late]:
        reader.wait()
    assert took_s < 1.0


def test_the_sink_is_never_called_on_the_callers_thread(harness: Harness) -> None:
    readers = [begin(harness, harness.says("one two"))[0], begin(harness, harness.fails())[0]]
    reader, cancel = begin(harness, harness.endless())
    cancel()
    for each in [*readers, reader]:
        each.wait()
        assert threading.current_thread().ident not in each.threads


# 2. In order, with exactly one end.


def test_an_answer_starts_once_and_first(harness: Harness) -> None:
    requests = [harness.says("one two three"), harness.endless(max_new_tokens=3), harness.fails()]
    for request in requests:
        reader, _ = begin(harness, request)
        reader.wait()
        started = [event for event in reader.events if isinstance(event, Started)]
        assert started == reader.events[:1]
        assert 0 <= started[0].reused_tokens < len(request.prompt_ids)


def test_an_answer_ends_exactly_once(harness: Harness) -> None:
    readers = [begin(harness, harness.says("one two three"))[0]]
    readers.append(begin(harness, harness.endless(max_new_tokens=3))[0])
    readers.append(begin(harness, harness.fails())[0])
    for reader in readers:
        reader.wait()
    harness.settle()
    for reader in readers:
        assert len(reader.ends) == 1
        assert reader.events[-1] is reader.ends[0]


def test_a_sink_that_raises_ends_no_other_answer(harness: Harness) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        heard.append(event)
        raise RuntimeError("a broken reader")

    harness.engine.start(harness.says("one two"), broken)
    other, _ = begin(harness, harness.says(SENTENCE))
    assert other.wait() == Finished("stop")
    assert other.text == SENTENCE
    assert len([event for event in heard if isinstance(event, Finished | Failed)]) <= 1


# 3. The text is the decoded answer.


def test_the_text_is_the_whole_answer(harness: Harness) -> None:
    reader, _ = begin(harness, harness.says(SENTENCE))
    assert reader.wait() == Finished("stop")
    assert reader.text == SENTENCE
    assert reader.tokens == harness.tokens(SENTENCE)


def test_no_character_is_given_out_in_parts(harness: Harness) -> None:
    reader, _ = begin(harness, harness.says(SENTENCE * 3))
    reader.wait()
    assert all("\ufffd" not in event.text for event in reader.events if isinstance(event, Delta))


def test_an_answer_cut_within_a_character_ends_before_it(harness: Harness) -> None:
    for limit in range(1, 12):
        reader, _ = begin(harness, harness.says("👩🏽‍🚀👩🏽‍🚀👩🏽‍🚀", max_new_tokens=limit))
        reader.wait()
        assert "👩🏽‍🚀👩🏽‍🚀👩🏽‍🚀".startswith(reader.text)


def test_a_token_count_is_at_least_one_but_for_held_back_text(harness: Harness) -> None:
    reader, _ = begin(harness, harness.says(f"{SENTENCE} ST", stop=("STOP",)))
    reader.wait()
    deltas = [event for event in reader.events if isinstance(event, Delta)]
    assert all(delta.tokens >= 1 or delta.text for delta in deltas)


def test_max_new_tokens_is_exact(harness: Harness) -> None:
    for limit in (1, 2, 7):
        reader, _ = begin(harness, harness.endless(max_new_tokens=limit))
        assert reader.wait() == Finished("length")
        assert reader.tokens == limit


@pytest.mark.parametrize(
    ("text", "stop", "shown"),
    [
        ("one two the end three", ("the end",), "one two "),
        ("one two the end three", ("never", "two th"), "one "),
        ("你好世界再见", ("世界",), "你好"),
        ("END of it", ("END",), ""),
        ("unfinished EN", ("END",), "unfinished EN"),
    ],
)
def test_nothing_is_shown_from_a_stop_string_on(
    harness: Harness, text: str, stop: tuple[str, ...], shown: str
) -> None:
    reader, _ = begin(harness, harness.says(text, stop=stop))
    assert reader.wait() == Finished("stop")
    assert reader.text == shown


# 4. Cancelling.


def test_cancel_ends_the_request_within_a_token(harness: Harness) -> None:
    reader, cancel = begin(harness, harness.endless())
    reader.wait_for_tokens(3)
    cancel()
    before = reader.tokens
    assert reader.wait() == Finished("cancelled")
    # Two may be under way: the one being made, and one that came before the count was read.
    assert reader.tokens <= before + 2


def test_cancel_may_be_called_often_and_from_any_thread(harness: Harness) -> None:
    reader, cancel = begin(harness, harness.endless())
    reader.wait_for_tokens(1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(8):
            pool.submit(cancel)
    assert reader.wait() == Finished("cancelled")
    cancel()
    harness.settle()
    assert len(reader.ends) == 1


def test_cancel_after_the_end_changes_nothing(harness: Harness) -> None:
    reader, cancel = begin(harness, harness.says("one"))
    assert reader.wait() == Finished("stop")
    cancel()
    harness.settle()
    assert reader.ends == [Finished("stop")]


def test_cancel_leaves_the_others_alone(harness: Harness) -> None:
    other, _ = begin(harness, harness.says(SENTENCE * 3))
    reader, cancel = begin(harness, harness.endless())
    third, _ = begin(harness, harness.says(SENTENCE))
    cancel()
    assert reader.wait() == Finished("cancelled")
    assert (other.wait(), other.text) == (Finished("stop"), SENTENCE * 3)
    assert (third.wait(), third.text) == (Finished("stop"), SENTENCE)


def test_cancel_while_waiting_behind_others(harness: Harness) -> None:
    first = [begin(harness, harness.endless()) for _ in range(2)]
    waiting, cancel = begin(harness, harness.endless())
    cancel()
    assert waiting.wait() == Finished("cancelled")
    assert not any(reader.ends for reader, _ in first)
    for reader, cancel in first:
        cancel()
        assert reader.wait() == Finished("cancelled")


# 5. After a failure the next request works.


def test_a_failure_ends_that_request_alone(harness: Harness) -> None:
    other, _ = begin(harness, harness.says(SENTENCE * 2))
    failing, _ = begin(harness, harness.fails())
    third, _ = begin(harness, harness.says(SENTENCE))
    end = failing.wait()
    assert isinstance(end, Failed)
    assert end.error.sentence.endswith(".")
    assert "as planned" not in str(end.error)
    assert failing.tokens == 2
    assert (other.wait(), other.text) == (Finished("stop"), SENTENCE * 2)
    assert (third.wait(), third.text) == (Finished("stop"), SENTENCE)
    after, _ = begin(harness, harness.says("after"))
    assert (after.wait(), after.text) == (Finished("stop"), "after")


def test_many_threads_may_start_at_once(harness: Harness) -> None:
    texts = [f"answer number {number} {SENTENCE}" for number in range(16)]
    readers = [Reader() for _ in texts]
    requests = [harness.says(text) for text in texts]
    gate = threading.Barrier(len(texts))

    def start(number: int) -> None:
        gate.wait(DEADLINE_S)
        harness.engine.start(requests[number], readers[number])

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(start, range(len(texts))))
    assert [reader.wait() for reader in readers] == [Finished("stop")] * len(texts)
    assert [reader.text for reader in readers] == texts


def test_a_prompt_that_fills_the_window_is_refused(harness: Harness) -> None:
    window = harness.engine.facts.window_tokens
    for tokens in (window, window + 1):
        reader, _ = begin(harness, harness.prompt(tokens))
        end = reader.wait()
        assert isinstance(end, Failed)
        assert isinstance(end.error, PromptTooLongError)


def test_an_answer_ends_where_the_window_does(harness: Harness) -> None:
    reader, _ = begin(harness, harness.prompt(harness.engine.facts.window_tokens - 8))
    assert reader.wait() == Finished("length")
    assert reader.tokens == 8


def test_nothing_of_ended_answers_is_used_once_they_are_to_be_forgotten(harness: Harness) -> None:
    def reused_tokens() -> int:
        reader, cancel = begin(harness, harness.prompt(100))
        reader.wait_for_tokens(1)
        cancel()
        reader.wait()
        started = reader.events[0]
        assert isinstance(started, Started)
        return started.reused_tokens

    reused_tokens()
    is_kept = reused_tokens() > 0
    assert is_kept == (harness.kind in ("batched", "single"))
    other, cancel = begin(harness, harness.endless())
    other.wait_for_tokens(1)
    harness.engine.forget()
    assert reused_tokens() == 0
    cancel()  # it went on
    assert other.wait() == Finished("cancelled")
    harness.engine.forget()  # where nothing is open
    assert reused_tokens() == 0


def test_an_empty_prompt_is_refused(harness: Harness) -> None:
    reader, _ = begin(harness, harness.prompt(0))
    assert isinstance(reader.wait(), Failed)


# encode: an answer that was begun goes on.


@pytest.mark.parametrize("text", ["Well", "Well, ", "Grüße\n", " ", "👩🏽‍🚀", "<|im_end|>"])
def test_a_prompt_ends_with_the_begun_answer(harness: Harness, text: str) -> None:
    question = [PromptMessage("user", "Hi")]
    asked = harness.engine.encode(question)
    begun = harness.engine.encode([*question, PromptMessage("assistant", text)])
    assert harness.decode(begun).endswith(text)
    assert len(begun) > len(asked)


def test_a_begun_answer_goes_on(harness: Harness) -> None:
    request = harness.begun("Grüße, ", SENTENCE)
    assert harness.decode(request.prompt_ids).endswith("Grüße, ")
    reader, _ = begin(harness, request)
    assert reader.wait() == Finished("stop")
    assert reader.text == SENTENCE


# 6. close.


def test_close_ends_everything(own: Harness) -> None:
    threads_before = set(threading.enumerate())
    readers = [begin(own, own.endless())[0] for _ in range(3)]
    readers[0].wait_for_tokens(1)
    own.engine.close()
    for reader in readers:
        end = reader.wait()
        assert isinstance(end, Failed)
        assert isinstance(end.error, EngineStoppedError)
        assert len(reader.ends) == 1
    assert own.is_freed()
    assert set(threading.enumerate()) <= threads_before
    own.engine.close()
    late, cancel = begin(own, own.says("too late"))
    end = late.wait()
    assert isinstance(end, Failed)
    assert isinstance(end.error, EngineStoppedError)
    cancel()


def test_an_engine_that_was_never_used_closes(own: Harness) -> None:
    own.engine.close()
    assert own.is_freed()


def test_many_threads_may_close_at_once(own: Harness) -> None:
    reader, _ = begin(own, own.endless())
    with ThreadPoolExecutor(4) as pool:
        for closing in [pool.submit(own.engine.close) for _ in range(4)]:
            closing.result(DEADLINE_S)
    assert len(reader.ends) == 1
