"""The card of an atlas that is shared: README.md as the Hugging Face hub reads it.

Its head is YAML (license, base_model, library_name, tags); then what is in the folder, how to open
it, the figures that were measured, what it was made from, and what it cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from inscape.atlas.container import Container
from inscape.atlas.quality import ENOUGH_TOKENS, Quality
from inscape.atlas.results import Results
from inscape.core import InscapeError
from inscape.dictionary import DictionaryConfig
from inscape.features import FeatureIndex
from inscape.storage import read_json

TAGS = ["interpretability", "sparse-autoencoder", "dictionary-learning"]
_LIMITS = """## Limits

- A name is a guess that was tested on texts of the same kind as the index. Its AUROC says how well
  it tells where the feature fires from where it does not, not that it says all the feature does.
- Features that fire on few tokens of the indexed text have no label, and those without a clear
  pattern none either. What was not in the text cannot be found.
- That a feature is active does not show that the model uses it: see `inscape steer`.
- The examples are passages of the indexed text, which may have a licence and a content of its own.
"""


def card(
    atlas: Container,
    names: Sequence[str],
    *,
    title: str,
    licence: str | None,
    base_model: str | None,
    weights: str,
) -> str:
    """The text of the card of the dictionaries `names`.

    Args:
        title: what the atlas is called. licence: an identifier of the hub, such as apache-2.0.
        base_model: the model as the hub knows it. weights: what the weights are stored in.
    """
    model = atlas.record["model"]
    head = {
        "license": licence,
        "base_model": [base_model] if base_model else None,
        "library_name": "inscape",
        "tags": TAGS,
    }
    given = {key: value for key, value in head.items() if value}
    front = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n\n# {_plain(title)}\n",
        f"Features of the language model {_plain(model['name'])}: where each is active, what it is "
        "called, and how well that name holds. Made with inscape "
        f"{_plain(str(atlas.record.get('inscape', '')))}.\n",
        _opening(base_model or model["name"]),
        "## Dictionaries\n\n" + _dictionaries(atlas, names),
        f"Weights are stored in {weights}.\n" if atlas.dictionary_names else "",
        "## Labels\n\n" + _labels(atlas, names),
        "## Made from\n\n" + _recipe(atlas, names),
        _LIMITS,
        "## Licence\n\n" + _licence(licence),
    ]
    return "\n".join(part for part in parts if part)


def _opening(model: str) -> str:
    return f"""## Opening it

```
pip install inscape
inscape search PATH "a word" --model {_plain(model)}
inscape report PATH
```

