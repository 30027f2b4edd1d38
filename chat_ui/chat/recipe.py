"""How an answer was asked for, beside the messages before it: enough to ask for it again."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from chat_ui.chat.generation import GenerationConfig
from chat_ui.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an answer was asked for.

    Attributes:
        system_prompt: the one that was used; the conversation's may have changed since.
        config: how it was sampled; its seed is the one that was drawn.
        given: the text that the answer was made to begin with.
        thinking: whether it was to think first; None left that to the model's template.
    """

    system_prompt: str
    config: GenerationConfig
    given: str = ""
    thinking: bool | None = None

    def with_texts(self, change: Callable[[str], str]) -> "Recipe":
        """The same with every text changed, the stop strings too.

        Args:
            change: keeps a stop string's length within its limits, or GenerationConfig raises.
        """
        return Recipe(
            change(self.system_prompt),
            replace(self.config, stop=tuple(change(text) for text in self.config.stop)),
            change(self.given),
            self.thinking,
        )


def recipe_of(value: object) -> Recipe | None:
    """The recipe that `dataclasses.asdict` made this of, or None where it is none.

    One with a setting that is not known here is none: without it, it would be of another answer.
    Settings that are missing have their defaults.

    Args:
        value: anything that JSON can hold.
    """
    thinking = value.get("thinking") if isinstance(value, dict) else None
    if thinking is not None and not isinstance(thinking, bool):
        return None
    match value:
        case {"system_prompt": str(system_prompt), "config": dict(config), "given": str(given)}:
            stop = config.get("stop", [])
            if not isinstance(stop, list | tuple):
                return None
            try:
                settings = GenerationConfig(**{**config, "stop": tuple(stop)})
            except (TypeError, InvalidRequestError):
                return None
            return Recipe(system_prompt, settings, given, thinking)
    return None
