"""Metrics that a model computes."""
