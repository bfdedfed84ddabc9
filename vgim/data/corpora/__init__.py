"""Corpora as lists of source utterances, one file a corpus, and the embedded synthetic corpus."""
