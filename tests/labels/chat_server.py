"""A real HTTP server with OpenAI's interface for chats, which answers as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(text: str, prompt_tokens: int = 100, completion_tokens: int = 7) -> bytes:
    """A body of the interface."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def labelled(name: str) -> bytes:
    """A body whose message is a well-formed answer."""
    return completion(json.dumps({"label": name}))


class Served:
    """What the server does: `turns` are taken one a request, then `usual` answers.

    A turn is bytes (sent with 200), (status, headers, bytes), a number of seconds to wait before
    the usual answer, "drop" (the connection is closed) or "half" (closed amid the body).
    """

    def __init__(self, usual: Callable[[dict[str, Any]], Any], *turns: Any) -> None:
        self.usual, self.turns = usual, list(turns)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.running = self.most_running = 0
        self.lock = threading.Lock()
        self.url = ""

    def turn(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        with self.lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            return self.turns.pop(0) if self.turns else self.usual(body)


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """The server while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            with served.lock:
                served.running += 1
                served.most_running = max(served.running, served.most_running)
            try:
                self.answer()
            finally:
                with served.lock:
                    served.running -= 1

        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            turn = served.turn(body | {"path": self.path}, dict(self.headers))
            if isinstance(turn, float):
                time.sleep(turn)
                turn = served.usual(body)
            if turn == "drop":
                self.close_connection = True
                return
            given = turn if isinstance(turn, tuple) else (200, {}, turn)
            status, headers, content = (200, {}, b'{"half') if turn == "half" else given
            self.send_response(status)
            length = 1000 if turn == "half" else len(content)
            for name, value in {"Content-Length": str(length), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = True
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:  # a client that went away
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
