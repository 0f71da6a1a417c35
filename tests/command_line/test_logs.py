"""What is logged, and what is not."""

import logging

from command_line.checkpoints import expected_new_codebook
from command_line.logs import Formatter, NewCodebook

REPORT = """CTRForConditionalGeneration LOAD REPORT from: lm
Key                                 | Status  |
------------------------------------+---------+-
task_codebook.code_vectors.weight   | MISSING |
{}
Notes:
- MISSING: those params were newly initialized"""


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("a.long.name.of.a.module", level, __file__, 1, message, None, None)


def test_lines_are_short():
    assert Formatter().format(record("a message", logging.INFO))[8:] == " a message"
    assert Formatter().format(record("a message"))[8:] == " WARNING a message"


def test_only_a_report_about_nothing_but_the_codebook_is_kept_back():
    keeps_back = NewCodebook()
    assert not keeps_back.filter(record(REPORT.format("")))
    assert keeps_back.filter(record(REPORT.format("encoder.block.0.weight | MISSING |\n")))
    assert keeps_back.filter(record(REPORT.format("task_codebook.x | MISMATCH |\n")))
    assert keeps_back.filter(record("anything else | MISSING"))


def test_a_language_model_gets_a_codebook_without_a_report(tmp_path, tiny_ctr_model, caplog):
    from modeling_ctr import CTRForConditionalGeneration

    tiny_ctr_model().backbone.save_pretrained(tmp_path)
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(caplog.handler)
    try:
        for context, reported in ((expected_new_codebook(), False), (logging.LoggerAdapter, True)):
            caplog.clear()
            if reported:
                CTRForConditionalGeneration.from_backbone(str(tmp_path), task_names=["a"])
            else:
                with context:
                    CTRForConditionalGeneration.from_backbone(str(tmp_path), task_names=["a"])
            assert ("LOAD REPORT" in caplog.text) == reported
    finally:
        logger.removeHandler(caplog.handler)
