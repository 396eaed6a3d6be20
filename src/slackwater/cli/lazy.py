"""Commands that are imported when they are called: each brings libraries the others never need."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperGroup


class _Commands(Mapping[str, Any]):
    """Names in the order they are listed; a command is imported when it is asked for."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places, self._made = places, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, attribute = self._places[name].partition(":")
            # What is imported stays: looking for garbage in it takes a tenth of the start.
            gc.disable()
            try:
                found = getattr(importlib.import_module(module), attribute)
            finally:
                gc.enable()
            self._made[name] = _command(name, found)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def lazy(places: Mapping[str, str]) -> type[TyperGroup]:
    """A group of commands by their places: name -> `module:function`, or `module:app` of a group.

    For `typer.Typer(cls=lazy({...}))`.
    """

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = _Commands(places)  # type: ignore[assignment]

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.commands)

    return Group


def _command(name: str, place: Any) -> Any:
    if isinstance(place, typer.Typer):
        group = typer.main.get_group(place)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(place)
    return typer.main.get_command(alone)
