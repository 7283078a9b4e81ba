"""An atlas from a model and a text, in one call that can be stopped and run again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from inscape.atlas import steps
from inscape.atlas.atlas import Atlas
from inscape.atlas.container import FILE
from inscape.atlas.steps import BuildConfig
from inscape.core import InputError, instance_of
from inscape.model import Model


def build(
    model: Model | str | Path,
    text: Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    source: str | Path | None = None,
    device: str | None = None,
    only: Sequence[str] | None = None,
    step: steps.Step = nullcontext,
) -> Atlas:
    """An atlas of `model`, made from `text` in the folder `out`; run again, it goes on.

    Args:
        model: a model, or where it is to be opened from.
        text: a file or folder of documents (see `activations.documents`).
        config: what is asked for; for an atlas that is there, None takes its own settings.
        source: where a model that is passed open can be opened again; its name if None.
        only: some of harvest (which stores the activations), train, index, label and map; default:
            all but harvest, with nothing stored, and map only where umap-learn is installed.
        step: entered around each of them, with its name.

    Raises:
        InputError: `out` holds something else, or an atlas with other settings.
        InscapeError: as the single steps raise.
    """
    out = Path(out)
    if config is not None:
        instance_of(BuildConfig, config, "the settings of a build:", "a BuildConfig")
    for name in only or ():
        if name not in steps.STEPS:
            raise InputError(f"step {name!r} is unknown", expected=", ".join(steps.STEPS))
    opened = model if isinstance(model, Model) else Model.open(model, device=device)
    if source is None:
        source = opened.name if isinstance(model, Model) else model
    if there := (out / FILE).is_file():
        begun: AbstractContextManager[Atlas] = nullcontext(Atlas.open(out, model=opened))
    else:
        new = config or BuildConfig()
        steps.check_settings(opened, new)
        begun = Atlas.creating(out, opened, source=source, settings=new.model_dump(mode="json"))
    with begun as atlas, atlas.writing():
        if there:
            steps.settle(atlas, config, source)
        steps.run(atlas, text, only, step)
    return atlas
