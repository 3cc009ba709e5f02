"""A server on loopback that answers as live services of carbon intensities do, well and badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from greenflow_ray.energy.carbon.services import ElectricityMapsSource

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
TOKEN = "s3cret-token"


class CarbonService:
    """Gives the same answer to every request until it is told another; ``requests`` are (path, headers) in order."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes = b""
        self.silent = False
        self.closing = threading.Event()
        self.url = ""

    def answers(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer so from now on; ``body`` is sent as JSON unless it is bytes, a header's ``_`` as ``-``."""
        self.status, self.silent = status, False
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def carbon_service() -> Iterator[CarbonService]:
    service = CarbonService()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            if service.silent:
                service.closing.wait(30)
                return
            self.send_response(service.status)
            for name, value in service.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(service.body)))
            self.end_headers()
            self.wfile.write(service.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def german(**other: Any) -> dict[str, Any]:
    return {
        "zone": "DE",
        "carbonIntensity": 302,
        "datetime": "2026-03-01T12:00:00.000Z",
        "updatedAt": "2026-03-01T12:41:02.552Z",
        "emissionFactorType": "lifecycle",
        "isEstimated": True,
        "estimationMethod": "TIME_SLICER_AVERAGE",
        **other,
    }


def maps(service: CarbonService, timeout_s: float = 5.0) -> ElectricityMapsSource:
    return ElectricityMapsSource("DE", TOKEN, service.url, timeout_s)
