"""Metrics of answers from a closed set, and of numbers."""
