# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong by the artist's doing, and how operators say so."""

import bpy


class UserError(Exception):
    """One sentence: what is wrong, where, and what to do."""


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
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
