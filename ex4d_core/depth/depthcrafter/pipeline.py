"""A clip through DepthCrafter: looked at, denoised window by window, decoded; each stage keeps what it finishes.

Each stage loads its own models and lets them go, and goes over the clip with a few frames or one window in memory, so
that neither the card nor the machine ever holds more. What is kept makes a rerun go on where the last one ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ex4d_core.depth import ColorFrames
from ex4d_core.depth.depthcrafter.denoising import DECODED, STEPS, decode, denoise_window
from ex4d_core.depth.depthcrafter.looking import clip_tokens, frame_latents, frame_tensor
from ex4d_core.depth.depthcrafter.noise import Noise, SeededNoise
from ex4d_core.depth.depthcrafter.thrift import work_in_pieces
from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet
from ex4d_core.depth.depthcrafter.windows import Plan
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.generate.memory import release
from ex4d_core.generate.sampling import cancellable
from ex4d_core.images import resize
from ex4d_core.progress import Cancelled, OnProgress, stop_if

_LOOKED_AT = 8
"""Frames that CLIP sees at once."""
_BETWEEN_WAITS = 8
"""Norms: of the largest layers so many take a few tenths of a second."""


class Models(Protocol):
    """Loads what a stage needs, on the device it is to run on; see `weights.Weights`."""

    def image_encoder(self) -> Any: ...

    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...]]: ...

    def vae(self, encodes: bool) -> Any: ...

    def unet(self) -> FrameTokenUNet: ...

    def scheduler(self) -> Any: ...


@dataclass(frozen=True)
class Kept:
    """What the stages have finished."""

    tokens: FrameStore
    """(D,) of each frame."""
    footage: FrameStore
    """(4, h, w) of each frame: its latents."""
    windows: FrameStore
    """(n, 4, h, w) of each window: latents of depth, not blended yet."""
    pictures: FrameStore
    """(H, W) of each frame: depth as the model draws it, 0 (far) to 1 (near)."""


def kept_in(folder: Path | None, name: str, plan: Plan) -> Kept:
    """What is finished already.

    Args:
        folder: where it is; None: nothing is, and nothing will be left.
        name: begins the names of the folders in it, another for whatever gives other numbers.
        plan: of the clip.
    """
    frames, windows = len(plan), len(plan.windows)
    counts = {"tokens": frames, "footage": frames, "windows": windows, "pictures": frames}
    return Kept(**{kind: FrameStore(folder, f"{name}-{kind}", count) for kind, count in counts.items()})


def draw_depth(
    frames: ColorFrames,
    size: tuple[int, int],
    plan: Plan,
    models: Models,
    kept: Kept,
    on_progress: OnProgress,
    cancelled: Cancelled,
    noise: Noise | None = None,
) -> None:
    """Fill `kept.pictures`.

    Args:
        frames: T frames (H, W, 3) uint8 sRGB of any size.
        size: width and height that the model works at, multiples of 64, pixels.
        plan: of the T frames.
        models: to load.
        kept: what is finished, and will be.
        on_progress: told about frames looked at, steps of windows, frames decoded.
        cancelled: asked between layers.
        noise: where it comes from; None: `SeededNoise`.

    Raises:
        CancelledError: `cancelled` said so.
        InputError: weights are damaged.
        OutputError: nothing can be written.
        torch.OutOfMemoryError: the clip is too large for the device.
    """
    noise = noise or SeededNoise()
    stages: tuple[_Stage, ...] = (
        _Looking(frames, size, models, kept, noise),
        _Denoising(plan, models, kept, noise),
        _Decoding(plan, models, kept),
    )
    for stage in stages:
        if stage.done() < stage.total:
            stage.run(on_progress, cancelled)
            release()


class _Stage(Protocol):
    """A part of the work, over the whole clip."""

    @property
    def total(self) -> int:
        """Frames or windows."""
        ...

    def done(self) -> int:
        """How many of them are kept."""
        ...

    def run(self, on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Do the rest."""
        ...


