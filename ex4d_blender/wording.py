# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of the library and the sidecar, written for the command line, in the words of Blender's interface."""

import re
from collections.abc import Callable

WORDS = {
    "--fov": "a Field of View",
    "--focal-mm": "a focal length in Millimeters",
    "--sensor-mm": "the Sensor Width",
    "--focal-px": "a focal length in Pixels",
    "--depth": "Depth Files",
    "--depth-kind": "Depth Means",
    "--depth-range": "Depth Range",
    "--depth-channel": "Channel",
    "--depth-model-dir": "a Model Folder",
    "--estimator": "Estimator",
    "--source-camera": "a Solve",
    "--max-side": "Working Size",
    "--size": "Working Size",
    "--start": "First Frame",
    "--frames": "Frames",
    "--fps": "Frame Rate",
    "--data": "Data Folder in the preferences",
    "--accept": "Accept Licence",
    "--model-dir": "a folder of models",
}
"""Options of `ex4d`, and what the dialogs and the preferences call them."""

_PHRASES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"--depth-range LO HI\b", "Depth Range"),
    (r" or --sensor\b", ""),
    (r"choose one of --sensor-mm and --sensor", "give the Sensor Width alone"),
    (r"give another --depth-model-dir", "choose another Model Folder"),
    (r"give --depth-model-dir a folder", "choose a Model Folder"),
    (r"(name the folder) with --depth-model-dir", r"\1 as Model Folder"),
    (r"(import|or) (?:with )?--source-camera estimate\b", r"\1 with Camera set to Estimate"),
    (r"with --source-camera FILE\b", "as Solve"),
    (r"import again with --background on\b", "import the footage again"),
    (r"with --(estimator|depth-channel)\b", lambda option: f"as {WORDS['--' + option[1]]}"),
    (r"`ex4d depth list`", "the list beside Estimator"),
    (r"add --size (\d+)x(\d+)", lambda size: f"set Working Size to {max(int(size[1]), int(size[2]))}"),
    (r"make one with `ex4d import`", "import the clip again"),
    (r"delete old jobs, then run `ex4d cache prune`", "remove old jobs from the list in the Sidecar panel"),
    (r", run `ex4d models remove [^`]*`, then download it again", ", remove its folder and download it again"),
    (r"(?:run )?`ex4d models download[^`]*`", "use Download in the Engine panel"),
    (
        r"run `ex4d models verify[^`]*`",
        "remove the folders of its models, which the Engine panel names, and use Download there",
    ),
    (r"run pip install \.\[gpu\] in EX-4D's folder", "use Install Engine for a GPU in the Engine panel"),
    (r" \(pip install [\w-]+\)", ""),
    (r"run the same command again", "use Retry"),
    (
        r"choose another folder with --folder",
        "let EX4D_MODELS name a folder on another disk, then start the sidecar again",
    ),
    (r"add --accept\b", "tick Accept Licence in the dialog of Download"),
    (
        r"log in( anew)? with `hf auth login`(?:(, )with a token)?",
        lambda login: (
            f"start Blender with {'another' if login[1] else 'a'} token of huggingface.co in the environment "
            f"variable HF_TOKEN{', one' if login[2] else ''}"
        ),
    ),
    (r", or unset HF_TOKEN", ", or without one"),
    (
        r"for --memory (.+?): choose --cache first-block, or --memory [^.]+",
        r"for the rung \1: choose the Quality final",
    ),
    (r"(?:--cache taylorseer, or )?--quality ([a-z]+)", r"the Quality \1"),
    (r"--cache taylorseer, or ", ""),
    (r", or leave --cache out|(?:, )?give one with --model-dir|give a path to --model-dir, or ", ""),
    (r", put it into the folder of --model-dir", ""),
    (r"give the folder that has it .* leave out --from|make (it|one) with `ex4d render`", "use Generate"),
    (r"add --overwrite to generate the shot anew", "use Generate for another take"),
)
"""What reads wrong where only the option is replaced."""
_OPTION = r"(?<![\w/\\.-])--[a-z]+(?:-[a-z]+)*"
"""Not in the midst of a word or path: files are named by those who made them."""


def for_artists(text: str) -> str:
    """The text with options and commands named as in Blender; unknown ones stay."""
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return re.sub(_OPTION, lambda option: WORDS.get(option[0], option[0]), text)
