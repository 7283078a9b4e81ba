"""From a model, dictionaries and a text (or a store of activations) to feature indexes.

1. The tokens that count (no special tokens, no attention sinks) are encoded piece by piece, by all
   dictionaries in one pass over the text; nothing is stored but the codes (passes.py). A pass that
   was stopped goes on with the pieces that are missing; several processes share them.
2. A dense dictionary, the neurons, has each feature's strongest DENSE of activations indexed: the
   thresholds are quantiles over a sample of the text, taken in a pass of their own.
3. What everything was made from is hashed into the manifest: the same call again returns the
   finished index at once, a call with other inputs is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations import ActivationStore, TextActivations
from inscape.activations import TokenTable as Tokens
from inscape.activations.corpus import Text
from inscape.core import InputError, StorageError, track
from inscape.dictionary import Dictionary
from inscape.features.index import ARRAYS, KIND, VERSION, FeatureIndex
from inscape.features.logits import HeadInputs
from inscape.features.passes import Entries, Kept, Part, entries_of
from inscape.features.table import TokenTable
from inscape.features.thresholds import is_dense, thresholds
from inscape.features.writer import IndexOptions, as_numpy, finish_index
from inscape.model import Model, Site
from inscape.storage import MANIFEST, artefact, atomic_folder, read_manifest, refuse_filled, remove
from inscape.training import Ranks

CHUNK = 8192  # tokens that are encoded at once
ENTRIES = 1 << 23  # of a dense code at once
Source = ActivationStore | TextActivations | Text


def build_index(
    model: Model,
    dictionary: Dictionary,
    source: Source,
    out: Path,
    *,
    context: int | None = None,
    max_tokens: int | None = None,
    **options: Any,
) -> FeatureIndex:
    """One index, in the folder `out`: see `build_indexes`; options are those of `IndexOptions`."""
    return build_indexes(
        model,
        {Path(out): dictionary},
        source,
        context=context,
        max_tokens=max_tokens,
        options=IndexOptions(**options),
    )[0]


def build_indexes(
    model: Model,
    dictionaries: Mapping[Path, Dictionary],
    source: Source,
    *,
    context: int | None = None,
    max_tokens: int | None = None,
    options: IndexOptions | None = None,
    ranks: Ranks | None = None,
) -> list[FeatureIndex]:
    """Index dictionaries in one pass over a text, or over stored activations.

    What is finished of a pass lies in a hidden folder beside the first index until all are written:
    the same call again goes on from there, with any number of processes, to the same indexes.

    Args:
        model: what reads the text, or what the store was harvested from; without a tokenizer
            tokens read "<id>".
        dictionaries: the folder of each index, and its dictionary. An index with the same inputs
            that is there already is returned at once.
        source: a text (see `activations.documents`), texts, token ids; or a store with the sites
            that the dictionaries read.
        context, max_tokens: of a text: as `harvest`.
        ranks: the processes that share the pieces of the text, each of which makes this call, with
            a disk in common (see `inscape.training.connected`); by default a single one.

    Raises:
        SiteError: the store or the model does not have a dictionary's site.
        InputError: the store is of another model, an option makes no sense, or a folder holds
            something else.
        StorageError: a folder holds another index, or the disk is full.
    """
    options = options or IndexOptions()
    options.check()
    model.require_one_device("indexing")
    if not isinstance(source, ActivationStore | TextActivations):
        source = TextActivations(model, source, context=context, max_tokens=max_tokens)
    ranks = ranks or Ranks()
    wanted: dict[Path, tuple[Dictionary, dict[str, Any]]] = {}
    inputs = []
    for out, dictionary in dictionaries.items():
        _check(model, dictionary, source)
        made_from = _made_from(model, dictionary, source, options)
        inputs.append(made_from["inputs"])
        if not _is_finished(out, made_from, options):
            wanted[out] = dictionary, made_from
    if wanted:
        name = hashlib.sha256("".join(sorted(inputs)).encode()).hexdigest()[:12]
        folder = next(iter(dictionaries)).parent / f".indexing-{name}"
        _build(model, wanted, source, options, folder, ranks)
    return [FeatureIndex.open(out) for out in dictionaries]


def _build(
    model: Model,
    wanted: Mapping[Path, tuple[Dictionary, dict[str, Any]]],
    source: ActivationStore | TextActivations,
    options: IndexOptions,
    folder: Path,
    ranks: Ranks,
) -> None:
    """The pass, kept in `folder`, and then the indexes."""
    bounds = thresholds([d for d, _ in wanted.values() if is_dense(d)], source)
    keys = {made_from["inputs"][:12]: dictionary for dictionary, made_from in wanted.values()}
    _encode(keys, source, bounds, folder, ranks)
    ranks.meet()  # all pieces are there
    if ranks.first:
        kept = Kept(folder, list(keys))
        table = kept.table()
        table.texts.update(vocabulary(model, table.ids))
        for out, (dictionary, made_from) in wanted.items():
            codes = kept.codes(made_from["inputs"][:12], dictionary.d_dict)
            tokens = table.save(out.parent)
            head, bound = head_inputs(model, dictionary), bounds.get(dictionary.name)
            with atomic_folder(out, artefact(KIND)) as new:
                finish_index(new, codes, table, tokens, head, options, made_from, thresholds=bound)
        remove(folder)
    ranks.meet()


def _encode(
    dictionaries: Mapping[str, Dictionary],
    source: ActivationStore | TextActivations,
    bounds: Mapping[str, Tensor],
    folder: Path,
    ranks: Ranks,
) -> None:
    """The pieces of the text that are not finished yet, this process's share of them."""
    sites = list(dict.fromkeys(site for d in dictionaries.values() for site in d.reads))
    kept = Kept(folder, list(dictionaries))
    done = kept.numbers
    if kept.medians and isinstance(source, TextActivations):
        source.median_norms = kept.medians
    ranks.meet()  # before any process adds to what the others have just counted

    def own(number: int) -> bool:
        return number not in done and number % ranks.count == ranks.number

    part = Part(folder, list(dictionaries))
    try:
        for number, tokens, acts in _pieces(source, sites, own, shown=ranks.first):
            table = _table(tokens)
            rows = np.flatnonzero(table.considered)
            codes = [_entries(d, rows, len(table), acts, bounds) for d in dictionaries.values()]
            part.add(number, table, codes, source.median_norms)
    finally:
        part.close()