@dataclass(frozen=True)
class _Looking:
    """Each frame's token and latents."""

    frames: ColorFrames
    size: tuple[int, int]
    models: Models
    kept: Kept
    noise: Noise

    @property
    def total(self) -> int:
        return len(self.frames)

    def done(self) -> int:
        return min(self.kept.tokens.done(), self.kept.footage.done())

    def run(self, on_progress: OnProgress, cancelled: Cancelled) -> None:
        encoder, vae = self.models.image_encoder(), self.models.vae(encodes=True)
        mean, std = self.models.pixels()
        shape = (1, 3, self.size[1], self.size[0])
        with _stopping((encoder, vae), cancelled):
            for begin in range(self.done(), self.total, _LOOKED_AT):
                numbers = range(begin, min(begin + _LOOKED_AT, self.total))
                seen = [frame_tensor(resize(self.frames[t], self.size), vae.device) for t in numbers]  # type: ignore[arg-type]
                tokens = clip_tokens(encoder, torch.cat(seen), mean, std)
                for t, frame, token in zip(numbers, seen, tokens, strict=True):
                    stop_if(cancelled)
                    latents = frame_latents(vae, frame, self.noise.picture(t, shape).to(vae.device))
                    self.kept.tokens.write(t, token.cpu().numpy())
                    self.kept.footage.write(t, latents[0].cpu().numpy())
                    on_progress(t + 1, self.total, "looking at the frames")


@dataclass(frozen=True)
class _Denoising:
    """Each window's latents of depth."""

    plan: Plan
    models: Models
    kept: Kept
    noise: Noise

    @property
    def total(self) -> int:
        return len(self.plan.windows)

    def done(self) -> int:
        return self.kept.windows.done()

    def run(self, on_progress: OnProgress, cancelled: Cancelled) -> None:
        unet, scheduler = self.models.unet(), self.models.scheduler()
        work_in_pieces(unet)
        with _stopping((unet,), cancelled):
            for number in range(self.done(), self.total):
                window = self.plan.windows[number]
                before = self.kept.windows[number - 1][-window.carried :] if window.carried else None

                def tell(step: int, number: int = number) -> None:
                    on_progress(number * STEPS + step, self.total * STEPS, "finding depth")

                footage = _stacked(self.kept.footage, range(window.begin, window.end))
                shape = tuple(footage.shape[1:])
                latents = denoise_window(
                    unet,
                    scheduler,
                    footage,
                    _stacked(self.kept.tokens, range(window.begin, window.end)),
                    torch.stack([self.noise.latents(frame, shape) for frame in window.noise]),
                    None if before is None else torch.from_numpy(before),
                    tell,
                )
                self.kept.windows.write(number, latents.cpu().numpy())


@dataclass(frozen=True)
class _Decoding:
    """Each frame's picture."""

    plan: Plan
    models: Models
    kept: Kept

    @property
    def total(self) -> int:
        return len(self.plan)

    def done(self) -> int:
        return self.kept.pictures.done()

    def run(self, on_progress: OnProgress, cancelled: Cancelled) -> None:
        vae = self.models.vae(encodes=False)
        work_in_pieces(vae.decoder)
        done = self.done()
        with _stopping((vae,), cancelled):
            for first, last in self.plan.takes:
                for begin in range(first, last, DECODED):
                    numbers = range(begin, min(begin + DECODED, last))
                    if numbers.stop <= done:
                        continue
                    latents = torch.stack([blended(self.plan, self.kept.windows, t) for t in numbers])
                    for t, picture in zip(numbers, decode(vae, latents).cpu().numpy(), strict=True):
                        self.kept.pictures.write(t, picture)
                        on_progress(t + 1, self.total, "drawing depth")


def blended(plan: Plan, windows: FrameStore, frame: int) -> Tensor:
    """The latents of a frame, from all windows that hold it: (4, h, w) float32."""
    parts = [float(share.weight) * windows[share.window][share.position] for share in plan.shares(frame)]
    return torch.from_numpy(sum(parts[1:], parts[0]))


def _stacked(store: FrameStore, frames: range) -> Tensor:
    return torch.stack([torch.from_numpy(store[frame]) for frame in frames])


@contextmanager
def _stopping(models: tuple[nn.Module, ...], cancelled: Cancelled) -> Generator[None]:
    """Ask before every norm, which stand before all that takes long."""
    norms = [m for model in models for m in model.modules() if isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    with cancellable(norms, _in_step(cancelled)):
        yield


def _in_step(cancelled: Cancelled) -> Cancelled:
    """A GPU is given its work long before it comes to it: waited for now and then, it stops soon after it is asked."""
    asked = itertools.count(1)

    def caught_up() -> bool:
        if next(asked) % _BETWEEN_WAITS == 0 and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return cancelled()

    return caught_up
