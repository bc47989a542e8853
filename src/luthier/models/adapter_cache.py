"""The adapter cache: several adapters of one base in memory, one in use at a time; switching computes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from luthier.arguments import as_name
from luthier.errors import ModelError, did_you_mean


class Switch(Protocol):
    """What can be detached from a model and attached again, with the same bits as a result."""

    def detach(self) -> None:
        """Take it off."""

    def reattach(self) -> None:
        """Put it on."""


class AdapterCache:
    """The adapters of one model, by name."""

    def __init__(self) -> None:
        self._adapters: dict[str, Switch] = {}
        self._on: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all adapters, in the order in which they were added."""
        return tuple(self._adapters)

    @property
    def active(self) -> str | None:
        """Name of the adapter in use; None when none of the cache is."""
        return self._on

    def put(self, name: str, attached: Switch) -> None:
        """Detach a method from the model, and keep it under a name.

        Raises:
            ModelError: When the name is taken.
        """
        attached.detach()
        self.require_new(name)
        self._adapters[name] = attached

    def require_new(self, name: str) -> None:
        """Check that there is no adapter of this name yet.

        Raises:
            ModelError: When there is.
        """
        if name in self._adapters:
            raise ModelError(f"there is an adapter '{name}' already", where=name, fix="Give it another name.")

    def require_free(self) -> None:
        """Check that no adapter is in use: an adapter is attached to the base, never to another adapter.

        Raises:
            ModelError: When an adapter is in use.
        """
        if self._on is not None:
            raise ModelError(f"adapter '{self._on}' is in use", fix="Leave the `using` block first.")

    @contextlib.contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Compute with one adapter inside, or with None of them; then with what was in use before.

        Raises:
            ModelError: When there is no adapter of that name.
        """
        if name is not None and as_name(name, where="using(name)") not in self._adapters:
            first = "Add it first: luthier.add_adapter(model, name, folder)."
            fix = did_you_mean(name, self._adapters) if self._adapters else first
            raise ModelError(f"no adapter '{name}'", where="using(name)", fix=fix)
        before = self._on
        self._change(name)
        try:
            yield
        finally:
            self._change(before)

    def _change(self, name: str | None) -> None:
        if name == self._on:
            return
        if self._on is not None:
            self._adapters[self._on].detach()
        self._on = None
        if name is not None:
            self._adapters[name].reattach()
        self._on = name
