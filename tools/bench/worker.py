"""The asking side of the pipe: starts a contender's process, and gives every command a deadline."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 300.0
ENDS_S: Final = 10.0


class ContenderError(Exception):
    """A contender can't be measured; the text says why."""


class Worker:
    """One contender in a process of its own.

    Args:
        module: of `tools.bench`; it calls `child.run`.
        log: takes what its libraries print.
        environment: variables beside those of this process.
    """

    def __init__(self, module: str, log: Path, environment: Mapping[str, str]) -> None:
        self.name = module
        self._log = log
        self._failure: str | None = None
        with log.open("ab") as output:
            # A session of its own: a server that it started ends with it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"tools.bench.{module}"],
                cwd=ROOT,
                env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, name: str, *, deadline_s: float = START_S, **arguments: Any) -> dict[str, Any]:
        """Have a command done.

        Args:
            name: of the command.
            deadline_s: seconds after which the process is ended.
            **arguments: what the command takes.

        Raises:
            ContenderError: it failed, took too long, or the process is gone.
        """
        if self._failure is not None:
            raise ContenderError(self._failure)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"name": name, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=deadline_s)
        except queue.Empty:
            raise self._lost(f"{name} took more than {deadline_s:.0f} s") from None
        except OSError:  # the pipe broke
            line = None
        if line is None:
            raise self._lost(f"its process ended during {name}{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(f"{name}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _lost(self, reason: str) -> ContenderError:
        self._failure = reason
        self.close(wait_s=0)
        return ContenderError(reason)

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self, wait_s: float = ENDS_S) -> None:
        """End the process and what it started, by force after `wait_s`; any number of times."""
        self._failure = self._failure or "its process was ended"
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
        process.wait()
        self._reader.join(ENDS_S)
        process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(ENDS_S if error is None else 0)
