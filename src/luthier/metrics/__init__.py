"""Predictions in, scores with intervals out. Knows only `records`."""
