"""Parquet shards on storage: preparing, writing, reading them, and their manifest."""
