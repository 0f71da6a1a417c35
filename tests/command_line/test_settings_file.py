"""Settings files as people write them."""

import json

import pytest

from command_line.errors import FlagError
from run_arguments import parse_arguments

ALWAYS = {
    "model_name_or_path": "lm",
    "tasks": "sizes",
    "do_eval": True,
    "use_cpu": True,
    "report_to": "none",
    "output_dir": "out",
}


@pytest.fixture
def parse(tmp_path):
    """`parse(text, ending="yaml")`: all arguments, by name, of a file with these lines and what is always needed."""

    def run(text: str, ending: str = "yaml") -> dict:
        path = tmp_path / f"run.{ending}"
        path.write_text(text, encoding="utf-8")
        words = [
            part for name, value in ALWAYS.items() if f"{name}:" not in text for part in (f"--{name}", str(value))
        ]
        return {name: value for part in parse_arguments([str(path), *words]) for name, value in vars(part).items()}

    return run


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("num_shots: 8", "num_shots", 8),
        ("num_shots: '8'", "num_shots", 8),
        ("num_shots: 8.0", "num_shots", 8),
        ("num_shots: 007", "num_shots", 7),
        ("learning_rate: 1e-2", "learning_rate", 0.01),
        ("learning_rate: 1", "learning_rate", 1),
        (
            "lr_scheduler_kwargs: {min_lr: 1e-5}\nlr_scheduler_type: cosine_with_min_lr",
            "lr_scheduler_kwargs",
            {"min_lr": 1e-5},
        ),
        ("save_strategy: no", "save_strategy", "no"),
        ("eval_strategy: off", None, "`eval_strategy` is 'off'; choose from no, steps, epoch"),
        ("bf16: no", "bf16", False),
        ("bf16: yes", "bf16", True),
        ("few_shot_seeds: 3", "few_shot_seeds", [3]),
        ("few_shot_seeds: [3, '4']", "few_shot_seeds", [3, 4]),
        ("run_name: 2024-01-01", "run_name", "2024-01-01"),
        ("model_revision: 12:30", "model_revision", "12:30"),
        ("templates_dir:", "templates_dir", []),
        ("\ufeffnum_shots: 8", "num_shots", 8),
        ("num_shots: true", None, "`num_shots` is True, but must be a whole number."),
        ("num_shots: 8.5", None, "`num_shots` is 8.5, but must be a whole number."),
        ("num_shots: [8]", None, r"`num_shots` is \[8\], but must be a whole number."),
        ("num_shots: {a: 8}", None, "`num_shots` is {'a': 8}, but must be a whole number."),
        ("num_shots: null", None, "`num_shots` is None, but must be a whole number."),
        ("num_shots: many", None, "`num_shots`: invalid int value: 'many'."),
        ("learning_rate: true", None, "`learning_rate` is True, but must be a number."),
        ("bf16: 1", None, "`bf16` is 1, but must be true or false."),
        ("bf16: maybe", None, "`bf16`: Truthy value expected: got maybe"),
        ("few_shot_seeds: [1, true]", None, "must be a list of which each is a whole number."),
        ("few_shot_seeds: {a: 1}", None, "must be a list of which each is a whole number."),
        ("data_dir: 5", None, "`data_dir` is 5, but must be a text"),
        ("data_dir: [a]", None, r"`data_dir` is \['a'\], but must be a text"),
        ("templates_dir: [5]", None, "must be a list of which each is a text"),
        ("num_shots: 8\nnum_shots: 9", None, "the key `num_shots` is given twice"),
        ("lr_scheduler_kwargs: {a: 1, a: 2}", None, "the key `a` is given twice"),
        ("num_shot: 8", None, r"unknown key\(s\) num_shot; did you mean `num_shots`\?"),
        ("5: 8", None, r"unknown key\(s\) 5; see `run_ctr.py --help`"),
        ("[a]: 8", None, "not readable YAML"),
        ("help: 8", None, r"unknown key\(s\) help"),
        ("num_shots: !!python/name:os.system 8", None, "not readable YAML"),
    ],
)
def test_values_are_what_the_flag_would_take(parse, text, name, value):
    if name is None:
        with pytest.raises(FlagError, match=value):
            parse(text)
    else:
        got = parse(text)[name]
        assert got == value and isinstance(got, type(value))


def test_json_with_tabs_comments_and_keys_given_twice(parse):
    content = {"num_shots": 8, "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-5}}
    for text in (json.dumps(content, indent="\t"), json.dumps(content, indent=1) + " # a comment"):
        arguments = parse(text, "json")
        assert (arguments["num_shots"], arguments["lr_scheduler_kwargs"]) == (8, {"min_lr": 1e-5})
    with pytest.raises(FlagError, match="the key `num_shots` is given twice"):
        parse('{"num_shots": 8, "num_shots": 9}', "json")


def test_files_that_are_no_settings(tmp_path):
    (tmp_path / "utf16.yaml").write_text("num_shots: 8", encoding="utf-16")
    (tmp_path / "folder.yaml").mkdir()
    for name, message in (
        ("utf16.yaml", "is not text in UTF-8"),
        ("folder.yaml", "cannot be read: Is a directory"),
        ("absent.yaml", "cannot be read: No such file"),
    ):
        with pytest.raises(FlagError, match=message):
            parse_arguments([str(tmp_path / name)])
