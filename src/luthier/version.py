"""The version, in one place that imports nothing."""

from importlib.metadata import version

__version__ = version("luthier")
