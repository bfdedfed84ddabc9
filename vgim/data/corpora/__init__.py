"""A file for each corpus, which lists its utterances and declares its traits; the registry; and phone labels."""
