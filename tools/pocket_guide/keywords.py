"""Tells right answers from wrong ones by the words that they must contain."""

from collections.abc import Iterable


def has_keywords(answer: str, keywords: Iterable[str]) -> bool:
    """Says whether an answer contains all the keywords of a topic, in any letter case.

    Args:
        answer: The text of an answer.
        keywords: Entries such as "word", "a|b" for either, or "| word", a table's cell.

    Returns:
        True if none is missing.
    """
    text = answer.lower()
    return all(
        any(word in text for word in ([group] if group.startswith("|") else group.split("|")))
        for group in (group.lower() for group in keywords)
    )
