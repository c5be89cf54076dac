"""Sentences with values can be translated, and the source stays so that a catalogue finds them.

The bpy wheels are built without languages: `bpy.app.translations.register` takes a catalogue there and never looks into
it. So the look-up itself, `pgettext_rpt`, is what stands in for a language here; everything after it is the real thing.
"""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from conftest import ROOT, module

CATALOGUE = {
    "There is no import {job!r}: look at the Sidecar panel for what there is.": "Import {job!r} gibt es nicht.",
    "{folder} is no EX-4D scene: it has no scene.json; choose a folder that ends in .ex4d, or use Relink.": (
        "Keine EX-4D-Szene: {folder}."
    ),
    "{path} cannot be run: choose the `ex4d` program in the extension's preferences.": "{wrong} {path.nothing} {",
    "There is no shot in this scene yet: use New Shot, or Use Active Camera.": "Hier ist keine Einstellung.",
    "Shots made: {count}": "Einstellungen: {count}",
    "Error": "Fehler",
}


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("translation"), "pgettext_rpt", lambda message: CATALOGUE.get(message, message))


@pytest.mark.usefixtures("german")
def test_operators_report_the_translation(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Error: Import 'none' gibt es nicht\."):
        bpy.ops.ex4d.place_import(job="none")
    odd = tmp_path / "odd {name} {}"
    odd.mkdir()
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.ex4d.import_scene(directory=str(odd))
    assert f"Keine EX-4D-Szene: {odd}." in str(caught.value)


@pytest.mark.usefixtures("german")
def test_why_a_button_is_grey_is_translated() -> None:
    with pytest.raises(RuntimeError, match="Hier ist keine Einstellung"):
        bpy.ops.ex4d.export_trajectory(filepath="/tmp/never.json")


@pytest.mark.usefixtures("german")
def test_the_log_keeps_english_and_the_artist_reads_the_translation() -> None:
    errors = module("errors")
    error = errors.UserError("Shots made: {count}", count=3)
    assert (str(error), error.said) == ("Shots made: 3", "Einstellungen: 3")
    words = errors.UserError("Words of the sidecar with {braces} and no values.")
    assert str(words) == words.said == "Words of the sidecar with {braces} and no values."


@pytest.mark.usefixtures("german")
def test_a_slip_in_a_catalogue_hides_nothing() -> None:
    error = module("errors").UserError(
        "{path} cannot be run: choose the `ex4d` program in the extension's preferences.", path="/x"
    )
    assert error.said == str(error) == "/x cannot be run: choose the `ex4d` program in the extension's preferences."


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize("word", ["Error", "Fehler"])
def test_what_an_inner_operator_reports_loses_blender_s_own_word(
    word: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if word == "Error":
        monkeypatch.setattr(module("translation"), "pgettext_rpt", lambda message: message)
    assert module("errors").reported(RuntimeError(f"{word}: It is so.\n")) == "It is so."


_SENTENCES = {"UserError": 0, "NeedsSweep": 0, "translated": 0, "complain": 0, "report": 1, "poll_message_set": 0}
"""Which argument of a call is a sentence."""


def faults(source: str) -> Iterator[str]:
    """Sentences that no catalogue can have, or whose values do not fit, by line."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        sentence = call.args[_SENTENCES[name]] if len(call.args) > _SENTENCES.get(name, 99) else None
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if name in ("label", "progress", "operator") and getattr(keywords.get("translate"), "value", True):
            sentence = keywords.get("text")
        if sentence is None:
            continue
        if any(_is_put_together(part) for part in (sentence, *_branches(sentence))):
            yield f"line {call.lineno}: {name} of a sentence put together here: {ast.unparse(sentence)}"
        elif name in ("UserError", "NeedsSweep", "translated") and isinstance(sentence, ast.Constant):
            wanted = {field for _, field, _, _ in string.Formatter().parse(sentence.value) if field is not None}
            if wanted != set(keywords):
                yield f"line {call.lineno}: {name} has the values {sorted(keywords)}, its sentence {sorted(wanted)}"


def _branches(part: ast.expr) -> list[ast.expr]:
    return [part.body, part.orelse] if isinstance(part, ast.IfExp) else []


def _is_put_together(part: ast.expr) -> bool:
    """An f-string, text + text, text % values, or text.format(…)."""
    if isinstance(part, ast.JoinedStr):
        letters = "".join(piece.value for piece in part.values if isinstance(piece, ast.Constant))
        return any(letter.isalpha() for letter in letters)  # `{share:.0%}` alone has nothing to translate
    if isinstance(part, ast.BinOp):
        return isinstance(part.op, ast.Add | ast.Mod)
    return isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "format"


def test_sentences_stand_in_the_source_as_a_catalogue_has_them() -> None:
    files = sorted((ROOT / "ex4d_blender").rglob("*.py"))
    assert len(files) > 80
    found = [f"{file.relative_to(ROOT)}, {fault}" for file in files for fault in faults(file.read_text("utf-8"))]
    assert not found, "\n".join(found)


def test_the_documentation_s_example_has_keys_that_are_there() -> None:
    text = (ROOT / "docs/blender/scripting.md").read_text("utf-8")
    keys = re.findall(r'\("(?:\*|Operator)", "([^"]+)"\):', text)
    assert len(keys) == 2
    texts = set()
    for file in (ROOT / "ex4d_blender").rglob("*.py"):
        texts |= {node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant)}
    assert set(keys) <= texts


@pytest.mark.parametrize(
    "line",
    [
        'raise UserError(f"{name} is gone: undo.")',
        'raise UserError("{name} is gone: undo.".format(name=name))',
        'raise UserError(name + " is gone: undo.")',
        'raise UserError("{name} is gone: undo.", names=name)',
        'raise UserError("{name} is gone: undo.")',
        'self.report({"INFO"}, f"{count} shots" if count else "none")',
        'sidecar.complain("%s is gone" % name)',
        'layout.label(text=f"Frames: {count}")',
        'cls.poll_message_set(f"{name} is gone.")',
    ],
)
def test_such_a_line_is_found(line: str) -> None:
    assert list(faults(line))


@pytest.mark.parametrize(
    "line",
    [
        'raise UserError("{name} is gone: undo.", name=name)',
        "raise UserError(sentence(error))",
        'layout.label(text=f"Frames: {count}", translate=False)',
        'layout.progress(text=f"{share:.0%}")',
        'self.report({"ERROR"}, error.said)',
    ],
)
def test_such_a_line_is_not(line: str) -> None:
    assert not list(faults(line))
