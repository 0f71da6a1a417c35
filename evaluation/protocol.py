"""The protocol of held-out tasks for programs of one's own: draw examples, run a method, judge its answers."""

from evaluation.examples import Draws, TemplateExamples
from evaluation.examples import draw_examples as held_out_examples
from evaluation.judge import Judge

__all__ = ["Draws", "Judge", "TemplateExamples", "held_out_examples"]
