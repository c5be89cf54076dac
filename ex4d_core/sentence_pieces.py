"""A tokenizer out of a SentencePiece model, as ComfyUI keeps it inside its text encoder's file.

SentencePiece's own library is not needed: its file is a Protocol Buffers message (`sentencepiece_model.proto`), of
which three fields make a unigram tokenizer of the library tokenizers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ex4d_core.files import atomic_file, explained

_PIECES, _NORMALIZER = 1, 3
"""Fields of ModelProto."""
_TEXT, _SCORE, _KIND = 1, 2, 3
"""Fields of a piece."""
_CHARSMAP = 2
"""Field of NormalizerSpec: compiled rules of how characters are replaced."""
_NORMAL, _UNKNOWN, _BYTE = 1, 2, 6
"""Kinds of pieces."""
_SPACE = "▁"


def write_tokenizer(model: bytes, folder: Path) -> None:
    """Write the folder that transformers reads a T5 tokenizer from.

    Args:
        model: the whole of a spiece.model of the unigram kind.
        folder: made if it is not there.

    Raises:
        ValueError: it is something else.
        OutputError: the folder cannot be written.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces: list[tuple[str, float]] = []
    kinds: list[int] = []
    charsmap = b""
    for field, value in _fields(model):
        if field == _PIECES and isinstance(value, bytes):
            piece: dict[int, Any] = {_KIND: _NORMAL, _SCORE: 0.0} | dict(_fields(value))
            pieces.append((piece[_TEXT].decode("utf-8"), piece[_SCORE]))
            kinds.append(piece[_KIND])
        elif field == _NORMALIZER and isinstance(value, bytes):
            rules: dict[int, Any] = dict(_fields(value))
            charsmap = rules.get(_CHARSMAP, b"")
    if _UNKNOWN not in kinds:
        raise ValueError("no SentencePiece model")
    unknown, names = kinds.index(_UNKNOWN), [name for name, _ in pieces]
    made = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=_BYTE in kinds))
    compiled = [normalizers.Precompiled(charsmap)] if charsmap else []
    made.normalizer = normalizers.Sequence([*compiled, normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    end = ("</s>", names.index("</s>"))
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(told | {"unk_token": names[unknown]})
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    with atomic_file(folder / "tokenizer.json") as temporary:
        made.save(str(temporary))


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field of a message; those within are bytes again.

    Raises:
        ValueError: it is no such message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if at + size > len(message):
                raise ValueError("the message breaks off")
            yield key >> 3, struct.unpack_from("<d" if kind == 1 else "<f", message, at)[0]
            at += size
        elif kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("the message breaks off")
            yield key >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError("no message of Protocol Buffers")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first; and where the next thing begins."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return value, at
        shift += 7
    raise ValueError("the message breaks off")
