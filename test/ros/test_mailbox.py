"""The newest image of each camera waits, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from panoptic_ros.ros.mailbox import Mailbox


def test_a_later_image_overtakes_the_one_that_waits() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.put({"left": 1}) == []
    assert mailbox.put({"left": 2}) == ["left"]
    assert mailbox.put({"right": 3}) == []
    assert mailbox.take() == {"left": 2, "right": 3}
    assert mailbox.put({"left": 4}) == []


def test_images_that_are_put_together_are_taken_together() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put({"left": 1, "right": 1})
    assert mailbox.put({"left": 2, "right": 2}) == ["left", "right"]
    assert mailbox.take() == {"left": 2, "right": 2}


def test_who_waits_gets_what_comes_and_is_woken_by_closing() -> None:
    mailbox: Mailbox[int] = Mailbox()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(mailbox.take)
        mailbox.put({"left": 7})
        assert waiting.result(10) == {"left": 7}
        waiting = pool.submit(mailbox.take)
        mailbox.close()
        assert waiting.result(10) == {}


def test_closing_tells_what_was_left_and_later_images_are_lost() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put({"left": 1})
    assert mailbox.close() == ["left"]
    assert mailbox.put({"left": 2, "right": 2}) == ["left", "right"]
    assert mailbox.take() == {}
