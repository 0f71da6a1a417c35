"""The card of an exported model: what it is, its tasks, and how to ask it without this package."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from export.exported_tasks import ExportedTasks
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.checkpoint_name import is_repo_id, public_name
from safe_files import write_text
from trainers.model_card import CARD_NAME, format_cell

TEMPLATE_PATH = Path(__file__).parent / "templates" / "card.md"


def write_card(folder: Path, repo_id: str, exported: ExportedTasks, model: CTRPreTrainedModel) -> None:
    """Write `README.md` into the exported model's folder.

    Args:
        repo_id: Name it will have on the Hub, or its folder's.
    """
    seq2seq = model.config.is_encoder_decoder
    source = public_name(str(model.name_or_path or ""))
    data = ModelCardData(
        base_model=source if is_repo_id(source) else None,
        library_name="transformers",
        pipeline_tag="text2text-generation" if seq2seq else "text-generation",
        tags=["ctr", "task-codes", "ctr-exported"],
    )
    name = next(iter(exported.tasks))
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE_PATH),
        model_name=format_cell(repo_id.split("/")[-1]),
        source=format_cell(source) if source else "a CTR model",
        exported=exported,
        seq2seq=seq2seq,
        rows=[[format_cell(name), f"`{task[exported.position]}`"] for name, task in exported.tasks.items()],
        repo_literal=repr(repo_id),
        task_literal=repr(name).encode("utf-8", "backslashreplace").decode("utf-8"),
    )
    write_text(folder / CARD_NAME, str(card))
