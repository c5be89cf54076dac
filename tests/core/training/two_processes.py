"""Trains tiny models for `test_train_parallel.py`, alone or in two processes, and writes down all numbers.

    torchrun --nproc-per-node 2 two_processes.py FOLDER

FOLDER gets WAY-DTYPE.pt and WAY-DTYPE.ckpt, for float32 and bfloat16: alone, plain (gradients averaged), sharded, and
resumed (begun alone, gone on with sharded).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import make_tiny_models
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from train_cases import SHAPE, sample

from ex4d_core.generate.checkpoint import write_checkpoint
from ex4d_core.training.adapter import load_trained, new_adapter, trainable, trained
from ex4d_core.training.objective import drawn, loss, predict
from ex4d_core.training.parallel import World, average, joined, load_optimizer, mean, shard, whole

STEPS, SAMPLES = 2, 2
ALONE = World(0, 1, "cpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Two processes are both themselves and, for comparison, one that is alone."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with joined("cpu") as world:
        assert world.size == dist.get_world_size() == 2
        for name, dtype in DTYPES.items():
            alone = train(ALONE, dtype, sharded=False)
            middle = alone["middle"]
            for way, done in (
                ("alone", alone),
                ("plain", train(world, dtype, sharded=False)),
                ("sharded", train(world, dtype, sharded=True)),
                # begun by one process, gone on with by two
                ("resumed", train(world, dtype, sharded=True, begin=middle)),
            ):
                done.pop("middle", None)
                if world.leads:
                    file = folder / f"{way}-{name}.ckpt"
                    write_checkpoint(done.pop("checkpoint"), file)
                    torch.save(done, file.with_suffix(".pt"))


def train(world: World, dtype: torch.dtype, sharded: bool, begin: dict[str, Any] | None = None) -> dict[str, Any]:
    """Some steps: the frozen part in `dtype`, LoRA and encoder in float32, gradient checkpointing on."""
    transformer = make_tiny_models.wan_transformer(0).to(dtype).train()
    transformer.enable_gradient_checkpointing()
    encoder = new_adapter(transformer, SHAPE, 1)
    shake(trainable(transformer, encoder))
    if sharded:
        shard(transformer, encoder, world)
        assert all(isinstance(p, DTensor) for p in (*transformer.parameters(), *encoder.parameters()))
        assert {p.dtype for p in transformer.blocks.parameters()} == {torch.float32, dtype}
    parameters = trainable(transformer, encoder)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    done: dict[str, Any] = {"losses": [], "norms": [], "gradients": []}
    if begin:
        load_trained(transformer, encoder, begin["checkpoint"])
        load_optimizer(optimizer, begin["optimizer"])
    for step in range(1 if begin else 0, STEPS):
        total, mine = 0.0, world.share(range(SAMPLES))
        for place in mine:
            given = sample(SAMPLES * step + place)
            state = drawn(given.latents, 5.0, torch.Generator().manual_seed(SAMPLES * step + place))
            geometry = encoder(given.color, given.mask)
            error = loss(predict(transformer, geometry, given, state.noisy, state.timestep, dtype), state.target)
            (error / len(mine)).backward()
            total += error.item() / len(mine)
        average(parameters, world)
        done["losses"].append(mean(total, world))
        done["gradients"].append(whole([p.grad for p in parameters]))
        done["norms"].append(float(whole(nn.utils.clip_grad_norm_(parameters, 1.0))))
        optimizer.step()
        optimizer.zero_grad()
        if step == 0:
            kept = trained(transformer, encoder, SHAPE)
            done["middle"] = {"checkpoint": kept, "optimizer": whole(optimizer.state_dict())}
    done["checkpoint"] = trained(transformer, encoder, SHAPE)
    done["moments"] = whole(optimizer.state_dict())["state"]
    return done


def shake(parameters: list[nn.Parameter]) -> None:
    """Away from zero, where half of all gradients vanish."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)


if __name__ == "__main__":
    main()
