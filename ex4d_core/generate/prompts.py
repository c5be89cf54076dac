"""Prompts as the transformer takes them: encoded once, then read from a small store.

The text encoder weighs 11 GB and most shots use the same two prompts. It is loaded when a prompt is new, and freed.
"""

from __future__ import annotations

import gc
import hashlib
import html
import json
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer

from ex4d_core.errors import InputError, MissingDependencyError, OutputError
from ex4d_core.files import atomic_file
from ex4d_core.generate.fingerprint import fingerprint
from ex4d_core.generate.sampling import require_finite
from ex4d_core.generate.state import described_by
from ex4d_core.generate.text_encoder import load_text_encoder
from ex4d_core.model_files import TextFiles
from ex4d_core.models import text_encoder_download
from ex4d_core.weight_headers import damaged

TOKENS = 512
"""Length of all embeddings: diffusers' attention of Wan takes whatever is before the last 512 for the image's."""

_LOG = logging.getLogger(__name__)
_FORMAT = "1 "
"""Raise it when the same prompt would be encoded in another way."""


@dataclass(frozen=True)
class DefaultPrompts:
    """What an engine is told where the artist says nothing."""

    prompt: str
    negative: str


_EX4D = DefaultPrompts(
    # The arguments of generate.py in tau-yihouxiang/EX-4D (b456a41), which the LoRA is run with.
    prompt="4K ultra HD, surround motion, realistic tone, panoramic shot, wide-angle view, cinematic quality",
    negative=(
        "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static,"
        " overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly"
        " drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy"
        " background, three legs, many people in the background, walking backwards"
    ),
)
_VACE = DefaultPrompts(
    prompt=_EX4D.prompt,  # VACE has none of its own; this one describes any re-shot view
    # sample_neg_prompt in wan/configs/shared_config.py of Wan-Video/Wan2.1 (9737cba); the words of _EX4D in Chinese.
    negative=(
        "色调艳丽,过曝,静态,细节模糊不清,字幕,风格,作品,画作,画面,静止,整体发灰,最差质量,低质量,JPEG压缩残留,"
        "丑陋的,残缺的,多余的手指,画得不好的手部,画得不好的脸部,畸形的,毁容的,形态畸形的肢体,手指融合,"
        "静止不动的画面,杂乱的背景,三条腿,背景人很多,倒着走"
    ).replace(",", "\uff0c"),
)
DEFAULTS: Mapping[str, DefaultPrompts] = {"ex4d": _EX4D, "vace-1.3b": _VACE, "vace-14b": _VACE}
"""The default prompts of each engine."""


