"""A wire between browser and server that a test can cut.

A browser that is set offline keeps the streams that it has, so it shows nothing of a lost
connection.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
ENDS_S = 10.0


class Relay:
    """Passes bytes on to a server, in both directions, until it is cut.

    Args:
        url: the server's.

    Attributes:
        url: where the same is had through this wire.
    """

    def __init__(self, url: str) -> None:
        self._to = (HOST, urlsplit(url).port or 0)
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._wires: set[_Wire] = set()
        self._lost: set[_Wire] = set()  # nothing mends them
        self._is_cut = False
        self._is_stalled = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_closed = True
        with suppress(OSError), socket.create_connection(self._listener.getsockname()):
            pass  # wakes the one who waits for connections
        self._thread.join(ENDS_S)
        self._listener.close()
        for wire in self._wires | self._lost:
            wire.break_off()
            wire.thread.join(ENDS_S)

    def cut(self) -> None:
        """Break all connections, and new ones at once."""
        with self._lock:
            self._is_cut = True
            for wire in self._wires:
                wire.break_off()

    def lose(self) -> None:
        """As when a network is gone: the connections are silent for ever, and new ones fail."""
        with self._lock:
            self._is_cut = True
            for wire in self._wires:
                wire.flows.clear()
            self._lost |= self._wires
            self._wires = set()

    def stall(self) -> None:
        """Pass nothing on for a while; the bytes come when it is mended."""
        with self._lock:
            self._is_stalled = True
            for wire in self._wires:
                wire.flows.clear()

    def mend(self) -> None:
        """Pass bytes on again, and let new connections through."""
        with self._lock:
            self._is_cut = self._is_stalled = False
            for wire in self._wires:
                wire.flows.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            with self._lock:
                if self._is_cut or self._is_closed:
                    near.close()
                    if self._is_closed:
                        return
                    continue
                wire = _Wire(near, socket.create_connection(self._to))
                if self._is_stalled:
                    wire.flows.clear()
                self._wires.add(wire)


class _Wire:
    """One connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = near, far
        self.flows = threading.Event()
        self.flows.set()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def break_off(self) -> None:
        self.flows.set()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        near, far = self._ends
        back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
        back.start()
        self._pass(near, far)
        back.join()
        near.close()
        far.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self.flows.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
