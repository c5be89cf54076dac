"""`shot.json` says how a shot was made, and `ex4d generate --from` makes it again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from around_cases import sideways, smooth_scene

from ex4d_core.cli import main
from ex4d_core.engines import EngineSetup
from ex4d_core.errors import InputError
from ex4d_core.generate import generate_shot
from ex4d_core.generate.again import read_recipe
from ex4d_core.generate.folder import is_generated, request_fields
from ex4d_core.generate.revisions import differing, model_revisions
from ex4d_core.rendering import render_shot
from ex4d_core.shot import read_shot


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("from")
    scene = smooth_scene(folder, 5)
    return render_shot(scene, sideways(5, end=0.3), folder / "shots" / "rendered")


@pytest.fixture(scope="module")
def made(rendered: Path, tiny_ex4d: Path) -> Path:
    """A shot generated with settings of its own."""
    folder = rendered.with_name("made")
    shutil.copytree(rendered, folder)
    setup = EngineSetup(model_dir=tiny_ex4d, memory="resident", steps=2)
    generate_shot(folder, "ex4d", seed=11, keep_source=True, setup=setup)
    return folder


@pytest.fixture
def copy(rendered: Path) -> Path:
    """The same shot, not generated yet."""
    folder = rendered.with_name("copy")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(rendered, folder)
    return folder


def ex4d(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in ("generate", *arguments)])
    return int(ended.value.code or 0)


def pictures(shot: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((shot / "output").iterdir())}


def test_shot_json_records_what_was_asked_and_what_was_chosen(made: Path, tiny_ex4d: Path) -> None:
    text = (made / "shot.json").read_text("utf-8")
    document = json.loads(text)
    request, result = document["request"], document["result"]
    asked = {"engine": "ex4d", "seed": 11, "prompt": "", "quality": "", "keep_source": True, "steps": 2}
    assert {name: request[name] for name in asked} == asked
    assert {"transformer", "vae", "image_encoder", "adapter"} <= set(request["models"])
    assert "distilled" not in request["models"], "this quality does not load it"
    engine = result["engine"]
    assert engine["models"] == request["models"]
    assert (engine["memory"], engine["device"], engine["dtype"]) == ("resident", "cpu", "float32")
    assert (engine["size"], engine["frames"], engine["windows"], engine["lead_in"]) == ([64, 48], 5, 1, 0)
    assert engine["profile"]["steps"] == 2
    assert {"torch", "diffusers", "peft", "transformers", "ex4d"} <= set(result["versions"])
    assert str(tiny_ex4d.parent) not in text, "paths of this machine are nobody's business"


def test_the_same_again_gives_the_same_bytes(made: Path, copy: Path, tiny_ex4d: Path) -> None:
    assert ex4d("--from", made / "shot.json", "--model-dir", tiny_ex4d, copy) == 0
    assert pictures(copy) == pictures(made)
    assert read_shot(copy).request.models == read_shot(made).request.models
    (copy / "output" / "000002.png").unlink()
    assert ex4d("--from", copy, "--model-dir", tiny_ex4d, "--overwrite") == 0, "the folder will do, and is made anew"
    assert pictures(copy) == pictures(made)


def test_what_is_given_replaces_what_it_says(made: Path, copy: Path, tiny_ex4d: Path) -> None:
    options = ("--model-dir", tiny_ex4d, "--seed", 12, "--steps", 1)
    assert ex4d("--from", made / "shot.json", *options, copy) == 0
    request = read_shot(copy).request
    assert (request.seed, request.steps, request.keep_source) == (12, 1, True)
    assert pictures(copy) != pictures(made)


def test_other_weights_are_refused_in_one_sentence(
    made: Path, copy: Path, tiny_ex4d: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import models

    models.ex4d_diffusers(tmp_path / "other", 1)
    before = sorted(copy.rglob("*"))
    assert ex4d("--from", made / "shot.json", "--model-dir", tmp_path / "other", copy) == 1
    said = capsys.readouterr().err.strip()
    assert "shot.json was made with another adapter (" in said
    assert said.endswith("with --model-dir, or leave out --from.")
    assert "\n" not in said.splitlines()[-1]
    assert sorted(copy.rglob("*")) == before
    moved = tmp_path / "moved"
    shutil.copytree(tiny_ex4d, moved)
    assert ex4d("--from", made / "shot.json", "--model-dir", moved, copy) == 0, "the same weights elsewhere"


@pytest.mark.parametrize("layout", ["ex4d-diffusers", "ex4d-original", "ex4d-comfy"])
def test_files_that_are_not_read_change_nothing(
    tiny_models: Callable[[str], Path], tmp_path: Path, layout: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models(layout), models, copy_function=os.link)
    setup = EngineSetup(model_dir=models)
    before = model_revisions("ex4d", "", setup)
    assert {"transformer", "vae", "image_encoder", "text_encoder", "tokenizer", "adapter"} <= set(before)
    for folder in [models, *(path for path in models.rglob("*") if path.is_dir())]:
        (folder / "notes.txt").write_text("of mine")
        (folder / ".DS_Store").write_bytes(b"\0")
    assert model_revisions("ex4d", "", setup) == before
    (models / "ex4d.json").write_text('{"r": 4, "lora_alpha": 2}')  # read with the checkpoint, for its LoRA's weight
    assert differing(before, model_revisions("ex4d", "", setup)) == ["adapter"]


def test_the_config_of_a_component_counts(tiny_models: Callable[[str], Path], tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models("ex4d-original"), models)
    setup = EngineSetup(model_dir=models)
    before = model_revisions("ex4d", "", setup)
    (models / "config.json").write_text("{}")
    assert differing(before, model_revisions("ex4d", "", setup)) == ["transformer"]


def test_another_engine_does_not_get_settings_that_nobody_typed(
    made: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ex4d("--from", made, "--engine", "draft", copy) == 0
    assert capsys.readouterr().err == ""
    request = read_shot(copy).request
    assert (request.engine, request.seed, request.memory, request.keep_source) == ("draft", 11, "", False)
    assert ex4d("--from", made, "--engine", "draft", "--steps", 3, copy, "--overwrite") == 1
    assert "no use for steps: leave that out" in capsys.readouterr().err


def test_rungs_that_changed_on_the_way_are_said(made: Path, tiny_ex4d: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = read_recipe(made).changed({}, {"model_dir": tiny_ex4d})
    assert recipe.rungs == ("resident",)
    recipe.check()
    assert not caplog.text
    recipe.changed({"rungs": ("resident", "fp8")}, {"memory": "fp8"}).check()
    assert "on the rungs resident, fp8, as memory ran out: on fp8 alone the result may differ" in caplog.text


def test_other_libraries_are_said(made: Path, tiny_ex4d: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = read_recipe(made).changed({}, {"model_dir": tiny_ex4d})
    recipe.check()
    assert not caplog.text
    recipe.changed({"versions": recipe.versions | {"torch": "1.0"}}, {}).check()
    assert "was made with torch 1.0: the result may differ" in caplog.text


def test_what_is_no_recipe_is_refused(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not generated yet"):
        read_recipe(rendered)
    with pytest.raises(InputError, match=r"give a shot\.json"):
        read_recipe(rendered / "color.mp4")
    with pytest.raises(InputError, match="not a shot folder"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("other", [{"steps": 3}, {"memory": "fp8"}, {"attention": "native"}, {"models": {"vae": "0"}}])
def test_a_result_of_other_settings_is_not_the_same(made: Path, tiny_ex4d: Path, other: dict[str, Any]) -> None:
    document = read_shot(made)
    setup = EngineSetup(model_dir=tiny_ex4d, memory="resident", steps=2)
    asked = request_fields("ex4d", 11, "", "", True, setup)
    assert is_generated(made, document, asked)
    assert not is_generated(made, document, asked | other)


def test_a_shot_of_an_earlier_version_is_still_what_it_was(made: Path, tiny_ex4d: Path) -> None:
    """Without the fields of the setup: it was made with what is the default now."""
    document = read_shot(made)
    old = {"memory": None, "attention": None, "cache": None, "steps": None, "models": None}
    document = document.model_copy(update={"request": document.request.model_copy(update=old)})
    setup = EngineSetup(model_dir=tiny_ex4d)
    assert is_generated(made, document, request_fields("ex4d", 11, "", "", True, setup))
