"""From a model, a dictionary and a store of activations to a feature index.

1. The store's tokens that count (no beginning-of-text, no attention sinks) are encoded in chunks.
2. Their codes go, chunk by chunk, to `write_index`, which does the rest.
3. What everything was made from is hashed into the manifest: the same call again returns the
   finished index at once, a call with other inputs is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inscape.activations import ActivationStore, HeldActivations
from inscape.core import InputError, StorageError, progress
from inscape.dictionary import Dictionary
from inscape.features.index import KIND, VERSION, FeatureIndex
from inscape.features.table import TokenTable
from inscape.features.writer import Batch, HeadInputs, IndexOptions, as_numpy, write_index
from inscape.model import Model, Site
from inscape.storage import MANIFEST, read_manifest, refuse_filled

Activations = ActivationStore | HeldActivations
CHUNK = 8192  # tokens that are encoded at once


def build_index(
    model: Model,
    dictionary: Dictionary,
    store: Activations,
    out: Path,
    *,
    num_examples: int = 20,
    num_quantiles: int = 5,
    per_quantile: int = 4,
    window: tuple[int, int] = (24, 8),
    num_logit_tokens: int = 12,
    num_neighbours: int = 8,
    seed: int = 0,
) -> FeatureIndex:
    """Index a dictionary's features over a store, into the folder `out`.

    Args:
        model: the model that the store was harvested from; without a tokenizer tokens read "<id>".
        dictionary: reads a site that the store holds. store: stored or held activations.
        out: an index with the same inputs that is already there is returned at once.
        num_examples: top examples of a feature, from distinct documents where there are enough.
        num_quantiles, per_quantile: intervals of strength, and random examples from each.
        window: tokens left and right of an example.
        num_logit_tokens: length of the lists of promoted and suppressed tokens.
        num_neighbours: length of the list of similar features.
        seed: of the random examples.

    Raises:
        SiteError: the store does not hold the dictionary's site.
        InputError: the store is of another model, an option makes no sense, or `out` holds
            something else.
        StorageError: `out` holds another index, or the disk is full.
    """
    out = Path(out)
    options = IndexOptions(
        num_examples, num_quantiles, per_quantile, window, num_logit_tokens, num_neighbours, seed
    )
    _check(model, dictionary, store, options)
    made_from = _made_from(model, dictionary, store, options)
    if (out / MANIFEST).is_file():
        found = read_manifest(out, KIND, VERSION)["made_from"]
        if found["inputs"] == made_from["inputs"]:
            return FeatureIndex.open(out)
        raise StorageError(
            f"{out} holds an index that was made with {_difference(found, made_from)}",
            next_step="remove that folder or choose another",
        )
    refuse_filled(out)
    table = _token_table(store)
    batches = _codes(dictionary, store, np.flatnonzero(table.considered))
    return write_index(out, table, batches, head_inputs(model, dictionary), options, made_from)


def head_inputs(model: Model, dictionary: Dictionary) -> HeadInputs:
    """What the direct logit effects of a dictionary are computed from.

    Only sites that add to the residual stream, or lie behind the last norm, have a direct path to
    the logits. A norm that subtracts the mean of the stream also subtracts that of a direction.
    """
    site = Site.parse(dictionary.config.site_out)
    decoder = dictionary.W_dec.to(model.device)
    text = model.token_text if model.tokenizer is not None else "<{}>".format
    if site.kind == "mlp_in":
        return HeadInputs(decoder, None, None, text)
    if site.kind == "final":
        return HeadInputs(decoder, model.unembedding(), None, text)
    weight = model.final_norm_weight()
    final = model.structure.final
    centred = final is not None and final.centred
    return HeadInputs(decoder, model.unembedding(), weight, text, centred=centred)


def _check(model: Model, dictionary: Dictionary, store: Activations, options: IndexOptions) -> None:
    if store.model_hash != model.hash:
        raise InputError(
            f"the activations were harvested from another model than {model.name}",
            next_step="open the model that they were made with, or harvest again",
        )
    Site.parse(dictionary.config.site_in)  # several are refused
    site, width = dictionary.config.site_in, store.width(dictionary.config.site_in)
    if width != dictionary.config.d_in:
        raise InputError(
            f"{site} is {width} wide in the store, dictionary {dictionary.name!r} reads "
            f"{dictionary.config.d_in}",
            next_step="use the dictionary that was trained on this store's model",
        )
    counts = (options.num_examples, options.num_quantiles, options.per_quantile)
    if min(counts) < 1 or max(counts) > 100 or min(options.window) < 0:
        raise InputError(
            f"num_examples, num_quantiles, per_quantile are {counts}, window is {options.window}",
            expected="1 to 100 examples and a window of 0 or more tokens on each side",
        )


def _made_from(
    model: Model, dictionary: Dictionary, store: Activations, options: IndexOptions
) -> dict[str, Any]:
    identity = json.dumps(store.identity, sort_keys=True, default=str)
    made_from: dict[str, Any] = {
        "model": model.name,
        "model_hash": model.hash,
        "dictionary": dictionary.name,
        "dictionary_config": dictionary.config.model_dump(),
        "dictionary_hash": dictionary.hash,
        "store_hash": hashlib.sha256(identity.encode()).hexdigest(),
        "options": json.loads(json.dumps(asdict(options))),
    }
    hashed = json.dumps({**made_from, "version": VERSION}, sort_keys=True)
    return {**made_from, "inputs": hashlib.sha256(hashed.encode()).hexdigest()}


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Which inputs differ, in words."""
    names = {
        "model_hash": "another model",
        "dictionary": "another dictionary",
        "dictionary_config": "another dictionary",
        "dictionary_hash": "another dictionary",
        "store_hash": "other activations",
        "options": "other options",
    }
    differ = [text for key, text in names.items() if found.get(key) != wanted[key]]
    return " and ".join(dict.fromkeys(differ)) or "another version of inscape"


def _token_table(store: Activations) -> TokenTable:
    tokens = store.tokens()
    return TokenTable(
        ids=np.asarray(tokens.ids, np.int32),
        documents=np.asarray(tokens.document, np.int32),
        positions=np.asarray(tokens.position, np.int32),
        considered=np.asarray(tokens.kept, np.bool_),
        texts={},
    )


def _codes(
    dictionary: Dictionary, store: Activations, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> Iterator[Batch]:
    with progress(f"index {dictionary.name}", rows.size, "tokens") as bar:
        for start in range(0, rows.size, CHUNK):
            chunk = rows[start : start + CHUNK]
            code = dictionary.encode(torch.from_numpy(store.read(dictionary.config.site_in, chunk)))
            yield chunk, as_numpy(code.indices), as_numpy(code.values)
            bar.advance(chunk.size)
