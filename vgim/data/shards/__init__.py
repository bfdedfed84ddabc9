"""Parquet shards on storage: prepare, write and read them, and their manifest."""
