# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences with values in the language of Blender's interface; what has none, Blender translates where it shows it."""

import logging
from typing import Any

from bpy.app.translations import pgettext_rpt

_log = logging.getLogger(__name__)


def translated(message: str, /, **values: Any) -> str:
    """A sentence of the extension as the artist reads it.

    Args:
        message: English, as it stands in a catalogue: written out where this is called, with `{name}` for each value.
        values: what stands there. Without any the message is no pattern: braces in it stay.
    """
    found = pgettext_rpt(message)
    try:
        return found.format(**values) if values else found
    except (LookupError, ValueError, AttributeError, TypeError):  # a slip in a catalogue must not hide what went wrong
        _log.warning("The translation %r does not fit %r", found, message)
        return message.format(**values)
