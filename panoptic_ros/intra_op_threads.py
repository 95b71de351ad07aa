"""How many threads torch uses inside one operation, limited for a piece of code and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
_limited = 0  # Python threads that are inside `one_intra_op_thread` now
_unlimited_count = 1  # the process's value while there were none


@contextmanager
def one_intra_op_thread() -> Iterator[None]:
    """Run torch's operations of this Python thread on one intra-op thread, then as before; not to be nested.

    `torch.set_num_threads` sets two values: the calling thread's own, and the one that a thread takes over when it uses
    torch for the first time. Other threads that have used torch keep theirs meanwhile; both are restored at the end,
    also where several Python threads come in and leave in any order. Only a thread that first uses torch just
    meanwhile, elsewhere than here, keeps the limit.
    """
    global _limited, _unlimited_count
    with _lock:
        count = torch.get_num_threads()
        if not _limited:
            _unlimited_count = count
        elif count == 1:
            # The first use of torch in this thread took over another's limit.
            count = _unlimited_count
        _limited += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _limited -= 1
            torch.set_num_threads(count)
