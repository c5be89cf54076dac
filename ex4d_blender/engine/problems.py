# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with the engine: a sentence for each, and the operator that mends it."""

from typing import Any

from ..errors import UserError

INSTALL, REPAIR = "ex4d.install_engine", "ex4d.repair_engine"
ONLINE = "extensions.userpref_allow_online"

PROBLEMS: dict[str, tuple[str, str]] = {
    "platform": ("There is no engine for this machine ({machine}): run the sidecar on another one and connect.", ""),
    "no-engine": ("This extension was built without an engine: install the zip of scripts/build_extension.py.", ""),
    "offline": (
        "Blender is set to stay offline: switch on Allow Online Access in its preferences (System), or choose a "
        "wheel folder.",
        ONLINE,
    ),
    "offline-models": (
        "Blender is set to stay offline: switch on Allow Online Access in its preferences (System), then download the "
        "model.",
        ONLINE,
    ),
    "no-packages": ("Models need the engine for a GPU: use Install Engine, for anything but CPU.", INSTALL),
    "licence": (
        "The licence of {model} ({licence}) allows no commercial work: read it, then download with Accept Licence.",
        "",
    ),
    "foreign": ("{folder} is no engine's folder and not empty: choose an empty or a new one.", INSTALL),
    "no-folder": ("There is no engine in {folder}: install one.", INSTALL),
    "no-wheels": ("There is no wheel folder {wheels}: choose another one, or none.", INSTALL),
    "files": ("{path} cannot be written ({reason}): choose another folder.", INSTALL),
    "space": (
        "{folder} has {free} GB free and the engine needs {needed}: free some, or choose a folder on another disk.",
        INSTALL,
    ),
    "disk": ("The disk of {folder} is full: free some space and go on; what is there is kept.", REPAIR),
    "busy": ("Another Blender installs into {folder} now: wait for its end.", ""),
    "running": ("The engine is being worked on: wait for its end, or cancel it.", ""),
    "hash": ("{name} is not the file that this extension knows: it was not installed; get it again.", REPAIR),
    "hash-wheels": ("{name} in the wheel folder is not the file that this extension knows: get it again.", INSTALL),
    "network": (
        "The network could not be reached: look at it, and at proxies (HTTPS_PROXY), and go on; what has come is kept.",
        REPAIR,
    ),
    "stalled": ("Nothing has come for {seconds} s: look at the network and go on; what has come is kept.", REPAIR),
    "no-python": ("There is no Python 3.11 to 3.14 here to build on: install one from python.org and go on.", REPAIR),
    "no-wheel": ("There is no {name} for this machine where packages come from: choose another wheel folder.", INSTALL),
    "in-use": ("Files of the engine are in use: close what runs from {folder} and go on.", REPAIR),
    "ended": ("The work on the engine broke off: go on; what has come is kept.", REPAIR),
    "step": ("The engine could not be installed ({reason}): repair it, or copy a report for its makers.", REPAIR),
}
"""A sentence and an operator, or none, by code; the codes of `installing.failing` are among them."""


class EngineError(UserError):
    """An error with the operator that mends it; `remedy` is empty where nothing here does."""

    def __init__(self, code: str, **values: Any) -> None:
        message, self.remedy = PROBLEMS[code]
        super().__init__(message, **values)
