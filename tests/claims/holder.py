"""A program that takes claims in processes of its own, for tests.

python tests/claims/holder.py hold FOLDER            takes the claim, prints `held`, and waits for a line of input
python tests/claims/holder.py race FOLDER PROCESSES  as many processes take the claim in one instant; prints each
                                                     process's result: `held` or an error's message
"""

from __future__ import annotations

import os
import sys

from vgim.claims.claim import take_claim
from vgim.claims.ticket import ClaimHeldError, Work
from vgim.storage import Location

WORK = Work("training the run", "use another storage.name")


def hold(folder: str) -> None:
    with take_claim(Location(folder), WORK):
        print("held", flush=True)
        sys.stdin.readline()


def race(folder: str, num_processes: int) -> None:
    start, go = os.pipe()
    ready, say_ready = os.pipe()
    done, say_done = os.pipe()
    for _ in range(num_processes):
        if os.fork() == 0:
            os.write(say_ready, b".")
            os.close(go)
            os.read(start, 1)  # ends for all when the parent closes the pipe
            try:
                take_claim(Location(folder), WORK)  # not released: the winner lives until all have tried
                line = "held"
            except BaseException as error:
                line = str(error) if isinstance(error, ClaimHeldError) else repr(error)
            os.write(say_done, f"{os.getpid()} {line}\n".encode())
            os.read(start, 1)
            sys.stdin.readline()
            os._exit(0)
    for _ in range(num_processes):
        os.read(ready, 1)
    os.close(go)
    os.close(say_done)
    lines = b""
    while lines.count(b"\n") < num_processes:
        lines += os.read(done, 65_536)
    print(lines.decode(), end="", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(sys.argv[2])
    else:
        race(sys.argv[2], int(sys.argv[3]))
