"""No-prompt templates derived from prompted ones, so that any collection of prompts becomes tasks for task codes.

    python -m tools.no_prompt promptsource/templates my_templates

writes YAML files that `load_tasks` reads. Of a template's input, text and constant expressions go, and so do variables
that only they use; fields, answer choices, loops over them and conditions that choose among them stay, on lines of their
own. The target and the answer choices stay as they are. Words that a condition chooses by a field's text
(`{% if question == "cause" %} because {% endif %}`) give way to that field, which says the same, unless the target reads
it. Prompts that differ in words only become one template.
"""

from .convert import Conversion, NotConvertible, convert, without_prompt, write_template_file

__all__ = ["Conversion", "NotConvertible", "convert", "without_prompt", "write_template_file"]