def clean(text: str) -> str:
    """A prompt as the tokenizer gets it: what the reference does with ftfy, without its repair of wrongly decoded text.

    HTML entities become characters (twice, as there), wide forms and ligatures plain letters, curly quotes straight
    ones; control characters go, and white space becomes single spaces.

    Raises:
        InputError: it has bytes in it that the terminal could not read as text.
    """
    if re.search("[\ud800-\udfff]", text):
        raise InputError(f"The prompt {_short(text)} holds bytes that are no text: type it again.")
    text = html.unescape(html.unescape(text))
    text = re.sub("[\uff01-\uffef\u3000\ufb00-\ufb06]", lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = re.sub("[\u201c-\u201f]", '"', re.sub("[\u02bc\u2018-\u201b]", "'", text))
    text = re.sub("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]", "", text)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


class Prompts:
    """Embeddings of prompts for one text encoder."""

    def __init__(self, files: TextFiles, folder: Path, device: str, engine: str = "ex4d") -> None:
        """Load nothing yet.

        Args:
            files: with text encoder and tokenizer; without them only what is stored is known.
            folder: of the store; made when something is stored.
            device: of torch, where the embeddings are wanted, and where text is encoded if the encoder fits.
            engine: that is run: what to download is told by it.
        """
        self._files = files
        self._folder = folder
        self._device = device
        self._engine = engine
        self.revision = _revision(files)
        """Of the text encoder with its tokenizer, 16 hexadecimal digits; empty if they are not there."""
        self._unkept: dict[str, Tensor] = {}

    def embeddings(self, text: str) -> Tensor:
        """One prompt: (1, 512, d) bfloat16 on the device, zeros after its last token. All 512 are to be attended to.

        Raises:
            MissingDependencyError: the prompt is new and there is no text encoder.
        """
        tokens = self.tokens(text).to(self._device)  # (n, d)
        return torch.cat([tokens, tokens.new_zeros(TOKENS - len(tokens), tokens.shape[1])])[None]

    def tokens(self, text: str) -> Tensor:
        """One prompt without its padding: (n, d) bfloat16 on the CPU, n at most 512.

        Raises:
            MissingDependencyError: the prompt is new and there is no text encoder.
        """
        self.prepare([text])
        stored = self._read(clean(text))
        assert stored is not None
        return stored

    def prepare(self, texts: Sequence[str]) -> None:
        """Encode and store the prompts that are new, and the default ones with them, and free the text encoder.

        Best called before other models take the memory.

        Raises:
            MissingDependencyError: a prompt is new and there is no text encoder.
        """
        new = [text for text in map(clean, texts) if self._read(text) is None]
        if not new:
            return
        if not self.revision:
            raise MissingDependencyError(
                f"The prompt {_short(new[0])} is new, and the text encoder that encodes it, or its tokenizer, is not"
                f" there: run {text_encoder_download(self._engine)}, put it into the folder of --model-dir, or use a"
                " prompt that was used before."
            )
        defaults = (clean(text) for each in DEFAULTS.values() for text in (each.prompt, each.negative))
        new = list(dict.fromkeys([*new, *(text for text in defaults if self._read(text) is None)]))
        _LOG.info("Encoding %d prompts, once.", len(new))
        for text, tokens in zip(new, _encode(self._files, new, self._device), strict=True):
            self._write(text, tokens)

    def _path(self, text: str, revision: str) -> Path:
        return self._folder / f"{hashlib.sha256((_FORMAT + text).encode()).hexdigest()[:32]}-{revision}.safetensors"

    def _read(self, text: str) -> Tensor | None:
        """(n, d) bfloat16; None if it is not stored, or damaged."""
        if text in self._unkept:
            return self._unkept[text]
        if self.revision:
            return _read_tokens(self._path(text, self.revision), text)
        # Of several encoders, copies of one model as a rule, the one that was used last.
        found = sorted(self._folder.glob(self._path(text, "*").name), key=lambda p: p.stat().st_mtime, reverse=True)
        return next((tokens for tokens in (_read_tokens(path, text) for path in found) if tokens is not None), None)

    def _write(self, text: str, tokens: Tensor) -> None:
        notes = {"prompt": text, "sha256": _tensor_hash(tokens)}
        try:
            with atomic_file(self._path(text, self.revision)) as temporary:
                save_file({"embedding": tokens}, temporary, notes)
        except (OutputError, SafetensorError) as error:
            _LOG.warning("The prompt %s is not kept, and the next run encodes it again: %s", _short(text), error)
            self._unkept[text] = tokens


def _read_tokens(path: Path, text: str) -> Tensor | None:
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            notes, tokens = file.metadata() or {}, file.get_tensor("embedding")
    except (SafetensorError, OSError) as error:
        _LOG.warning("The stored prompt %s is damaged: %s", path, error)
        return None
    if notes.get("prompt") != text or notes.get("sha256") != _tensor_hash(tokens):
        _LOG.warning("The stored prompt %s is damaged.", path)
        return None
    return tokens


def _encode(files: TextFiles, texts: Sequence[str], device: str) -> list[Tensor]:
    """Prompts as (n, d) bfloat16 each, on the CPU; n tokens with the end mark, at most 512.

    Not padded as in the reference: the encoder masks the padding, so that it changes nothing but the time.
    """
    tokenizer = _tokenizer(files)
    encoder: Any = load_text_encoder(files, torch.bfloat16).eval()
    if _fits(encoder, device):
        encoder = encoder.to(device)
    tokens: list[Tensor] = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=TOKENS, return_tensors="pt").input_ids  # (1, n)
            hidden = encoder(ids.to(encoder.device)).last_hidden_state[0]  # (n, d)
            require_finite(hidden, "The text encoder")
            tokens.append(hidden.to("cpu", torch.bfloat16).contiguous())
    del encoder
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return tokens


def _tokenizer(files: TextFiles) -> Any:
    """The words of the text encoder.

    Raises:
        InputError: one of its files is damaged.
    """
    folder = files.tokenizer
    assert folder is not None
    for file in (folder / "tokenizer_config.json", folder / "tokenizer.json"):
        with described_by(file):  # transformers would not say which
            dict(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {})
    try:
        with described_by(file := folder / "tokenizer.json"):
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        if type(error) is not Exception:  # tokenizers has no class of its own
            raise
        raise damaged(file) from error


def _fits(encoder: Any, device: str) -> bool:
    """Whether an encoder has room on a device; a CPU encodes a prompt in seconds, too."""
    if not device.startswith("cuda"):
        return False
    free, _total = torch.cuda.mem_get_info(device)
    return encoder.get_memory_footprint() + 2**30 < free


def _revision(files: TextFiles) -> str:
    if files.text_encoder is None or files.tokenizer is None:
        return ""
    return fingerprint(files.text_encoder, files.tokenizer)


def _tensor_hash(tokens: Tensor) -> str:
    shape = f"{tuple(tokens.shape)} {tokens.dtype} "
    return hashlib.sha256(shape.encode() + tokens.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
