"""An answer's details on demand: how it was asked for, and what it took. Nothing but values."""

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message
from chat_ui.ui.quantities import rate

Details = list[tuple[str, str]]

_PRECISIONS = {"full": "Full", "8bit": "8-bit", "4bit": "4-bit"}


def details(message: Message) -> Details:
    """Names and values of all that is known of a message, to be shown as text."""
    if message.role != "assistant":
        return [("Written", _time(message))]
    numbers, recipe = message.numbers, message.recipe
    pace = numbers.decode_tokens_per_s
    found: list[tuple[str, str | None]] = [
        ("Model", numbers.model or "None: the text was edited by hand"),
        ("Precision", numbers.precision and _PRECISIONS.get(numbers.precision, numbers.precision)),
        ("Written", _time(message)),
        ("Prompt", _tokens(numbers.prompt_tokens)),
        ("Reused from a cache", _tokens(numbers.reused_tokens) if numbers.reused_tokens else None),
        ("Answer", _tokens(numbers.completion_tokens)),
        ("First token after", _seconds(numbers.first_token_s)),
        ("Thought for", _seconds(numbers.thought_s)),
        ("Speed", None if pace is None else f"{rate(pace)} tokens/s"),
    ]
    if recipe is not None:
        found += _settings(recipe.config)
        if recipe.thinking is not None:
            found.append(("Thinking", "On" if recipe.thinking else "Off"))
        found.append(("System prompt", recipe.system_prompt.strip() or "None"))
        if recipe.given:
            found.append(("Given to begin with", f"{len(recipe.given):,} characters"))
    elif numbers.seed is not None:
        found.append(("Seed", str(numbers.seed)))
    return [(name, value) for name, value in found if value]


def facts(message: Message) -> str:
    """Who answered, and how fast, on a line: "Qwen3 0.6B · 4-bit · 18 tokens/s · 57 tokens"."""
    told = dict(details(message))
    return _line(told, "Model", "Precision", "Speed", "Answer")


def settings_line(message: Message) -> str:
    """How it was asked for, on a line."""
    told = dict(details(message))
    named = ("First token after", "Prompt", "Temperature", "Top-p", "Seed")
    return " · ".join(f"{name} {told[name]}" for name in named if name in told)


def _line(told: dict[str, str], *names: str) -> str:
    return " · ".join(told[name] for name in names if name in told)


def _settings(config: GenerationConfig) -> list[tuple[str, str | None]]:
    return [
        ("Temperature", f"{config.temperature:g}"),
        ("Top-p", f"{config.top_p:g}"),
        ("Top-k", f"{config.top_k}" if config.top_k else None),
        ("Min-p", f"{config.min_p:g}" if config.min_p else None),
        (
            "Repetition penalty",
            f"{config.repetition_penalty:g}" if config.repetition_penalty != 1 else None,
        ),
        ("Max new tokens", f"{config.max_new_tokens:,}"),
        ("Stop strings", ", ".join(map(repr, config.stop)) if config.stop else None),
        ("Assisted generation", "On" if config.assisted else None),
        ("Seed", None if config.seed is None else str(config.seed)),
    ]


def _time(message: Message) -> str:
    return f"{message.created_at:%Y-%m-%d %H:%M} UTC"


def _tokens(count: int | None) -> str | None:
    return None if count is None else f"{count:,} token" + ("" if count == 1 else "s")


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.2f} s"
