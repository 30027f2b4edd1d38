"""What one visitor, and all visitors, may ask of this server: by the door that they come through.

Each limit is a flag and a variable of its own name: `message_chars` is `--max-message-chars` and
`CHAT_UI_MAX_MESSAGE_CHARS`. Nothing is enforced here.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

Door = Literal["local", "space", "share"]
"""How visitors come: on this machine, on a Hugging Face Space, or through a shared public link."""

DOORS: Final[tuple[Door, ...]] = ("local", "space", "share")

# Of what all have together, one address has a third at most: who asks in a loop keeps out nobody
# else.
ADDRESS_SHARE: Final = 3

# What is kept for hours gives way sooner where the room of all is nearly full, or a few visitors
# with much would keep everybody else from writing for a day.
HOURS_WHERE_FULL: Final = 1


def of_one_address(in_all: int) -> int:
    """How much of what all have together one address may have; 0 where there is no limit."""
    return max(1, in_all // ADDRESS_SHARE) if in_all else 0


def _limit(meaning: str, *, can_be_off: bool = False) -> int:
    # No defaults: LIMITS names all of them for each door, side by side.
    return field(metadata={"meaning": meaning, "can_be_off": can_be_off})  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits. Where 0 can be given, it stands for no limit.

    The metadata of each field holds its `meaning`, and whether it `can_be_off`.
    """

    message_chars: int = _limit("longest message or system prompt, in characters")
    new_tokens: int = _limit("longest answer, in tokens")
    answer_seconds: int = _limit("longest time that an answer is written", can_be_off=True)
    replies: int = _limit("answers written at once, in all")
    replies_per_visitor: int = _limit("answers written at once, of one visitor")
    waiting: int = _limit("answers waiting for their turn, in all")
    waiting_per_visitor: int = _limit("answers waiting, of one visitor")
    turns_per_minute: int = _limit("answers begun in a minute, in all", can_be_off=True)
    turns_per_minute_per_visitor: int = _limit(
        "answers begun in a minute, of one visitor", can_be_off=True
    )
    visitors_per_minute: int = _limit("new visitors in a minute", can_be_off=True)
    conversations_per_visitor: int = _limit("conversations kept for one visitor", can_be_off=True)
    kept_mb_per_visitor: int = _limit(
        "megabytes of conversations kept for one visitor", can_be_off=True
    )
    kept_mb: int = _limit(
        "megabytes of conversations kept, in all; as many of temporary ones in memory",
        can_be_off=True,
    )
    files_per_minute_per_visitor: int = _limit(
        "files exported or imported in a minute, of one visitor", can_be_off=True
    )
    sessions: int = _limit("open pages whose state Gradio keeps in memory")
    connections: int = _limit("requests open at once, in all")
    connections_per_visitor: int = _limit("requests open at once, of one visitor")
    body_bytes: int = _limit("longest request")
    import_bytes: int = _limit("longest file of conversations that is imported")
    kept_hours: int = _limit(
        "conversations that nobody used for so long are deleted", can_be_off=True
    )


LIMITS: Final[dict[Door, Limits]] = {
    "local": Limits(
        message_chars=32_000,
        new_tokens=4096,
        answer_seconds=0,
        replies=64,
        replies_per_visitor=4,
        waiting=64,
        waiting_per_visitor=8,
        turns_per_minute=0,
        turns_per_minute_per_visitor=0,
        visitors_per_minute=0,
        conversations_per_visitor=0,
        kept_mb_per_visitor=0,
        kept_mb=0,
        files_per_minute_per_visitor=0,
        sessions=500,
        connections=1024,
        connections_per_visitor=256,
        body_bytes=256 * 1024,
        import_bytes=100_000_000,
        kept_hours=0,
    ),
    "space": Limits(
        message_chars=8000,
        new_tokens=1024,
        answer_seconds=120,
        replies=16,
        replies_per_visitor=1,
        waiting=32,
        waiting_per_visitor=1,
        turns_per_minute=120,
        turns_per_minute_per_visitor=10,
        visitors_per_minute=60,
        conversations_per_visitor=200,
        kept_mb_per_visitor=20,
        kept_mb=2000,
        files_per_minute_per_visitor=12,
        sessions=500,
        connections=512,
        connections_per_visitor=16,
        body_bytes=256 * 1024,
        import_bytes=5_000_000,
        kept_hours=24,
    ),
    "share": Limits(
        message_chars=8000,
        new_tokens=512,
        answer_seconds=120,
        replies=8,
        replies_per_visitor=1,
        waiting=16,
        waiting_per_visitor=1,
        turns_per_minute=60,
        turns_per_minute_per_visitor=10,
        visitors_per_minute=30,
        conversations_per_visitor=50,
        kept_mb_per_visitor=20,
        kept_mb=1000,
        files_per_minute_per_visitor=12,
        sessions=200,
        connections=512,
        connections_per_visitor=16,
        body_bytes=256 * 1024,
        import_bytes=5_000_000,
        kept_hours=24,
    ),
}
