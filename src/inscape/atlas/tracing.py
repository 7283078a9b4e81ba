"""What an atlas is traced with, and the results of tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from inscape.atlas.container import Container
from inscape.atlas.results import Results
from inscape.atlas.saving import write_result
from inscape.attribution import (
    AttentionScore,
    Exchange,
    Graph,
    Trajectory,
    exchange,
    explain_attention,
    layers_of,
    reads_stream,
    trace,
    trajectory,
)
from inscape.circuits import Circuit, Example, circuit, read_set
from inscape.core import InputError
from inscape.diagnosis import Diagnosis
from inscape.dictionary import Dictionary
from inscape.intervention import SteerResult
from inscape.model import Source
from inscape.storage import Result

R = TypeVar("R", bound=Result)


class Tracing(Container):
    """An atlas as traces see it; `Atlas` adds the rest."""

    def transcoders(self, names: Iterable[str] | None = None) -> dict[int, Dictionary]:
        """Layer → transcoder of that layer's MLP: those named, else the first by name of each
        layer, or where no layer has its own a cross-layer transcoder under all of its layers.

        Raises:
            InputError: a name that is no transcoder here, or two for one layer.
        """
        found: dict[int, Dictionary] = {}
        across: dict[int, Dictionary] = {}
        for name in self.chosen(names):
            one = self.dictionary(name)
            layers = layers_of(one)
            if names is not None and (not layers or found.keys() & layers):
                raise InputError(
                    f"{name} is no transcoder, or of a layer that has one already",
                    expected="one transcoder for each layer, or a cross-layer one",
                )
            if names is not None or not one.config.several:
                found |= {layer: one for layer in layers if layer not in found}
            elif not across:
                across = dict.fromkeys(layers, one)
        return dict(sorted((found or across).items()))

    def traced(self, names: Iterable[str] | None = None) -> list[Dictionary]:
        """The dictionaries that a trace reads: those named, else the transcoders and for each place
        of the residual stream the first by name."""
        if names is not None:
            return [self.dictionary(name) for name in self.chosen(names)]
        stream: dict[str, Dictionary] = {}
        for one in map(self.dictionary, self.chosen(None)):
            if reads_stream(one):
                stream.setdefault(one.reads[0], one)
        return [*self.transcoders().values(), *stream.values()]

    def trace(
        self,
        prompt: Source,
        *,
        names: Iterable[str] | None = None,
        save: bool = True,
        **options: Any,
    ) -> Graph:
        """The attribution graph of the token after the prompt (see `inscape.trace`), through the
        dictionaries called `names` (see `traced`)."""
        return self._asked(trace, prompt, names, save, options)

    def trajectory(
        self,
        prompt: Source,
        *,
        names: Iterable[str] | None = None,
        save: bool = True,
        **options: Any,
    ) -> Trajectory:
        """An answer followed token by token (see `inscape.trajectory`)."""
        return self._asked(trajectory, prompt, names, save, options)

    def attention(
        self,
        prompt: Source,
        *,
        names: Iterable[str] | None = None,
        save: bool = True,
        **options: Any,
    ) -> AttentionScore:
        """Why a head looks where it does (see `inscape.explain_attention`)."""
        return self._asked(explain_attention, prompt, names, save, options)

    def exchange(
        self, prompt: Source, other: Source, *, save: bool = True, **options: Any
    ) -> Exchange:
        """The neurons that turn the answer to another prompt's (`inscape.attribution.exchange`)."""
        made = exchange(self.model, prompt, other, names=self.feature_label, **options)
        return self._saved(made, save)

    def circuit(
        self,
        examples: str | Path | Sequence[Example],
        *,
        num: int = 80,
        names: Iterable[str] | None = None,
        save: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> Circuit:
        """The few units that carry a behaviour over many prompts (see `inscape.circuits.circuit`):
        of a set by name, of a file, of which `num` are drawn where it holds templates, or given."""
        if isinstance(examples, str | Path):
            options.setdefault("about", str(examples))
            examples = read_set(examples, num, seed)
        read, labels = self.traced(names), self.feature_label
        made = circuit(self.model, examples, read, seed=seed, names=labels, **options)
        return self._saved(made, save)

    @property
    def circuits(self) -> Results[Circuit]:
        """The saved circuits, oldest first."""
        return self._results("circuits", Circuit)

    @property
    def traces(self) -> Results[Graph]:
        """The saved traces, oldest first."""
        return self._results("traces", Graph)

    @property
    def trajectories(self) -> Results[Trajectory]:
        """The saved trajectories of answers, oldest first."""
        return self._results("trajectories", Trajectory)

    @property
    def attentions(self) -> Results[AttentionScore]:
        """The saved explanations of attention, oldest first."""
        return self._results("attention", AttentionScore)

    @property
    def exchanges(self) -> Results[Exchange]:
        """The saved exchanges of neurons, oldest first."""
        return self._results("exchanges", Exchange)

    def _results(self, folder: str, kind: type[Any]) -> Results[Any]:
        """Saved results, which show the labels that features have now."""

        def read(content: Any) -> Any:
            return replace(kind.from_json(content), names=self.feature_label)

        return Results(self.path / folder, read)

    def _asked(
        self,
        made_by: Callable[..., R],
        prompt: Source,
        names: Iterable[str] | None,
        save: bool,
        options: dict[str, Any],
    ) -> R:
        read, labels = self.traced(names), self.feature_label
        return self._saved(made_by(self.model, prompt, read, names=labels, **options), save)

    def _saved(self, result: R, save: bool) -> R:
        if save:
            self.save(result)
        return result

    def save(self, result: Result) -> Path:
        """Writes a result (concepts, a graph, a diagnosis, steering, a repair, figures) as JSON.

        An equal result gives the same file; figures of a dictionary replace those that were there.
        The repair of a diagnosis and of a result of steering gets a file of its own as well.
        """
        with self.writing():
            path = write_result(self.path, result)
            if isinstance(result, Diagnosis | SteerResult) and result.repair is not None:
                self.save(result.repair)
        return path