def vocabulary(model: Model, ids: NDArray[np.int32]) -> dict[int, str]:
    """The text of every token id of the model, those in `ids` included."""
    if model.tokenizer is None:
        return {int(i): f"<{i}>" for i in np.unique(ids)}
    named = np.flatnonzero(model.vocabulary_mask.cpu().numpy())
    return {int(i): model.token_text(int(i)) for i in np.union1d(named, ids)}


def _pieces(
    source: ActivationStore | TextActivations,
    sites: Sequence[str],
    wanted: Callable[[int], bool],
    *,
    shown: bool,
) -> Iterator[tuple[int, Tokens, dict[str, Tensor]]]:
    """The wanted pieces of the text: number, tokens, and the activations of those that count."""
    if isinstance(source, TextActivations):
        for number, tokens, acts in source.some_pieces(sites, wanted, shown=shown):
            kept = torch.from_numpy(tokens.kept)
            yield number, tokens, {site: acts[site][kept] for site in sites}
        return
    whole = source.tokens()
    starts = range(0, len(whole), CHUNK)
    for number, start in enumerate(track(starts, "index", unit="pieces", shown=shown)):
        if wanted(number):
            part = slice(start, start + CHUNK)
            tokens = Tokens(*(getattr(whole, field.name)[part] for field in fields(whole)))
            rows = start + np.flatnonzero(tokens.kept)
            yield number, tokens, {s: torch.from_numpy(source.read(s, rows)) for s in sites}


