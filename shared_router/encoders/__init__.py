"""Texts → vectors. ``static`` is the embedded default: a table look-up per token, no network."""
