"""Rows from any source, rendered, split, encoded and batched."""
