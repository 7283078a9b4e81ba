"""The steps of a build: what is finished is not done again; what was interrupted goes on.

1. Harvest, where it is asked for: the residual stream of one layer and the input and output of
   every MLP are stored, and serve the steps that follow.
2. Train: the residual dictionary and one transcoder for each MLP, all on one pass over the text.
3. Index: what every feature does, from a pass for as many dictionaries as memory holds.
4. Label: names for the features.
5. Map: places and groups of the features of the residual stream, where umap-learn is installed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, model_validator

from inscape.activations import ActivationStore, TextActivations, harvest
from inscape.activations.online import MEMORY
from inscape.atlas.container import FILE, Container
from inscape.core import Config, InputError, ModelError, seeded, warn
from inscape.dictionary import Dictionary, single_sites
from inscape.features import FeatureIndex, IndexOptions, build_indexes
from inscape.labels import (
    FEWEST,
    Embedder,
    FeatureMap,
    Labels,
    Vocabulary,
    label,
    mappable,
    write_map,
    write_meanings,
)
from inscape.model import Model
from inscape.storage import write_json
from inscape.training import Job, Ranks, TrainConfig, train_from_text, train_many

STEPS = ("harvest", "train", "index", "label", "map")
Step = Callable[[str], AbstractContextManager[object]]


class BuildConfig(Config):
    """How an atlas is made from a model and a text.

    Attributes:
        layers: the residual dictionaries sit at resid_post of these; at the middle one if None.
        transcoders: train one transcoder for each MLP (traces read them).
        neurons: index the neurons of every layer beside the dictionaries.
        variant, options: the kind of dictionary, and its own settings (see `TrainConfig`).
        expansion: features of the residual dictionary per dimension of the residual.
        transcoder_expansion: features of a transcoder, likewise; half of `expansion` if None.
        k, transcoder_k: active features per token; an eighth of d_model if None.
        context: tokens per row; the model's own context if None.
        max_tokens: tokens to read at most; None takes the whole text.
        train_tokens: tokens that each dictionary sees in training, repetitions counted.
        memory: GB of activations that are shuffled at a time where none are stored; 1 if None.
        batch_size: tokens per training step.
        lr: the peak learning rate; the training's own rule if None.
        seed: the seed of everything random.
    """

    layers: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1)
    transcoders: bool = True
    neurons: bool = False
    variant: str = "topk"
    options: dict[str, Any] = Field(default_factory=dict)
    expansion: int = Field(default=16, gt=0)
    transcoder_expansion: int | None = Field(default=None, gt=0)
    k: int | None = Field(default=None, gt=0)
    transcoder_k: int | None = Field(default=None, gt=0)
    context: int | None = Field(default=None, gt=1)
    max_tokens: int | None = Field(default=1_000_000, gt=0)
    train_tokens: int = Field(default=2_000_000, gt=0)
    memory: float | None = Field(default=None, gt=0, lt=1e6)
    batch_size: int = Field(default=1024, gt=0)
    lr: float | None = Field(default=None, gt=0)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _of_one_layer(cls, given: Any) -> Any:
        """Settings of before several layers were possible."""
        if isinstance(given, Mapping) and "layer" in given:
            layer = given["layer"]
            layers = None if layer is None else (layer,)
            given = {"layers": layers, **{k: v for k, v in given.items() if k != "layer"}}
        return given


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, by the names of `BuildConfig`, which are not checked here.

    Raises:
        InputError: it is not there, or no TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"the recipe {path} cannot be read: {error}", expected="a TOML file of settings"
        ) from error


def settings_of(atlas: Container) -> BuildConfig:
    """The settings that an atlas's own dictionaries are trained with.

    Raises:
        InputError: the atlas holds imported dictionaries only.
    """
    if not atlas.record["settings"]:
        raise InputError(
            f"{atlas.path} was made without training settings",
            expected="an atlas of inscape build",
            next_step="name the dictionaries that you mean",
        )
    return BuildConfig.model_validate(atlas.record["settings"])


def check_settings(model: Model, config: BuildConfig) -> None:
    """InputError for settings that make no sense, so that they leave no atlas behind."""
    if (last := max(config.layers or (0,))) >= model.num_layers:
        raise InputError(
            f"layer {last} is beyond the last layer of {model.name}",
            expected=f"a layer from 0 to {model.num_layers - 1}",
        )
    for transcoder in (False, True):
        train_settings(model.d_model, config, "checked", transcoder=transcoder)


def settle(atlas: Container, config: BuildConfig | None, source: str | Path) -> None:
    """Takes up an atlas that is there: with the settings that it has, or, while nothing is in it,
    with new ones; and with the place where its model is now.

    Raises:
        InputError: it has other settings; the first difference is named.
    """
    record = atlas.record
    if config is not None and record["settings"] != config.model_dump(mode="json"):
        had = BuildConfig.model_validate(record["settings"]) if record["settings"] else config
        for name in BuildConfig.model_fields if _begun(atlas) else ():
            before, now = getattr(had, name), getattr(config, name)
            if before != now:
                shown = [_shown(value) for value in (before, now)]
                raise InputError(
                    f"{atlas.path} is made with {name} = {shown[0]}, not {shown[1]}",
                    expected="the same settings as before",
                    next_step="choose another --out",
                )
        check_settings(atlas.model, config)
        record["settings"] = config.model_dump(mode="json")
        write_json(atlas.path / FILE, record)
    if Path(source).exists() and record["model"]["source"] != str(Path(source).resolve()):
        record["model"]["source"] = str(Path(source).resolve())
        write_json(atlas.path / FILE, record)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "the default" if value is None else str(value)


def _begun(atlas: Container) -> bool:
    return any((atlas.path / kind).exists() for kind in ("activations", "dictionaries", "features"))


def check_fits(dictionary: Dictionary, model: Model) -> None:
    """InputError or SiteError where a dictionary's sites or widths are not the model's."""
    config = dictionary.config
    for text, width in ((config.site_in, config.d_in), (config.site_out, config.d_out)):
        sites = single_sites(text)
        for site in sites:
            model.site(site)
        fitting = sum(map(model.width, sites))
        if width != fitting:
            raise InputError(
                f"dictionary {dictionary.name!r} is {width} wide at {text}",
                expected=f"{fitting}, the width of {model.name} there",
                next_step="check that it was trained on this model",
            )


def run(atlas: Container, text: Path, only: Sequence[str] | None, step: Step) -> None:
    """The steps asked for, in their order; all but the harvest by default."""
    stored = atlas.place("activations", "corpus").is_dir()  # was asked for, and is mended
    actions: dict[str, Callable[[], object]] = {
        "harvest": lambda: harvest_atlas(atlas, text),
        "train": lambda: train_atlas(atlas, text),
        "index": lambda: index_atlas(
            atlas, _indexed(atlas), text=None if atlas.has_store else text
        ),
        "label": lambda: label_atlas(atlas),
        "map": lambda: map_atlas(atlas, _mapped(atlas, asked="map" in (only or ()))),
    }
    default = STEPS[not stored : len(STEPS) - (find_spec("umap") is None)]
    for name in STEPS:
        if name in (only or default):
            with step(name):
                actions[name]()


def _dictionaries(config: BuildConfig, num_layers: int) -> dict[str, tuple[str, str]]:
    """Name → (site read, site written) of every dictionary that a build trains."""
    streams = [f"resid_post.{layer}" for layer in config.layers or ((num_layers - 1) // 2,)]
    layers = range(num_layers if config.transcoders else 0)
    mlps = {f"mlp.{layer}": (f"mlp_in.{layer}", f"mlp_out.{layer}") for layer in layers}
    return {**{site: (site, site) for site in streams}, **mlps}


def _indexed(atlas: Container) -> list[str] | None:
    """The dictionaries that a build indexes; None for all that are stored."""
    if not settings_of(atlas).neurons:
        return None
    layers = range(int(atlas.record["model"]["num_layers"]))
    return [*atlas.dictionary_names, *(f"mlp_act.{layer}" for layer in layers)]


def _mapped(atlas: Container, *, asked: bool) -> list[str]:
    """The dictionaries that a build maps: those of the residual stream; unless they are asked for,
    of these the ones that are labelled and have enough features that fire."""
    names = [name for name, (read, written) in _wanted(atlas).items() if read == written]
    if asked:
        return names
    labelled = [n for n in names if atlas.is_indexed(n) and atlas.labels(n) is not None]
    return [n for n in labelled if len(mappable(atlas.features(n))) >= FEWEST]


def default_sites(model: Model) -> list[str]:
    """What a harvest reads by default: the middle residual, every MLP's input and output."""
    return _sites(_dictionaries(BuildConfig(), model.num_layers))


