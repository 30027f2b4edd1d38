"""An answer's details on demand: how it was asked for, and what it took. Nothing but values."""

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message
from chat_ui.ui.quantities import exact_seconds, rate
from chat_ui.ui.texts import ENGLISH, Texts

Details = list[tuple[str, str]]


def details(message: Message, say: Texts = ENGLISH) -> Details:
    """Names and values of all that is known of a message, to be shown as text.

    When it was written is not among them: the page says that, in its own time zone.
    """
    if message.role != "assistant":
        return []
    numbers, recipe = message.numbers, message.recipe
    pace = numbers.decode_tokens_per_s
    # One that failed before a model was there, or waits for one, is neither.
    is_unknown = recipe is None and message.state == "complete"
    found: list[tuple[str, str | None]] = [
        ("details.model", numbers.model or (say("details.no_model") if is_unknown else None)),
        ("details.precision", numbers.precision and say.precision(numbers.precision)),
        ("details.prompt", _tokens(numbers.prompt_tokens, say)),
        ("details.reused", _tokens(numbers.reused_tokens or None, say)),
        ("details.answer", _tokens(numbers.completion_tokens, say)),
        ("details.first_token", _seconds(numbers.first_token_s, say)),
        ("details.thought", _seconds(numbers.thought_s, say)),
        ("details.speed", None if pace is None else say("quantity.rate", rate=rate(pace, say))),
    ]
    if recipe is not None:
        found += _settings(recipe.config, say)
        if recipe.thinking is not None:
            found.append(("details.thinking", _switch(recipe.thinking, say)))
        system_prompt = recipe.system_prompt.strip() or say("details.none")
        found.append(("controls.system_prompt", system_prompt))
        if recipe.given:
            found.append(("details.given", say("details.characters", len(recipe.given))))
    elif numbers.seed is not None:
        found.append(("settings.seed", str(numbers.seed)))
    return [(say(name), value) for name, value in found if value]


def facts(details: Details, say: Texts = ENGLISH) -> str:
    """Who answered, and how fast, on a line: "Qwen3 0.6B · 4-bit · 18 tokens/s · 57 tokens"."""
    told = dict(details)
    names = ("details.model", "details.precision", "details.speed", "details.answer")
    return " · ".join(told[say(name)] for name in names if say(name) in told)


def settings_line(details: Details, say: Texts = ENGLISH) -> str:
    """How it was asked for, on a line."""
    told = dict(details)
    names = (
        "details.first_token", "details.prompt", "settings.temperature", "settings.top_p",
        "settings.seed",
    )  # fmt: skip
    return " · ".join(f"{say(name)} {told[say(name)]}" for name in names if say(name) in told)


def _settings(config: GenerationConfig, say: Texts) -> list[tuple[str, str | None]]:
    penalty = config.repetition_penalty
    return [
        ("settings.temperature", say.short(config.temperature)),
        ("settings.top_p", say.short(config.top_p)),
        ("settings.top_k", f"{config.top_k}" if config.top_k else None),
        ("settings.min_p", say.short(config.min_p) if config.min_p else None),
        ("settings.repetition_penalty", say.short(penalty) if penalty != 1 else None),
        ("settings.max_new_tokens", say.number(config.max_new_tokens)),
        ("settings.stop", ", ".join(map(repr, config.stop)) if config.stop else None),
        ("settings.assisted", _switch(True, say) if config.assisted else None),
        ("settings.seed", None if config.seed is None else str(config.seed)),
    ]


def _switch(is_on: bool, say: Texts) -> str:
    return say("details.on" if is_on else "details.off")


def _tokens(count: int | None, say: Texts) -> str | None:
    return None if count is None else say("quantity.tokens", count)


def _seconds(seconds: float | None, say: Texts) -> str | None:
    return None if seconds is None else exact_seconds(seconds, say)
