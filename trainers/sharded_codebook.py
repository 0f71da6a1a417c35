"""A codebook whose parameters FSDP2 or DeepSpeed ZeRO-3 spread over the processes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.fsdp import FSDPModule, fully_shard

from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.codebook import TaskCodebook


def shard_codebook(model: CTRPreTrainedModel) -> None:
    """Make ready for FSDP2, which shards the rest when training begins."""
    # FSDP2 knows a tied weight only where the modules are one.
    model.set_input_embeddings(model.get_input_embeddings())
    # In a unit of its own, which keeps it in float32 whatever the language model's mixed precision.
    fully_shard(model.task_codebook)


@contextmanager
def whole_codebook(codebook: TaskCodebook) -> Iterator[None]:
    """Give all processes all parameters of the codebook, to read, within the block; all of them must enter it."""
    if isinstance(codebook, FSDPModule):
        codebook.unshard()
        yield
        codebook.reshard()
    elif any(hasattr(parameter, "ds_id") for parameter in codebook.parameters()):
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(codebook.parameters())):
            yield
    else:
        yield
