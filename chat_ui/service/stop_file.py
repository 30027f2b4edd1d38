"""The stop switch: while a file named STOP is in the data folder, only the owner is let in.

    touch STOP    closed, and the answers that were being written are stopped and stored
    rm STOP       open again

The file is all there is of it, so that it works from a shell, without this program's help, and
stays closed over a restart.
"""

from pathlib import Path
from typing import Final

FILE_NAME: Final = "STOP"


def is_stopped(data_dir: Path) -> bool:
    """Whether the file is in this data folder."""
    return (data_dir / FILE_NAME).exists()
