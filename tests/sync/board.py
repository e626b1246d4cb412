"""A tiny orchestrator for tests: it stores what the wire contract says, and misbehaves on request."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token-of-tests"


class Board:
    """A server on loopback.

    stored: events in the order in which they were first taken. beats: bodies of heartbeats by producer.
    fault(path, number of the request): None for a proper answer, else (status, headers, JSON body). What the network
    does to a real orchestrator is in `proxy.py`.
    """

    def __init__(self, fault: Callable[[str, int], Any] | None = None, port: int = 0) -> None:
        self.stored: list[dict[str, Any]] = []
        self.beats: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.blobs: dict[str, bytes] = {}
        self.posts = self.duplicates = 0
        self.seen_tokens: set[str] = set()
        self.fault = fault
        self.reject: Callable[[dict[str, Any]], str | None] = lambda event: None
        self._keys: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        board = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                board.seen_tokens.add(self.headers.get("Authorization", ""))
                if self.path.endswith("/v1/events"):
                    board.posts += 1
                fault = board.fault(self.path, board.posts) if board.fault is not None else None
                if isinstance(fault, tuple):
                    self._answer(*fault)
                    return
                self._answer(*board.take(self.path, self.headers, body))

            do_POST = do_PUT = do_GET = _handle

            def _answer(self, status: int, headers: dict[str, str], body: Any) -> None:
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def take(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], Any]:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, {"detail": "no"}
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self._lock:
            if "/v1/producers/" in path:
                self.beats[path.rsplit("/", 1)[1]].append(json.loads(body))
                return 200, {}, {}
            if "/v1/blobs/" in path:
                self.blobs[path.rsplit("/", 1)[1]] = body
                return 200, {}, {}
            return self._events(headers, body)

    def _events(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], Any]:
        assert headers["Content-Type"] == "application/cloudevents-batch+json"
        events = json.loads(body)
        if len(events) > 500 or len(body) > 1 << 20:
            return 413, {}, {"detail": "too large"}
        accepted, duplicates, rejected = 0, 0, []
        for index, event in enumerate(events):
            reason = self.reject(event)
            key = event["source"], event["sequence"]
            if reason is not None:
                rejected.append({"index": index, "id": event["id"], "reason": reason})
            elif key in self._keys:
                duplicates += 1
            else:
                self._keys.add(key)
                self.stored.append(event)
                accepted += 1
        self.duplicates += duplicates
        return 200, {}, {"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "next": {}}

    def wait(self, count: int, timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while len(self.stored) < count:
            assert time.monotonic() < deadline, f"{len(self.stored)} of {count} events arrived"
            time.sleep(0.005)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
