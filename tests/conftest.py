"""Doubles that several folders of tests use."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Reply = tuple[int, dict[str, str], Any]
"""HTTP status, further headers, and the body: JSON, or bytes as they are."""


class ChatServer:
    """An OpenAI-compatible endpoint on the loopback interface, which remembers what it was asked.

    Attributes:
        latency: Seconds before each reply.
        replies: Body of a request and how many came before → the reply; None for the usual one.
        asked: Body of each request, in order of arrival.
        keys: What each request had for a key.
        most_at_once: Requests that were being answered together, at most.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.replies: Callable[[dict[str, Any], int], Reply | None] = lambda body, before: None
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    before = len(server.asked)
                    server.asked.append(body)
                    server.keys.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                time.sleep(server.latency)
                with server._lock:
                    server.at_once -= 1
                status, headers, content = server.replies(body, before) or (200, {}, server.completion(body))
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                # a client that was killed does not wait for its answer
                pass

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @staticmethod
    def completion(body: dict[str, Any], *, text: str | None = None, finish: str = "stop") -> dict[str, Any]:
        """The usual reply: it says the model, the last message and the seed; 10 tokens in, 5 out."""
        said = f"{body['model']} to {body['messages'][-1]['content']} #{body.get('seed')}"
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": f"{body['model']}-v1",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said if text is None else text},
                    "finish_reason": finish,
                }
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()
