"""What is measured, with whom, and how often. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SERVES: Final = ("serve", "serve batching")
LLAMAS: Final = ("llama.cpp bf16", "llama.cpp q8")
READERS: Final = 8

MEASURES: Final[Mapping[str, str]] = {
    "bandwidth": "the memory's read bandwidth",
    "memory": "memory of 8 conversations",
    "turn": "first token at turn 30, warm and cold",
    "stop": "tokens after Stop",
    "service": "through ChatService and the engine alone",
    "8bit": "8-bit (fast, CPU) and full precision",
    "decode": "tokens/s of one conversation",
    "first": "first token of a cold prompt",
    "eight": "8 conversations",
    "unload": "memory after unloading",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """How a contender is run.

    Attributes:
        module: of `tools.bench`, run in a process of its own.
        load: arguments of its `load`, beside the checkpoint's folder.
        measures: names in `MEASURES` that it is needed for.
    """

    module: str
    load: Mapping[str, Any]
    measures: Sequence[str]


_COMPARED: Final = ("decode", "first", "eight")
CONTENDERS: Final[Mapping[str, Contender]] = {
    "ours": Contender(
        "ours", {"precision": "full"}, [name for name in MEASURES if name != "bandwidth"]
    ),
    "ours 8bit": Contender("ours", {"precision": "8bit-cpu"}, ("8bit",)),
    "pipeline": Contender("plain", {"way": "pipeline"}, _COMPARED),
    "tutorial": Contender("plain", {"way": "tutorial"}, ("decode",)),
    "serve": Contender("serve", {"batching": False}, ("decode", "eight")),
    "serve batching": Contender("serve", {"batching": True}, ("decode", "eight")),
    "llama.cpp bf16": Contender("llama_cpp", {"weights": "BF16"}, ("decode",)),
    "llama.cpp q8": Contender("llama_cpp", {"weights": "Q8_0"}, ("decode",)),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: that are kept.
        eight_rounds: the same, of 8 conversations at once.
        prompt_tokens: of a short prompt.
        cold_tokens: of the prompt whose first token is waited for.
        answer_tokens: of one conversation's answer.
        eight_tokens: of each of 8.
        turns: of the long conversation.
        history_tokens: of it, about.
        turn_rounds: how many more turns it has then, each measured.
        bandwidth_bytes: how much is read at once.
        only: names in `MEASURES`.
        threads: of torch, in every process; None leaves it to torch.
    """

    rounds: int = 5
    eight_rounds: int = 5
    prompt_tokens: int = 64
    cold_tokens: int = 512
    answer_tokens: int = 64
    eight_tokens: int = 32
    turns: int = 30
    history_tokens: int = 4000
    turn_rounds: int = 5
    bandwidth_bytes: int = 2**30
    only: Sequence[str] = tuple(MEASURES)
    threads: int | None = None


QUICK: Final = Plan(
    rounds=2,
    eight_rounds=1,
    answer_tokens=24,
    eight_tokens=12,
    turn_rounds=1,
    bandwidth_bytes=2**28,
)
