"""From corpora to Parquet shards to streams of crops."""
