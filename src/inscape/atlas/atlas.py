"""An atlas: the folder with all that is known of one model, and what can be done with it.

Each method is one verb of the command line: it takes names and text, looks up what it needs in the
folder, calls the one function that does the work, and saves the result.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from inscape.atlas import fit as fitting
from inscape.atlas import quality as measuring
from inscape.atlas import steps
from inscape.atlas.container import FILE, Container
from inscape.atlas.feature import Feature
from inscape.atlas.results import Results
from inscape.atlas.steps import BuildConfig
from inscape.attribution import Graph
from inscape.attribution import trace as trace_prompt
from inscape.core import InputError, instance_of, tokens_as_label, warn
from inscape.diagnosis import Case, Diagnosis
from inscape.diagnosis import diagnose as diagnose_cases
from inscape.dictionary import Dictionary, check_name
from inscape.features import FeatureIndex, search_prompt
from inscape.intervention import Edit, FeatureEdit, Repair, SteerResult, edited
from inscape.intervention import steer as steer_prompt
from inscape.labels import Labels, search
from inscape.model import Model, Source
from inscape.storage import Result, plain, read_json, write_json
from inscape.validation import EVERYDAY, ConceptChecks, check_concepts, read_concepts


@dataclass(frozen=True)
class Found:
    """A feature that a search found; `where` says in what: label, peak, window, promoted; tokens:
    those that it is most active on."""

    id: str
    label: str | None
    tokens: tuple[str, ...]
    score: float
    where: tuple[str, ...]

    @property
    def shown(self) -> str:
        """Its label, else these tokens, said to be tokens."""
        return self.label or tokens_as_label(self.tokens) or "(no label)"


class Atlas(Container):
    """An atlas on disk. Made by `build` or `Atlas.create`, opened by `Atlas.open`."""

    # Dictionaries and features

    def add(self, *dictionaries: Dictionary | str | Path, name: str | None = None) -> Self:
        """Puts dictionaries, or folders of such, into the atlas.

        Args:
            name: what a single one is called here; by default after its site: resid_post.14, a
                transcoder mlp.5, else its own name.

        Raises:
            InputError: it does not fit the model, or the name is taken.
        """
        if name is not None and len(dictionaries) != 1:
            raise InputError(f"name {name!r} for {len(dictionaries)} dictionaries", expected="one")
        for given in dictionaries:
            found = given if isinstance(given, Dictionary) else Dictionary.open(given)
            called = check_name(found.config.site_name if name is None else name)
            steps.check_fits(found, self.model)
            with self.writing():
                if self.place("dictionaries", called).exists():
                    raise InputError(
                        f"{self.path} has a dictionary {called!r} already",
                        expected="a free name",
                        next_step="choose another with --name",
                    )
                found.renamed(called).save(self.place("dictionaries", called))
        return self

    def feature(self, id: str) -> Feature:
        """The feature written `dictionary/index`, or `site/index` where one dictionary is there.

        Raises:
            InputError: it is not written so, or there is no such feature.
        """
        name, _, number = id.rpartition("/") if isinstance(id, str) else ("", "", "")
        if not name or not (number.isascii() and number.isdecimal() and len(number) < 12):
            raise InputError(
                f"feature {str(id)[:80]!r} is not readable",
                expected="dictionary/index, for example "
                f"{next(iter(self.dictionary_names), 'resid_post.14')}/17",
            )
        dictionary = self.dictionary(self._by_site(name))
        if int(number) >= dictionary.d_dict:
            raise InputError(
                f"feature {id} does not exist", expected=f"an index below {dictionary.d_dict}"
            )
        called = dictionary.name
        features = self.features(called) if self.is_indexed(called) else None
        label = self.feature_name(called, int(number))
        return Feature(dictionary, int(number), label, features, self.path)

    def _by_site(self, name: str) -> str:
        names = self.dictionary_names
        if name in names:
            return name
        here = [n for n in names if self.dictionary(n).config.site_out == name]
        if len(here) > 1:
            raise InputError(
                f"{self.path} has several dictionaries at {name}",
                expected=f"one of {', '.join(here)}",
            )
        return here[0] if here else name

    def search(
        self,
        text: Any,
        *,
        names: Iterable[str] | None = None,
        limit: int = 20,
        prompt: bool = False,
    ) -> list[Found]:
        """Features whose label, examples or promoted tokens hold `text`, best first; with `prompt`
        those that it activates as a prompt. Warns of dictionaries that are not indexed.

        Raises:
            InputError: the text is blank, or nothing is indexed.
        """
        indexed = self.indexed(names)
        if left := [name for name in self.chosen(names) if name not in indexed]:
            chosen = "".join(f" --dictionary {name}" for name in left)
            warn(
                f"not indexed and not searched: {', '.join(left)}; "
                f"run: inscape index {self.path}{chosen} --text TEXT"
            )
        if prompt:
            indexes = {n: self.features(n) for n in indexed}
            asked = {n: (self.dictionary(n), i.max, i.density) for n, i in indexes.items()}
            hits = search_prompt(self.model, asked, text, limit)
        else:
            hits = search([(self.features(n), self.labels(n)) for n in indexed], text, limit=limit)
        return [
            Found(
                hit.id,
                self.feature_name(hit.dictionary, hit.feature),
                tuple(self.features(hit.dictionary).peak_tokens(hit.feature)),
                hit.score,
                hit.where,
            )
            for hit in hits
        ]

    # The steps of a build

    def index(
        self,
        names: Iterable[str] | None = None,
        *,
        text: Path | None = None,
        max_tokens: int | None = None,
        activations: bool = True,
    ) -> list[FeatureIndex]:
        """Indexes dictionaries: over `text`, at most `max_tokens` of it (by default as many as the
        build reads), or over the stored activations.

        Args:
            activations: keep where every feature fires, beyond its examples; labels need that.
        """
        with self.writing():
            return steps.index_atlas(
                self, names, text=text, max_tokens=max_tokens, activations=activations
            )

    def label(self, names: Iterable[str] | None = None, *, seed: int | None = None) -> list[Labels]:
        """Names the features of the indexed dictionaries."""
        with self.writing():
            return steps.label_atlas(self, names, seed=seed)

    def validate(
        self,
        text: Path | None = None,
        names: Iterable[str] | None = None,
        *,
        save: bool = True,
        **options: Any,
    ) -> list[measuring.Quality]:
        """What the dictionaries keep and lose of the model (see `inscape.quality`)."""
        found = measuring.quality(self, text=text, names=names, **options)
        for figures in found if save else ():
            self.save(figures)
        return found

    def check(
        self,
        concepts: str | Path = EVERYDAY,
        names: Iterable[str] | None = None,
        *,
        save: bool = True,
        **options: Any,
    ) -> ConceptChecks:
        """Which concepts of a file, by default those of everyday life, the dictionaries have a
        feature for (see `inscape.validation.check_concepts`)."""
        read = read_concepts(concepts)
        chosen = [self.dictionary(name) for name in self.some(names)]
        found = check_concepts(self.model, chosen, read, source=Path(concepts).name, **options)
        ids = {id: id.rpartition("/")[::2] for id in found.features}
        labels = {id: self.feature_label(name, int(number)) for id, (name, number) in ids.items()}
        found = replace(found, labels={id: label for id, label in labels.items() if label})
        if save:
            self.save(found)
        return found

    # Traces, diagnoses, steering

    def fit(self, name: str, text: Path | None = None, *, max_tokens: int = 2048) -> fitting.Fit:
        """FVU, L0 and the loss recovered of a dictionary on a text (None: that of an index), with
        a warning that names the likely cause where they are not what they should be.

        Raises:
            InputError: there is no such dictionary, or no text.
        """
        rows: Path | list[measuring.Row] | None = text
        if rows is None:
            if not self.indexed_names:
                raise InputError(
                    f"{self.path} has no index that holds a text", expected="a text to measure on"
                )
            index = self.features(self.indexed_names[0])
            rows = measuring.index_rows(index, max_tokens, 0)
        return fitting.fit(self.model, self.dictionary(name), rows, max_tokens=max_tokens)

    def trace(
        self,
        prompt: Any,
        *,
        target: str | None = None,
        against: str | None = None,
        names: Iterable[str] | None = None,
        save: bool = True,
        **options: Any,
    ) -> Graph:
        """The attribution graph of the token after the prompt (see `inscape.trace`), through the
        transcoders called `names` (see `transcoders`)."""
        transcoders = self.transcoders(names)
        if not transcoders:
            record = self.record
            without = record["settings"] and not record["settings"].get("transcoders")
            raise InputError(
                f"{self.path} has no transcoders, which traces need: every MLP would be an error",
                expected="transcoders mlp_in.L to mlp_out.L of some layers",
                next_step=f"train them with: inscape build {record['model']['source']} --text TEXT "
                f"--out {'ANOTHER_ATLAS' if without else self.path}; or inscape import them",
            )
        graph = trace_prompt(
            self.model,
            transcoders,
            prompt,
            target=target,
            against=against,
            names=self.feature_label,
            **options,
        )
        if save:
            self.save(graph)
        return graph

    def diagnose(
        self,
        prompt: Source | Sequence[Case],
        correct: str | None = None,
        *,
        wrong: str | None = None,
        candidates: Sequence[str] = (),
        names: Iterable[str] | None = None,
        save: bool = True,
        **options: Any,
    ) -> Diagnosis:
        """Why a wrong answer wins (see `inscape.diagnose`): of one prompt with its answers (see
        `Case`), or of several cases."""
        cases: Any = prompt
        if correct is not None:
            cases = [Case(cases, correct, wrong, tuple(candidates))]
        elif not isinstance(cases, list | tuple) or not all(isinstance(c, Case) for c in cases):
            raise InputError("the correct answer is missing", expected="a prompt and its answer")
        chosen = self.chosen(names)
        if not chosen:  # nothing was trained or imported: look among the neurons of every layer
            chosen = [f"mlp_act.{layer}" for layer in range(self.model.num_layers)]
        found = diagnose_cases(
            self.model,
            [self.dictionary(name) for name in chosen],
            cases,
            labels=self.feature_label,
            **options,
        )
        if save:
            self.save(found)
        return found

    def steer(
        self,
        prompt: Any,
        features: Mapping[str, float] | Sequence[FeatureEdit] | Repair,
        *,
        mode: str = "add",
        save: bool = True,
        **options: Any,
    ) -> SteerResult:
        """Text written with features changed, and the plain text (see `inscape.steer`).

        Args:
            features: id → strength in units of the feature's largest activation (a factor for
                "scale"), or edits, or a repair. They are saved as a repair along with the result.
        """
        if isinstance(features, Mapping):
            features = [self.feature(id).edit(mode, value) for id, value in features.items()]
        edits = self._edits(features)
        found = steer_prompt(self.model, prompt, edits, **options)
        if isinstance(features, Repair):
            found = replace(found, repair=features)
        elif edits and all(isinstance(edit, FeatureEdit) for edit in edits):
            found = replace(found, repair=Repair.of(self.model, features, prompt=found.prompt))
        if save:
            self.save(found)
        return found

    # Results

    @property
    def traces(self) -> Results[Graph]:
        """The saved traces, oldest first."""

        def read(content: Any) -> Graph:
            return replace(Graph.from_json(content), names=self.feature_label)

        return Results(self.path / "traces", read)

    @property
    def diagnoses(self) -> Results[Diagnosis]:
        """The saved diagnoses, oldest first."""
        return Results(self.path / "diagnoses", Diagnosis.from_json)

    @property
    def steering(self) -> Results[SteerResult]:
        """The saved results of steering, oldest first."""
        return Results(self.path / "steering", SteerResult.from_json)

    @property
    def qualities(self) -> Results[measuring.Quality]:
        """The figures of the dictionaries when each was last validated."""
        return Results(self.path / "quality", measuring.Quality.from_json)

    @property
    def checks(self) -> Results[ConceptChecks]:
        """The saved checks of concepts, oldest first."""
        return Results(self.path / "checks", ConceptChecks.from_json)

    @property
    def repairs(self) -> Results[Repair]:
        """The saved repairs, oldest first: those of the diagnoses, and the edits of steering."""
        return Results(self.path / "repairs", Repair.from_json)

    def repair(self, name: str | Path) -> Repair:
        """The repair of this name, or that of the diagnosis or result of steering of this name, or
        one in a file.

        Raises:
            InputError: there is none.
            DataError, StorageError: the file is something else, or damaged.
        """
        kinds = (self.repairs, self.diagnoses, self.steering)
        named = [kind.folder / f"{name}.json" for kind in kinds if str(name) in kind.names]
        if not named and not Path(name).is_file():
            raise InputError(
                f"{self.path} has no repair {str(name)!r}",
                expected=f"a file, or one of {', '.join(self.repairs.names) or '(none yet)'}",
            )
        content = read_json(named[0] if named else Path(name))
        if isinstance(content, dict) and "repair" in content:
            content = content["repair"]
            if content is None:
                raise InputError(
                    f"{name} holds no repair",
                    expected="a diagnosis that found features whose removal restores an answer",
                )
        return Repair.from_json(content)

    def _edits(self, changes: Repair | Sequence[Edit]) -> Sequence[Edit]:
        """The edits of a repair with the dictionaries that are here; other edits as they are."""
        if not isinstance(changes, Repair):
            return changes
        if changes.model_hash != self.model.hash:
            raise InputError(
                f"the repair was made with another model than {self.model.name}",
                expected=f"{changes.model} with the weights that it had",
            )
        return changes.edits(self.dictionary)

    @contextmanager
    def edited(self, changes: Repair | Sequence[Edit]) -> Iterator[Model]:
        """The model under a repair or under edits, within the context.

        Raises:
            InputError: the repair is of another model or of other dictionaries.
        """
        with edited(self.model, self._edits(changes)) as model:
            yield model

    def save(self, result: Result) -> Path:
        """Writes a graph, a diagnosis, a result of steering, a repair or figures as JSON.

        An equal result gives the same file; figures of a dictionary replace those that were there.
        The repair of a diagnosis and of a result of steering gets a file of its own as well.
        """
        kind, content = _FOLDERS[result.SCHEMA], plain(result)
        about = result.about if isinstance(result, Repair) else vars(result)
        named = (about[key] for key in ("prompt", "dictionary", "source") if key in about)
        title = str(next(named, kind))
        identity = title if kind == "quality" else json.dumps(content)
        words = "-".join(re.findall(r"[A-Za-z0-9]+", title))[:48].strip("-").lower() or "untitled"
        digest = hashlib.blake2b(identity.encode(errors="replace"), digest_size=4).hexdigest()
        path = self.path / kind / f"{words}-{digest}.json"
        with self.writing():
            write_json(path, content)
            if isinstance(result, Diagnosis | SteerResult) and result.repair is not None:
                self.save(result.repair)
        return path


_FOLDERS = {
    Graph.SCHEMA: "traces",
    Diagnosis.SCHEMA: "diagnoses",
    SteerResult.SCHEMA: "steering",
    Repair.SCHEMA: "repairs",
    measuring.Quality.SCHEMA: "quality",
    ConceptChecks.SCHEMA: "checks",
}


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
        only: some of harvest (which stores the activations), train, index and label; default: all
            but harvest, with nothing stored.
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
