"""The training loop and its moving parts."""
