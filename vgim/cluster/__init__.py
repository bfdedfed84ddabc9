"""The Ray instance that a command works on: connecting, sharing its resources, independent tasks."""
