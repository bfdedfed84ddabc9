"""Attacks on vgim: kills, signals, faults of storage, damaged files, races and malformed commands.

`python -m tests.chaos --minutes 30 --seed 0` makes attacks until the time is up and prints a table. Every attack has a
number of its own: `python -m tests.chaos --case kill-train-0-17` repeats one.
"""
