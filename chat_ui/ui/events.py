"""What the page's events and its script's calls may carry, checked in one place.

A page is any program that can post JSON: each value may be of any type, size and meaning. Here it
becomes values of the right types, or an error that has a sentence for the field and never repeats
what was sent, which may be a token. Whose a conversation is, and whether it is there, is the
service's business; what a setting's range is, is `GenerationConfig`'s.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from chat_ui.chat.generation import MAX_NEW_TOKENS, GenerationConfig, check_new_tokens
from chat_ui.chat.imports import encodable
from chat_ui.errors import ChatUIError, InvalidRequestError, NotFoundError

# What the service refuses in words of its own may come this far.
TEXT_CHARS: Final = 1_000_000
# Longer ones are no path, no token and no words to search for.
MODEL_CHARS: Final = 4096
TOKEN_CHARS: Final = 512
SEARCH_CHARS: Final = 200
MAX_CONTEXT_TOKENS: Final = 2**31


def _of_box(value: Any) -> Any:
    if value is None:
        return ""  # as an empty box of Gradio's may be
    # Half of an emoji, which a browser lets one type, is no reason to refuse the rest.
    return encodable(value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    # JSON has one kind of number: 512 may come as 512.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seed(value: Any) -> Any:
    if not isinstance(value, str):
        return _whole(value)
    text = value.strip()
    # isascii, because int() also takes digits of other scripts. Anything else is refused by name.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text or None


def _lines(value: Any) -> Any:
    # Only "\n": a stop string may hold any other white space.
    text = _of_box(value)
    return tuple(line for line in text.split("\n") if line) if isinstance(text, str) else text


# As `history.rows.new_id` makes them: 128 random bits, and "t" before those of temporary chats.
Id = Annotated[str, Field(pattern=r"^t?[0-9a-f]{0,32}$"), BeforeValidator(_of_box)]
Text = Annotated[str, Field(max_length=TEXT_CHARS), BeforeValidator(_of_box)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[int | None, BeforeValidator(_seed)]
Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]
Tokens = Annotated[int, Field(gt=0, le=MAX_CONTEXT_TOKENS)]


class Event(BaseModel):
    """Nothing at all; others add what they carry."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Sampling(Event):
    """The generation settings; `GenerationConfig` says what they are."""

    temperature: Number
    top_p: Number
    max_new_tokens: Whole
    top_k: Whole
    min_p: Number
    repetition_penalty: Number
    seed: Seed
    stop: Lines
    assisted: bool

    @property
    def config(self) -> GenerationConfig:
        """The settings as an answer is sampled with them."""
        return GenerationConfig(**{name: getattr(self, name) for name in Sampling.model_fields})

    @model_validator(mode="after")
    def _is_in_range(self, info: ValidationInfo) -> Self:
        # First: its sentence has to name this server's limit, and not that of every server.
        most = (info.context or {}).get("new_tokens", MAX_NEW_TOKENS)
        check_new_tokens(self.max_new_tokens, most)
        _ = self.config  # refuses in words of its own
        return self


class Answering(Sampling):
    """Regenerate and Continue.

    Attributes:
        conversation: which; "" is a new one.
        shown: the last message that the page shows; "" where it knows of none.
        system_prompt: the panel's.
        begins_with: how the answer shall begin.
        thinking: whether to think first, where the model can be told.
    """

    conversation: Id
    shown: Id
    system_prompt: Text
    begins_with: Text
    thinking: bool | None


class Sending(Answering):
    """Send.

    Attributes:
        text: the message.
        edited: the question that it is another version of; "" for a new one.
        temporary: whether a conversation that it begins is kept in memory only.
    """

    text: Text
    edited: Id
    temporary: bool


class Conversation(Event):
    """Opening one, or ending the answer that is written in it."""

    conversation: Id


class Listed(Event):
    """One of the list: deleting it, bringing it back."""

    id: Id


class Renaming(Listed):
    """Another title."""

    title: Text


class Pinning(Listed):
    """Above the others, or back among them."""

    is_pinned: bool


class Export(Event):
    """Conversations as a file: one, or with "" all."""

    id: Id = ""
    form: Annotated[str, Field(pattern=r"^(json|markdown)$")]


class Search(Event):
    """Words to search for in conversations."""

    text: Text


class HubSearch(Event):
    """Words to search for among the Hub's models."""

    text: Annotated[str, Field(max_length=SEARCH_CHARS)]


class OneMessage(Event):
    """One message of a conversation."""

    conversation: Id
    message: Id


