"""Call a function ahead in threads, and give its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_order(function: Callable[[A], B], arguments: Iterable[A], threads: int) -> Iterator[B]:
    """The function's result for each argument.

    Args:
        function: Called once for each argument.
        arguments: Read only as far as needed.
        threads: Calls at once, and results that wait to be taken; 0 calls the function in the caller's thread.
    """
    if not threads:
        yield from map(function, arguments)
        return
    with ThreadPoolExecutor(threads, "read") as pool:
        ahead: deque[Future[B]] = deque()
        try:
            for argument in arguments:
                ahead.append(pool.submit(function, argument))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for call in ahead:
                call.cancel()
