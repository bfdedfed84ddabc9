"""Attacks by kind, a file each; `registry` lists them."""
