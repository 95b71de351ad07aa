"""A page in the browser with the newest overlay, segments and latency of each camera, by HTTP of the standard library.

`/` is the page, `/pictures/CAMERA` JPEGs as they come (multipart/x-mixed-replace), `/events` what else changes
(server-sent events): {"camera": NAME, ...} with the keys that were given to `WebView.show`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.parse import unquote

from panoptic_ros.errors import InputError

# Seconds after which something is sent even if nothing changed: a browser that has gone is noticed by it.
SIGN_OF_LIFE = 5.0
_PAGE = Path(__file__).with_name("web_view.html")
_BOUNDARY = "picture"
_POLICY = ("default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
           "script-src 'unsafe-inline'")


@dataclass
class _Camera:
    """The newest picture (JPEG) and facts of a camera, and as which change each came."""

    picture: bytes = b""
    picture_change: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    facts_change: int = 0


class WebView:
    """What is to be seen; any thread may show something and any may wait for it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._change = 0
        self._cameras: dict[str, _Camera] = {}
        self._is_closed = False

    def show(self, camera: str, picture: bytes | None = None, **facts: Any) -> None:
        """The newest of a camera; picture: JPEG. facts: JSON values, beside those that were shown before."""
        with self._changed:
            self._change += 1
            shown = self._cameras.setdefault(camera, _Camera())
            if picture is not None:
                shown.picture, shown.picture_change = picture, self._change
            if facts:
                shown.facts, shown.facts_change = {**shown.facts, **facts}, self._change
            self._changed.notify_all()

    def close(self) -> None:
        """End all `pictures` and `events`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def pictures(self, camera: str) -> Iterator[bytes]:
        """JPEGs of a camera as they change, the newest alone; the same again as a sign of life."""
        seen = 0
        while not self._is_closed:
            with self._changed:
                self._wait(partial(self._picture_change, camera), seen)
                shown = self._cameras.get(camera, _Camera())
                seen, picture = shown.picture_change, shown.picture
            if picture:
                yield picture

    def events(self) -> Iterator[dict[str, Any]]:
        """Facts of the cameras as they change, the newest alone; an empty dict as a sign of life."""
        seen = 0
        while not self._is_closed:
            with self._changed:
                self._wait(lambda: self._change, seen)
                rows = [{"camera": name, **shown.facts} for name, shown in self._cameras.items()
                        if max(shown.facts_change, shown.picture_change) > seen]
                seen = self._change
            yield from rows or [{}]

    def _wait(self, newest: Callable[[], int], seen: int) -> None:
        self._changed.wait_for(lambda: self._is_closed or newest() > seen, SIGN_OF_LIFE)

    def _picture_change(self, camera: str) -> int:
        return self._cameras[camera].picture_change if camera in self._cameras else 0


def segments_fact(message: Any) -> dict[str, Any]:
    """A PanopticSegmentArray of ROS or of a bag as JSON: model, stamp in seconds, and its segments, things first."""
    pixels = max(message.height * message.width, 1)
    rows = [{"id": row.id, "class": row.class_name, "is_thing": bool(row.is_thing), "score": round(row.score, 3),
             "area": round(row.area / pixels, 4), "track": row.track_id, "age": row.track_age,
             "depth": round(depth, 1) if math.isfinite(depth := getattr(row, "depth", math.nan)) else None}
            for row in message.segments]
    stamp = message.header.stamp
    return {"model": message.model_id, "stamp": stamp.sec + round(stamp.nanosec * 1e-9, 6),
            "segments": sorted(rows, key=lambda row: (not row["is_thing"], row["track"] or math.inf, -row["area"]))}


@contextmanager
def serve(view: WebView, host: str, port: int) -> Iterator[str]:
    """Serve the page while the block runs; its value is the address for a browser.

    port: 0 = any that is free. Raises InputError where the address cannot be had.
    """
    try:
        server = _Server(view, host, port)
    except OSError as error:
        raise InputError(f"{host}, port {port}, cannot be listened on ({error.strerror}): give another with --host and "
                         "--port") from error
    serving = Thread(target=server.serve_forever, name="web view", daemon=True)
    serving.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/"
    finally:
        view.close()
        server.shutdown()
        server.server_close()
        serving.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser that reads no longer must not keep the command from ending

    def __init__(self, view: WebView, host: str, port: int) -> None:
        self.view = view
        super().__init__((host, port), _Handler)
        self.is_local = ip_address(self.socket.getsockname()[0]).is_loopback


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.server.is_local and not _names_this_machine(self.headers.get("Host", "")):
            # A page of somebody else's whose name was made to lead here could read the camera else.
            self.send_error(403, "open the page by the address that the command printed")
            return
        kind, _, name = self.path.lstrip("/").partition("/")
        try:
            if self.path == "/":
                self._answer("text/html; charset=utf-8")
                self.wfile.write(_PAGE.read_bytes())
            elif self.path == "/events":
                self._answer("text/event-stream")
                for event in self.server.view.events():
                    # A line that begins with a colon is a comment.
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode() if event else b":\n\n")
            elif kind == "pictures":
                self._answer(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                for picture in self.server.view.pictures(unquote(name)):
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
            else:
                self.send_error(404)
        except (ConnectionError, TimeoutError):
            pass  # the browser has gone

    def _answer(self, content_type: str) -> None:
        self.send_response(200)
        for key, value in (("Content-Type", content_type), ("Cache-Control", "no-store"),
                           ("Content-Security-Policy", _POLICY), ("X-Content-Type-Options", "nosniff")):
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each request would hide what the command says."""


def _names_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
