"""The version of the package, in a module without imports from Luthier."""

from importlib.metadata import version

__version__ = version("luthier")
