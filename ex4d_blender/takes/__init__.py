# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes: what came back for a shot, version by version."""
