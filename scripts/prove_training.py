"""Prove on a CPU that training works: with Wan's own classes, tiny, an adapter learns what geometry is for.

    python scripts/prove_training.py OUT --clips BENCHMARK --others FOLDER [--seeds 3] [--minutes 6]

BENCHMARK is what `scripts/make_benchmark.py` writes: the left and the right of its source clips, and of the bundled
one, are what the adapters are trained on (give three scenes for eight clips). FOLDER holds other scenes of that form:
from them come a tiny VAE and a tiny image-to-video model, all weights trained.

Then, with both frozen, a LoRA and a geometry encoder are trained on simulated masks, once as they should be and once
with each clip given another one's geometry, and scored on masks that neither has seen: the loss beside that of the
base and of predicting zero, and PSNR in the holes beside the base's and that of a Telea fill. Writes OUT/proof.json,
OUT/proof.png and the models, which a second run takes up again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment("gpu")

import cv2
import numpy as np
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from numpy.typing import NDArray
from proof import adapters
from proof.adapters import HELD_OUT, TRAINED, Adapted, Masked
from proof.base import Encoders, encoders, train_base
from proof.clips import Footage, of_benchmark, of_sample, videos_of
from proof.vae import grey_psnr, held_out_psnr, new_vae, train_vae

from ex4d_core.errors import Ex4dError

_MOST_ROUNDS = 4
_PIECES = 300
"""Clips that the base is trained on."""
_ENOUGH_PSNR = 22.0
_OF_BASE = 0.4
_MARGIN = 0.2


def main() -> int:
    """Parse the command line, run the proof; 0 only if every claim holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the result")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="scenes to train adapters on")
    parser.add_argument("--others", type=Path, nargs="+", required=True, help="scenes to train VAE and base on")
    parser.add_argument("--seeds", type=int, default=3, help="how often to train the adapters (default: 3)")
    parser.add_argument("--steps", type=int, default=300, help="of each adapter (default: 300)")
    parser.add_argument("--minutes", type=float, default=6.0, help="of a round of the VAE, of the base (default: 6)")
    options = parser.parse_args()
    try:
        return _prove(options)
    except Ex4dError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _prove(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    clips = [*of_sample(), *of_benchmark(tuple(options.clips))]
    others = videos_of(tuple(options.others))
    windows = [window for clip in clips for window in clip.windows()[:2]]
    vae, psnr = _vae(options, others, windows)
    parts = encoders(vae)
    base = _base(options, parts, others)
    pairs = adapters.masked(parts, clips, range(TRAINED))
    unseen = adapters.masked(parts, clips, range(TRAINED, TRAINED + HELD_OUT))
    rows = [_seed(parts, base, pairs, unseen, seed, options) for seed in range(options.seeds)]
    found: dict[str, Any] = {
        "clips": [f"{clip.footage.name}, from column {clip.left}" for clip in clips],
        "vae_psnr": psnr,
        "seeds": rows,
    }
    found["grey_psnr"] = grey_psnr(windows)
    found["claims"] = _claims(found)
    (options.out / "proof.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(_table(found))
    return 0 if all(found["claims"].values()) else 1


def _seed(
    parts: Encoders,
    base: WanTransformer3DModel,
    pairs: list[list[Masked]],
    unseen: list[list[Masked]],
    seed: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Both adapters of a seed, and their scores."""
    begin = time.monotonic()
    right = adapters.train(base, pairs, options.steps, seed, False, _say)
    wrong = adapters.train(base, pairs, options.steps, seed, True, _say)
    models = {"base": Adapted(base, None), "adapter": right, "shuffled": wrong}
    row: dict[str, Any] = {"seed": seed, "loss": adapters.losses(models, unseen, 100 * seed)}
    # What was trained on wrong geometry may do better where it is wrong again
    wrongly = adapters.losses({"shuffled": wrong}, adapters.shuffled(unseen), 100 * seed)
    row["loss"]["shuffled"] = min(row["loss"]["shuffled"], wrongly["shuffled"])
    groups = [list(group) for group in zip(*unseen, strict=True)]  # a window of each clip
    shown = [{name: adapters.filled(parts, model, group, seed) for name, model in models.items()} for group in groups]
    for group, videos in zip(groups, shown, strict=True):
        videos["Telea"] = np.stack([adapters.telea(pair) for pair in group])
    everything = [pair for group in groups for pair in group]
    row["hole_psnr"] = {
        name: adapters.hole_psnr(np.concatenate([videos[name] for videos in shown]), everything) for name in shown[0]
    }
    row["seconds"] = time.monotonic() - begin
    if seed == 0:
        _picture(options.out / "proof.png", groups[1], shown[1])
    return row


def _claims(found: dict[str, Any]) -> dict[str, bool]:
    losses = [row["loss"] for row in found["seeds"]]
    holes = [row["hole_psnr"] for row in found["seeds"]]
    others = ("base", "zero", "shuffled")
    return {
        f"VAE: at least {_ENOUGH_PSNR:g} dB on clips not seen": found["vae_psnr"] >= _ENOUGH_PSNR,
        "VAE: shows more than the same clips in grey": found["vae_psnr"] > found["grey_psnr"],
        f"base: loss {100 * _OF_BASE:.0f} % below predicting zero": all(
            one["base"] < (1 - _OF_BASE) * one["zero"] for one in losses
        ),
        f"adapter: loss {100 * _MARGIN:.0f} % below base, zero and shuffled, with each seed": all(
            one["adapter"] < (1 - _MARGIN) * one[other] for one in losses for other in others
        ),
        "adapter: PSNR in holes above base, shuffled and Telea, with each seed": all(
            one["adapter"] > value for one in holes for name, value in one.items() if name != "adapter"
        ),
    }


def _table(found: dict[str, Any]) -> str:
    names = {"loss": ("zero", "base", "shuffled", "adapter"), "hole_psnr": ("Telea", "base", "shuffled", "adapter")}
    head = ["seed", *(f"{kind.split('_')[0]} {name}" for kind, of in names.items() for name in of), "s"]
    lines = [head, ["---"] * len(head)]
    for row in found["seeds"]:
        digits = {"loss": 3, "hole_psnr": 1}
        cells = [f"{row[kind][name]:.{digits[kind]}f}" for kind, of in names.items() for name in of]
        lines.append([str(row["seed"]), *cells, f"{row['seconds']:.0f}"])
    text = [
        f"VAE: {found['vae_psnr']:.1f} dB; the clips in grey {found['grey_psnr']:.1f} dB",
        "",
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
    ]
    return "\n".join([*text, *(f"{'holds' if true else 'FAILS'}: {claim}" for claim, true in found["claims"].items())])


def _picture(path: Path, pairs: list[Masked], shown: dict[str, NDArray[np.uint8]]) -> None:
    """The last frame of each clip: as it was, with its holes, and as each fills it."""
    rows = [
        np.concatenate(
            [
                pair.clip.frames[-1],
                pair.clip.frames[-1] * pair.mask[-1][..., None],
                *(v[n][-1] for v in shown.values()),
            ],
            axis=1,
        )
        for n, pair in enumerate(pairs)
    ]
    sheet = cv2.resize(np.concatenate(rows), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    names = ["true", "given", *shown]
    head, width = np.full((24, sheet.shape[1], 3), 255, np.uint8), sheet.shape[1] // len(names)
    for number, name in enumerate(names):
        cv2.putText(head, name, (number * width + 4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), np.concatenate([head, sheet])[..., ::-1])


def _vae(
    options: argparse.Namespace, others: list[NDArray[np.uint8]], unseen: list[Footage]
) -> tuple[AutoencoderKLWan, float]:
    """The VAE, trained in rounds until it is good enough, and its PSNR; what an earlier run has left is taken up."""
    folder = options.out / "vae"
    vae, psnr, first = new_vae(others, 0), 0.0, 0
    if folder.is_dir():
        vae, first = AutoencoderKLWan.from_pretrained(folder).eval(), 1
        psnr = held_out_psnr(vae, unseen)
    for number in range(first, _MOST_ROUNDS):
        if psnr >= _ENOUGH_PSNR:
            break
        train_vae(vae, others, 60 * options.minutes, number, _say)
        vae.save_pretrained(folder)
        psnr = held_out_psnr(vae, unseen)
        _say(f"VAE: {psnr:.1f} dB on clips that it has not seen")
    return vae.eval().requires_grad_(False), psnr


def _base(options: argparse.Namespace, parts: Encoders, others: list[NDArray[np.uint8]]) -> WanTransformer3DModel:
    folder = options.out / "transformer"
    if not folder.is_dir():
        train_base(parts, others, _PIECES, 60 * options.minutes, 0, _say).save_pretrained(folder)
    return WanTransformer3DModel.from_pretrained(folder).eval().requires_grad_(False)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
