"""Score and generate."""
