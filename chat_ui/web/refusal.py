"""What is answered to a request that comes too often, or while too many are here."""

import math

from starlette.responses import PlainTextResponse


def refusal(status: int, sentence: str, wait_s: float) -> PlainTextResponse:
    """A refusal that says when to ask again.

    Args:
        status: 429 where it is the visitor's own doing, 503 where it is not.
        sentence: for whoever reads it.
        wait_s: until then, in seconds.
    """
    headers = {"retry-after": str(math.ceil(wait_s))}
    return PlainTextResponse(f"{sentence}\n", status, headers)
