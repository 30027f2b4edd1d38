"""An answer as a Python script that asks transformers for it again.

The script is data turned into code, so every text of it is a literal, and nothing else.
Source: transformers 5.23, `TextGenerationPipeline` and `BitsAndBytesConfig`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage

# As engine/sampler.py, which takes the likeliest token below it.
_GREEDY_BELOW: Final = 1e-3
_CONTINUES: Final = (
    "# The last message is the beginning of the answer; this is what comes after it. chat_ui goes",
    "# on with the whole of it. transformers renders it with the model's chat template: where that",
    "# trims white space or drops a thought, it goes on with what is left, or raises ValueError.",
)


def to_python(
    model: str,
    precision: str,
    messages: Sequence[PromptMessage],
    config: GenerationConfig,
    bitsandbytes: Mapping[str, object] | None = None,
    template: Mapping[str, object] | None = None,
) -> str:
    """A script that repeats an answer with transformers.

    Args:
        model: its name on the Hub, or its folder.
        precision: "full", or a name of a quantization; one that is not bitsandbytes' is loaded in
            full, and a comment says so.
        messages: what the model was shown, the system prompt first if there is one. Where the last
            is the assistant's, the script goes on with it.
        config: its seed is the one that was drawn.
        bitsandbytes: the arguments of the quantization's `BitsAndBytesConfig`; their names are
            Python's, their values literals. None or none where it has none.
        template: what else the chat template was given, as literals too.

    Returns:
        Python that compiles whatever the texts are, and that UTF-8 can encode.
    """
    is_greedy = config.temperature < _GREEDY_BELOW
    is_seeded = config.seed is not None and not is_greedy
    quantization = ", ".join(f"{name}={value!r}" for name, value in (bitsandbytes or {}).items())
    names = [*(["BitsAndBytesConfig"] if quantization else []), "pipeline"]
    lines = [
        "# pip install transformers torch accelerate" + (" bitsandbytes" if quantization else ""),
        f"from transformers import {', '.join([*names, *(['set_seed'] if is_seeded else [])])}",
        "",
        "messages = [",
        *(f"    {_message(message)}," for message in messages),
        "]",
        "",
        *_loading(model, precision, quantization),
        "",
        *_repeats(config, is_greedy=is_greedy),
        *([f"set_seed({config.seed!r})"] if is_seeded else []),
        *(_CONTINUES if messages and messages[-1].role == "assistant" else ()),
        *_asking(config, template or {}, is_greedy=is_greedy),
        'print(answer[0]["generated_text"])',
    ]
    return "\n".join(lines) + "\n"


def _loading(model: str, precision: str, quantization: str) -> list[str]:
    lines = [
        "pipe = pipeline(",
        '    "text-generation",',
        f"    model={_literal(model)},",
        '    dtype="auto",',
        '    device_map="auto",',
    ]
    if quantization:
        config = f"BitsAndBytesConfig({quantization})"
        lines.append(f'    model_kwargs={{"quantization_config": {config}}},')
    elif precision != "full":
        # Only repr: what is in a comment must not end its line.
        lines.insert(0, f"# Not as it was: precision {precision!r} is chat_ui's own.")
    return [*lines, ")"]


def _repeats(config: GenerationConfig, *, is_greedy: bool) -> list[str]:
    """Comments that say how far the script repeats the answer."""
    if is_greedy:
        return [
            "# The likeliest token each time: exactly the same answer in float32, with the same",
            "# weights and versions. In 16 bits or fewer, near ties may fall otherwise.",
        ]
    if config.seed is None:
        return ["# Without a seed, every run gives another answer."]
    return [
        "# The same answer at every run, on the same machine. It is not word for word the one that",
        "# chat_ui wrote: from the same probabilities and seed, transformers draws differently.",
        "# Only an answer of temperature 0 is repeated exactly.",
    ]


def _asking(
    config: GenerationConfig, template: Mapping[str, object], *, is_greedy: bool
) -> list[str]:
    settings: dict[str, object] = {
        "return_full_text": False,
        "max_new_tokens": config.max_new_tokens,
        "do_sample": not is_greedy,
    }
    if not is_greedy:
        # All are said, because a model comes with defaults of its own.
        settings |= {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "top_k": config.top_k,
            "min_p": config.min_p,
        }
    settings["repetition_penalty"] = config.repetition_penalty
    if template:
        settings["tokenizer_encode_kwargs"] = dict(template)
    lines = [f"    {name}={value!r}," for name, value in settings.items()]
    if config.stop:
        lines.append("    # chat_ui ends before these; transformers writes them, too.")
        lines.append(f"    stop_sequence={list(config.stop)!r},")
    return ["answer = pipe(", "    messages,", *lines, ")"]


def _message(message: PromptMessage) -> str:
    return f'{{"role": {_literal(message.role)}, "content": {_literal(message.content)}}}'


def _literal(text: str) -> str:
    """A Python literal that means the text: on several lines where the text is."""
    if "\n" not in text:
        return repr(text)
    written = "".join(
        # A carriage return, for one, would be read as a line feed.
        char if char in "\n\t" or (char.isprintable() and char != "\\") else repr(char)[1:-1]
        for char in text
    )
    if '"""' in written or written.endswith('"'):
        written = written.replace('"', '\\"')
    # The backslash keeps the first line with the others.
    return f'"""\\\n{written}"""'
