"""The real child process around a stand-in for the inference engine."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import psutil
import pytest
from local_models import serve
from local_models.catalogue import QWEN_CODER_0_5B, SMOLLM2_135M
from local_models.serve import ServerError, serving

ENGINE = """
import http.server, os, sys, threading, time
from types import SimpleNamespace


class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


class Server:
    def __init__(self, params):
        name = os.path.basename(params.model.path)
        if name == "broken.gguf":
            sys.exit("this is no model")
        if name == "slow.gguf":
            time.sleep(60)
        assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == 1
        self.server = http.server.ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        threading.Thread(target=self.server.serve_forever).start()
        self.listening_address = "http://127.0.0.1:%d" % self.server.server_port
"""


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "xllamacpp.py").write_text(ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    # a request to this machine that went through a proxy would fail
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")


def children() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "server_process.py" in " ".join(process.cmdline())]


def test_each_model_gets_an_address_of_its_own_until_the_block_ends() -> None:
    with serving([(SMOLLM2_135M, Path("a.gguf")), (QWEN_CODER_0_5B, Path("b.gguf"))]) as urls:
        assert len(set(urls)) == 2
        assert all(url.startswith("http://127.0.0.1:") and url.endswith("/v1") for url in urls)
        assert len(children()) == 2
    assert children() == []


def test_an_error_in_the_block_stops_the_servers() -> None:
    with pytest.raises(KeyboardInterrupt), serving([(SMOLLM2_135M, Path("a.gguf"))]):
        raise KeyboardInterrupt
    assert children() == []


def test_a_model_that_does_not_load_says_why_and_stops_the_other() -> None:
    with (
        pytest.raises(ServerError, match=r"SmolLM2-135M ended with status 1: .*this is no model"),
        serving([(QWEN_CODER_0_5B, Path("b.gguf")), (SMOLLM2_135M, Path("broken.gguf"))]),
    ):
        pass
    assert children() == []


def test_a_model_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "START_SECONDS", 0.5)
    monkeypatch.setattr(serve, "STOP_SECONDS", 0.2)
    with pytest.raises(ServerError, match="is not ready"), serving([(SMOLLM2_135M, Path("slow.gguf"))]):
        pass
    assert children() == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_its_parent(ending: signal.Signals) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {str(Path(serve.__file__).parents[1])!r})
        from pathlib import Path
        from local_models.catalogue import SMOLLM2_135M
        from local_models.serve import serving
        with serving([(SMOLLM2_135M, Path("a.gguf"))]) as urls:
            print(urls[0], flush=True)
            time.sleep(60)
        """
    )
    # a session of its own, so that the signal can be sent to the whole group as a terminal's Ctrl-C is
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert httpx.get(url, trust_env=False).status_code == 200
        os.killpg(parent.pid, ending) if ending is signal.SIGINT else parent.send_signal(ending)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            return
        time.sleep(0.05)
    pytest.fail("the server is still there")
