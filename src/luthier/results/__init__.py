"""Scores, retention and recommendations, read from finished results; no model is ever loaded here."""
