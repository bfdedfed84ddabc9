"""The Ray cluster that a command works on: connecting, placement of workers, tasks, a job's working directory."""