def _sites(dictionaries: Mapping[str, tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(site for pair in dictionaries.values() for site in pair))


def _wanted(atlas: Container) -> dict[str, tuple[str, str]]:
    return _dictionaries(settings_of(atlas), int(atlas.record["model"]["num_layers"]))


def harvest_atlas(atlas: Container, text: Path) -> ActivationStore:
    """Step 1: the activations of every site that a dictionary of the atlas needs."""
    config, folder = settings_of(atlas), atlas.place("activations", "corpus")
    return harvest(
        atlas.model,
        text,
        _sites(_wanted(atlas)),
        folder,
        context=config.context,
        max_tokens=config.max_tokens,
    )


def train_atlas(atlas: Container, text: Path) -> list[Dictionary]:
    """Step 2: the dictionaries of the atlas that are not finished yet, on the stored activations or
    else on one pass over the text."""
    config, width = settings_of(atlas), int(atlas.record["model"]["d_model"])
    jobs = [
        Job(
            *pair,
            atlas.place("dictionaries", name),
            train_settings(width, config, name, transcoder=pair[0] != pair[1]),
            name,
        )
        for name, pair in _wanted(atlas).items()
        if name not in atlas.dictionary_names
    ]
    if not jobs:
        return []
    if atlas.has_store:
        return train_many(atlas.store(), jobs)
    return train_from_text(
        atlas.model,
        text,
        jobs,
        context=config.context,
        max_tokens=config.max_tokens,
        memory=MEMORY if config.memory is None else int(config.memory * 1e9),
        sites=_sites(_wanted(atlas)),
    )


def train_settings(width: int, config: BuildConfig, name: str, *, transcoder: bool) -> TrainConfig:
    """The training of one dictionary of an atlas, for a residual stream `width` wide."""
    k = (config.transcoder_k if transcoder else config.k) or max(1, width // 8)
    expansion = config.expansion
    if transcoder:
        expansion = config.transcoder_expansion or max(1, expansion // 2)
    return TrainConfig(
        d_dict=expansion * width,
        k=k,
        variant=config.variant,
        options=config.options,
        tokens=config.train_tokens,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=seeded(config.seed, "train", name) % 2**31,
        data_seed=config.seed,
    )


def index_atlas(
    atlas: Container,
    names: Iterable[str] | None = None,
    *,
    text: Path | None = None,
    max_tokens: int | None = None,
    activations: bool = True,
    ranks: Ranks | None = None,
) -> list[FeatureIndex]:
    """Step 3: the feature index of every dictionary, or of those named, over `text`; without one
    over the stored activations."""
    if text is None and max_tokens is not None:
        raise InputError(
            f"max_tokens {max_tokens} without a text",
            expected="a text of which so much is read: stored activations are indexed whole",
            next_step="name one with --text",
        )
    if text is None and not atlas.has_store:
        raise InputError(
            f"{atlas.path} stores no activations to index",
            expected="a text to read",
            next_step=f"run: inscape index {atlas.path} --text TEXT",
        )
    chosen = atlas.some(names)
    settings = atlas.record["settings"]
    config = BuildConfig.model_validate(settings) if settings else BuildConfig()
    limits = {"context": config.context, "max_tokens": max_tokens or config.max_tokens}
    source = atlas.store() if text is None else TextActivations(atlas.model, text, **limits)
    found = build_indexes(
        atlas.model,
        {atlas.place("features", name): atlas.dictionary(name) for name in chosen},
        source,
        options=IndexOptions(activations=activations),
        ranks=ranks,
    )
    if ranks is not None and not ranks.first:
        return found
    if source.median_norms:  # prompts are held against the same medians (see `Model.counted`)
        atlas.model.sink_medians = source.median_norms
        atlas.record["model"]["median_norms"] = source.median_norms
        write_json(atlas.path / FILE, atlas.record)
    return found


def seed_of(atlas: Container, seed: int | None) -> int:
    """The seed that is given, else that of the atlas's settings."""
    return int(atlas.record["settings"].get("seed", 0)) if seed is None else seed


def label_atlas(
    atlas: Container,
    names: Iterable[str] | None = None,
    *,
    seed: int | None = None,
    embedder: str | Path | None = None,
    vocabulary: str | Path | None = None,
) -> list[Labels]:
    """Step 4: labels for every indexed dictionary, or for those named.

    Args:
        embedder, vocabulary: where they are (see `Embedder.open`, `Vocabulary.open`); None takes
            those that are installed, and does without where none is.
    """
    seed = seed_of(atlas, seed)
    chosen = atlas.indexed() if names is None else atlas.chosen(names)
    helpers: dict[str, Any] = {}
    opened: tuple[tuple[str, Callable[[], Any], object], ...] = (
        ("embedder", lambda: Embedder.open(embedder), embedder),
        ("vocabulary", lambda: Vocabulary.open(vocabulary), vocabulary),
    )
    for helper, open_it, asked in opened:
        try:
            helpers[helper] = open_it()
        except (ModelError, InputError):  # the summary of the labels says what would help
            if asked is not None:
                raise
    found = [
        label(atlas.features(name), atlas.place("labels", name), seed=seed, **helpers)
        for name in chosen
    ]
    embed_atlas(atlas, chosen)
    return found


def embed_atlas(atlas: Container, names: Iterable[str]) -> None:
    """What the features of indexed dictionaries are about, as vectors by which they are searched
    and mapped; nothing, with a warning, where no embedder is installed."""
    left = {atlas.place("meaning", name): atlas.features(name) for name in names}
    left = {out: index for out, index in left.items() if not out.is_dir()}
    for index in left.values():
        if index.num_features:
            index.rows_of(0)  # an index of examples only says so before all the work
    try:
        if left:
            write_meanings(left, Embedder.open())
    except ModelError as error:
        warn(f"features cannot be searched by meaning: {error}")


def map_atlas(
    atlas: Container, names: Iterable[str] | None = None, *, seed: int | None = None
) -> list[FeatureMap]:
    """Maps of every indexed dictionary, or of those named."""
    found = []
    for name in atlas.indexed() if names is None else atlas.chosen(names):
        labels, meaning = atlas.labels(name), atlas.meaning(name)
        embedded = meaning is not None or (labels is not None and labels.embeddings is not None)
        found.append(
            write_map(
                atlas.place("map", name),
                atlas.dictionary(name),
                atlas.features(name),
                labels,
                meaning,
                Embedder.open() if embedded else None,
                seed=seed_of(atlas, seed),
            )
        )
    return found
