"""Phone labels by forced alignment: of transcripts that shards hold, with their audio."""
