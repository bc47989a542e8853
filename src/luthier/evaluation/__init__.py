"""Tasks in, predictions out."""
