"""Small models with random weights and a tokenizer of a few words, saved as any model is; a judge on the loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared_router.records import JSON, Target
from shared_router.tables.outcomes import Outcome

WORDS = [f"w{i}" for i in range(40)] + ["lima", "paris", "is", "the", "capital", "user", "assistant", ":"]
SIGNS = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(SIGNS + WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=32,
    )


@pytest.fixture(scope="session")
def saved(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Any], Path]:
    """Saves a model and the tokenizer into a folder of that name."""

    def save(name: str, model: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def answer() -> Callable[..., Outcome]:
    def make(
        response: str = "lima",
        *,
        reference: JSON = None,
        id: str = "1",
        target: Target = "small",
        sample: int = 0,
        prompt: str = "the capital is",
        **more: Any,
    ) -> Outcome:
        return Outcome(id, prompt, target, sample, "m", response, reference, **more)

    return make


@dataclass
class JudgeServer:
    """An OpenAI-compatible endpoint: what was asked, and what is answered.

    Attributes:
        url: Of the endpoint.
        reply: The request's body → the judge's text, an HTTP status, or raw bytes in place of a completion.
        requests: Bodies, in order of arrival.
        keys: The keys that came with them.
    """

    url: str = ""
    reply: Callable[[Mapping[str, Any]], Any] = lambda body: "Verdict: tie"
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def part(body: Mapping[str, Any], name: str) -> str:
        """The text that a request has between the marks of one part."""
        data = str(body["messages"][1]["content"])
        found = re.search(rf"<<<begin {name} (\w{{16}})>>>\n(.*?)\n<<<end {name} \1>>>", data, re.DOTALL)
        assert found, data
        return found[2]


def completion(text: str | None) -> bytes:
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
    return json.dumps(body).encode()


@pytest.fixture
def judge_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    judge = JudgeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.requests.append(body)
                judge.keys.append(self.headers["Authorization"])
            reply = judge.reply(body)
            status = reply if isinstance(reply, int) else 200
            if isinstance(reply, int):
                content = json.dumps({"error": {"message": f"no, {self.headers['Authorization']}"}}).encode()
            else:
                content = reply if isinstance(reply, bytes) else completion(reply)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that leaves in the middle is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
