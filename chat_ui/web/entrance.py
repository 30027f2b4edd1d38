"""The entrance as the server's owner sees it: who came in, the public link, and the stop switch.

Who is the owner is not decided here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chat_ui.errors import ChatUIError
from chat_ui.service.stop_file import FILE_NAME
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
        self._file = data_dir / FILE_NAME

    def visitor_count(self) -> int:
        """How many visitors there were in the last 15 minutes."""
        return self.visitors.count()

    def set_closed(self, is_closed: bool) -> None:
        """Let in only the owner, or everybody again.

        Raises:
            ChatUIError: the data folder can't be written.
        """
        try:
            if is_closed:
                self._file.touch()
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            raise ChatUIError(
                f"The file {FILE_NAME} can't be written or removed.",
                "Look at the rights of the data folder.",
            ) from error
