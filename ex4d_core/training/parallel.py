"""Training in many processes, one for each GPU, started by `torchrun` or `accelerate launch`, on one machine or many.

Two ways. Plain: each process has the whole model and a share of the samples, and gradients are averaged. Sharded: each
also has only its share of every tensor, and PyTorch's FSDP2 fetches the rest of a block while it computes. The numbers
are those of one process that accumulates as many samples.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ex4d_core.errors import Ex4dError

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

_Item = TypeVar("_Item")
_PATIENCE = timedelta(hours=2)
"""How long the others wait for the first, which writes checkpoints alone."""


@dataclass(frozen=True)
class World:
    """The processes that train together."""

    rank: int
    """Of this process, from 0."""
    size: int
    device: str
    """Of torch, which this process computes on."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """What of the samples of a step this process takes; each item is taken by one process."""
        return items[self.rank :: self.size]


@contextmanager
def joined(device: str) -> Generator[World]:
    """Meet the other processes of `torchrun` or `accelerate launch`, and part from them at the end.

    Args:
        device: cpu or cuda; of many processes on one machine, each gets a GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(0, 1, device)
        return
    # without a GPU accelerate would take each process for a world of its own, unless told that this is meant
    on_cpu = device == "cpu"
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE, **({"backend": "gloo"} if on_cpu else {}))
    try:
        # accelerate numbers even the CPU
        yield World(state.process_index, state.num_processes, "cpu" if on_cpu else str(state.device))
    finally:
        state.destroy_process_group()


@contextmanager
def agreed(world: World) -> Generator[None]:
    """Stop all where one cannot go on, so that none waits for it; the first of those that failed says why.

    The block must not talk to the others itself: reading, writing.

    Raises:
        Ex4dError: raised by the block in this process.
        SystemExit: raised in another, with the exit code of its error.
    """
    error: Ex4dError | None = None
    try:
        yield
    except Ex4dError as raised:
        error = raised
    if world.size == 1:
        failed = [0] if error else []
        codes = [error.exit_code if error else 0]
    else:
        codes = [0] * world.size
        dist.all_gather_object(codes, error.exit_code if error else 0)
        failed = [rank for rank, code in enumerate(codes) if code]
    if error is not None and world.rank == failed[0]:
        raise error
    if failed:
        raise SystemExit(codes[failed[0]])


def average(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Make the gradients of all processes their mean; those of a sharded model are already.

    Args:
        parameters: the trainable ones, in the same order in each process. One that this process did not use counts as
            a gradient of zero.
        world: of the processes.
    """
    if world.size == 1:
        return
    pending: list[tuple[Tensor, Any]] = []
    for parameter in parameters:
        if isinstance(parameter, DTensor):
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        pending.append((parameter.grad, dist.all_reduce(parameter.grad, async_op=True)))
    for gradient, work in pending:
        work.wait()
        gradient /= world.size


def mean(value: float, world: World) -> float:
    """The mean of a number over the processes."""
    if world.size == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=world.device)
    dist.all_reduce(total)
    return total.item() / world.size


def shard(transformer: WanTransformer3DModel, encoder: nn.Module, world: World) -> None:
    """Leave each process its share of every tensor, block by block, so that no GPU ever holds the whole.

    Frozen weights of any type and trainable ones of one type (float32) may be mixed in a block. To be called after
    adapters are added and before the optimizer is made, as parameters are replaced. Models may be on the CPU still.
    From then on all processes must call both models equally often, also to validate.

    Args:
        transformer: of diffusers, with its adapter.
        encoder: of the geometry.
        world: of the processes.
    """
    # the output is a view, which nobody changes in place
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(torch.device(world.device).type, (world.size,))
    for module in (*transformer.blocks, transformer, encoder):
        # Unless told, FSDP2 keeps the outermost ones whole until a backward pass. Validation has none: the next step
        # would compute with the average that was validated.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


def whole(value: Any) -> Any:
    """Copies of all tensors in a nest of mappings and lists, each whole and on the CPU; all processes must ask for it.

    Args:
        value: state dicts of models and optimizers; what is no tensor stays.
    """
    if isinstance(value, Tensor):
        full = value.full_tensor() if isinstance(value, DTensor) else value
        return full.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, Mapping):
        return {key: whole(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [whole(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """The share of a whole tensor that this process keeps, on the device and of the type of another one.

    Args:
        tensor: (...) the same in each process.
        like: of the same shape, sharded or whole.
    """
    moved = tensor.to(like.device, like.dtype)
    if not isinstance(like, DTensor):
        return moved
    return distribute_tensor(moved, like.device_mesh, like.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer its state again, whether it was saved by one process or by many.

    Args:
        optimizer: over the same parameters in the same order.
        state: `whole(optimizer.state_dict())`.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shared = {
        number: {
            name: part(value, parameters[number]) if _like(value, parameters[number]) else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": shared})


def _like(value: Any, parameter: Tensor) -> bool:
    """Whether it is a value for each number of a parameter: a moment, not the count of steps."""
    return isinstance(value, Tensor) and value.shape == parameter.shape
