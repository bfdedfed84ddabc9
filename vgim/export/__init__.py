"""Trained encoders in forms that others load without vgim's training code, and features of whole corpora."""
