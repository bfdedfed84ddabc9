"""Features of whole corpora: every utterance by chosen modules, on storage, resumable."""
