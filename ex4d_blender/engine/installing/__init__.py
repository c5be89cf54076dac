# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper process that installs and removes the engine: standard library only, no bpy.

Blender's own Python runs it as a program beside Blender, so that nothing ever waits for it; of its modules the
extension imports only `marker`.
"""
