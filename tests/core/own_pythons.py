"""Virtual environments that have our packages and some more, in place of those that models get."""

import json
import sysconfig
import venv
from pathlib import Path

from ex4d_core.depth import model_environment


def make_python(folder: Path, packages: dict[str, str], ours: bool = True) -> Path:
    """An environment whose modules are `packages` (source by path, "name/api.py" or "name.py"), and ours."""
    venv.EnvBuilder(symlinks=True).create(folder)
    (site,) = folder.glob("[Ll]ib/**/site-packages")
    if ours:
        (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    for path, source in packages.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(source)
    return next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.is_file())


def mark_ready(name: str, recipe: str | None = None) -> None:
    """Say that an environment is whole, by our recipe or by another one."""
    digest = recipe or model_environment._digest(model_environment._recipe(name))
    (model_environment.environment_folder(name) / "ready.json").write_text(json.dumps({"recipe": digest}))
