"""The NVIDIA GPUs of this machine, as the driver tells (NVML): no CUDA context, no memory taken."""

from __future__ import annotations

from dataclasses import dataclass

from ex4d_core.errors import MissingDependencyError


@dataclass(frozen=True)
class Gpu:
    """One GPU, at the moment of asking."""

    index: int
    """The driver's number, in PCI order; CUDA counts the same way with CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    name: str
    uuid: str
    """Stays with the card; `CUDA_VISIBLE_DEVICES` takes it."""
    total_bytes: int
    """Its own memory; 0, as `free_bytes`, for a chip that uses the machine's."""
    free_bytes: int
    driver: str
    """Version of the driver."""


def gpus() -> tuple[Gpu, ...]:
    """All GPUs that the driver shows; empty where there is no NVIDIA driver, or no card in it.

    Raises:
        MissingDependencyError: there is a driver and it does not work.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if _code(error) in (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED):
            return ()
        raise _broken(error) from error
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return tuple(_gpu(index, driver) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        raise _broken(error) from error
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, driver: str) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    total, free = 0, 0
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except pynvml.NVMLError as error:
        if _code(error) != pynvml.NVML_ERROR_NOT_SUPPORTED:
            raise
    return Gpu(
        index=index,
        name=str(pynvml.nvmlDeviceGetName(handle)),
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        total_bytes=total,
        free_bytes=free,
        driver=driver,
    )


def _code(error: Exception) -> int:
    return int(getattr(error, "value", -1))  # set in pynvml's __new__, where type checkers do not look


def _broken(error: Exception) -> MissingDependencyError:
    reason = str(error).rstrip(".")
    return MissingDependencyError(
        f"The NVIDIA driver does not answer ({reason}): restart the machine, or install the driver again."
    )
