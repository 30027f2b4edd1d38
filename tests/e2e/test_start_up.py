"""Starting and ending the process: sentences, exit codes, and what is kept."""

import ctypes
import json
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ROOT, Serve, Server


def run(*flags: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "app.py", "--data-dir", str(data_dir), "--port", "0", *flags],
        cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def assert_one_sentence(ended: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert ended.returncode not in (0, None)
    assert "Traceback" not in ended.stderr + ended.stdout
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]


def test_a_model_path_that_does_not_exist(tmp_path: Path) -> None:
    ended = run("--model", str(tmp_path / "nowhere"), data_dir=tmp_path / "data")
    assert_one_sentence(ended, "There is no model folder", "Give the path")


def test_a_folder_without_safetensors(tmp_path: Path) -> None:
    folder = tmp_path / "pickles"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    ended = run("--model", str(folder), data_dir=tmp_path / "data")
    assert_one_sentence(ended, "pickles has no safetensors files", "safetensors only")


def test_a_broken_config(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    ended = run("--model", str(folder), data_dir=tmp_path / "data")
    assert_one_sentence(ended, "config.json in broken is broken", "again")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = run("--port", str(port), data_dir=tmp_path / "data")
    assert_one_sentence(ended, f"Port {port}", "--port")
    assert not (tmp_path / "data").exists()  # a second start must not touch the first one's data


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert_one_sentence(run(data_dir=tmp_path / "data"))


def test_healthz_says_what_runs(serve: Serve) -> None:
    server = serve("--precision", "8bit")
    server.wait_for(phase="ready")
    health = server.health()
    assert health["status"] == "ok"
    assert health["precision"] == "8bit"
    assert health["model"] == "pocket-guide"
    told = {"status", "version", "model", "precision", "dtype", "phase", "is_closed"}
    assert set(health) == told


def test_the_cookie_and_the_files_are_private(server: Server) -> None:
    page = httpx.get(f"{server.url}/")
    assert "HttpOnly" in page.headers["set-cookie"]
    for file in server.data_dir.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert {file.suffix for file in server.data_dir.iterdir()} >= {".db", ".json"}


@pytest.mark.parametrize("method", ["terminate", "interrupt"])
def test_ending_takes_less_than_five_seconds(serve: Serve, method: str) -> None:
    server = serve()
    server.wait_for(phase="ready")
    if method == "terminate":
        server.process.terminate()
    else:
        server.process.send_signal(2)
    # A deadline, not a measurement: the promise is five seconds.
    assert server.process.wait(5) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="signals one thread by Linux's own call")
def test_a_signal_that_another_thread_gets_ends_the_server_too(serve: Serve) -> None:
    server = serve()
    server.wait_for(phase="ready")
    pid = server.process.pid
    threads = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    (other, *_) = [thread for thread in threads if thread != pid]
    libc = ctypes.CDLL(None, use_errno=True)
    # tgkill, by its number, because older C libraries have no function for it.
    number = {"x86_64": 234, "aarch64": 131}[platform.machine()]
    assert libc.syscall(number, pid, other, int(signal.SIGTERM)) == 0
    assert server.process.wait(5) == 0


def test_importing_the_app_starts_nothing(tmp_path: Path) -> None:
    script = (
        "import json, os, sys, threading\n"
        "import app\n"
        "print(json.dumps({'torch': 'torch' in sys.modules, 'demo': type(app.demo).__name__,"
        " 'files': os.listdir(sys.argv[1]),"
        " 'threads': [t.name for t in threading.enumerate() if not t.daemon]}))\n"
    )
    environ = {**os.environ, "CHAT_UI_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, env=environ, text=True, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(ended.stdout) == {
        "torch": False,
        "demo": "Blocks",
        "files": [],
        "threads": ["MainThread"],
    }


def test_without_the_relay_a_shared_page_is_served_here_and_says_why(serve: Serve) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    server = serve("--share", environ=nowhere)
    server.wait_for(phase="ready")
    server.wait_for_line("No public link could be opened: the network doesn't reach Gradio's")
    assert [line for line in server.lines if "Public link" in line] == []
    for path in ("/", "/gradio_api/queue/data", "/gradio_api/app_id", "/theme.css"):
        assert httpx.get(f"{server.url}{path}").status_code == 401
    (link,) = [line.split(" is at ")[1] for line in server.lines if " is at " in line]
    (owners,) = [line.split("Owner: ")[1] for line in server.lines if "Owner: " in line]
    for one in (link, owners):
        with httpx.Client(base_url=server.url) as visitor:
            entered = visitor.get(one)
            assert (entered.status_code, entered.headers["location"]) == (303, "/")
            config = visitor.get("/").text
            assert "is_fixed" in config
