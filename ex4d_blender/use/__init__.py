# SPDX-License-Identifier: GPL-3.0-or-later
"""What a take is used for in Blender. Every use makes plain datablocks, that work with the extension disabled."""

from . import operators
from .uses import USES, Use

__all__ = ["USES", "Use", "register", "unregister"]

register, unregister = operators.register, operators.unregister
