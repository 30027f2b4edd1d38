"""What a page sends, checked before anything is stored of it."""

import secrets
from dataclasses import replace

from chat_ui.chat.generation import MAX_SEED
from chat_ui.chat.imports import encodable
from chat_ui.errors import InvalidRequestError
from chat_ui.limits import Limits
from chat_ui.service.job import ReplyOptions


def checked_text(text: object, limit: int) -> str:
    """A message as it is stored.

    Args:
        text: as it was sent.
        limit: of its characters.

    Raises:
        InvalidRequestError: it is empty or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequestError("The message is empty.", "Type something first.")
    if len(text) > limit:
        raise InvalidRequestError(
            f"The message has {len(text):,} characters; {limit:,} is the limit.",
            "Shorten it, or send it in parts.",
        )
    return encodable(text)


def checked_options(options: ReplyOptions, limits: Limits) -> ReplyOptions:
    """Options as they are used: with a seed, at most as many new tokens as may be, and without a
    beginning that is blank.

    Args:
        options: as they were sent.
        limits: of the texts' characters, and of new tokens.

    Raises:
        InvalidRequestError: a text is too long.
    """
    limit = limits.message_chars
    prompt, begins_with = options.system_prompt, options.begins_with
    if not isinstance(prompt, str) or len(prompt) > limit:
        raise InvalidRequestError(
            f"The system prompt is longer than {limit:,} characters.", "Shorten it."
        )
    if not isinstance(begins_with, str) or len(begins_with) > limit:
        raise InvalidRequestError(
            f"The beginning of the answer is longer than {limit:,} characters.", "Shorten it."
        )
    config = options.config
    seed = secrets.randbelow(MAX_SEED) if config.seed is None else config.seed
    return replace(
        options,
        system_prompt=encodable(prompt),
        config=replace(
            config, seed=seed, max_new_tokens=min(config.max_new_tokens, limits.new_tokens)
        ),
        begins_with=encodable(begins_with) if begins_with.strip() else "",
    )
