"""The client's folder works by itself, as the extension ships it: the standard library and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import ex4d_server.client


def test_a_copy_of_the_folder_is_enough(tmp_path: Path) -> None:
    folder = Path(ex4d_server.client.__file__).parent
    shutil.copytree(folder, tmp_path / "shipped", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import shipped\n"
        "task = shipped.Call(shipped.Server('http://127.0.0.1:1', 'token'), 'GET', '/v1/health')\n"
        "try:\n    shipped.wait(task, 20)\n"
        "except shipped.ClientError as error:\n    print(error)\n"
        "foreign = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'shipped', '__main__'}\n"
        "assert not foreign, foreign\n"
    )
    # -I -S: neither the environment nor site-packages, as in a Blender without anything installed
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "127.0.0.1:1" in done.stdout
