"""The entrance as the server's owner sees it: who came in, the public link, and the stop switch.

Who is the owner is not decided here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chat_ui.service.stop_file import set_stopped
from chat_ui.web import qr
from chat_ui.web.metrics import Visitors
from chat_ui.web.share import LASTS_AT_MOST


@dataclass(frozen=True, slots=True)
class Link:
    """A public link.

    Attributes:
        url: with the key that it carries.
        ends_at: when it has ended at the latest; None for a Space's address.
    """

    url: str
    ends_at: datetime | None = None

    @classmethod
    def opened(cls, url: str) -> "Link":
        """One that was opened now."""
        return cls(url, datetime.now(UTC) + LASTS_AT_MOST)

    @property
    def image(self) -> str:
        """Its QR code, as an image's address."""
        return qr.as_image(self.url)


class Entrance:
    """What is known of it, from the start to the end.

    Args:
        data_dir: where the stop switch's file is.

    Attributes:
        visitors: who was here lately.
        link: the public one, once it is open.
        has_no_tunnel: one was asked for, and couldn't be had.
    """

    def __init__(self, data_dir: Path) -> None:
        self.visitors = Visitors()
        self.link: Link | None = None
        self.has_no_tunnel = False
        self._data_dir = data_dir

    def visitor_count(self) -> int:
        """How many visitors there were in the last 15 minutes."""
        return self.visitors.count()

    def set_closed(self, is_closed: bool) -> None:
        """Let in only the owner, or everybody again.

        Raises:
            ChatUIError: the data folder can't be written.
        """
        set_stopped(self._data_dir, is_closed)
