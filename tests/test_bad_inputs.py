"""What is wrong with an input is said in one sentence, before anything long is done: `python tests/test_bad_inputs.py`
prints the table. What templates and rows can have wrong is in `tests/tasks/test_bad_inputs.py`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class BadInput(NamedTuple):
    """One line of the table.

    `give` gets the place (see the fixture) and does what a user would; `message` is found in what is said, an error or,
    with `warns`, a warning.
    """

    kind: str
    what: str
    give: Callable[["Place"], Any]
    message: str
    warns: bool = False


# ------------------------------------------------------------------------------------------------------------- flags

SEARCH = {"model_name_or_path": "lm", "tasks": ["sizes"], "do_bitwise_search": True}
TRAIN = {"model_name_or_path": "lm", "train_tasks": ["sizes"], "do_train": True}


def flag(message: str, base: dict[str, Any] = SEARCH, **flags: Any) -> BadInput:
    """Flags that are refused when they are parsed; None takes one away."""
    what = " ".join(f"without --{k}" if v is None else f"--{k} {json.dumps(v)}" for k, v in flags.items())
    return BadInput("flags", what, lambda place: place.parse(**base | flags), message)


FLAGS = [
    flag("did you mean `--num_shots`", num_shot=8),
    flag("unrecognized arguments: --colour red", colour="red"),
    flag("`--race` is no longer there: racing saved 12%", race=0.1),
    flag("`--do_refined_ensemble` is no longer there: it gained too little", do_refined_ensemble=True),
    flag("`--model_name_or_path`", model_name_or_path=None),
    flag("`--model_name_or_path` is empty", model_name_or_path=""),
    flag("`--tasks` is empty", tasks=[""]),
    flag("`--output_dir` is empty", output_dir=""),
    flag("`--output_dir` is empty or missing: name a folder", output_dir=None),
    flag("`--output_dir` is empty or missing: name a folder", {}, do_report=["a_run"], output_dir=None),
    flag("`--model_revision` is empty", model_revision=""),
    flag("invalid choice: 't1'", method="t1"),
    flag("invalid choice: 'int8'", dtype="int8"),
    flag("invalid choice: 'lss'", objective="lss"),
    flag("invalid int value: 'many'", num_shots="many"),
    flag("invalid int value: '1.5'", num_shots=1.5),
    flag("Truthy value expected: got maybe", do_eval="maybe"),
    flag("`--num_shots` must be at least 1, but is 0", num_shots=0),
    flag("`--num_unlabelled` must be at least 1, but is -1", do_code_ensemble=True, num_unlabelled=-1),
    flag("`num_codes` must be at least 1, a whole number, but is 0", num_codes=0),
    flag("`search_epochs` must be at least 1", search_epochs=0),
    flag("`num_starts` must be at least 1", num_starts=0),
    flag("`max_evaluations` must be at least 1", max_evaluations=0),
    flag("`max_search_seconds` must be a number of seconds greater than 0, but is nan", max_search_seconds="nan"),
    flag("`max_search_seconds` must be a number of seconds greater than 0, but is -1", max_search_seconds=-1),
    flag("`mutation_rate` must be a probability", mutation_rate=2),
    flag("`population_first_steps` must be at least 0, a whole number, but is -1", population_first_steps=-1),
    flag("`target_loss` must be a number of at least 0, but is nan", target_loss="nan"),
    flag("`--few_shot_seeds` must be one or more different numbers", few_shot_seeds=[1, 1]),
    flag("`--few_shot_seeds` must be one or more different numbers from 0", few_shot_seeds=[-1]),
    flag("`--few_shot_seeds` must be one or more different numbers from 0 to", few_shot_seeds=[2**70]),
    flag("`--templates_per_dataset` must be at least 1", templates_per_dataset=0),
    flag("`--tuning_steps` must be at least 1", tuning_steps=0),
    flag("invalid choice: 'lroa'", tuning="lroa"),
    flag("`--max_eval_samples` must be at least 1", max_eval_samples=0),
    flag("`--max_source_length` must be at least 1", max_source_length=0),
    flag("`--preprocessing_num_workers` must be at least 1", preprocessing_num_workers=0),
    flag("`--mixing_temperature` must be a number greater than 0, but is nan", mixing_temperature="nan"),
    flag("`--code_length` must be at least 1", code_length=0),
    flag("`--codebook_size` must be at least 2, but is 1", codebook_size=1),
    flag("`--code_dim` must be at least 1", code_dim=-1),
    flag("`stage` must be 1 or 2, but is 3", stage=3),
    flag("`seed` must be a whole number from 0", seed=-1),
    flag("`learning_rate` must be a number of at least 0, but is nan", TRAIN, learning_rate="nan"),
    flag("`learning_rate` must be a number of at least 0, but is inf", TRAIN, learning_rate="inf"),
    flag("`query_learning_rate` must be a number of at least 0", TRAIN, query_learning_rate=-1),
    flag("`weight_decay` must be a number of at least 0", TRAIN, weight_decay=-1),
    flag("`adam_beta2` must be a number from 0 to 1", TRAIN, adam_beta2=1.5),
    flag("`max_grad_norm` must be a number of at least 0", TRAIN, max_grad_norm="nan"),
    flag("`max_vq_loss` must be a number greater than 0", TRAIN, max_vq_loss="nan"),
    flag("`max_steps` must be at least 1, or -1", TRAIN, max_steps=0),
    flag("`num_train_epochs` must be a number greater than 0, but is nan", TRAIN, num_train_epochs="nan"),
    flag("`per_device_train_batch_size` must be a whole number of at least 1", TRAIN, per_device_train_batch_size=0),
    flag("`per_device_train_tokens` must be a whole number of at least 1", TRAIN, per_device_train_tokens=0),
    flag("`gradient_accumulation_steps` must be a whole number", TRAIN, gradient_accumulation_steps=0),
    flag("`save_total_limit` must be a whole number of at least 1", TRAIN, save_total_limit=0),
    flag("`save_steps` must be greater than 0", TRAIN, save_steps=0),
    flag("`eval_steps` must be greater than 0", TRAIN, eval_strategy="steps", eval_steps=0),
    flag("`logging_steps` must be greater than 0", TRAIN, logging_steps=0),
    flag("`train_sampling_strategy` is 'x'; choose from", TRAIN, train_sampling_strategy="x"),
    flag("is not a valid SchedulerType", TRAIN, lr_scheduler_type="zigzag"),
    flag("`lr_scheduler_kwargs` is no JSON", TRAIN, lr_scheduler_kwargs="{bad"),
    flag("`lr_scheduler_kwargs` must be a mapping", TRAIN, lr_scheduler_kwargs="3"),
    flag("`lr_scheduler_kwargs` has 'warm', but the", TRAIN, lr_scheduler_kwargs='{"warm": 1}'),
    flag("`report_to` is 'paper'; choose from", TRAIN, report_to="paper"),
    flag("At most one of fp16 and bf16", TRAIN, bf16=True, fp16=True),
    flag("`--streaming` does not know how many rows", TRAIN, streaming=True),
    flag("`--hub_model_id` can be no name on the Hub", TRAIN, push_to_hub=True, hub_model_id="a/b/c"),
    flag("`--do_train` needs tasks to train on", do_train=True, tasks=None, do_bitwise_search=None),
    flag("There is nothing to do", tasks=None, do_bitwise_search=None),
    flag("Searches and tuning are about held-out tasks", tasks=None),
    flag("has no codes to search", method="t0"),
    flag("`--do_lora` keeps no weights", do_bitwise_search=None, do_lora=True, do_eval=True, do_predict=True),
]

# ------------------------------------------------------------------------------------------------------------- files


def settings(message: str, text: str, name: str = "run.yaml") -> BadInput:
    """A settings file."""
    return BadInput("settings", f"{name}: {text!r}", lambda place: place.settings(text, name), message)


SETTINGS = [
    settings("must be a whole number", "num_shots: true"),
    settings("must be a whole number", "num_shots: [8]"),
    settings("must be a whole number", "num_shots: null"),
    settings("must be a number", "learning_rate: {a: 1}"),
    settings("must be true or false", "bf16: 1"),
    settings("each is a whole number", "few_shot_seeds: [1, two words]".replace("two words", "1.5")),
    settings("must be a text", "data_dir: 5"),
    settings("given twice", "num_shots: 8\nnum_shots: 9"),
    settings("given twice", '{"num_shots": 8, "num_shots": 9}', "run.json"),
    settings("did you mean `num_shots`", "num_shot: 8"),
    settings("unknown key", "5: 8"),
    settings("holds no flags", "- num_shots"),
    settings("not readable YAML", "num_shots: [8"),
    settings("not readable YAML", "num_shots: !!python/name:os.system x"),
    settings("choose from clean, original", "protocol: orignal"),
    BadInput("settings", "a file that is not there", lambda place: place.parse_words("no.yaml"), "No such file"),
]


def checkpoint(message: str, base: str = "ctr", **files: Any) -> BadInput:
    """A checkpoint with other files: a text, a function of the bytes, or None where it is to be missing."""
    ((name, new),) = files.items() or [("config__json", config())]
    shown = "is missing" if new is None else new.__name__ if callable(new) else f"is {new!r}"
    what = f"{name.replace('__', '.')} {shown}"
    return BadInput("checkpoints", f"{base}: {what}", lambda place: place.load(place.spoiled(base, **files)), message)


def cut_in_half(content: bytes) -> bytes:
    """As a broken download leaves a file."""
    return content[: len(content) // 2]


def config(**fields: Any) -> Callable[[bytes], bytes]:
    """With other fields in a JSON file."""

    def change(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | fields).encode()

    change.__name__ = f"with {json.dumps(fields)}"
    return change


def named(name: str, what: str, message: str) -> BadInput:
    """A model by a name."""
    return BadInput("checkpoints", what, lambda place: place.load(name.replace("FOLDER", str(place.folder))), message)


CHECKPOINTS = [
    checkpoint(r"config\.json' is damaged", config__json="{"),
    checkpoint(r"config\.json' is damaged", config__json="[]"),
    checkpoint(r"is not a checkpoint: it has no config\.json", config__json=None),
    checkpoint("Should have a `model_type` key", config__json="{}"),
    checkpoint("has model type `zzz`", config__json='{"model_type": "zzz"}'),
    checkpoint("The config of .* cannot be loaded", config__json=config(text_config={"model_type": "gpt9"})),
    checkpoint("'code_length' expected int", config__json=config(code_length="x")),
    checkpoint("has another shape than the config", config__json=config(code_length=5)),
    checkpoint("has another shape than the config", config__json=config(codebook_size=2)),
    checkpoint("'a' appears twice", config__json=config(task_names=["a", "a", "b"])),
    checkpoint("must not hold an empty name", config__json=config(task_names=["a", "", "b"])),
    checkpoint("has 2 names, but `num_tasks` is 3", config__json=config(task_names=["a", "b"], num_tasks=3)),
    checkpoint("has the value 999", config__json=config(added_task_codes={"x": [1, 2, 3, 999]})),
    checkpoint("the file is truncated or damaged", model__safetensors=cut_in_half),
    checkpoint("the file is truncated or damaged", model__safetensors=""),
    checkpoint("no file named model.safetensors", model__safetensors=None),
    checkpoint("The tokenizer of .* cannot be loaded", tokenizer__json=cut_in_half),
    checkpoint("The tokenizer of .* cannot be loaded", tokenizer__json="{}"),
    checkpoint("The tokenizer of .* cannot be loaded", tokenizer__json=None),
    checkpoint(r"tokenizer_config\.json' is damaged", tokenizer_config__json="{"),
    checkpoint("has no EOS token", tokenizer_config__json='{"tokenizer_class": "PreTrainedTokenizerFast"}'),
    checkpoint(r"generation_config\.json' is damaged", generation_config__json="{"),
    checkpoint("makes ids up to 63", "small"),
    checkpoint("cannot be loaded: .*'d_model' expected int", "lm", config__json=config(d_model="no")),
    checkpoint("The model of .* cannot be loaded", "lm", model__safetensors=cut_in_half),
    named("FOLDER", "a folder without a checkpoint", r"has no config\.json"),
    named("FOLDER/ctr/config.json", "a file of a checkpoint", "is a file; name the folder"),
    named("FOLDER/stag2", "a folder that is not there", "There is no folder"),
    named("x" * 300, "a name of 300 letters", "File name too long"),
    named("me/model", "a name on the Hub, offline", "check the network"),
]


def run(what: str, message: str, **flags: Any) -> BadInput:
    """A whole run, which ends before it is long."""
    return BadInput("runs", what, lambda place: place.main(**flags), message)


RUNS = [
    run("`--output_dir` is a file", "is a file: name a folder", output_dir="FOLDER/templates/sizes.yaml"),
    run("`--output_dir` of 300 letters", "File name too long", output_dir="FOLDER/" + "x" * 300),
    run("`--templates_dir` is not there", "There are no template files", templates_dir="absent"),
    run("`--data_dir` is not there", "There is no data folder absent", data_dir="absent"),
    run("an unknown task", "Did you mean 'sizes'", tasks=["size"]),
    run("a task of 300 letters", "no task, data set or mixture 'xxx", tasks=["x" * 300]),
    run("few-shot examples of one class", "only 0 labelled training rows of it", tasks=["one_class"]),
    run("more shots than rows", "ask for fewer shots", num_shots=200),
    run(
        "`--resume_from_checkpoint` is not there",
        "where there is no folder of a checkpoint",
        **TRAIN | {"model_name_or_path": "FOLDER/lm", "resume_from_checkpoint": "absent", "max_steps": 1},
        tasks=None,
        do_bitwise_search=None,
    ),
    BadInput("runs", "`--do_report` of no run", lambda place: place.report(None), r"has no report\.json"),
    BadInput("runs", "`--do_report`, damaged", lambda place: place.report("{"), "is not a report that run_ctr.py"),
    BadInput(
        "runs", "`--do_report` of another file", lambda place: place.report('{"scores": [1]}'), "is not a report"
    ),
]

# ------------------------------------------------------------------------------------- traces, code files, Python API


def trace(what: str, message: str, warns: bool = False, seed: int = 1, **change: Any) -> BadInput:
    """A search whose trace is another one's, or damaged."""
    return BadInput("traces", what, lambda place: place.search(seed, **change), message, warns)


