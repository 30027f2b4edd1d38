"""Messages into token ids, with the model's own chat template.

What a person types stays text: `<|im_end|>` in a message is encoded as those characters and never
ends the turn. Nothing here calls torch. It does not cut conversations to the window
(`chat/context.py`).
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import thinking as thoughts
from chat_ui.engine.begun_answer import BegunAnswers
from chat_ui.errors import BadCheckpointError, EngineError, ModelError

logger = logging.getLogger(__name__)

# Words that no template writes by itself.
_SYSTEM_PROBE: Final = "Zanzibar forty-two"
_USER_PROBE: Final = "Quixotic umbrella"
_ANSWER_PROBE: Final = "Verdigris pangolin"


class ChatTemplate:
    """A tokenizer's chat template, probed once.

    Attributes:
        folds_system_prompt: the template has no system role (it refuses one, as Gemma's, or drops
            it without a word), so the system prompt is put before the first user message.
        end_of_turn_id: the token that the template writes after an answer, if it writes one and it
            ends nothing else.
        thinking: what it does with thoughts.
        thought_marks: special tokens that mark thoughts, by id.

    Raises:
        ModelError: the model has no chat template.
        BadCheckpointError: its template does not even take "Hello".
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._source = _source(tokenizer)
        system = PromptMessage("system", _SYSTEM_PROBE)
        user = PromptMessage("user", _USER_PROBE)
        turn = [user, PromptMessage("assistant", _ANSWER_PROBE), user]
        try:
            self._render([user])
            rendering = self._render(turn)
        except Exception as error:
            raise BadCheckpointError(
                "The model's chat template is broken.",
                "Copy its files again, or choose another model.",
            ) from error
        try:
            with_system = self._render([system, *turn])
        except Exception:
            with_system = ""
        self.folds_system_prompt = _SYSTEM_PROBE not in with_system
        self.thinking = thoughts.probe(tokenizer)
        self.thought_marks = thoughts.mark_tokens(tokenizer)
        self.end_of_turn_id = self._end_of_turn_id(rendering)
        self._mark_control_tokens(rendering + with_system)
        self._begun = BegunAnswers(tokenizer)

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """Token ids of the messages, ready for the answer to begin.

        Where the last message is the assistant's, they end inside of it, for the model to go on.

        Raises:
            EngineError: the template does not take these messages.
        """
        begun = ""
        if messages and messages[-1].role == "assistant":
            *messages, last = messages
            begun = last.content
        if self.folds_system_prompt:
            messages = _folded(messages)
        try:
            ids = self._tokenizer.apply_chat_template(
                _as_dicts(messages),
                add_generation_prompt=True,
                return_dict=False,
                sanitize_control_tokens=True,
                **thoughts.switched(thinking if self.thinking.has_switch else None),
            )
            return self._begun.append(ids, begun) if begun else [int(token) for token in ids]
        except Exception as error:
            # A template is a program of the model's author: it may raise anything.
            logger.warning("A chat template failed.", exc_info=error)
            raise EngineError(
                "The model's chat template does not take this conversation.",
                "Start a new chat, or try it without a system prompt.",
            ) from error

    def _render(self, messages: Sequence[PromptMessage]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                _as_dicts(messages), add_generation_prompt=False, tokenize=False
            )
        )

    def _end_of_turn_id(self, rendering: str) -> int | None:
        _, _, after = rendering.partition(_ANSWER_PROBE)
        after = after.lstrip()
        for token_id, token in self._tokenizer.added_tokens_decoder.items():
            if token.content.strip() and after.startswith(token.content):
                # gpt-oss ends a thought with the same token, and an answer with another.
                return None if token_id in self.thought_marks else int(token_id)
        return None

    def _mark_control_tokens(self, rendering: str) -> None:
        """Name the tokens that a message must not contain as tokens, beside the special ones.

        Left alone, transformers looks for added tokens in the template's literals, and misses those
        that a template puts together ('<|' + role + '|>', as Phi-4-mini's): what it *renders* shows
        them.
        """
        written = self._source + rendering
        thought = thoughts.thought_tokens(self._tokenizer)
        self._tokenizer.chat_control_tokens = [
            token.content
            for token in self._tokenizer.added_tokens_decoder.values()
            # Gemma has added tokens of white space, which are ordinary text.
            if (token.content.strip() and token.content in written) or token.content in thought
        ] + list(self._tokenizer.chat_control_tokens or ())


def _source(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except Exception as error:
        raise ModelError(
            "This is not a chat model: it has no chat template.",
            "Choose its chat version; its name often ends in Instruct or Chat.",
        ) from error


def _as_dicts(messages: Sequence[PromptMessage]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _folded(messages: Sequence[PromptMessage]) -> list[PromptMessage]:
    """The messages with the system prompt at the beginning of the first user message."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    folded = [message for message in messages if message.role != "system"]
    if not system:
        return folded
    for index, message in enumerate(folded):
        if message.role == "user":
            folded[index] = PromptMessage("user", f"{system}\n\n{message.content}")
            break
    return folded
