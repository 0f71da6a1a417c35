"""Template files: what a data set is, where its rows come from, and its templates.

A template file is YAML::

    dataset: super_glue
    subset: rte                      # optional; a list makes the same templates serve several subsets
    data: {...}                      # optional, ours: where the rows come from, see tasks/data_source.py
    templates:
      premise_hypothesis_yes_no: !Template
        name: premise_hypothesis_yes_no
        answer_choices: yes ||| no
        jinja: |-
          {{premise}}
          {{hypothesis}} ||| {% if label != -1 %}{{answer_choices[label]}}{% endif %}
        metadata: !TemplateMetadata
          original_task: true

The tags, ``name`` (the key stands in for it), ``id``, ``reference`` and ``metadata`` may be left out. Files of the
PromptSource collection (https://github.com/bigscience-workshop/promptsource) load unchanged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import DataError, TemplateError
from .jinja_sandbox import ANSWER_CHOICES
from .template import Template
from .text_files import open_text


@dataclass(frozen=True)
class TemplateFile:
    """What one YAML file says.

    Args:
        path: The file.
        dataset: Name of the data set.
        subsets: The subsets that the templates serve; `(None,)` where the data set has none.
        templates: In the file's order.
        data: Where the rows come from, as it stands in the file (tasks/data_source.py reads it); empty for the Hub's data
            set of that name.
    """

    path: Path
    dataset: str
    subsets: tuple[str | None, ...]
    templates: tuple[Template, ...]
    data: Mapping[str, Any]


_FILE_KEYS = ("dataset", "subset", "data", "templates")
# PromptSource has `task_template` in some places, which is what `original_task` was.
_TEMPLATE_KEYS = ("name", "jinja", ANSWER_CHOICES, "id", "reference", "metadata", "task_template")


# The C loader reads the 279 files of PromptSource ten times faster; both are safe loaders.
class _TemplateLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Safe YAML plus PromptSource's two tags, read as plain mappings; any other tag and repeated keys are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands there twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


for _tag in ("!Template", "!TemplateMetadata"):
    _TemplateLoader.add_constructor(_tag, lambda loader, node: loader.construct_mapping(node, deep=True))


def read_yaml(path: Path) -> Any:
    """Reads a YAML file in which no key stands twice.

    Raises:
        TemplateError: It cannot be read, is not UTF-8, or is not such YAML; the message names it.
    """
    try:
        with open_text(path, advice="save it as UTF-8") as file:
            # YAML's own reader would take UTF-16; one encoding for all keeps editors and diffs simple.
            if file.encoding not in ("utf-8", "utf-8-sig"):
                raise TemplateError(f"{path} is not UTF-8 but {file.encoding} text: save it as UTF-8.")
            return yaml.load(file.read(), Loader=_TemplateLoader)
    except DataError as error:
        raise TemplateError(str(error)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, TemplateError):
            raise
        raise TemplateError(f"{path} is not readable YAML: {error}") from error


def load_template_file(path: str | Path) -> TemplateFile:
    """Reads a template file.

    Raises:
        TemplateError: It is not such a file; the message says what is wrong with it.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict) or "dataset" not in content or not isinstance(content.get("templates"), dict):
        raise TemplateError(f"{path} is not a template file: it needs the keys 'dataset' and 'templates' (a mapping).")
    _check_keys(content, _FILE_KEYS, str(path))
    dataset, subset, data = content["dataset"], content.get("subset"), content.get("data") or {}
    if not _is_name(dataset):
        raise TemplateError(f"{path}: 'dataset' must be a text, the name of the data set.")
    if not (
        subset is None or _is_name(subset) or (isinstance(subset, list) and subset and all(map(_is_name, subset)))
    ):
        raise TemplateError(f"{path}: 'subset' must be a text or a list of texts.")
    if not isinstance(data, dict):
        raise TemplateError(
            f"{path}: 'data' must be a mapping, such as {{data_files: {data!r:.100}}}, not {data!r:.100}."
        )
    templates = tuple(_read_template(path, key, entry) for key, entry in content["templates"].items())
    if not templates:
        raise TemplateError(f"{path} has no templates.")
    names = Counter(template.name for template in templates)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise TemplateError(f"{path} has more than one template named {repeated[0]!r}; names must be unique.")
    subsets = tuple(map(str, subset)) if isinstance(subset, list) else (None if subset is None else str(subset),)
    return TemplateFile(path, str(dataset), subsets, templates, data)


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _check_keys(mapping: dict, known: Sequence[str], where: str) -> None:
    unknown = sorted(str(key) for key in mapping if key not in known)
    if unknown:
        raise TemplateError(f"{where} has unknown keys {unknown}; known are {', '.join(known)}.")


def _read_template(path: Path, key: Any, entry: Any) -> Template:
    where = f"{path}: template {key!r:.100}"
    if not isinstance(entry, dict) or not isinstance(entry.get("jinja"), str):
        raise TemplateError(f"{where} needs a 'jinja' text.")
    _check_keys(entry, _TEMPLATE_KEYS, where)
    choices, metadata = entry.get(ANSWER_CHOICES), entry.get("metadata") or {}
    if choices is not None and not isinstance(choices, str):
        raise TemplateError(f"{path}: answer_choices of template {key!r:.100} must be one text, 'first ||| second'.")
    if not isinstance(metadata, dict):
        raise TemplateError(f"{path}: metadata of template {key!r:.100} must be a mapping.")
    name = str(entry.get("name", key)).strip()
    if not name:
        raise TemplateError(f"{where} has a blank name.")
    if len(name.splitlines()) > 1:
        raise TemplateError(f"{where}: the name must be one line.")
    return Template(
        name=name,
        jinja=entry["jinja"],
        answer_choices=choices,
        id=str(entry.get("id", key)),
        reference=str(entry.get("reference") or ""),
        metadata=metadata,
    )
