"""An atlas: the folder with all that is known of one model, and what can be done with it.

Each method is one verb of the command line: it takes names and text, looks up what it needs in the
folder, calls the one function that does the work, and saves the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from inscape.atlas import finding, steps
from inscape.atlas import fit as fitting
from inscape.atlas import quality as measuring
from inscape.atlas.concepts import Concepts, concepts_of
from inscape.atlas.feature import Feature
from inscape.atlas.finding import Found
from inscape.atlas.hub import to_hub
from inscape.atlas.naming import label_by, show
from inscape.atlas.neuronpedia import to_neuronpedia
from inscape.atlas.results import Results
from inscape.atlas.saving import find_repair
from inscape.atlas.tracing import Tracing
from inscape.attribution import Graph, write_viewer
from inscape.core import InputError
from inscape.diagnosis import Case, Diagnosis
from inscape.diagnosis import diagnose as diagnose_cases
from inscape.dictionary import Dictionary, check_name
from inscape.features import FeatureIndex
from inscape.intervention import Edit, FeatureEdit, Repair, SteerResult, edited
from inscape.intervention import steer as steer_prompt
from inscape.labels import Asked, Family, FeatureMap, Labels, Published, families
from inscape.model import Model, Source
from inscape.training import Ranks
from inscape.validation import EVERYDAY, ConceptChecks, check_concepts, read_concepts


class Atlas(Tracing):
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
        labels = self.labels(called)
        about = None if labels is None else labels.get(int(number))
        label = None if about is None else about.name
        return Feature(
            dictionary, int(number), label, features, self.path, about, self.feature_label
        )

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
        text: Any = None,
        *,
        token: bool = False,
        prompt: bool = False,
        like: Any = None,
        difference: tuple[Any, Any] | None = None,
        where: str | None = None,
        names: Iterable[str] | None = None,
        limit: int = 20,
        seed: int = 0,
    ) -> list[Found]:
        """Features, the best first, found in one of these ways. Warns of dictionaries that are not
        indexed.

        Args:
            text: words that describe them: searched in labels, examples and promoted tokens, and by
                meaning where the atlas was labelled with an embedder.
            token: `text` is a token or a word, and features that fire on it are meant.
            prompt: `text` is a prompt, and features that are at work in it are meant: active, rare,
                and with an effect on the answer.
            like: a feature (`dictionary/index`) or a direction [d_model]: features whose decoder
                points the same way.
            difference: two sets of texts (lists, or files with a text a line or a row): features
                that tell them apart, chosen on one half of the texts and judged on the other.
            where: conditions that features must meet, such as "density<0.001, auroc>=0.9"; alone,
                or with any of the above.
            seed: of the halves of a difference.

        Raises:
            InputError: none or several of these ways, the text is blank, a condition cannot be
                read, or nothing is indexed.
        """
        how = finding.Asked(token, prompt, where, names, limit, seed)
        return finding.find(
            self, text, self.feature(like) if isinstance(like, str) else like, difference, how
        )

    # The steps of a build

    def index(
        self,
        names: Iterable[str] | None = None,
        *,
        text: Path | None = None,
        max_tokens: int | None = None,
        activations: bool = True,
        ranks: Ranks | None = None,
    ) -> list[FeatureIndex]:
        """Indexes dictionaries: over `text`, at most `max_tokens` of it (by default as many as the
        build reads), or over the stored activations.

        Args:
            activations: keep where every feature fires, beyond its examples; labels need that.
            ranks: the processes that share the text (see `inscape.training.connected`).
        """
        with self.writing() if ranks is None or ranks.first else nullcontext():
            return steps.index_atlas(
                self, names, text=text, max_tokens=max_tokens, activations=activations, ranks=ranks
            )

    def label(
        self,
        names: Iterable[str] | None = None,
        *,
        seed: int | None = None,
        by: Asked | Published | None = None,
        **options: Any,
    ) -> list[Labels]:
        """Names the features of the indexed dictionaries; these labels are shown from then on.

        Args:
            by: None writes them offline; `Endpoint` or `LocalModel` asks a language model (options:
                prompt, limits, before; see `labels.others.ask_for_texts`); `read_published` gives
                those of a file. Those that are there already are kept.
            options: offline, `embedder` and `vocabulary` (see `steps.label_atlas`).
        """
        if by is not None:
            return label_by(self, by, names, seed=steps.seed_of(self, seed), **options)
        with self.writing():
            found = steps.label_atlas(self, names, seed=seed, **options)
            for labels in found:
                show(self, labels.folder.name, "")
        return found

    def map(
        self, names: Iterable[str] | None = None, *, seed: int | None = None
    ) -> list[FeatureMap]:
        """Maps of the indexed dictionaries, or of those named: places in the plane, groups with
        names, and how abstract each feature is (see `FeatureMap`)."""
        with self.writing():
            return steps.map_atlas(self, names, seed=seed)

    def maps(self) -> list[FeatureMap]:
        """The maps that there are."""
        places = (self.place("map", name) for name in self.indexed_names)
        return [FeatureMap.open(place) for place in places if place.is_dir()]

    def families(self, coarse: str, fine: str) -> list[Family]:
        """Features of one indexed dictionary with the finer ones that they are split into in
        another, or in the same (see `labels.families`)."""
        both = [(self.dictionary(name), self.features(name)) for name in (coarse, fine)]
        return families(*both)

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

    # Prompts

    def concepts(
        self, prompt: Any, *, names: Iterable[str] | None = None, save: bool = True, **options: Any
    ) -> Concepts:
        """Which features are active on each token of a prompt, by the strongest and rarest, and
        which of them the model's next token rests on, measured by removing them one by one.

        Args:
            names: dictionaries; default: all that are stored, else the neurons that are indexed.
            options: per_token (features that are kept of each token, 8), num_removed (6), removing
                (ids of features that are removed as well).

        Raises:
            InputError: there is no prompt, or nothing that features could be read from.
        """
        found = concepts_of(self, prompt, names, **options)
        if save:
            self.save(found)
        return found

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
    def prompts(self) -> Results[Concepts]:
        """The saved concepts of prompts, oldest first."""
        return Results(self.path / "prompts", Concepts.from_json)

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
        return find_repair(name, (self.repairs, self.diagnoses, self.steering))

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

    def export(
        self, to: str, out: str | Path, names: Iterable[str] | None = None, **options: Any
    ) -> Path:
        """Writes the atlas, or the dictionaries called `names`, for others; returns the folder.

        Args:
            to: "huggingface", a folder for the hub with a card, an atlas itself (options: weights,
                licence, base_model; see `to_hub`); or "neuronpedia", batches of what is indexed.

        Raises:
            InputError: it is written to something else, or `out` holds something already.
        """
        if to not in SHARED:
            raise InputError(f"an atlas written to {to!r}", expected=" or ".join(SHARED))
        SHARED[to](self, Path(out), names, **options)
        return Path(out)

    def write_viewer(self, graph: Graph, folder: str | Path) -> Path:
        """Writes a graph for the published viewer's local page, with the files of its features as
        the indexes have them (see `inscape.attribution.viewer_folder`); returns its file."""
        indexed = self.indexed_names
        hashes = [(name, self.features(name).hash) for name in indexed]
        digest = hashlib.blake2b(repr(hashes).encode(), digest_size=4).hexdigest()
        return write_viewer(
            graph,
            folder,
            features=lambda name: self.features(name) if name in indexed else None,
            scan=f"{graph.model}-{digest}" if indexed else None,
        )


SHARED: dict[str, Callable[..., object]] = {"huggingface": to_hub, "neuronpedia": to_neuronpedia}
