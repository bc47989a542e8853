"""Decoder-only and encoder-decoder models behind one interface."""
