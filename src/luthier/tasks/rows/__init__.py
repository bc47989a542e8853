"""Rows of a task: where they are read, which format they have, how they become text, and how they are split."""
