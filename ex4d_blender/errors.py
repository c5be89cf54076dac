# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong by the artist's doing, and how operators say so."""

from typing import Any

import bpy

from .translation import translated


class UserError(Exception):
    """One sentence: what is wrong, where, and what to do. `str` of it is English, `said` is what the artist reads.

    Args:
        message: the sentence, see `translated`; no f-string, for no catalogue has that.
        values: what stands in it.
    """

    def __init__(self, message: str, /, **values: Any) -> None:
        super().__init__(message.format(**values) if values else message)
        self._message, self._values = message, values

    @property
    def said(self) -> str:
        """The sentence in the language of the interface."""
        return translated(self._message, **self._values)


def reported(error: RuntimeError) -> str:
    """What an operator called from Python has reported, without Blender's word for an error, which it translates."""
    return str(error).strip().removeprefix(f"{translated('Error')}: ")


class SaysErrors:
    """Mixin of operators: implement `run`; a `UserError` becomes the operator's report, not a traceback."""

    def run(self, context: bpy.types.Context) -> set[str] | None:
        """The operator's work; None counts as finished. Raises: UserError."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Called by Blender."""
        try:
            return self.run(context) or {"FINISHED"}
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