class EditedMessage(OneMessage):
    """What an answer says from now on."""

    text: Text


class Bars(Event):
    """The bars of the newest messages, so many as are shown."""

    conversation: Id
    shown: Annotated[int, Field(ge=0)]


class Draft(Event):
    """What is typed, and would be sent with these settings."""

    conversation: Id = ""
    edited: Id = ""
    draft: Text = ""
    system_prompt: Text = ""
    begins_with: Text = ""
    max_new_tokens: int | None = None
    thinking: bool = False


class Seen(Event):
    """What a page shows: its conversation, None where it doesn't know it yet, and its list."""

    conversation: Id = ""
    list: Annotated[str, Field(max_length=64)] = ""


class PresentCard(Event):
    """The card of the server's model, for so many tokens; None for the usual ones."""

    context: Tokens | None = None


class Model(Event):
    """A model: an id or a path. A token of the Hub goes to this call alone."""

    model: Annotated[str, Field(max_length=MODEL_CHARS, pattern=r"\S")]
    token: Annotated[str, Field(max_length=TOKEN_CHARS)] = ""


class Card(Model, PresentCard):
    """A model in full."""


class Switch(Model):
    """A model to load, in a precision; `anyway` where memory may be too short."""

    precision: Annotated[str, Field(max_length=TOKEN_CHARS)]
    anyway: bool = False


class Closing(Event):
    """The stop switch: whether only the owner is let in."""

    is_closed: bool


_SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "text": ("This is no text, or a very long one.", "Type it into its box, or send it in parts."),
    "title": ("This is no title.", "Type it into its box."),
    "draft": ("This is no text, or a very long one.", "Type it into its box."),
    "system_prompt": ("The system prompt is no text, or very long.", "Type it into its box."),
    "begins_with": (
        "The beginning of the answer is no text, or very long.",
        "Type it into its box.",
    ),
    "thinking": ("Thinking is either on or off.", "Set it in its panel."),
    "temporary": ("A chat is either temporary or not.", "Reload the page."),
    "is_pinned": ("A conversation is either pinned or not.", "Reload the page."),
    "is_closed": ("The chat is either paused or not.", "Reload the page."),
    "form": ("There is no such kind of file.", "Choose one of the menu."),
    "context": ("This is no context.", "Choose one from the list."),
    "model": ("Nothing is chosen.", "Choose a model, or type a path."),
    "token": ("This is no token of the Hub.", "Copy it again from your account there."),
    "precision": ("There is no such precision.", "Choose one of the list."),
    "anyway": ("This can't be taken.", "Reload the page."),
    "list": ("The page's list isn't known.", "Reload the page."),
    "shown": ("The page's place in the conversation isn't known.", "Reload the page."),
}
_SETTINGS: Final = {
    "temperature": "Temperature",
    "top_p": "Top-p",
    "max_new_tokens": "Max new tokens",
    "top_k": "Top-k",
    "min_p": "Min-p",
    "repetition_penalty": "Repetition penalty",
    "seed": "Seed",
    "stop": "Stop strings",
    "assisted": "Assisted generation",
}
_UNKNOWN: Final = ("The page sent something that isn't known here.", "Reload the page.")
# A foreign id, an unknown one and none at all answer alike.
_IDS: Final = frozenset({"conversation", "edited", "id", "message"})

Carried = TypeVar("Carried", bound=Event)


def checked(kind: type[Carried], given: object, new_tokens: int = MAX_NEW_TOKENS) -> Carried:
    """What was sent, as values of the right types.

    Args:
        kind: what it has to be.
        given: names and values; None is none of them.
        new_tokens: the most that an answer may be asked for.

    Raises:
        InvalidRequestError: a value is of the wrong type or too long, or there is a name too many
            or too few. What it was is not said.
        NotFoundError: an id is none.
    """
    try:
        return kind.model_validate(
            {} if given is None else given, context={"new_tokens": new_tokens}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    raise _refusal(problem["loc"], kind)


def _refusal(place: tuple[int | str, ...], kind: type[Event]) -> ChatUIError:
    # Only our own names: one that is not known may be anything.
    name = str(place[0]) if place and place[0] in kind.model_fields else ""
    if name in _IDS:
        return NotFoundError()
    if name in _SETTINGS:
        return InvalidRequestError(
            f"{_SETTINGS[name]} can't be set to this.", "Set it in its panel."
        )
    return InvalidRequestError(*_SENTENCES.get(name, _UNKNOWN))
