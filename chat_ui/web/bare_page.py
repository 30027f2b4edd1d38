"""The page of those who don't get the app's own: asked for a key, told to come back later, or how a
login ended.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

_PAGE: Final = """<!doctype html>
<html lang="{lang}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>chat_ui</title>
<style>
  :root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
  main {{ max-width: 26rem; margin: 20vh auto 0; padding: 0 1rem }}
  input, button {{ font: inherit; padding: .5rem .75rem; margin: .25rem 0 }}
  input {{ width: 100%; box-sizing: border-box }}
</style>
<main>
  <h1>chat_ui</h1>
  <p>{sentence}</p>
  {content}
</main>
</html>
"""


class Say(Protocol):
    """The texts of a language, by their keys."""

    @property
    def tag(self) -> str:
        """The language, as HTML's `lang` names it."""

    def __call__(self, key: str, /, **places: object) -> str:
        """A text."""


TextsIn = Callable[[str], Say]
"""Gives the texts for an Accept-Language header."""


def say_in(request: Request, texts_in: TextsIn) -> Say:
    """The texts in the language of whoever asks."""
    return texts_in(request.headers.get("accept-language", ""))


def bare_page(say: Say, key: str, status: int, content: str = "", **places: object) -> Response:
    """A whole page that says one sentence.

    Args:
        say: the visitor's texts.
        key: the sentence's.
        status: the answer's.
        content: HTML below the sentence, with everything escaped that came from elsewhere.
        places: what the sentence has places for.
    """
    html = _PAGE.format(lang=say.tag, sentence=escape(say(key, **places)), content=content)
    return HTMLResponse(html, status, _headers(say))


def bare_text(say: Say, key: str, status: int) -> Response:
    """The same sentence, for what is no page."""
    return PlainTextResponse(say(key) + "\n", status, _headers(say))


def _headers(say: Say) -> Mapping[str, str]:
    return {"vary": "Accept-Language", "content-language": say.tag}
