"""Metrics that compare the words of a prediction with the words of its references."""
