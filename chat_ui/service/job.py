"""What is asked of an answer, and what the thread that gets it written has to know: values."""

from dataclasses import dataclass, field

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Numbers
from chat_ui.chat.recipe import Recipe


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """What the page's panels say of the next answer, and who asks for it.

    Attributes:
        system_prompt: the conversation's from now on.
        config: how it is sampled.
        begins_with: the text that it is made to begin with.
        thinking: whether to think first, where the model's template has a switch; None leaves it to
            the template.
        is_owner: the server's owner asks, who is let in where visitors are not.
        address: where it is asked from; "" where that is not known.
    """

    system_prompt: str = ""
    config: GenerationConfig = field(default_factory=GenerationConfig)
    begins_with: str = ""
    thinking: bool | None = None
    is_owner: bool = False
    address: str = field(default="", repr=False)

    @property
    def recipe(self) -> Recipe:
        """What the answer remembers of them."""
        return Recipe(self.system_prompt, self.config, self.begins_with, self.thinking)


@dataclass(frozen=True, slots=True)
class Job:
    """What a reply's thread needs to know.

    Attributes:
        owner: whose conversation.
        question_id: the message to answer.
        options: how; `options.config.seed` is a number.
        sent_at: when it was asked for, monotonic clock in seconds.
        earlier: of the answer that it goes on with, if it does.
    """

    owner: str
    question_id: str
    options: ReplyOptions
    sent_at: float
    earlier: Numbers | None = None
