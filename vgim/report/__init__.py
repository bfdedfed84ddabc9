"""One self-contained page about a run, RUN/report.html, from the files that the other commands left."""
