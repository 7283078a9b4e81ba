"""Fills an atlas from a model and a text.

1. Create the folder, or open the one that is there: the same model and settings go on where they
   stopped, others are refused by name.
2. Harvest the middle layer's residual stream and the input and output of every MLP.
3. Train the residual dictionary, then one transcoder for each MLP.
4. Index what every feature does.
5. Label the features.

What is finished is not done again; what was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from inscape.activations import ActivationStore, harvest
from inscape.atlas.atlas import FILE, Atlas
from inscape.atlas.config import BuildConfig
from inscape.core import InputError, seeded
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex, build_index
from inscape.labels import Labels, label
from inscape.model import Model
from inscape.storage import lock
from inscape.training import Ranks, TrainConfig, train

STORE = "corpus"
Step = Callable[[str], AbstractContextManager[None]]


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


def build(
    model: Model | str | Path,
    text: Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    source: str | Path | None = None,
    device: str | None = None,
    step: Step = _untimed,
) -> Atlas:
    """An atlas of `model`, made from `text` in the folder `out`; run again, it goes on.

    Args:
        model: a model, or where it is to be opened from.
        text: a file or folder of documents (see `activations.documents`).
        config: what is asked for; for an atlas that is there, None takes its own settings.
        source: where a model that is passed open can be opened again; its name if None.
        step: entered around each of harvest, train, index and label, with that name.

    Raises:
        InputError: `out` holds something else, or an atlas with other settings.
        InscapeError: as the single steps raise.
    """
    out = Path(out)
    opened = model if isinstance(model, Model) else Model.open(model, device=device)
    if source is None:
        source = opened.name if isinstance(model, Model) else model
    atlas = _open_or_create(opened, source, out, config)
    with lock(out):
        with step("harvest"):
            harvest_atlas(atlas, text)
        with step("train"):
            train_atlas(atlas)
        with step("index"):
            index_atlas(atlas)
        with step("label"):
            label_atlas(atlas)
    return atlas


def settings_of(atlas: Atlas) -> BuildConfig:
    """The settings that an atlas is made with."""
    return BuildConfig.model_validate(atlas.record["settings"])


def _open_or_create(
    model: Model, source: str | Path, out: Path, config: BuildConfig | None
) -> Atlas:
    if not (out / FILE).is_file():
        config = config or BuildConfig()
        for transcoder in (False, True):  # settings that make no sense leave no atlas behind
            train_settings(model.d_model, config, "checked", transcoder=transcoder)
        residual = f"resid{residual_layer(model, config)}"
        settings = config.model_dump()
        return Atlas.create(out, model, source, residual=residual, settings=settings)
    atlas = Atlas.open(out, model=model)
    found, wanted = settings_of(atlas).model_dump(), (config or settings_of(atlas)).model_dump()
    for name, value in wanted.items():
        if found[name] != value:
            had, asked = ("the default" if v is None else v for v in (found[name], value))
            raise InputError(
                f"{out} is made with {name} = {had}, not {asked}",
                expected="the same settings as before",
                next_step="choose another --out, or remove that folder",
            )
    return atlas


def residual_layer(model: Model, config: BuildConfig) -> int:
    """The layer whose residual stream gets a dictionary: the asked one, or the middle."""
    layer = (model.num_layers - 1) // 2 if config.layer is None else config.layer
    if layer >= model.num_layers:
        raise InputError(
            f"layer {layer} is beyond the last layer of {model.name}",
            expected=f"a layer from 0 to {model.num_layers - 1}",
        )
    return layer


def default_sites(model: Model) -> list[str]:
    """What a harvest reads by default: the middle residual, every MLP's input and output."""
    sites = [f"resid_post.{residual_layer(model, BuildConfig())}"]
    for layer in range(model.num_layers):
        sites += [f"mlp_in.{layer}", f"mlp_out.{layer}"]
    return sites


def wanted_dictionaries(atlas: Atlas) -> dict[str, tuple[str, str]]:
    """Name → (site read, site written) of every dictionary that belongs to the atlas."""
    layer = int(atlas.residual.removeprefix("resid"))
    site = f"resid_post.{layer}"
    found = {atlas.residual: (site, site)}
    if settings_of(atlas).transcoders:
        for number in range(atlas.record["model"]["num_layers"]):
            found[f"mlp{number}"] = (f"mlp_in.{number}", f"mlp_out.{number}")
    return found


def harvest_atlas(atlas: Atlas, text: Path) -> ActivationStore:
    """Step 2: the activations of every site that a dictionary of the atlas needs."""
    config = settings_of(atlas)
    pairs = wanted_dictionaries(atlas).values()
    sites = list(dict.fromkeys(site for pair in pairs for site in pair))
    folder = atlas.place("activations", STORE)
    return harvest(
        atlas.model, text, sites, folder, context=config.context, max_tokens=config.max_tokens
    )


def train_atlas(
    atlas: Atlas, names: Iterable[str] | None = None, ranks: Ranks | None = None
) -> list[Dictionary]:
    """Step 3: the dictionaries of the atlas, or those named, that are not finished yet; `ranks`
    are the processes that train them together."""
    store = atlas.store()
    config = settings_of(atlas)
    width = int(atlas.record["model"]["d_model"])
    trained = []
    for name, (site_in, site_out) in _chosen(atlas, names).items():
        if name in atlas.dictionary_names:
            trained.append(atlas.dictionary(name))
            continue
        settings = train_settings(width, config, name, transcoder=site_in != site_out)
        folder = atlas.place("dictionaries", name)
        made = train(store, site_in, site_out, folder, settings, name=name, ranks=ranks)
        trained.append(made)
    return trained


def train_settings(width: int, config: BuildConfig, name: str, *, transcoder: bool) -> TrainConfig:
    """The training of one dictionary of an atlas, for a residual stream `width` wide."""
    k = (config.transcoder_k if transcoder else config.k) or max(1, width // 8)
    expansion = config.expansion
    if transcoder:
        expansion = config.transcoder_expansion or max(1, expansion // 2)
    return TrainConfig(
        d_dict=expansion * width,
        k=k,
        tokens=config.train_tokens,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=seeded(config.seed, "train", name) % 2**31,
    )


def index_atlas(atlas: Atlas, names: Iterable[str] | None = None) -> list[FeatureIndex]:
    """Step 4: the feature index of every dictionary, or of those named."""
    store = atlas.store()
    return [
        build_index(atlas.model, atlas.dictionary(name), store, atlas.place("features", name))
        for name in _chosen(atlas, names)
    ]


def label_atlas(atlas: Atlas, names: Iterable[str] | None = None) -> list[Labels]:
    """Step 5: labels for every dictionary, or for those named."""
    seed = settings_of(atlas).seed
    return [
        label(atlas.index(name), atlas.place("labels", name), seed=seed)
        for name in _chosen(atlas, names)
    ]


def _chosen(atlas: Atlas, names: Iterable[str] | None) -> dict[str, tuple[str, str]]:
    wanted: dict[str, Any] = wanted_dictionaries(atlas)
    if names is None:
        return wanted
    for name in names:
        if name not in wanted:
            raise InputError(
                f"{atlas.path} has no dictionary {name!r}", expected=f"one of {', '.join(wanted)}"
            )
    return {name: wanted[name] for name in names}
