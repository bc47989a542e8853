"""The verbs: what is planned, run side by side, and written down."""
