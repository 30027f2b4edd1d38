"""Conversations copied, read from files and turned into scripts; values in, values out.

Nothing is stored here.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from chat_ui.chat import exchange
from chat_ui.chat.messages import Conversation, Message, PromptMessage, prompt_messages
from chat_ui.chat.python_export import to_python
from chat_ui.engine.thinking import switched
from chat_ui.errors import InvalidRequestError, NotFoundError
from chat_ui.models.checkpoint import is_hub_id
from chat_ui.models.quantization import QUANTIZATIONS
from chat_ui.models.quantization import precision as checked_precision
from chat_ui.models.spec import BUILT_IN_ID, find

# They are stored in one transaction, and answers that grow meanwhile wait for it: 30 µs for each.
MAX_FILE_MESSAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a file.

    Attributes:
        ids: of the conversations that were added, in the file's order.
        left_out: how many others it holds, which are damaged.
    """

    ids: tuple[str, ...]
    left_out: int = 0


def read(text: str, most_chars: int | None = None) -> exchange.Imported:
    """The conversations of a file.

    Args:
        text: the whole file.
        most_chars: conversations with a longer text are left out; None for none.

    Raises:
        InvalidRequestError: it is no file of conversations, holds too many messages, or nothing in
            it is good.
    """
    found = exchange.read(text)
    count = sum(len(one.messages) for one in found.conversations)
    if count > MAX_FILE_MESSAGES:
        raise InvalidRequestError(
            f"This file holds {count:,} messages; {MAX_FILE_MESSAGES:,} is the limit.",
            "Import it in parts.",
        )
    if not found.conversations:
        raise InvalidRequestError("This file holds no conversation.", "Choose another one.")
    if most_chars is None:
        return found
    good = tuple(one for one in found.conversations if _longest(one) <= most_chars)
    if not good:
        longest = max(map(_longest, found.conversations))
        raise InvalidRequestError(
            f"A text in this file has {longest:,} characters; {most_chars:,} is the limit here.",
            "Import another conversation.",
        )
    return exchange.Imported(good, found.left_out + len(found.conversations) - len(good))


def _longest(conversation: Conversation) -> int:
    """How many characters its longest text has."""
    texts = [conversation.system_prompt]
    for message in conversation.messages:
        texts += [message.content, message.error or ""]
        if message.recipe is not None:
            texts += [message.recipe.system_prompt, message.recipe.given]
    return max(map(len, texts))


def branch(conversation: Conversation, message_id: str) -> Conversation:
    """The path up to a message, as a conversation of now.

    Raises:
        NotFoundError: there is no such message.
    """
    path = conversation.path(message_of(conversation, message_id).id)
    now = datetime.now(UTC)
    return replace(conversation, messages=path, head_id=path[-1].id, created_at=now, updated_at=now)


def without_folders(conversation: Conversation) -> Conversation:
    """The same without the paths of models' folders, which are nobody's but this machine's."""

    def shown(message: Message) -> Message:
        model_id = message.numbers.model_id
        if model_id is None or model_id == BUILT_IN_ID or is_hub_id(model_id):
            return message
        return replace(message, numbers=replace(message.numbers, model_id=None))

    return replace(conversation, messages=tuple(map(shown, conversation.messages)))


def python_script(conversation: Conversation, message_id: str, *, hub_only: bool) -> str:
    """A script that asks for an answer again: what its model was shown, and its settings.

    Args:
        conversation: the answer's.
        message_id: the answer.
        hub_only: whoever runs it does not have this machine's folders.

    Raises:
        NotFoundError: there is no such answer.
        InvalidRequestError: it is not known how it was asked for, or by which model; or the model
            is in a folder and may not be.
        ModelError: the model's folder is not there any more.
    """
    answer = message_of(conversation, message_id)
    if answer.role != "assistant":
        raise NotFoundError
    recipe, numbers = answer.recipe, answer.numbers
    if recipe is None or numbers.model_id is None or numbers.precision is None:
        raise InvalidRequestError(
            "It is not known which model wrote this answer, and with which settings.",
            "Choose an answer that a model wrote here to its end.",
        )
    # The oldest did not fit the window: the model was not shown them.
    turns = prompt_messages(conversation.path(answer.parent_id)) if answer.parent_id else []
    messages = turns[numbers.dropped_messages :]
    if recipe.system_prompt.strip():
        messages.insert(0, PromptMessage("system", recipe.system_prompt))
    if recipe.given:
        messages.append(PromptMessage("assistant", recipe.given))
    return to_python(
        _loadable(numbers.model_id, hub_only=hub_only),
        numbers.precision,
        messages,
        recipe.config,
        _bitsandbytes(numbers.precision),
        switched(recipe.thinking),
    )


def message_of(conversation: Conversation, message_id: object) -> Message:
    """The conversation's message of this id, which may be anything.

    Raises:
        NotFoundError: there is none.
    """
    for message in conversation.messages:
        if message.id == message_id:
            return message
    raise NotFoundError


def _loadable(model_id: str, *, hub_only: bool) -> str:
    """What transformers loads the model by: its id on the Hub, or its folder."""
    if not hub_only:
        spec = find(model_id)
        return spec.id if spec.folder is None else str(spec.folder)
    # Not `find`: a file that was imported may name any folder, and `find` looks whether it is here.
    if not is_hub_id(model_id):
        raise InvalidRequestError(
            "This answer's model is in a folder of the server, and not on the Hub.",
            "Choose an answer of a model of the Hub.",
        )
    return model_id


def _bitsandbytes(precision: str) -> dict[str, object]:
    try:
        return dict(QUANTIZATIONS[checked_precision(precision)].bitsandbytes)
    except InvalidRequestError:  # an imported answer's, of another version of the app
        return {}
