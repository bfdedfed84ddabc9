"""Contrastive losses of a module, a file each."""
