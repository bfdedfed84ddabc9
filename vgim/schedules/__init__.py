"""Schedules: which modules are trained when, and by which ranks. A file per schedule, and `registry` lists them."""
