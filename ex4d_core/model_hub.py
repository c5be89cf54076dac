"""The hub that models come from: Hugging Face's settings, checked before its library reads them; no secrets told."""

from __future__ import annotations

import logging
import os
import re
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import urlsplit

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_entry import Model


def require_hub() -> None:
    """Have huggingface_hub ready for use.

    Raises:
        MissingDependencyError: it is not installed.
        InputError: it cannot use a setting of the environment.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError(
            "Models come by huggingface_hub, which is not installed: run pip install .[gpu] in EX-4D's folder."
        )
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        if not re.fullmatch(r"\s*[1-9][0-9]*\s*", given := os.environ.get(name, "10")):
            raise InputError(f"{name} is {given!r}, not a number of whole seconds: write one like 10, or unset it.")
    if not _is_address(os.environ.get("HF_ENDPOINT", "https://huggingface.co")):  # not shown, it may hold a password
        raise InputError("HF_ENDPOINT is not the address of a hub: write one like https://huggingface.co, or unset it.")
    import_module("huggingface_hub.utils.logging")  # this adds an output of its own, beside ours
    logging.getLogger("huggingface_hub").handlers = [_Masking()]


def masked(text: str) -> str:
    """A text without the user and password of the addresses in it."""
    return re.sub(r"//[^/\s]*@", "//***@", text)


def address() -> str:
    """Of the hub, or the mirror that is used, as people and logs may see it."""
    from huggingface_hub import constants

    return masked(constants.ENDPOINT)


def source(model: Model) -> str:
    """The address of a model there."""
    return f"{address()}/{model.hub_id}"


class _Masking(logging.Handler):
    """Comes before the program's own outputs, and prints nothing itself."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = masked(record.getMessage()), ()


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