TRACES = [
    trace("of another seed", r"written by another search \(seed: 1 there, 2 here", seed=2),
    trace("of other examples", r"written by another search \(data:", examples=3),
    trace("of other settings", r"written by another search \(order: .random. there", search_order="cyclic"),
    trace("a folder", "is a folder: name a file", content=Path()),
    trace("not text", "is no search trace", content=b"\xff\xfe\x00abc\n"),
    trace("a JSON list", "is no search trace", content=b"[]\n"),
    trace("another JSON file", "written by another search", content=b"{}\n"),
    trace("half a line at its end", "evaluated again", warns=True, content=lambda text: text[:-9]),
    trace("a damaged line", "evaluated again", warns=True, content=lambda text: text.replace(b'"code"', b'"co', 1)),
    trace(
        "a loss of NaN",
        "evaluated again",
        warns=True,
        content=lambda text: re.sub(rb'"value": [\d.]+', b'"value": NaN', text, count=1),
    ),
]


def code_file(message: str, **change: Any) -> BadInput:
    """A file of a task code, changed."""
    what = json.dumps(change) if change else "another text"
    return BadInput("code files", what, lambda place: place.code_file(change), message)


CODE_FILES = [
    code_file("not a task code file, or damaged: it is not JSON", raw="{"),
    code_file("is not a task code file", raw="[]"),
    code_file("is not a task code file", format="x"),
    code_file("expected a list", code="abc"),
    code_file("'code'", code=[1, 2, 3, True]),
    code_file("has 2 integers", code=[1, 2]),
    code_file("value 99", code=[1, 2, 3, 99]),
    code_file("expected str", name=5),
    code_file("must not be empty", name=""),
    BadInput(
        "code files", "not there", lambda place: place.model().load_task("no/such/file"), "There is no file or folder"
    ),
]


