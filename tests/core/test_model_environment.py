"""Python environments of models: what they are said to be, and one that is made by pip from wheels of this test."""

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from own_pythons import make_python, mark_ready

from ex4d_core.depth import model_environment
from ex4d_core.depth.model_environment import (
    ModelEnvironmentError,
    Recipe,
    environment_bytes,
    environment_folder,
    environment_state,
    has_environment,
    make_environment,
    remove_environment,
    require_python,
)
from ex4d_core.errors import CancelledError, MissingDependencyError, SpaceError
from ex4d_core.progress import never_cancelled, silent

NAME = "depth-anything-3"


@pytest.fixture(autouse=True)
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_ENVIRONMENTS", str(tmp_path / "environments"))


def test_an_environment_is_ready_by_its_last_file_and_recipe() -> None:
    assert environment_state(NAME) == "absent"
    with pytest.raises(MissingDependencyError, match=r"own, which is absent: run `ex4d models download depth-any"):
        require_python(NAME)
    python = make_python(environment_folder(NAME), {})
    assert environment_state(NAME) == "incomplete"
    assert environment_bytes(NAME) > 10**9
    mark_ready(NAME, recipe="of an older version")
    assert environment_state(NAME) == "incomplete"
    mark_ready(NAME)
    assert has_environment(NAME)
    assert environment_bytes(NAME) == 0
    assert require_python(NAME) == python == make_environment(NAME, silent, never_cancelled)
    python.unlink()  # the Python that it was made of is gone
    assert environment_state(NAME) == "incomplete"
    assert remove_environment(NAME) > 0
    assert environment_state(NAME) == "absent"
    assert remove_environment(NAME) == 0


def test_a_full_disk_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_environment, "_GPU_BYTES", 10**18)
    monkeypatch.setattr(model_environment, "_torch_version", lambda: "2.13.0+cu126")
    with pytest.raises(SpaceError, match=r"needs 1000000001.3 GB .* are free: free some space, or name another folder"):
        make_environment(NAME, silent, never_cancelled)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("", ["torch>=2.6", "torchvision"]),
        ("2.13.0", ["torch==2.13.0", "torchvision"]),
        (
            "2.13.0+cu126",
            ["torch==2.13.0", "torchvision", "--extra-index-url", "https://download.pytorch.org/whl/cu126"],
        ),
    ],
)
def test_torch_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch, version: str, wanted: list[str]) -> None:
    monkeypatch.setattr(model_environment, "_torch_version", lambda: version)
    assert model_environment._torch() == wanted


def wheel(folder: Path, name: str, version: str = "1.0", source: str = "") -> Path:
    """A wheel with one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", source)
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
def test_it_is_made_by_pip_and_goes_on_after_a_failure_and_a_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for variable, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(model_environment, "_torch_version", lambda: "7.1")
    source = wheel(tmp_path, "a_model", source="import a_package\n")
    recipe = Recipe("a-model", ("a_package==1.0",), str(source), "a_model", 1000)
    monkeypatch.setattr(model_environment, "RECIPES", (recipe,))
    wheel(wheels, "torch", "7.1")

    with pytest.raises(CancelledError):  # in the middle of making it
        make_environment("a-model", silent, lambda: environment_folder("a-model").is_dir())
    with pytest.raises(ModelEnvironmentError, match=r"matching distribution found for torchvision; log: .*torch.log"):
        make_environment("a-model", silent, never_cancelled)
    assert environment_state("a-model") == "incomplete"
    wheel(wheels, "torchvision")
    wheel(wheels, "a_package", source="raise RuntimeError('built for another torch')\n")
    with pytest.raises(ModelEnvironmentError, match=r"made \(RuntimeError: built for another torch; log: .*import.log"):
        make_environment("a-model", silent, never_cancelled)
    python = model_environment._python(environment_folder("a-model"))
    (module,) = environment_folder("a-model").glob("[Ll]ib/**/a_package.py")
    module.write_text("")

    stages: list[str] = []
    made = make_environment("a-model", lambda done, total, stage: stages.append(stage), never_cancelled)
    assert made == python == require_python("a-model")
    assert stages[0] == "making the Python environment of a-model"
    assert metadata.version("torch") != "7.1"  # ours is another one
    assert Path(sys.prefix).resolve() not in made.parents
    assert remove_environment("a-model") > 10**6