```python
from inscape import Atlas

atlas = Atlas.open("PATH", model="{_plain(model)}")
atlas.search("a word")
```
"""


def _dictionaries(atlas: Container, names: Sequence[str]) -> str:
    figures = measured(atlas)
    rows = []
    for name in without_neurons(atlas, names):
        config, found = config_of(atlas, name), figures.get(name)
        index = atlas.features(name) if atlas.is_indexed(name) else None
        kept = None if found is None else found.fidelity
        reads = config.site_in + (f" → {config.site_out}" if config.transcoder else "")
        rows.append(
            [
                f"`{name}`",
                reads,
                f"{config.d_dict:,}",
                _figure(kept, "l0", 1),
                _figure(kept, "fvu", 3),
                _figure(kept, "loss_recovered_mean", 3),
                _dead(index),
                "" if index is None else f"{index.num_considered:,}",
            ]
        )
    heads = ["dictionary", "reads", "features", "L0", "FVU", "loss recovered", "dead", "tokens"]
    texts = {Path(figures[n].text).name for n in names if n in figures}
    said = f"Measured on {', '.join(sorted(map(_plain, texts)))}. " if texts else ""
    if not rows:
        return _neurons(atlas, names)
    unmeasured = "" if figures else "L0, FVU and loss recovered: `inscape validate` measures them. "
    return (
        _table(heads, rows)
        + f"\n{said}{unmeasured}L0: active features per token. FVU: unexplained variance. "
        "Loss recovered: over the mean in the place of the activations. Dead: features that never "
        "fire, told over a million tokens at least. Tokens: those that the index rests on. In "
        "brackets 95 % intervals.\n\n" + _neurons(atlas, names)
    )


def _dead(index: FeatureIndex | None) -> str:
    """The share of features that never fire; none over too few tokens to tell."""
    if index is None or index.num_considered < ENOUGH_TOKENS:
        return "–"
    return f"{float((index.num_active == 0).mean()):.1%}"


def without_neurons(atlas: Container, names: Iterable[str]) -> list[str]:
    """Those of the dictionaries that were trained or imported."""
    return [name for name in names if config_of(atlas, name).kind != "neurons"]


def _neurons(atlas: Container, names: Sequence[str]) -> str:
    """What is said of neurons, which need no training."""
    found = [name for name in names if config_of(atlas, name).kind == "neurons"]
    if not found:
        return ""
    which = f"`{found[0]}`" + (f" to `{found[-1]}`" if len(found) > 1 else "")
    tokens = min(atlas.features(name).num_considered for name in found)
    layers = "1 layer" if len(found) == 1 else f"{len(found)} layers"
    return (
        f"The neurons of {layers}, {which}, are indexed over {tokens:,} tokens or more. They need "
        "no training.\n"
    )


def _labels(atlas: Container, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        labels = atlas.labels(name)
        if labels is None:
            continue
        found = labels.summary
        writers = sorted({one.source for one in labels})
        share = found["num_labelled"] / max(1, labels.num_features)
        figures = [found.get(f"median_{n}") for n in ("auroc", "auroc_near", "shuffled")]
        shown = ["" if value is None else f"{value:.2f}" for value in figures]
        rows.append([f"`{name}`", ", ".join(writers), f"{share:.0%}", *shown])
    if not rows:
        return "None yet.\n"
    heads = ["dictionary", "written by", "named", "AUROC", "near", "shuffled"]
    return (
        _table(heads, rows)
        + "\nMedians over the named features, from documents that the names were not written from: "
        "against random windows; against near ones; and of another feature's name. 0.5 is chance.\n"
    )


def _recipe(atlas: Container, names: Sequence[str]) -> str:
    made: dict[str, Any] = {"model": atlas.record["model"]["name"]}
    if atlas.record["settings"]:
        made["settings"] = atlas.record["settings"]
    for name in without_neurons(atlas, names):
        found = public(record_of(atlas, name).get("made_from", {}))
        kept = {k: v for k, v in found.items() if k not in ("figures", "dictionary_config")}
        made[name] = kept
    return f"```json\n{json.dumps(made, indent=1, default=str)}\n```\n"


def _licence(licence: str | None) -> str:
    if licence is None:
        return "None is stated: ask whoever shares this. The model and the text have their own.\n"
    return f"{_plain(licence)}, for what inscape made. The model and the text have their own.\n"


def measured(atlas: Container) -> dict[str, Quality]:
    """The figures of each dictionary that has some."""
    found = {}
    results = Results(atlas.path / "quality", Quality.from_json)
    for name in results.names:
        try:
            one = results.open(name)
        except InscapeError:  # a damaged one is left out
            continue
        found[one.dictionary] = one
    return found


def _figure(kept: Any, name: str, digits: int) -> str:
    value = None if kept is None else kept.said(name)
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if name in kept.interval:
        low, high = kept.interval[name]
        text += f" ({low:.{digits}f}–{high:.{digits}f})"
    return text


def record_of(atlas: Container, name: str) -> dict[str, Any]:
    """What is recorded of a dictionary, without its weights; of neurons what their index says."""
    path = atlas.place("dictionaries", name) / "dictionary.json"
    if path.is_file():
        found: dict[str, Any] = read_json(path)
        return found
    return {"config": atlas.features(name).manifest["made_from"]["dictionary_config"]}


def config_of(atlas: Container, name: str) -> DictionaryConfig:
    """The shape of a dictionary and its sites."""
    return DictionaryConfig(**record_of(atlas, name)["config"])


def public(value: Any) -> Any:
    """The value without the folders of this machine: of an absolute path the last name."""
    if isinstance(value, dict):
        return {key: public(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [public(one) for one in value]
    if isinstance(value, str) and len(value) > 1 and value[0] in "/~" and "\n" not in value:
        return Path(value).name
    return value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _plain(text: str) -> str:
    """A name on one line without signs that Markdown reads."""
    return "".join(c for c in text if c.isalnum() or c in " ._-+/:,()").strip()
