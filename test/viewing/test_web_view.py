"""The page of `panoptic-ros view`: what it shows, to whom, and that it ends."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.viewing import web_view
from panoptic_ros.viewing.web_view import WebView, segments_fact, serve


@pytest.fixture
def view() -> WebView:
    return WebView()


@pytest.fixture
def address(view: WebView) -> Iterator[str]:
    with serve(view, "127.0.0.1", 0) as address:
        yield address


def get(address: str, path: str, **headers: str) -> HTTPResponse:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def next_event(response: HTTPResponse) -> dict[str, Any]:
    while not (line := response.readline()).startswith(b"data: "):
        assert line, "the events have ended"
    event: dict[str, Any] = json.loads(line[6:])
    return event


def next_picture(response: HTTPResponse) -> bytes:
    length = 0
    while (line := response.readline()) != b"\r\n" or not length:
        assert line, "the pictures have ended"
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return response.read(length)


def test_the_page_loads_nothing_from_elsewhere(address: str) -> None:
    response = get(address, "/")
    page = response.read().decode()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "://" not in page


def test_the_script_of_the_page_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    (script,) = re.findall(r"<script>(.*?)</script>", web_view._PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.js").write_text(script)
    done = subprocess.run([node, "--check", tmp_path / "page.js"], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_pictures_come_as_they_change(view: WebView, address: str) -> None:
    view.show("front left", b"first")
    response = get(address, "/pictures/front%20left")
    assert response.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    assert next_picture(response) == b"first"
    view.show("front left", b"second")
    assert next_picture(response) == b"second"


def test_a_late_browser_sees_the_newest_picture_alone(view: WebView, address: str) -> None:
    for picture in (b"first", b"second", b"third"):
        view.show("", picture)
    assert next_picture(get(address, "/pictures/")) == b"third"


def test_events_have_all_that_is_known_of_a_camera(view: WebView, address: str) -> None:
    view.show("left", segments=[])
    response = get(address, "/events")
    assert next_event(response) == {"camera": "left", "segments": []}
    view.show("right", latency_ms={"network": 12.5})
    assert next_event(response) == {"camera": "right", "latency_ms": {"network": 12.5}}
    view.show("left", latency_ms={"network": 13.0})
    assert next_event(response) == {"camera": "left", "segments": [], "latency_ms": {"network": 13.0}}


def test_all_that_is_open_ends_with_the_command(view: WebView) -> None:
    with serve(view, "127.0.0.1", 0) as address:
        view.show("", b"picture")
        events, pictures = get(address, "/events"), get(address, "/pictures/")
        next_event(events)
        next_picture(pictures)
    assert b"data" not in events.read()
    pictures.read()


def test_nothing_changed_for_a_while_is_a_sign_of_life(view: WebView, address: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_view, "SIGN_OF_LIFE", 0.05)
    view.show("", b"picture")
    response = get(address, "/pictures/")
    assert [next_picture(response) for _ in range(3)] == [b"picture"] * 3
    assert get(address, "/events").readline().startswith(b"data")


def test_a_page_that_comes_by_another_name_sees_nothing(address: str) -> None:
    assert get(address, "/", Host="cameras.example:8080").status == 403
    assert get(address, "/pictures/", Host="10.0.0.1").status == 403
    for host in ("localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert get(address, "/", Host=host).status == 200


def test_what_is_not_there_is_404(address: str) -> None:
    assert get(address, "/../../etc/passwd").status == 404


def test_an_address_in_use_is_the_users_to_solve(address: str, view: WebView) -> None:
    port = urlsplit(address).port
    assert port
    with pytest.raises(InputError, match=f"port {port}, cannot be listened on"), serve(view, "127.0.0.1", port):
        pass


def test_a_browser_that_does_not_read_keeps_nobody(view: WebView) -> None:
    with serve(view, "127.0.0.1", 0) as address:
        parts = urlsplit(address)
        idle = socket.create_connection((str(parts.hostname), parts.port or 0))
        idle.sendall(b"GET /pictures/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        view.show("", bytes(1 << 24))
        assert get(address, "/").status == 200
    idle.close()


def test_segments_are_told_with_objects_first_by_their_tracks() -> None:
    def row(number: int, name: str, thing: bool, track: int, depth: float) -> SimpleNamespace:
        return SimpleNamespace(id=number, class_name=name, is_thing=thing, score=0.51239, area=50 * number,
                               track_id=track, track_age=3, depth=depth)

    header = SimpleNamespace(stamp=SimpleNamespace(sec=7, nanosec=500_000_000))
    message = SimpleNamespace(header=header, height=10, width=100, model_id="city@1", segments=[
        row(1, "road", False, 0, float("nan")), row(2, "car", True, 9, 12.34), row(3, "person", True, 4, float("nan")),
        row(4, "car", True, 0, 3.0)])
    fact = segments_fact(message)
    assert json.loads(json.dumps(fact, allow_nan=False)) == fact
    assert (fact["model"], fact["stamp"]) == ("city@1", 7.5)
    assert [(one["class"], one["track"]) for one in fact["segments"]] == [
        ("person", 4), ("car", 9), ("car", 0), ("road", 0)]
    assert fact["segments"][1] == {"id": 2, "class": "car", "is_thing": True, "score": 0.512, "area": 0.1, "track": 9,
                                   "age": 3, "depth": 12.3}
