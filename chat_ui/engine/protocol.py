"""What every engine offers, and the stream of values that an answer is.

    service --start(request, sink)--> engine's thread --Started, Delta, ..., Finished | Failed-->
    sink

The contract, which `tests/contract` checks for every engine:

1. `start` returns at once; nothing of the model's work happens on the caller's thread.
2. `sink` is called on the engine's thread, in order: `Started` once, when the model begins with the
   prompt, then the Deltas, and exactly one `Finished` or `Failed` at the end, whatever happens: an
   exception in the model, a cancel, an unload. It must not block.
3. The texts of the Deltas, joined, are the decoded answer: no special tokens, no half characters,
   nothing from a stop string on. Tokens that mark thoughts are text, special or not. They and the
   beginning that `encode` was given are one text.
4. What `start` returns cancels that request alone, within a token; from any thread, any number of
   times.
5. After a failure the next request works.
6. `close` ends open requests (`Failed(EngineStoppedError)`), frees the model's memory and ends the
   threads.

An engine does not know conversations, owners or files; it turns messages into tokens and tokens
into text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.thinking import ThinkingFacts
from chat_ui.errors import ChatUIError
from chat_ui.models.progress import Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec

ModuleCounts = tuple[tuple[str, int], ...]
"""Names of modules' classes, and how many of each there are; the most frequent first."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is true of a loaded model.

    Attributes:
        spec: which model.
        precision: as asked for, and as loaded: never silently another.
        dtype: of the weights that are not quantized, such as "bfloat16".
        dtype_reason: a sentence where `dtype` is not the checkpoint's own, else empty.
        device: such as "cpu" or "cuda:0".
        kind: the engine's name: "batched", "single", "zerogpu" or "fake".
        parameters: of the whole model.
        weight_bytes: what the loaded weights and their scales take, with those of the draft model.
        window_tokens: the context window: prompt and answer together.
        folds_system_prompt: the template has no system role, so the system prompt is put before the
            first user message.
        drafter: what drafts tokens for assisted generation: "prompt lookup", the draft model's
            label, or "" where this engine can't be assisted.
        is_mixture: a mixture of experts, which assisted generation seldom helps: each drafted token
            wants other experts' weights.
        quantized_modules: those whose weights are quantized, such as (("Linear4bit", 210),).
        left_modules: those with weights that were left alone: embeddings, head, fused experts; and
            all of a model that is not quantized. Norms are not counted.
        footprint_bytes: what transformers' `get_memory_footprint` says, without scales.
        thinking: what its chat template does with thoughts.
    """

    spec: ModelSpec
    precision: Precision
    dtype: str
    dtype_reason: str
    device: str
    kind: str
    parameters: int
    weight_bytes: int
    window_tokens: int
    folds_system_prompt: bool = False
    drafter: str = ""
    is_mixture: bool = False
    quantized_modules: ModuleCounts = ()
    left_modules: ModuleCounts = ()
    footprint_bytes: int = 0
    thinking: ThinkingFacts = field(default_factory=ThinkingFacts)


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to generate.

    Attributes:
        prompt_ids: the rendered prompt's token ids, at least one.
        config: how to sample; `config.seed` is a number: the service sees to it.
        owner: whose; where requests wait, owners take turns. Only compared, never shown.
        is_begun: the prompt ends inside the answer, whose texts go on from there: what a token
            reads as may depend on the one before.
    """

    prompt_ids: Sequence[int]
    config: GenerationConfig
    owner: str = ""
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The model begins with the prompt.

    Attributes:
        reused_tokens: the prompt's first tokens that need not be read: a cache holds them.
    """

    reused_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the answer.

    Attributes:
        text: may be empty, while a character is incomplete or a stop string may have begun.
        tokens: tokens generated since the last Delta, at least 1, unless this one only gives out
            text that was held back.
    """

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer ended: by itself or at a stop string, at its limit, or cancelled.

    Attributes:
        reason: how.
        drafted_tokens: tokens that were drafted for it by assisted generation.
        accepted_tokens: those of them that the model chose, too.
        assisted_speedup: how many times as fast assisted generation was over the engine's last
            answers as without; None where that was not measured.
    """

    reason: Literal["stop", "length", "cancelled"]
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    assisted_speedup: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer failed; what was generated until then stands."""

    error: ChatUIError


Event = Started | Delta | Finished | Failed
Sink = Callable[[Event], None]
Cancel = Callable[[], None]


class Engine(Protocol):
    """Runs one loaded model. See the module's docstring for the contract."""

    @property
    def facts(self) -> EngineFacts:
        """What is true of the loaded model."""
        ...

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """Token ids of the messages in the model's chat template, up to where the answer begins.

        Where the last message is the assistant's, it is an answer's beginning: they end with it,
        exactly as it is, for the model to go on.

        Runs on the caller's thread and never calls torch.

        Args:
            messages: the conversation.
            thinking: whether to think before the answer, where `facts.thinking.has_switch`; None
                leaves it to the template.

        Raises:
            EngineError: the template does not take these messages.
        """
        ...

    def start(self, request: Request, sink: Sink) -> Cancel:
        """Begin an answer; see the contract. A request that can't be taken ends in `Failed`."""
        ...

    def forget(self) -> None:
        """Drop what is kept of answers that have ended, to read their prompts faster again.

        Returns at once; what is asked for later finds nothing of them.
        """
        ...

    def close(self) -> None:
        """End everything and free the memory; returns when that is done. Any number of times."""
        ...


class LoadEngine(Protocol):
    """Loads a model: `engine/load.py` for real ones, `engine/fake.py` for tests."""

    def __call__(
        self,
        spec: ModelSpec,
        precision: Precision,
        *,
        draft: ModelSpec | None = None,
        progress: Progress = ignore,
        anyway: bool = False,
    ) -> Engine:
        """Load and probe a model; blocks, for minutes perhaps.

        Args:
            spec: which model.
            precision: in which precision.
            draft: a smaller model with the same tokenizer that drafts for assisted generation;
                None leaves that to prompt lookup.
            progress: told of the stages "reading" or "quantizing", and "warming up", on any thread;
                of "downloading" first, where the files aren't here. With a draft model, they come
                once more. Where it raises, loading ends, and the memory is given back.
            anyway: try it, though memory seems too short.

        Raises:
            ModelError: it can't be loaded, with the reason and a next step.
            LoadCancelledError: `progress` raised it.
        """
        ...
