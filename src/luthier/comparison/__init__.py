"""Arms, retention and trade-offs, read from finished results."""
