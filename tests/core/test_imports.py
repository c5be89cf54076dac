"""Arrows point one way: the extension talks HTTP, the server imports the core, the core imports neither."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "ex4d_core": {
        "bpy",
        "mathutils",
        "ex4d_server",
        "ex4d_blender",
        "fastapi",
        "starlette",
        "uvicorn",
        "httpx",
    }
    | {"requests", "aiohttp", "flask", "http", "socketserver"},
    "server": {"bpy", "mathutils", "ex4d_blender"},
    "ex4d_blender": {"ex4d_core", "ex4d_server", "torch", "cv2", "numba", "av", "pydantic"},
}
# torch and its family only inside the modules that need them, never when the package is imported
MODEL_MODULES = (
    "ex4d_core.generate.",
    "ex4d_core.depth.depth_anything_v2",
    "ex4d_core.depth.depth_pro",
    "ex4d_core.depth.depthcrafter.",
    "ex4d_core.depth.hub_network",
    "ex4d_core.evaluation.shot",
    "ex4d_core.training.",
    "ex4d_core.raster.torch_",
    "ex4d_core.raster.triton_",
    "ex4d_core.raster.nvdiffrast_",
)
MODEL_LIBRARIES = {"torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "gguf", "triton"}
HEAVY = MODEL_LIBRARIES | {
    "numba",
    "cv2",
    "av",
    "OpenEXR",
    "trimesh",
}


def imported(file: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_forbidden_imports(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    if not files and package != "ex4d_core":
        pytest.skip(f"{package}/ holds no code yet")
    found = {str(f.relative_to(ROOT)): imported(f) & FORBIDDEN[package] for f in files}
    assert not {f: names for f, names in found.items() if names}


def test_the_check_sees_an_import(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from bpy.types import Object\n    import torch.nn\n")
    assert imported(tmp_path / "a.py") == {"bpy", "torch"}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("statement", ["import ex4d_core", "import ex4d_core.cli", "import ex4d_core.camera"])
def test_importing_is_light(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_core_imports_without_torch() -> None:
    """All but the models inside `generate` and `depth` and what runs on a GPU, loaded when they are used."""
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in (ROOT / "ex4d_core").rglob("*.py")}
    imports = {name: imported_at_once(file) for name, file in files.items()}
    models = {name for name, wanted in imports.items() if any(w.split(".")[0] in MODEL_LIBRARIES for w in wanted)}
    while more := {name for name, wanted in imports.items() if wanted & models} - models:
        models |= more
    assert models
    assert all(name.startswith(MODEL_MODULES) for name in models), models
    importing = "\n".join(f"import {name.removesuffix('.__init__')}" for name in files if name not in models)
    assert "torch" not in loaded_by(importing)


def imported_at_once(file: Path) -> set[str]:
    """Modules that importing a file imports: `a.b` of `import a.b`, `from a.b import c` and `from a import b`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_compiled_code_needs_no_scipy() -> None:
    """Numba's `@`, `np.dot` and `np.linalg` call SciPy's BLAS, which is not a dependency."""
    found: list[str] = []
    for file in (ROOT / "ex4d_core").rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            if not any(re.search(r"jit|kernel|compiled", ast.unparse(d)) for d in function.decorator_list):
                continue
            for node in ast.walk(function):
                text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                if isinstance(node, ast.MatMult) or text in ("np.dot", "np.linalg", "np.vdot"):
                    found.append(f"{file.name}: {function.name}")
    assert not found
