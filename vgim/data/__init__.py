"""Corpora → Parquet shards → streams of crops."""
