"""Typed settings: one class for each verb, and one place for each setting.

Settings come from a YAML file, then from ``--set key=value``, then from flags; the later one wins. Unknown keys and bad
values are errors that name the key, the line and the nearest key that exists, all of them at once.
"""