def _entries(
    dictionary: Dictionary,
    rows: NDArray[np.int64],
    num_tokens: int,
    acts: Mapping[str, Tensor],
    bounds: Mapping[str, Tensor],
) -> Entries:
    """The codes of a piece: rows are those of its num_tokens that count, which acts are of."""
    step = min(CHUNK, max(64, ENTRIES // dictionary.config.d_in)) if is_dense(dictionary) else CHUNK
    bound = bounds.get(dictionary.name)
    found: list[Entries] = []
    for start in range(0, rows.size, step):
        part = slice(start, start + step)
        read = {site: acts[site][part] for site in dictionary.reads}
        code = dictionary.encode(dictionary.concat_sites(read).float(), half=True)
        values = code.values
        if bound is not None:
            values = values * (values >= bound.to(values.device)[code.indices])
        arrays = as_numpy(code.indices), as_numpy(values)
        found.append(entries_of(num_tokens, rows[part], *arrays))
    fired = np.zeros(num_tokens, np.int32)
    for counts, _, _ in found:
        fired += counts
    features = np.concatenate([np.zeros(0, np.int32), *(entries[1] for entries in found)])
    strengths = np.concatenate([np.zeros(0, np.float32), *(entries[2] for entries in found)])
    return fired, features, strengths


def head_inputs(model: Model, dictionary: Dictionary) -> HeadInputs:
    """What the direct logit effects of a dictionary are computed from.

    Only sites that add to the residual stream, or lie behind the last norm, have a direct path to
    the logits. A norm that subtracts the mean of the stream also subtracts that of a direction.
    What a cross-layer transcoder writes is added up over the layers; of a crosscoder, whose sites
    are one stream at several depths, the last site counts.
    """
    sites = [Site.parse(site) for site in dictionary.config.sites_out]
    if not all(site.kind in ("attn_out", "mlp_out") for site in sites):
        sites = sites[-1:]
    decoder = dictionary.W_dec.to(model.device)
    if dictionary.config.several:
        written = (dictionary.decoder_at(str(site)).to(model.device) for site in sites)
        decoder = sum(written, torch.zeros((), device=model.device))
    if sites[-1].kind not in STREAM:
        return HeadInputs(decoder, None, None)
    named = model.vocabulary_mask
    if sites[-1].kind == "final":
        return HeadInputs(decoder, model.unembedding(), None, named=named)
    weight = model.final_norm_weight()
    final = model.structure.final
    centred = final is not None and final.centred
    return HeadInputs(decoder, model.unembedding(), weight, centred=centred, named=named)


STREAM = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "final")


def _check(model: Model, dictionary: Dictionary, source: ActivationStore | TextActivations) -> None:
    if source.model_hash != model.hash:
        raise InputError(
            f"the activations were harvested from another model than {model.name}",
            next_step="open the model that they were made with, or harvest again",
        )
    width = sum(source.width(site) for site in dictionary.reads)
    if width != dictionary.config.d_in:
        raise InputError(
            f"{dictionary.config.site_in} is {width} wide in {model.name}, dictionary "
            f"{dictionary.name!r} reads {dictionary.config.d_in}",
            next_step="use a dictionary of this model",
        )


def _made_from(
    model: Model,
    dictionary: Dictionary,
    source: ActivationStore | TextActivations,
    options: IndexOptions,
) -> dict[str, Any]:
    identity = json.dumps(source.identity, sort_keys=True, default=str)
    chosen = {name: value for name, value in asdict(options).items() if name != "activations"}
    made_from: dict[str, Any] = {
        "model": model.name,
        "model_hash": model.hash,
        "dictionary": dictionary.name,
        "dictionary_config": dictionary.config.model_dump(),
        "dictionary_hash": dictionary.hash,
        "text": hashlib.sha256(identity.encode()).hexdigest(),
        "options": json.loads(json.dumps(chosen)),
    }
    identity_of = {**made_from, "model": None, "version": VERSION}  # a model may be renamed
    hashed = json.dumps(identity_of, sort_keys=True)
    return {**made_from, "inputs": hashlib.sha256(hashed.encode()).hexdigest()}


def _is_finished(out: Path, made_from: Mapping[str, Any], options: IndexOptions) -> bool:
    """Whether the index is there already, with its activations if they are asked for; InputError,
    StorageError where something else is."""
    if not (out / MANIFEST).is_file():
        refuse_filled(out)
        return False
    manifest = read_manifest(out, KIND, VERSION)
    found = manifest["made_from"]
    if found["inputs"] == made_from["inputs"]:
        return ARRAYS[0] in manifest["files"] or not options.activations
    keys = [key for key in found if key not in ("model", "inputs") and found[key] != made_from[key]]
    parts = dict.fromkeys(key.partition("_")[0] for key in keys)  # dictionary_hash, ...
    what = " and ".join(parts) or "version of inscape"
    raise StorageError(
        f"{out} holds an index that was made with another {what}",
        next_step="remove that folder or choose another",
    )


def _table(tokens: Any) -> TokenTable:
    return TokenTable(
        ids=np.asarray(tokens.ids, np.int32),
        documents=np.asarray(tokens.document, np.int32),
        positions=np.asarray(tokens.position, np.int32),
        considered=np.asarray(tokens.kept, np.bool_),
        texts={},
    )
