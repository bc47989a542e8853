"""Typed settings: one class for each verb, and one home for each knob."""
