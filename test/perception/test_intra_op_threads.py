"""The decode's limit of one thread inside torch ends with it, whoever else is decoding meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest
import torch

from panoptic_ros.intra_op_threads import one_intra_op_thread


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """More than one, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def count_of_a_new_thread() -> int:
    """What a Python thread finds that uses torch for the first time."""
    found: list[int] = []
    thread = Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_there_is_one_thread_inside_and_as_many_as_before_afterwards() -> None:
    with one_intra_op_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    assert count_of_a_new_thread() == 3


def test_an_error_inside_ends_the_limit_too() -> None:
    with pytest.raises(ValueError, match="broken"), one_intra_op_thread():
        raise ValueError("broken")
    assert torch.get_num_threads() == count_of_a_new_thread() == 3


@pytest.mark.parametrize("first_out", [0, 1])
def test_a_thread_that_leaves_neither_lifts_anothers_limit_nor_leaves_its_own_behind(first_out: int) -> None:
    # Both are inside at once, the second having met torch there for the first time; then they leave in either order.
    steps = [Barrier(2) for _ in range(4)]

    def run(number: int) -> list[int]:
        counts = []
        if number == 1:
            steps[0].wait()
        with one_intra_op_thread():
            if number == 0:
                steps[0].wait()
            steps[1].wait()
            if number != first_out:
                steps[2].wait()
            counts.append(torch.get_num_threads())
        if number == first_out:
            steps[2].wait()
        counts.append(torch.get_num_threads())
        steps[3].wait()
        return counts

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(run, range(2)))
    assert results == [[1, 3], [1, 3]]
    assert torch.get_num_threads() == count_of_a_new_thread() == 3


def test_a_thread_that_is_not_inside_keeps_its_own() -> None:
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 3
        with one_intra_op_thread():
            assert other.submit(torch.get_num_threads).result() == 3
