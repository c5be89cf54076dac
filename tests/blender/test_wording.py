"""What the library and the sidecar say, in the words of Blender's interface."""

import ast
import re
from pathlib import Path

import bpy
import pytest
from conftest import ROOT, module


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "give --fov, or --focal-mm and --sensor-mm; --unknown-thing stays.",
            "give a Field of View, or a focal length in Millimeters and the Sensor Width; --unknown-thing stays.",
        ),
        ("say with --depth-range LO HI what 0 stands for.", "say with Depth Range what 0 stands for."),
        ("add --size 640x960 to work at the depth's.", "set Working Size to 960 to work at the depth's."),
        ("x is no scene folder: make one with `ex4d import`.", "x is no scene folder: import the clip again."),
        ("/a/clip--start 1/b--fov.mp4 stays", "/a/clip--start 1/b--fov.mp4 stays"),
        (
            "The model x is not on this machine: run `ex4d models download x --accept` (2.0 GB).",
            "The model x is not on this machine: use Download in the Engine panel (2.0 GB).",
        ),
        (
            "none: run `ex4d models download x-q8` (9.0 GB), give one with --model-dir, or choose another rung.",
            "none: use Download in the Engine panel (9.0 GB), or choose another rung.",
        ),
        (
            "for --memory resident: choose --cache first-block, or --memory gguf-q8 or fp8.",
            "for the rung resident: choose the Quality final.",
        ),
        (
            "would be the same: choose --cache taylorseer, or --quality final.",
            "would be the same: choose the Quality final.",
        ),
        ("hub says no: wait, then run the same command again.", "hub says no: wait, then use Retry."),
        (
            "check HF_ENDPOINT, or log in with `hf auth login`, with a token that may read it.",
            "check HF_ENDPOINT, or start Blender with a token of huggingface.co in the environment variable HF_TOKEN, "
            "one that may read it.",
        ),
    ],
)
def test_the_library_speaks_the_words_of_the_dialog(theirs: str, ours: str) -> None:
    assert module("wording").for_artists(theirs) == ours
    shown = {prop.name for prop in bpy.ops.ex4d.import_footage.get_rna_type().properties}
    assert {"Field of View", "Sensor Width", "Depth Files", "Depth Means", "Depth Range", "Working Size"} <= shown


def test_no_word_of_the_command_line_is_left() -> None:
    """In each sentence of the library and the sidecar that an import, a take, a download, or starting a sidecar may end
    with."""
    files = [
        ROOT / f"ex4d_core/{name}.py" for name in ("clip", "images", "import_request", "ingest", "scene", "sequence")
    ]
    files += [ROOT / f"ex4d_core/{name}.py" for name in ("audio", "camera", "encoder", "media", "video_in", "timeline")]
    known = ("lens", "sensors", "solve", "colmap", "cuts", "steadiness", "camera_estimate")
    files += [ROOT / f"ex4d_core/{name}.py" for name in (*known, "ingest_cameras", "ingest_depth")]
    files += [*(ROOT / "ex4d_core/background").glob("*.py"), *(ROOT / "ex4d_core/depth/depthcrafter").glob("*.py")]
    files += [*(ROOT / "ex4d_core/depth").glob("*.py"), ROOT / "server/ex4d_server/preflight.py"]
    files += [ROOT / f"server/ex4d_server/{name}.py" for name in ("folders", "lifecycle", "stages", "store", "unpack")]
    files += [ROOT / "ex4d_core/engines.py", ROOT / "ex4d_core/models.py", ROOT / "server/ex4d_server/models.py"]
    files += [*(ROOT / "ex4d_core").glob("model_*.py"), *(ROOT / "ex4d_core/generate").glob("*.py")]
    not_ours = ("--host", "--port", "--token-file")  # Blender starts no sidecar for other machines
    for_artists, seen = module("wording").for_artists, 0
    for file in files:
        for sentence in sentences(file):
            seen += "--" in sentence
            if sentence.startswith("This folder belongs to EX-4D"):  # no sentence for people at Blender: a file's
                continue
            if " " not in sentence:  # an argument of another program
                continue
            left = re.findall(r"--[a-z][a-z-]+|`(?:ex4d|hf) [^`]*`|pip install|same command", for_artists(sentence))
            assert not [word for word in left if word not in not_ours], f"{file.name}: {sentence}"
    assert seen > 25


def sentences(file: Path) -> list[str]:
    """The texts in a module but for its docstrings; what is filled in is an `x`."""
    tree = ast.parse(file.read_text("utf-8"))
    inside = {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in text.values}
    inside |= {id(line.value) for line in ast.walk(tree) if isinstance(line, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append(
                "".join(
                    str(getattr(part, "value", "x")) if isinstance(part, ast.Constant) else "x" for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            found.append(node.value)
    return found
