"""The steps of a build: what is finished is not done again; what was interrupted goes on.

1. Harvest: the residual stream of one layer and the input and output of every MLP.
2. Train: the residual dictionary, then one transcoder for each MLP.
3. Index: what every feature does.
4. Label: names for the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from inscape.activations import ActivationStore, harvest
from inscape.atlas.config import BuildConfig
from inscape.atlas.container import FILE, Container
from inscape.core import InputError, seeded
from inscape.dictionary import Dictionary, single_sites
from inscape.features import FeatureIndex, build_index
from inscape.labels import Labels, label
from inscape.model import Model
from inscape.storage import write_json
from inscape.training import Ranks, TrainConfig, train

STEPS = ("harvest", "train", "index", "label")
Step = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """A step around which nothing is done."""
    return nullcontext()


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
    residual_layer(model, config)
    for transcoder in (False, True):
        train_settings(model.d_model, config, "checked", transcoder=transcoder)


def settle(atlas: Container, config: BuildConfig | None, source: str | Path) -> None:
    """Takes up an atlas that is there: with the settings that it has, or, while nothing is in it,
    with new ones; and with the place where its model is now.

    Raises:
        InputError: it has other settings; the first difference is named.
    """
    record = atlas.record
    if config is not None and record["settings"] != config.model_dump():
        had = BuildConfig.model_validate(record["settings"]) if record["settings"] else None
        if had is not None and _begun(atlas):
            _refuse(atlas, had, config)
        check_settings(atlas.model, config)
        record["settings"] = config.model_dump()
        write_json(atlas.path / FILE, record)
    if Path(source).exists() and record["model"]["source"] != str(Path(source).resolve()):
        record["model"]["source"] = str(Path(source).resolve())
        write_json(atlas.path / FILE, record)


def _begun(atlas: Container) -> bool:
    return any((atlas.path / kind).exists() for kind in ("activations", "dictionaries", "features"))


def _refuse(atlas: Container, had: BuildConfig, wanted: BuildConfig) -> None:
    for name, value in wanted.model_dump().items():
        before = getattr(had, name)
        if before != value:
            shown = ("the default" if v is None else v for v in (before, value))
            raise InputError(
                f"{atlas.path} is made with {name} = {next(shown)}, not {next(shown)}",
                expected="the same settings as before",
                next_step="choose another --out",
            )


def check_fits(dictionary: Dictionary, model: Model) -> None:
    """InputError or SiteError where a dictionary's sites or widths are not the model's."""
    config = dictionary.config
    for text, width in ((config.site_in, config.d_in), (config.site_out, config.d_out)):
        sites = single_sites(text)
        for site in sites:
            model.site(site)
        if width != len(sites) * model.d_model:
            raise InputError(
                f"dictionary {dictionary.name!r} is {width} wide at {text}",
                expected=f"{len(sites) * model.d_model}, the width of {model.name} there",
                next_step="check that it was trained on this model",
            )


def run(atlas: Container, text: Path, only: Sequence[str], step: Step) -> None:
    """The steps asked for, in their order."""
    actions: dict[str, Callable[[], object]] = {
        "harvest": lambda: harvest_atlas(atlas, text),
        "train": lambda: train_atlas(atlas),
        "index": lambda: index_atlas(atlas),
        "label": lambda: label_atlas(atlas),
    }
    for name in STEPS:
        if name in only:
            with step(name):
                actions[name]()


def residual_layer(model: Model, config: BuildConfig) -> int:
    """The layer whose residual stream gets a dictionary: the asked one, or the middle."""
    layer = _layer(config, model.num_layers)
    if layer >= model.num_layers:
        raise InputError(
            f"layer {layer} is beyond the last layer of {model.name}",
            expected=f"a layer from 0 to {model.num_layers - 1}",
        )
    return layer


def _layer(config: BuildConfig, num_layers: int) -> int:
    return (num_layers - 1) // 2 if config.layer is None else config.layer


def default_sites(model: Model) -> list[str]:
    """What a harvest reads by default: the middle residual, every MLP's input and output."""
    sites = [f"resid_post.{residual_layer(model, BuildConfig())}"]
    for layer in range(model.num_layers):
        sites += [f"mlp_in.{layer}", f"mlp_out.{layer}"]
    return sites


def wanted_dictionaries(atlas: Container) -> dict[str, tuple[str, str]]:
    """Name → (site read, site written) of every dictionary that belongs to the atlas."""
    config, num_layers = settings_of(atlas), int(atlas.record["model"]["num_layers"])
    site = f"resid_post.{_layer(config, num_layers)}"
    found = {site: (site, site)}
    for number in range(num_layers if config.transcoders else 0):
        found[f"mlp.{number}"] = (f"mlp_in.{number}", f"mlp_out.{number}")
    return found


def harvest_atlas(atlas: Container, text: Path) -> ActivationStore:
    """Step 1: the activations of every site that a dictionary of the atlas needs."""
    config = settings_of(atlas)
    pairs = wanted_dictionaries(atlas).values()
    sites = list(dict.fromkeys(site for pair in pairs for site in pair))
    folder = atlas.place("activations", "corpus")
    return harvest(
        atlas.model, text, sites, folder, context=config.context, max_tokens=config.max_tokens
    )


def train_atlas(
    atlas: Container, names: Iterable[str] | None = None, ranks: Ranks | None = None
) -> list[Dictionary]:
    """Step 2: the dictionaries of the atlas, or those named, that are not finished yet; `ranks`
    are the processes that train them together."""
    store = atlas.store()
    config = settings_of(atlas)
    width = int(atlas.record["model"]["d_model"])
    trained = []
    for name, (site_in, site_out) in _wanted(atlas, names).items():
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


def index_atlas(
    atlas: Container, names: Iterable[str] | None = None, *, text: Path | None = None
) -> list[FeatureIndex]:
    """Step 3: the feature index of every dictionary, or of those named."""
    store = atlas.store()
    return [
        build_index(atlas.model, atlas.dictionary(name), store, atlas.place("features", name))
        for name in atlas.chosen(names)
    ]


def label_atlas(
    atlas: Container, names: Iterable[str] | None = None, *, seed: int | None = None
) -> list[Labels]:
    """Step 4: labels for every indexed dictionary, or for those named."""
    if seed is None:
        seed = int(atlas.record["settings"].get("seed", 0))
    if names is None:
        names = [n for n in atlas.dictionary_names if atlas.place("features", n).is_dir()]
    return [
        label(atlas.features(name), atlas.place("labels", name), seed=seed)
        for name in atlas.chosen(names)
    ]


def _wanted(atlas: Container, names: Iterable[str] | None) -> dict[str, tuple[str, str]]:
    wanted = wanted_dictionaries(atlas)
    for name in names or ():
        if name not in wanted:
            raise InputError(
                f"{name!r} is not among the dictionaries that {atlas.path} trains",
                expected=f"one of {', '.join(wanted)}",
            )
    return wanted if names is None else {name: wanted[name] for name in names}
