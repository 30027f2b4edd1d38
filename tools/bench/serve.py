"""A contender: `transformers serve`, asked over HTTP as a page would, with streaming.

    python -m tools.bench.serve    # serves commands, see child.py

The server is a process below this one, which only reads its streams and never imports torch.
"""

import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tools.bench import child

_HOST: Final = "127.0.0.1"
_START_S: Final = 240.0
_READ_S: Final = 240.0
# What `transformers serve` imports beyond the app's requirements.
_NEEDS: Final = ("openai", "fastapi", "uvicorn")
# Its own choice of a cache's size is meant for the memory of a GPU.
_BATCHING: Final = (
    "--continuous-batching",
    "--cb-num-blocks=24",  # of 256 tokens
    "--cb-max-batch-tokens=512",
)


class Serve:
    """The server, and its reader."""

    def __init__(self) -> None:
        self._port = 0
        self._folder = ""
        self._server: subprocess.Popen[bytes] | None = None

    def load(self, folder: str, batching: bool) -> child.Json:
        """Start the server with one checkpoint, and wait until it answers.

        Raises:
            RuntimeError: a package is missing, or it did not start.
        """
        missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
        if missing:
            raise RuntimeError(f"needs the package {', '.join(missing)} (make bench installs it)")
        self._folder, self._port = folder, _free_port()
        main = "from transformers.cli.transformers import main; main()"
        flags = ["--host", _HOST, "--port", str(self._port), *(_BATCHING if batching else ())]
        self._server = subprocess.Popen([sys.executable, "-c", main, "serve", folder, *flags])
        ends_at = time.monotonic() + _START_S
        while not self._is_up():
            if self._server.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError("the server did not start")
            time.sleep(0.2)
        return {}

    def answer(self, text: str, tokens: int) -> child.Json:
        """Answer one message with this many tokens; see `child.rate`."""
        started = time.perf_counter()
        return child.rate(started, self._stream(text, tokens), tokens)

    def answers(self, texts: list[str], tokens: int) -> child.Json:
        """Answer messages at once; the seconds until the last is there, and the tokens of all."""
        started = time.perf_counter()
        with ThreadPoolExecutor(len(texts)) as pool:
            arrivals = list(pool.map(lambda text: self._stream(text, tokens), texts))
        seconds = max(times[-1] for times in arrivals) - started
        return {"seconds": seconds, "tokens": sum(map(len, arrivals))}

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def _is_up(self) -> bool:
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _stream(self, text: str, tokens: int) -> list[float]:
        """When each token of an answer came, on the clock of `time.perf_counter`."""
        body = {
            "model": self._folder,
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "temperature": 0.0,
            "max_tokens": tokens,
        }
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=_READ_S)
        arrivals: list[float] = []
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {response.read(300)!r}")
            while line := response.readline():
                if line.startswith(b"data: {"):
                    chunk = json.loads(line.removeprefix(b"data: "))
                    if "error" in chunk:
                        raise RuntimeError(str(chunk["error"]))
                    arrivals += [time.perf_counter()] * _has_text(chunk)
        finally:
            connection.close()
        if len(arrivals) != tokens:
            raise RuntimeError(f"{len(arrivals)} tokens came, not {tokens}")
        return arrivals


def _has_text(chunk: dict[str, Any]) -> bool:
    # One chunk for each token: every word of the random models is a token with a text.
    return any(choice["delta"].get("content") for choice in chunk["choices"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    serve = Serve()
    try:
        child.run({"load": serve.load, "answer": serve.answer, "answers": serve.answers})
    finally:
        serve.close()
