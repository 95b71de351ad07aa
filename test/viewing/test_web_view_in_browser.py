"""The page of `panoptic-ros view` in a headless Chromium, where that and playwright are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.viewing.web_view import WebView, serve

playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page, whose `problems` are what the browser complained about."""
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=installed, args=["--no-sandbox"])  # root has none
        except playwright.Error as error:
            pytest.skip(f"no Chromium that starts: {error.message.splitlines()[0]}")
        page = browser.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()


def segment(name: str, track: int, depth: float | None) -> dict[str, Any]:
    return {"id": 1, "class": name, "is_thing": track > 0, "score": 0.876, "area": 0.125, "track": track, "age": 3,
            "depth": depth}


def test_a_browser_shows_overlay_tracks_and_latency_and_says_when_the_command_has_ended(page: Any) -> None:
    view = WebView()
    picture = cv2.imencode(".jpg", np.full((32, 64, 3), 90, np.uint8))[1].tobytes()
    with serve(view, "127.0.0.1", 0) as address:
        # Pictures and events never end, nor does the loading of the page.
        page.goto(address, wait_until="commit")
        page.wait_for_selector("text=waiting for the first image")
        view.show("left", picture, model="city@1", stamp=1.5, latency_of="this image",
                  segments=[segment("<b>car</b>", 7, 12.3), segment("road", 0, None)],
                  latency_ms={"network": 10.0, "end_to_end": 20.0})
        page.wait_for_selector("text=road")
        while page.evaluate("document.querySelector('img').naturalWidth") != 64:
            page.wait_for_timeout(50)
        latency, segments = page.locator("table").all()
        assert segments.locator("td").all_inner_texts()[:6] == ["<b>car</b>", "7", "3", "0.88", "12.5 %", "12.3 m"]
        assert latency.locator("td").all_inner_texts() == ["network", "10.0", "", "end to end", "20.0", ""]
        shares = [bar.bounding_box()["width"] for bar in latency.locator(".bar").all()]
        assert shares[1] == pytest.approx(2 * shares[0], abs=2)
        assert shares[1] > 50  # wide enough to be compared by eye
        # The strip has one row of the one track, in this image alone.
        assert page.evaluate("""() => {
            const strip = document.querySelector('canvas');
            return strip.getContext('2d').getImageData(0, 0, 2, 2).data[3];
        }""") == 255
        assert page.inner_text("p.note") == "city@1, 2 segments, 1 objects, at 1.50 s"
        assert page.problems == []
    page.wait_for_selector("text=the command has ended")