def python(what: str, message: str, give: Callable[["Place"], Any]) -> BadInput:
    """A call."""
    return BadInput("Python", what, give, message)


def call(message: str, **given: Any) -> BadInput:
    """`model(...)`, and `model.generate(...)` likewise."""
    return python(
        f"model(input_ids, {', '.join(f'{name}={value!r}' for name, value in given.items())})",
        message,
        lambda place: place.forward(**given),
    )


def scorer(what: str, message: str, **change: Any) -> BadInput:
    """A scorer whose second example is changed."""
    return python(f"CodeScorer, {what}", message, lambda place: place.scorer(**change).gold_losses([[1, 2, 3, 4]]))


PYTHON = [
    python("CTRConfig(code_length=0)", "`code_length` must be at least 1", lambda p: p.config(code_length=0)),
    python(
        "CTRConfig(code_length=True)", "'code_length' expected int, got bool", lambda p: p.config(code_length=True)
    ),
    python("CTRConfig(code_length='3')", "'code_length' expected int, got str", lambda p: p.config(code_length="3")),
    python("CTRConfig(num_tasks=0)", "`num_tasks` must be at least 1", lambda p: p.config(num_tasks=0)),
    python("CTRConfig(text_config=5)", "'text_config'", lambda p: p.config(text_config=5)),
    call("No task is given"),
    call("the value -1", task_id=[-1]),
    call("the value 99", task_id=[99]),
    call("must hold integers", task_id=[1.0]),
    call("needs .1,.", task_id=[1, 2]),
    call("has 1 integers", task_code=[[1]]),
    call("the value 99 at position 3", task_code=[[1, 2, 3, 99]]),
    call("must hold integers", task_code=[[1.5, 2, 3, 4]]),
    call("not several", task_id=[1], task_code=[[1, 2, 3, 4]]),
    call("has no task 'zz'", task="zz"),
    call("has no task ''", task=""),
    call("the token id 99", input_ids=[[5, 99, 1]], task_id=[1]),
    call("the token id -5", input_ids=[[5, -5, 1]], task_id=[1]),
    call("`labels` has the token id 99", labels=[[5, 99, 1]], task_id=[1]),
    python("add_task('', code)", "must not be empty", lambda p: p.model().add_task("", [1, 2, 3, 4])),
    python("add_task(5, code)", "must be a string", lambda p: p.model().add_task(5, [1, 2, 3, 4])),
    python(
        "add_task of a name that is taken", "There is already", lambda p: p.model().add_task("ag_news", [1, 2, 3, 4])
    ),
    python("add_task('x', [1, 2])", "has 2 integers", lambda p: p.model().add_task("x", [1, 2])),
    python("add_task('x', None)", "must be a list", lambda p: p.model().add_task("x", None)),
    python("remove_task of no task", "has no task 'zz'", lambda p: p.model().remove_task("zz")),
    scorer("no examples", "There are no examples", rows=[]),
    scorer("texts for token ids", "Example 0 has no `input_ids`", rows=["a text"]),
    scorer("an empty input", "Example 1 has no `input_ids`", input_ids=[]),
    scorer("a token id beyond the vocabulary", "Example 1 has an input with the token id 99", input_ids=[99, 1]),
    scorer("a negative token id", "Example 1 has an input with the token id -2", input_ids=[-2, 1]),
    scorer("a choice beyond it", "Example 1 has an answer choice with the token id 99", choice_ids=[[99, 1], [5, 1]]),
    scorer("an empty choice", "Example 1 has an empty answer choice", choice_ids=[[], [5, 1]]),
    scorer("an answer beyond the choices", "Example 1 has the answer 7, but only 2 choices", answer=7),
    scorer("no labels", "needs every example's target", rows=[{"input_ids": [5, 1]}]),
    python("a code of another length", "have 2 integers", lambda p: p.scorer().gold_losses([[1, 2]])),
    python("a code beyond the codebook", "from 1 to 99", lambda p: p.scorer().gold_losses([[1, 2, 3, 99]])),
    python("BitwiseSearch(objective='x')", "There is no objective 'x'", lambda p: p.search(1, objective="x")),
    python("BitwiseSearch(start_codes=[[1]])", "have 1 positions", lambda p: p.search(1, start_codes=[[1]])),
    python("BitwiseSearch(epochs=3)", "no argument or setting 'epochs'", lambda p: p.search(1, epochs=3)),
    python(
        "a code space with a hole",
        "at least one value for every position",
        lambda p: p.search(1, space=[[1], [], [2], [3]]),
    ),
    python("CodeEnsemble(num_codes=0)", "`num_codes` must be at least 1", lambda p: p.vote(num_codes=0)),
    python(
        "CodeEnsemble of free-form examples",
        "votes between answer choices",
        lambda p: p.vote(rows=[{"input_ids": [5, 1], "labels": [7, 1]}]),
    ),
    python("an adapter that is not there", "holds no prompt-tuning adapter", lambda p: p.adapter(None)),
    python("an adapter that is damaged", "is damaged", lambda p: p.adapter(b"x")),
    python("FeatureBuilder(tokenizer, 0)", "`max_source_length` must be at least 1", lambda p: p.builder(0)),
    python("training with token ids beyond the vocabulary", "the token id 99", lambda p: p.train(input_ids=[99, 1])),
    python(
        "training with task ids beyond the tasks",
        "has task_id 99, but the model has only 3",
        lambda p: p.train(task_id=99),
    ),
]

