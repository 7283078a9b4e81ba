"""Train any number of dictionaries on one pass of a model over a text; nothing is stored.

1. The sites that any of them reads or writes are captured in one forward pass, in blocks that are
   shuffled in memory (`activations.online`), in bf16 where that is faster.
2. Every batch goes to every dictionary in turn (`loop`): all see the same tokens in the same order.
3. The same call resumes a stopped run: the batches follow from the text and the step number alone.
   All captured sites and the memory are recorded in what a dictionary is made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inscape.activations import OnlineActivations
from inscape.activations.corpus import Corpus, Text
from inscape.activations.online import MEMORY
from inscape.core import InputError, all_of
from inscape.dictionary import Dictionary, single_sites
from inscape.model import Model
from inscape.training.loop import Job, train_many
from inscape.training.ranks import Ranks


def train_from_text(
    model: Model,
    text: Text,
    jobs: Sequence[Job],
    *,
    context: int | None = None,
    max_tokens: int | None = None,
    memory: int = MEMORY,
    sites: Sequence[str] = (),
    ranks: Ranks | None = None,
) -> list[Dictionary]:
    """The dictionaries of `jobs`, all trained on one pass of the model over the text.

    Next to the model, memory holds the weights and two Adam moments of all jobs and the largest
    job's gradients, in float32, and `memory` bytes of activations.

    Args:
        model: the model to read.
        text: a path (see `documents`), texts, or documents as token ids.
        jobs: what to train. They share the data order: a `data_seed` that is not set becomes 0.
        context, max_tokens: as `harvest`.
        memory: bytes of activations that are shuffled at a time.
        sites: further sites to capture: those of already finished dictionaries, so that the others
            resume with the same batches.
        ranks: the processes that train together (see `connected`).

    Raises:
        InputError: no job, or two batch sizes; or as `train`.
        SiteError, DataError, Stopped, StorageError, PeerError: as `train`.
    """
    jobs = all_of(Job, jobs, "what to train")
    if not jobs:
        raise InputError("no dictionary to train", expected="at least one")
    sizes = {job.config.batch_size for job in jobs}
    seeds = {job.config.data_seed or 0 for job in jobs}
    if len(sizes) > 1 or len(seeds) > 1:
        raise InputError(
            f"dictionaries with batches of {', '.join(map(str, sorted(sizes)))} tokens and data "
            f"seeds {', '.join(map(str, sorted(seeds)))} on one pass",
            expected="one batch size and one data seed: they share the batches",
        )
    same = [
        replace(job, config=job.config.model_copy(update={"data_seed": job.config.data_seed or 0}))
        for job in jobs
    ]
    ends = [end for job in jobs for end in (job.site_in, job.site_out)]
    Corpus(model, text).check(max_tokens)
    source = OnlineActivations(
        model,
        text,
        sorted({*sites, *(site for end in ends for site in single_sites(end))}),
        context=context,
        max_tokens=max_tokens,
        memory=memory,
        sharing=ranks,
    )
    return train_many(source, same, ranks)
