"""What visitors are told of what becomes of their words: a box before they write, and a page.

What is said here is a promise: whatever keeps, shows or deletes words has to keep it.
"""

from collections.abc import Callable
from html import escape
from typing import Final

from chat_ui.limits import HOURS_WHERE_FULL
from chat_ui.settings import Settings
from chat_ui.ui.texts import Texts, texts_in

# No script and nothing of elsewhere. The colours are those of `theme.py`.
_PAGE: Final = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} &ndash; chat_ui</title>
<style>
:root {{ color-scheme: light dark; --paper: #faf9f7; --ink: #1c1b1a; --accent: #10706a; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #141413; --ink: #e9e6e1; --accent: #48a79f; }}
}}
body {{ max-width: 42rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1.0625rem/1.6 "Source Sans Pro", system-ui, sans-serif; }}
h1 {{ margin: 1.5rem 0 0.25rem; font-size: 2.1rem; line-height: 1.2; }}
h2 {{ margin: 2rem 0 0.25rem; font-size: 1.2rem; }}
p {{ margin: 0.35rem 0; }}
a {{ color: var(--accent); }}
</style>
</head>
<body>
<nav><a href="./">{back}</a></nav>
<main>
<h1>{name}</h1>
<p>{intro}</p>
{sections}
</main>
</body>
</html>
"""


def box(settings: Settings) -> str:
    """Fixed HTML of what strangers are told before they write; "" at home, where none come."""
    if not settings.is_public:
        return ""
    told = [f'<span data-text="{_stored(settings)}"></span>']
    if settings.opens_tunnel:
        told.append('<span data-text="privacy.relay"></span>')
    if settings.limits.kept_hours:
        hours = f'data-count="{settings.limits.kept_hours}"'
        told.append(f'<span data-text="privacy.hours" {hours}></span>')
    elif not settings.disk_vanishes:
        told.append('<span data-text="privacy.for_ever"></span>')
    told.append('<span data-text="privacy.operator"></span>')
    told.append('<span data-text="privacy.wrong"></span>')
    told.append('<a href="privacy" data-text="privacy.name"></a>')
    # A link's owner is the one whose computer it is; what is said of a Space is news to its owner.
    to = ' class="to-visitors"' if settings.door == "share" else ""
    return (
        f'<section id="privacy"{to} aria-labelledby="privacy-heading">'
        '<h2 id="privacy-heading" data-text="privacy.before"></h2>'
        f"<p>{' '.join(told)}</p></section>"
    )


def policy_page(settings: Settings) -> Callable[[str], str]:
    """The whole page as HTML, in the language of the Accept-Language header that it is given."""

    def page(accepted: str) -> str:
        say = texts_in(accepted)
        sections = [
            f"<h2>{escape(say(heading))}</h2>\n"
            + "\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
            for heading, sentences in _sections(settings, say)
        ]
        return _PAGE.format(
            lang=say.tag,
            name=escape(say("policy.name")),
            back=escape(say("policy.back")),
            intro=escape(say("policy.intro")),
            sections="\n".join(sections),
        )

    return page


def _how_long(settings: Settings, say: Texts) -> list[str]:
    limits = settings.limits
    if not limits.kept_hours:
        return [say("policy.for_ever")]
    is_shortened = limits.kept_mb and limits.kept_hours > HOURS_WHERE_FULL
    return [say("policy.hours", limits.kept_hours), *([say("policy.full")] if is_shortened else [])]


def _sections(settings: Settings, say: Texts) -> list[tuple[str, list[str]]]:
    """Each section's heading, by its key, and its sentences."""
    is_public = settings.is_public
    kept = [say("policy.kept_text"), say("policy.temporary")]
    if is_public:
        kept.append(say("policy.address"))
    if settings.oauth:
        kept.append(say("policy.login"))
    where = [say(_where(settings))]
    if settings.opens_tunnel:
        where.append(say("policy.relay"))
    not_done = [say("policy.no_training")]
    if is_public:
        not_done.append(say("policy.no_logs"))
    return [
        ("policy.kept", kept),
        ("policy.where", where),
        (
            "policy.how_long",
            [
                *_how_long(settings, say),
                say("policy.deleted"),
            ],
        ),
        ("policy.who", [say("policy.who_public" if is_public else "policy.who_local")]),
        ("policy.what_not", not_done),
        ("policy.yours", [say("policy.yours_text")]),
        ("policy.wrong", [say("policy.wrong_text")]),
    ]


def _stored(settings: Settings) -> str:
    if settings.door == "share":
        return "privacy.stored_share"
    return "privacy.stored_space" if settings.disk_vanishes else "privacy.stored_lasting"


def _where(settings: Settings) -> str:
    if settings.door == "local":
        return "policy.where_local"
    if settings.door == "share":
        return "policy.where_share"
    return "policy.where_space" if settings.disk_vanishes else "policy.where_lasting"
