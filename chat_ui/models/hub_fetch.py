"""Brings one file of the Hub into its cache: goes on where it stopped, and checks what arrived.

The Hub client would do neither (huggingface_hub 2.4, `_download_to_tmp_and_move`): a file that did
not arrive whole is thrown away, and with shards of 5 GB that is an evening's download. It finds the
finished blob later and makes the links to it. Plain HTTP is used, whose pieces can be asked for;
Xet's client begins anew as well.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from chat_ui.errors import HubError, LoadCancelledError, ModelError
from chat_ui.models import hub_errors, hub_files
from chat_ui.models.hub_files import HubFile

# Between two pieces of a file.
PIECE_TIMEOUT_S: Final = 20.0
# Waited before each new try; a try that brought something starts them again.
PAUSES_S: Final = (1.0, 2.0, 4.0)

_READ_BYTES: Final = 2**20
_LOCK_TIMEOUT_S: Final = 1.0


class Meter:
    """Counts what is here of the files; its methods may be called from any thread.

    Attributes:
        total_bytes: of all files.
        here_bytes: of them that are here.
        moved_bytes: fetched or checked so far; it stands still only when nothing is done.
    """

    def __init__(self, total_bytes: int = 0) -> None:
        self._lock = threading.Lock()
        self.total_bytes = total_bytes
        self.here_bytes = 0
        self.moved_bytes = 0

    def add(self, size: int, *, fetched: bool = False) -> None:
        """Count bytes as here; negative ones are no longer."""
        with self._lock:
            self.here_bytes += size
            self.moved_bytes += size if fetched else 0

    def checked(self, size: int) -> None:
        """Count bytes that were read to check them."""
        with self._lock:
            self.moved_bytes += size


def fetch_file(
    model_id: str,
    commit: str,
    file: HubFile,
    headers: Mapping[str, str],
    meter: Meter,
    stop: threading.Event,
) -> None:
    """Bring a file into the cache's blobs, unless it is there; what has arrived before is used.

    Args:
        model_id: whose file it is.
        commit: the revision.
        file: one that has a hash.
        headers: of the requests.
        meter: counts it.
        stop: once set, the file is left as it is.

    Raises:
        LoadCancelledError: `stop` was set.
        ModelError: another program fetches it, or it arrived with other bytes than the Hub
            announced; nothing of those is kept.
        Exception: what the connection or the disk raised in the last try.
    """
    whole = hub_files.blob(model_id, file)
    places = (whole, hub_files.in_snapshot(model_id, commit, file))
    if any(place.is_file() and hub_files.size_of(place) == file.size_bytes for place in places):
        meter.add(file.size_bytes)
        return
    with _locked(model_id, file), _Arriving(hub_files.partial(model_id, file), file, meter) as part:
        _fill(part, _Source(model_id, commit, file, headers, stop))
        if not part.is_intact:
            part.discard()
            raise HubError(
                f"{file.name} of {model_id} arrived damaged.", "Try again: it is fetched anew."
            )
        part.keep_as(whole)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a file is fetched from, and how."""

    model_id: str
    commit: str
    file: HubFile
    headers: Mapping[str, str]
    stop: threading.Event

    @property
    def url(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.model_id}/resolve/{self.commit}/{quote(self.file.name)}"


class _Arriving:
    """What has arrived of a file: on the disk, with its hash so far."""

    def __init__(self, path: Path, file: HubFile, meter: Meter) -> None:
        self._path, self._file, self._meter = path, file, meter
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab+")
        self.size = 0
        self._digest = _digest(file)

    def __enter__(self) -> "_Arriving":
        self._stream.seek(0)
        while piece := self._stream.read(_READ_BYTES):
            self._count(piece)
            self._meter.add(len(piece))
            self._meter.checked(len(piece))
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()

    @property
    def is_intact(self) -> bool:
        """Whether these are the bytes that the Hub announced."""
        is_whole = self.size == self._file.size_bytes
        return is_whole and self._digest.hexdigest() == self._file.hash

    def append(self, piece: bytes) -> None:
        self._stream.write(piece)
        self._stream.flush()  # this process may be killed at any moment
        self._count(piece)
        self._meter.add(len(piece), fetched=True)

    def restart(self) -> None:
        """Forget what has arrived."""
        self._stream.truncate(0)
        self._meter.add(-self.size)
        self.size = 0
        self._digest = _digest(self._file)

    def discard(self) -> None:
        self.restart()
        self._stream.close()
        self._path.unlink()

    def keep_as(self, whole: Path) -> None:
        self._stream.close()
        self._path.replace(whole)

    def _count(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size += len(piece)


def _fill(part: _Arriving, source: _Source) -> None:
    """Ask for what is missing until nothing is, or nothing comes any more."""
    import httpx2

    pauses = iter(PAUSES_S)
    while part.size < source.file.size_bytes:
        before = part.size
        try:
            _receive(part, source)
        except (httpx2.TransportError, httpx2.HTTPStatusError):
            pauses = iter(PAUSES_S) if part.size > before else pauses
            pause_s = next(pauses, None)
            if pause_s is None:
                raise
            if source.stop.wait(pause_s):
                raise LoadCancelledError from None
        else:
            if part.size <= before:
                return


def _receive(part: _Arriving, source: _Source) -> None:
    """One request for what is missing."""
    from huggingface_hub import get_session

    headers = {**source.headers, "accept-encoding": "identity"}
    if part.size:
        headers["range"] = f"bytes={part.size}-"
    with get_session().stream(
        "GET", source.url, headers=headers, timeout=PIECE_TIMEOUT_S
    ) as response:
        if response.status_code == 416:
            return  # the Hub has no more of it
        if response.status_code >= 500:
            response.raise_for_status()
        if not response.is_success:
            raise hub_errors.refusal(source.model_id, response.status_code, response.headers)
        if part.size and response.status_code != 206:
            part.restart()  # it sends the whole file
        for piece in response.iter_bytes():
            if source.stop.is_set():
                raise LoadCancelledError
            part.append(piece)
            if part.size > source.file.size_bytes:
                return


def _digest(file: HubFile) -> "hashlib._Hash":
    """Counts the hash that the Hub gives of a file.

    Source: git's SHA-1 of a blob is that of "blob SIZE", a zero byte and the content: Pro Git,
    "Git Objects"; the Hub's for large files is that of git-lfs, SHA-256 of the content.
    """
    if len(file.hash) == 64:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)


@contextmanager
def _locked(model_id: str, file: HubFile) -> Iterator[None]:
    """Keeps other programs from fetching the same file meanwhile: the lock is the Hub client's."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    locks = hub_files.cache_folder() / ".locks" / hub_files.repository_folder(model_id).name
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with WeakFileLock(locks / f"{file.hash}.lock", timeout=_LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise ModelError(
            f"Another program is downloading {model_id}.",
            "Wait until it has ended, then try again.",
        ) from None
