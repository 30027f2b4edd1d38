"""The page's texts in its five languages, from assets/texts: read once, and nothing but values.

    Gradio's components     key -> `translations`, for gr.I18n
    the page's scripts      key -> `for_page`, as JSON in the head; assets/js/texts.js
    sentences of the server key -> `Texts`, in the language that the request asks for

Which language it is, is Gradio's choice: it looks at the browser's first language alone. Scripts
and server go by the same rule, so that a page is never in two.

A text has `{named}` places. Where a count decides, there is a pair of them, `one` and `other`. What
the layers below the page say, such as their errors, is English; it does not come from here.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "assets" / "texts"
# The first one is for those who read none of them.
LANGUAGES: Final = ("en", "de", "fr", "es", "zh")

# The tables that Gradio's components have their texts from; the page's scripts use them, too.
COMPONENTS: Final = ("controls", "settings")
# Those that the scripts have no need of.
SERVER: Final = (
    "quantity", "status", "note", "details", "line", "card", "policy", "entrance", "login",
)  # fmt: skip

# What Gradio 6.31 calls them; it takes English for any other kind of Chinese, as for Italian.
GRADIO_NAMES: Final = {"zh": ("zh-CN", "zh-TW")}

# (group, decimal): how a language writes 1,234.5. Source: Unicode CLDR. Spanish groups from five
# digits on.
_MARKS: Final = {
    "en": (",", "."),
    "de": (".", ","),
    "fr": ("\u202f", ","),
    "es": (".", ","),
    "zh": (",", "."),
}

Entry = str | dict[str, str]


class Texts:
    """The texts of one language.

    Args:
        language: one of LANGUAGES.
        entries: its texts by their keys, such as "note.stopped".
    """

    def __init__(self, language: str, entries: Mapping[str, Entry]) -> None:
        self.language = language
        self.entries = entries

    @property
    def tag(self) -> str:
        """The language, as HTML's `lang` names it."""
        return "zh-Hans" if self.language == "zh" else self.language

    def __call__(self, key: str, count: int | None = None, /, **places: object) -> str:
        """A text.

        Args:
            key: which.
            count: chooses between `one` and `other`, and fills the place {count}.
            places: what the other places hold.

        Raises:
            KeyError: there is no such text, or it has a place that is not filled.
        """
        entry = self.entries[key]
        if count is not None:
            places["count"] = self.number(count)
        if isinstance(entry, dict):
            entry = entry["one" if count is not None and self._is_one(count) else "other"]
        return entry.format_map(places)

    def number(self, value: float, digits: int = 0) -> str:
        """A number with so many digits behind the decimal mark, as the language writes it."""
        group, decimal = _MARKS[self.language]
        plain = f"{value:,.{digits}f}"
        if self.language == "es" and abs(value) < 10_000:
            plain = plain.replace(",", "")
        return plain.translate({ord(","): group, ord("."): decimal})

    def short(self, value: float) -> str:
        """A number with the digits it has, up to six: 0.95, 1, 0.5."""
        return f"{value:g}".replace(".", _MARKS[self.language][1])

    def precision(self, name: str) -> str:
        """A precision's name: "Full", "8-bit"; one that isn't known any more as it is stored."""
        return self(key) if (key := f"precision.{name}") in self.entries else name

    def _is_one(self, count: int) -> bool:
        return count == 1 or (count == 0 and self.language == "fr")


@lru_cache(maxsize=len(LANGUAGES))
def texts(language: str) -> Texts:
    """The texts of one of LANGUAGES."""
    file = FOLDER / f"{language}.toml"
    return Texts(language, dict(_flat(tomllib.loads(file.read_text("utf-8")))))


def texts_for(request: Any) -> Texts:
    """The texts in the language of whoever asks.

    Args:
        request: Gradio's request, or the plain one that a server function gets.
    """
    headers = getattr(getattr(request, "request", request), "headers", None) or {}
    return texts_in(headers.get("accept-language") or "")


def texts_in(accepted: str) -> Texts:
    """The texts for an Accept-Language header, which may be empty."""
    return texts(language_of(accepted))


def language_of(accepted: str) -> str:
    """The one of LANGUAGES that Gradio has chosen in a browser that sends this Accept-Language.

    Browsers begin it with the language of `navigator.language`.
    """
    first = re.split("[,;]", accepted, maxsplit=1)[0].strip()
    for language in LANGUAGES:
        if {first, first.split("-")[0]} & set(_gradio_names(language)):
            return language
    return LANGUAGES[0]


def translations() -> dict[str, dict[str, str]]:
    """The texts of Gradio's components, for gr.I18n, by what Gradio calls the languages."""
    return {
        name: {
            key: text
            for key, text in texts(language).entries.items()
            if key.split(".")[0] in COMPONENTS and isinstance(text, str)
        }
        for language in LANGUAGES
        for name in _gradio_names(language)
    }


def for_page() -> str:
    """What assets/js/texts.js reads, as JSON that may stand in a `<script>`."""
    value = {
        language: {
            key: text
            for key, text in texts(language).entries.items()
            if key.split(".")[0] not in SERVER
        }
        for language in LANGUAGES
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _gradio_names(language: str) -> tuple[str, ...]:
    return GRADIO_NAMES.get(language, (language,))


def _flat(tables: Mapping[str, Any]) -> list[tuple[str, Entry]]:
    return [(f"{table}.{name}", text) for table, of in tables.items() for name, text in of.items()]


ENGLISH: Final = texts(LANGUAGES[0])
