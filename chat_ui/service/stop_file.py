"""The stop switch: while a file named STOP is in the data folder, only the owner is let in.

    touch STOP    closed, and the answers that were being written are stopped and stored
    rm STOP       open again

The file is all there is of it, so that it works from a shell, without this program's help, and
stays closed over a restart.
"""

from pathlib import Path
from typing import Final

from chat_ui.errors import ChatUIError

FILE_NAME: Final = "STOP"


def is_stopped(data_dir: Path) -> bool:
    """Whether the file is in this data folder."""
    return (data_dir / FILE_NAME).exists()


def set_stopped(data_dir: Path, is_stopped: bool) -> None:
    """Make the file or remove it; nothing where that is so already.

    Raises:
        ChatUIError: the data folder can't be written.
    """
    file = data_dir / FILE_NAME
    try:
        if is_stopped:
            file.touch()
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise ChatUIError(
            f"The file {FILE_NAME} can't be written or removed.",
            "Look at the rights of the data folder.",
        ) from error
