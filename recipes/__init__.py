"""Recipes that reproduce the embedded model, the built-in tasks and each published number."""