TABLE = FLAGS + SETTINGS + CHECKPOINTS + RUNS + TRACES + CODE_FILES + PYTHON

# --------------------------------------------------------------------------------------------------------- the place

TEMPLATE = """
dataset: {name}
data: {{data_files: {{train: {name}.jsonl, validation: {name}_validation.jsonl}}}}
templates:
  plain: {{answer_choices: "w14 ||| w16", jinja: "{{{{text}}}} ||| {{{{answer_choices[label]}}}}"}}
"""


class Place:
    """A folder with small models, templates and rows, and what users do there."""

    def __init__(self, folder: Path, model: Callable[..., Any], tokenizer: Any):
        self.folder, self.model, self.tokenizer, self._count = folder, model, tokenizer, 0
        small = model(text_fields={"vocab_size": 40})
        for name, saved in (("ctr", model()), ("lm", model().backbone), ("small", small)):
            saved.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
        self._shared = model()
        for name, labels in (("sizes", 2), ("one_class", 1)):
            templates = folder / "templates"
            templates.mkdir(exist_ok=True)
            (templates / f"{name}.yaml").write_text(TEMPLATE.format(name=name))
            for file, start in ((f"{name}.jsonl", 20), (f"{name}_validation.jsonl", 40)):
                rows = [{"text": f"w{start + i} w9", "label": i % labels} for i in range(16)]
                (templates / file).write_text("\n".join(map(json.dumps, rows)))

    def new(self, name: str = "new") -> Path:
        self._count += 1
        return self.folder / f"{self._count}_{name}"

    def words(self, flags: dict[str, Any]) -> list[str]:
        given = {"use_cpu": True, "report_to": "none", "output_dir": self.new("out")} | flags
        words = []
        for name, value in given.items():
            values = [] if value is None else value if isinstance(value, list) else [value]
            words += [f"--{name}", *(str(v).replace("FOLDER", str(self.folder)) for v in values)] if values else []
        return words

    def parse_words(self, *words: str) -> Any:
        from run_arguments import parse_arguments

        return parse_arguments(list(words))

    def parse(self, **flags: Any) -> Any:
        return self.parse_words(*self.words(flags))

    def settings(self, text: str, name: str) -> Any:
        path = self.new(name)
        path.write_text(text)
        return self.parse_words(str(path), *self.words(SEARCH))

    def main(self, **flags: Any) -> None:
        import run_ctr

        defaults = {"model_name_or_path": "FOLDER/ctr", "templates_dir": "FOLDER/templates", "tasks": ["sizes"]}
        defaults |= {"do_bitwise_search": True, "num_shots": 8, "max_evaluations": 5}
        run_ctr.main(self.words(defaults | flags))

    def report(self, text: str | None) -> None:
        import run_ctr

        folder = self.new("run")
        folder.mkdir()
        if text is not None:
            (folder / "report.json").write_text(text)
        run_ctr.main(["--do_report", str(folder), "--output_dir", str(self.new())])

    def spoiled(self, base: str, **files: Any) -> str:
        folder = self.new(base)
        folder.mkdir()
        for path in (self.folder / base).iterdir():
            new = files.get(path.name.replace(".", "__"), path.read_bytes())
            if new is not None:
                content = new(path.read_bytes()) if callable(new) else new
                (folder / path.name).write_bytes(content.encode() if isinstance(content, str) else content)
        return str(folder)

    def load(self, name: str) -> None:
        from command_line.checkpoints import load_model, load_tokenizer
        from run_arguments import ModelArguments
        from tasks import check_tokenizer

        args = ModelArguments(name, method="t0" if "lm" in Path(name).name else "ctr")
        tokenizer = load_tokenizer(args)
        check_tokenizer(tokenizer, load_model(args, [], False, "auto").get_input_embeddings().num_embeddings)

    def config(self, **fields: Any) -> Any:
        from modeling_ctr import CTRConfig

        return CTRConfig(**{"text_config": self._shared.config.text_config, "num_tasks": 3} | fields)

    def forward(self, **given: Any) -> None:
        import torch

        given = {name: value if isinstance(value, str) else torch.tensor(value) for name, value in given.items()}
        inputs = {"input_ids": torch.tensor([[5, 6, 1]]), "labels": torch.tensor([[5, 1]])} | given
        try:
            self._shared(**inputs)
        except ValueError as error:
            if "labels" not in given:  # generation says the same
                del inputs["labels"]
                with pytest.raises(ValueError, match=re.escape(str(error))):
                    self._shared.generate(**inputs, max_new_tokens=1)
            raise

    def examples(self, count: int = 4, **change: Any) -> list[dict[str, Any]]:
        rows = [{"input_ids": [20 + i, 1], "choice_ids": [[14, 1], [16, 1]], "answer": i % 2} for i in range(count)]
        rows[1] |= change
        return rows

    def scorer(self, rows: list | None = None, **change: Any) -> Any:
        from search import CodeScorer

        return CodeScorer(self._shared, self.examples(**change) if rows is None else rows)

    def search(self, seed: int, content: Any = None, examples: int = 4, space: Any = None, **settings: Any) -> None:
        from search import BitwiseSearch, task_code_space

        path = self.new("trace.jsonl")
        first = {"max_evaluations": 5, "progress": False, "trace_path": path}
        space = task_code_space(self._shared) if space is None else space
        if isinstance(content, Path):
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif not settings or "search_order" in settings:
            BitwiseSearch(self.scorer(), space, **first, seed=1).run()
            path.write_bytes(content(path.read_bytes()) if content else path.read_bytes())
        BitwiseSearch(self.scorer(self.examples(examples)), space, **first, seed=seed, **settings).run()

    def vote(self, rows: list | None = None, **settings: Any) -> None:
        from search import CodeEnsemble

        CodeEnsemble(self.scorer(rows), **settings).run()

    def code_file(self, change: dict[str, Any]) -> None:
        from modeling_ctr import save_task_code

        path, model = self.new("code.json"), self.model()
        model.add_task("new", [1, 2, 3, 4])
        save_task_code(model, "new", path)
        model.remove_task("new")
        path.write_text(change["raw"] if "raw" in change else json.dumps(json.loads(path.read_text()) | change))
        model.load_task(path)

    def adapter(self, content: bytes | None) -> None:
        from search import load_prompt_adapter

        folder = self.new("adapter")
        folder.mkdir()
        if content is not None:
            (folder / "adapter_model.safetensors").write_bytes(content)
        load_prompt_adapter(folder)

    def builder(self, max_source_length: int) -> None:
        from tasks import FeatureBuilder

        FeatureBuilder(self.tokenizer, max_source_length)

    def train(self, **change: Any) -> None:
        from trainers import CTRTrainer, CTRTrainingArguments

        quiet = {"use_cpu": True, "report_to": "none", "max_steps": 1, "save_strategy": "no", "disable_tqdm": True}
        rows = [{"input_ids": [20, 1], "labels": [14, 1], "task_id": 1} | change]
        CTRTrainer(self.model(), CTRTrainingArguments(str(self.new()), **quiet), train_dataset=rows).train()


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_ctr_model, tiny_tokenizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield Place(tmp_path_factory.mktemp("place"), tiny_ctr_model, tiny_tokenizer)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.kind}: {row.what}"[:100])
def test_what_is_wrong_is_said_in_a_sentence(place, row, caplog):
    from huggingface_hub.errors import StrictDataclassError

    from command_line.errors import is_for_the_user, one_line

    if row.warns:
        row.give(place)
        assert re.search(row.message, caplog.text)
        return
    with pytest.raises(Exception) as raised:
        row.give(place)
    error = raised.value
    assert re.search(row.message, one_line(error)), one_line(error)
    assert len(one_line(error)) < 1500
    if row.kind != "Python":
        assert is_for_the_user(error)  # so the command prints it as one line
    else:
        assert isinstance(error, (ValueError, TypeError, OSError, StrictDataclassError))


def test_there_are_enough_of_them():
    assert len({(row.kind, row.what) for row in TABLE}) == len(TABLE) >= 100


if __name__ == "__main__":
    print("| kind | input | what is said |\n|---|---|---|")
    for line in TABLE:
        print(f"| {line.kind} | {line.what} | {line.message} |".replace("\\", ""))
