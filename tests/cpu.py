"""How many times as long one piece of work takes as another, whatever else the machine does."""

import gc
import time
from collections.abc import Callable

ROUNDS = 5


def times_longer(work: Callable[[], object], than: Callable[[], object]) -> float:
    """Compare what two pieces of work take of this thread's time, each in its best round.

    Without the collection of garbage, of which a process of tests has much.
    """
    gc.disable()
    try:
        rounds = [(_seconds(work), _seconds(than)) for _ in range(ROUNDS)]
    finally:
        gc.enable()
    return min(one for one, _ in rounds) / min(other for _, other in rounds)


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
