"""The file that a training is told by: what it may say, and one sentence about what it may not."""

import re
from pathlib import Path

import pytest

from ex4d_core.errors import InputError
from ex4d_core.training.config import TARGETS, TrainConfig, read_config


def written(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_two_lines_are_enough(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, 'dataset = "street"\nout = "runs/street"'))
    assert config.dataset == (tmp_path / "street",)
    assert config.out == tmp_path / "runs/street"
    assert (config.rank, config.alpha, config.lr, config.shift) == (16, 16.0, 3e-5, 5.0)
    assert config.targets == TARGETS
    assert len(TARGETS) == 10


def test_the_manual_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    manual = (Path(__file__).resolve().parents[3] / "docs/training.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)
    shown = read_config(written(tmp_path, text))
    plain = read_config(written(tmp_path, 'dataset = "my_dataset"\nout = "runs/street"'))
    assert shown == plain
    assert all(re.search(rf"^(# )?{name} = ", text, re.MULTILINE) for name in TrainConfig.model_fields)
    every = read_config(written(tmp_path, re.sub(r"(?m)^# ", "", text)))
    assert every.start_from == tmp_path / "ex4d.ckpt"


def test_paths_begin_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    file = written(tmp_path / "deep", 'dataset = ["../a", "/b"]\nout = "o"\nmodel_dir = "m"\nstart_from = "ex4d.ckpt"')
    monkeypatch.chdir(tmp_path)
    config = read_config(Path("deep/config.toml"))
    assert [each.resolve() for each in config.dataset] == [tmp_path / "a", Path("/b")]
    assert config.model_dir == (tmp_path / "deep/m",)
    assert config.start_from == tmp_path / "deep/ex4d.ckpt"
    assert str(file.parent) == str(config.out.parent)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('dataset = "a"\nout = "o"\nlearning_rate = 1\nstep = 2', "has what is no setting, learning_rate, step: .*lr"),
        ('dataset = "a"', "lacks out: add it"),
        ("", "lacks dataset and out: add it"),
        ('dataset = "a"\nout = "o"\nlr = -1', r"sets lr to -1 \(input should be greater than 0\)"),
        ('dataset = "a"\nout = "o"\nlr = nan', "sets lr to nan"),
        ('dataset = "a"\nout = "o"\nlr = true', r"sets lr to True \(input should be a valid number\)"),
        ('dataset = "a"\nout = "o"\nsteps = "2"', "sets steps to '2'"),
        ('dataset = "a"\nout = "o"\nresume = 1', "sets resume to 1"),
        ('dataset = "a\\u0000b"\nout = "o"', r"sets dataset to 'a.*no name of a file or folder"),
        ('dataset = "a"\nout = ""', r"sets out to '' \(no name of a file or folder\)"),
        ('dataset = "a"\nout = "."', "sets out to a folder that holds other things"),
        ('dataset = "a"\nout = "b/../a"', "sets out to a folder that holds other things"),
        ('dataset = ["a", "b", "./a"]\nout = "o"', "names the dataset .*a twice: leave one out"),
        ('dataset = "a"\nout = "o"\nsteps = 1.5', "sets steps to 1.5"),
        ('dataset = "a"\nout = "o"\nrank = "large"', "sets rank to 'large'"),
        ('dataset = "a"\nout = "o"\nresume = "perhaps"', "sets resume to 'perhaps'"),
        ('dataset = "a"\nout = "o"\nema = 1.0', "sets ema to 1.0"),
        ('dataset = "a"\nout = "o"\ntargets = ["to_q"]', "sets targets to 'to_q' .*'attn1.to_q'"),
        ('dataset = "a"\nout = "o"\ntargets = []', r"sets targets to \[\] \(an empty list\)"),
        ('dataset = "a"\nout = "o"\ntargets = ["attn1.to_q", "attn1.to_k", "attn1.to_q"]', "attn1.to_q is named twice"),
        ('dataset = "a"\nout = "o"\ntargets = 3', r"sets targets to 3 \(neither a text nor a list of texts\)"),
        ('dataset = []\nout = "o"', r"sets dataset to \[\] \(an empty list\)"),
        ("dataset = 3\nout = 'o'", r"sets dataset to 3 \(neither a text nor a list of texts\)"),
        ("dataset = ['a', 3]\nout = 'o'", r"sets dataset to 3 \(no name of a file or folder\)"),
        ("dataset = 'a'\nout = ['o']", r"sets out to \['o'\] \(no name of a file or folder\)"),
        ("dataset = 'a'\nout = 'o'\nstart_from = 1.5", r"sets start_from to 1.5 \(no name of a file or folder\)"),
        ("dataset = 'a'\nout = 'o'\nmodel_dir = {a = 1}", r"sets model_dir to .* \(neither a text nor a list"),
        ('dataset = "a"\nout = "o', "is no TOML"),
        ("[train]\ndataset = 'a'", "has what is no setting, train"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as told:
        read_config(written(tmp_path, text))
    assert "\n" not in str(told.value)
    assert told.value.remedy


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no .*config.toml: give"):
        read_config(tmp_path / "config.toml")
    with pytest.raises(InputError, match="Cannot read"):
        read_config(tmp_path)
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is no text"):
        read_config(tmp_path / "config.toml")
