"""The page of those who don't get the app's own: asked for a key, told to come back later, or how a
login ended.
"""

from typing import Final

_PAGE: Final = """<!doctype html>
<html lang="{language}">
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
  {content}
</main>
</html>
"""


def bare_page(content: str, language: str = "en") -> str:
    """A whole page in HTML.

    Args:
        content: HTML below the heading, with everything escaped that came from elsewhere.
        language: of the content.
    """
    return _PAGE.format(content=content, language=language)
