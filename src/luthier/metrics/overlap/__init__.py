"""Metrics that compare the words of a prediction with those of references."""
