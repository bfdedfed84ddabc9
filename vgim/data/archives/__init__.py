"""Corpora in `.tar` and `.tar.gz` archives, which are read without unpacking them."""
