"""Authored scenarios, and the generator that turns them into the built-in tasks and the plain-text corpus."""
