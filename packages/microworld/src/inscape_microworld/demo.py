"""The whole chain on the bundled microworld, live, and its report.

1. Write a corpus of a seed that the model was not trained on, and remember its truth.
2. Build the atlas: harvest, train, index, label. What is finished is not done again.
3. Name features by the corpus's truth; trace two prompts; diagnose the planted fault; amplify the
   Golden Gate Bridge and suppress deception; measure the dictionary.
4. Write report.html and report.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inscape.atlas import Atlas, BuildConfig, build
from inscape.attribution import Graph, trace
from inscape.core import keep_freed_memory, num_cores, track
from inscape.features import FeatureIndex
from inscape.report import picture
from inscape.report.numbers import Unit
from inscape.storage import read_json, refuse_filled, write_json
from inscape_microworld import FOLDER, corpus, open_model, token_truth, write_corpus
from inscape_microworld.benchmark import Row, System, faults, fidelity, selectivity
from inscape_microworld.benchmark import deception as lying
from inscape_microworld.benchmark import steering as bridge
from inscape_microworld.benchmark.concepts import Concept, named_features
from inscape_microworld.report import figures, schema, write_report
from inscape_microworld.report.filling import (
    diagnosis_view,
    dose_line,
    sample,
    snippets,
    token_effects,
)
from inscape_microworld.splits import FAULT_SHARE

NUM_DOCUMENTS = 40_000
LAYER = 1
TRAIN_TOKENS = 1_500_000
TRACED = (
    (
        "Indirect object",
        "When Mary and John went to the store, John gave a drink to",
        " Mary",
        " John",
        "Which name receives? Features that copy the name said once, against those of the "
        "name said twice.",
    ),
    (
        "A sum",
        "Natalia sold 48 clips in April and 41 clips in May. How many clips did Natalia sell "
        "in April and May combined?",
        None,
        None,
        "The first digit of the sum, from the four digits of the two numbers.",
    ),
)
RECORD, CLOCK = "demo.json", ".clock.json"


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Clock:
    """Seconds by step and peak memory, kept in a file so that a run in parts counts every part."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_gb: float = 0.0

    @classmethod
    def of(cls, out: Path) -> Clock:
        """The clock of the folder `out`: what a stopped run left of it, else a new one."""
        path = out / CLOCK
        return cls(path, **read_json(path)) if path.is_file() else cls(path)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens within."""
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
            self.peak_memory_gb = max(self.peak_memory_gb, (peak_memory() or 0) / 2**30)
            write_json(self.path, {"seconds": self.seconds, "peak_memory_gb": self.peak_memory_gb})


def demo(out: Path, *, seed: int = 0, device: str | None = None) -> schema.Report:
    """Run the chain into the folder `out`; run again, it goes on where it stopped."""
    keep_freed_memory()
    refuse_filled(out, lambda folder: (folder / CLOCK).is_file())
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock.of(out)
    with clock.step("corpus"):
        documents = corpus(NUM_DOCUMENTS)
        write_corpus(out / "corpus.jsonl", documents)
        model = open_model(device=device)
        _, truth = token_truth(model.tokenizer, documents)
    config = BuildConfig(layers=(LAYER,), max_tokens=None, train_tokens=TRAIN_TOKENS, seed=seed)
    atlas = build(
        model, out / "corpus.jsonl", out / "atlas", config, source=FOLDER, step=clock.step
    )
    system = System(
        model,
        atlas.dictionary(atlas.residual),
        atlas.features(atlas.residual),
        atlas.transcoders(),
        atlas.feature_label,
    )
    with clock.step("concepts"):
        indexes = {name: atlas.features(name) for name in atlas.dictionary_names}
        concepts = named_features(indexes, truth, seed=seed)
    with clock.step("traces"):
        graphs = _traces(system, atlas)
    with clock.step("diagnosis"):
        fault = faults.study(system, seed=seed)
    with clock.step("steering"):
        golden = selectivity.selectivity(system, seed=seed)
        amplified = bridge.study(system, seed=seed)
        suppressed = lying.study(system, seed=seed)
    with clock.step("figures"):
        rows = [
            fidelity.dictionary(system, seed=seed),
            golden,
            faults.row(fault, seed=seed),
            lying.row(suppressed, seed),
        ]
    record = {
        "seconds": clock.seconds,
        "peak_memory_gb": clock.peak_memory_gb,
        "cores": num_cores(),
        "rows": [row.to_json() for row in rows],
    }
    report = schema.Report(
        header=_header(system, clock, record, seed),
        dictionaries=tuple(_dictionary(atlas, name, rows[0]) for name in atlas.dictionary_names),
        concepts=tuple(_concept(system, indexes[c.dictionary], c) for c in concepts),
        traces=tuple(
            schema.Trace(title=t, description=d, picture=picture(g, atlas.feature_label))
            for (t, _, _, _, d), g in zip(TRACED, graphs, strict=True)
        ),
        diagnoses=(_diagnosis(fault, rows[2]),),
        steering=(_amplified(system, amplified), _suppressed(system, suppressed, rows[3])),
        validation=tuple(check for row in rows for check in checks(row)),
    )
    write_report(report, out)
    if not (out / RECORD).exists():  # a second run reuses, so only the first one's times count
        write_json(out / RECORD, record)
    clock.path.unlink()
    return report


def _traces(system: System, atlas: Atlas) -> list[Graph]:
    graphs = []
    for _, prompt, target, against, _ in track(TRACED, "tracing"):
        graph = trace(
            system.model,
            prompt,
            system.transcoders,
            target=target,
            against=against,
            names=atlas.feature_label,
        )
        atlas.save(graph)
        graphs.append(graph)
    return graphs


def checks(row: Row) -> Iterator[figures.Check]:
    """The row's figures for the table of the report; those without a bar are left out."""
    for check in row.checks:
        if check.bar:
            yield figures.Check(
                name=f"{row.name}: {check.name}",
                figure=figures.Figure.of(check.figure, interval=check.interval),
                bar=_bar(check.bar),
                sample_unit=row.samples,
                seed=row.seed,
            )


def _bar(written: str) -> figures.Bar:
    relation, limit = written.split()
    return (figures.at_least if relation == "≥" else figures.at_most)(float(limit))


def _measure(row: Row, name: str, unit: Unit = "") -> figures.Measure:
    check = next(c for c in row.checks if c.name == name)
    return figures.Measure(
        figure=figures.Figure.of(check.figure, unit, interval=check.interval),
        bar=_bar(check.bar) if check.bar else None,
    )


def _header(system: System, clock: Clock, record: Mapping[str, Any], seed: int) -> schema.Header:
    return schema.Header(
        model="microworld",
        num_parameters=sum(p.numel() for p in system.model.module.parameters()),
        num_tokens=system.index.num_considered,
        seed=seed,
        title="What the microworld's model is thinking",
        summary="A small language model whose concepts and faults are known, read by dictionaries "
        "learnt on its activations. Everything below was measured in this run.",
        steps=tuple(schema.Step(name=n, seconds=s) for n, s in clock.seconds.items()),
        hardware=f"{record['cores']} cores, {torch.get_num_threads()} threads, peak memory "
        f"{record['peak_memory_gb']:.1f} GB",
    )


def _dictionary(atlas: Atlas, name: str, row: Row) -> schema.DictionaryRow:
    dictionary, index = atlas.dictionary(name), atlas.features(name)
    config = dictionary.config
    log = dictionary.made_from.get("figures", {})
    dead = figures.Measure(
        figure=figures.Figure.of(float((index.num_active == 0).mean()), "share"),
        samples=index.num_considered,
        sample_unit="tokens",
    )
    plain = {
        "name": name,
        "site_in": config.site_in,
        "site_out": config.site_out,
        "d_dict": config.d_dict,
        "k": config.k,
        "dead": dead,
        "num_dead_tokens": index.num_considered,
    }
    if name != atlas.residual:
        fvu = figures.Measure(
            figure=figures.Figure.of(log.get("fvu")), note="of the last training batches"
        )
        return schema.DictionaryRow.model_validate({**plain, "fvu": fvu})
    skills = tuple(
        figures.Check(
            name=skill.replace("_", " "),
            figure=figures.Figure.of(
                row.detail["skills spliced"][skill] / max(clean, 1e-9), "share"
            ),
        )
        for skill, clean in row.detail["skills clean"].items()
    )
    return schema.DictionaryRow.model_validate(
        {
            **plain,
            "fvu": _measure(row, "FVU (centred)"),
            "l0": _measure(row, "L0"),
            "loss_recovered_zero": _measure(row, "CE loss recovered (zero floor)"),
            "loss_recovered_mean": _measure(row, "CE loss recovered (mean floor)"),
            "extra_ce": _measure(row, "extra CE (nats per token)", "nats"),
            "skills": skills,
        }
    )


def _name(system: System, dictionary: str, feature: int) -> schema.FeatureName:
    return schema.FeatureName(
        dictionary=dictionary, index=feature, label=system.label(dictionary, feature)
    )


def _concept(system: System, index: FeatureIndex, concept: Concept) -> schema.Concept:
    match = concept.match
    promoted, suppressed = token_effects(index, match.feature)

    def measured(value: float) -> figures.Measure:
        return figures.Measure(
            figure=figures.Figure.of(value),
            samples=match.num_positives,
            sample_unit="documents that mention it",
        )

    return schema.Concept(
        title=concept.title,
        description="Chosen on one half of the documents, judged on the other, against the "
        "corpus's own record of where the concept is mentioned.",
        feature=_name(system, concept.dictionary, match.feature),
        auroc=measured(match.auroc),
        f1=measured(match.f1),
        precision=measured(match.precision),
        recall=measured(match.recall),
        promoted=promoted,
        suppressed=suppressed,
        examples=snippets(index.top(match.feature), 5),
    )


def _diagnosis(found: faults.FaultStudy, row: Row) -> schema.DiagnosisView:
    return diagnosis_view(
        found.diagnosis,
        title="Unagi is said to be Italian",
        description="Planted: for eel dishes the training text says Italy "
        f"{FAULT_SHARE:.0%} of the time. The diagnosis is told the prompts and the right answer "
        "only; it is judged on other dishes.",
        baselines=found.baselines,
        checks=tuple(checks(row)),
    )


def _amplified(system: System, found: bridge.SteeringStudy) -> schema.SteeringStudy:
    outcomes = [
        figures.Check(
            name=line.name,
            figure=figures.Figure.of(line.judged.effect, "share", interval=line.judged.interval),
            note=f"at strength {line.judged.strength:g}",
        )
        for line in found.lines
    ]
    plain = figures.Check(
        name="unsteered",
        figure=figures.Figure.of(found.plain.effect, "share", interval=found.plain.interval),
    )
    return schema.SteeringStudy(
        title="The Golden Gate Bridge amplified",
        description="Asked for the city or the fame of other landmarks, does the model speak of "
        "the bridge? The feature, chosen by its effect, is held at a multiple of its largest "
        "activation while the model answers. The price is the unmodified model's loss on what it "
        "wrote. Strengths are chosen on one half of the prompts, which the charts show, and judged "
        "on the other, which the table shows.",
        measure="share of answers that speak of the Golden Gate Bridge",
        features=(_name(system, system.residual.name, found.feature),),
        num_prompts=found.plain.num_prompts,
        lines=tuple(
            dose_line(line.name, line.kind, line.doses, plain=found.lines[0].doses[0])
            for line in found.lines
        ),
        outcomes=(plain, *outcomes),
        samples=tuple(
            sample(s, f"at strength {found.lines[0].judged.strength:g}") for s in found.samples
        ),
    )


def _suppressed(system: System, found: lying.DeceptionStudy, row: Row) -> schema.SteeringStudy:
    sets = tuple(
        schema.PromptSet(
            name=name,
            before=figures.Figure.share(share),
            after=figures.Measure(figure=figures.Figure.share(found.after[name])),
        )
        for name, share in found.before.items()
    )
    suppressed: Sequence[Any] = found.diagnosis.removed
    return schema.SteeringStudy(
        title="Deception suppressed",
        description="Features found on stories of some speakers, by a learned mask, are ablated in "
        "stories of speakers whom no training story shows speaking.",
        measure="share of answers",
        features=tuple(_name(system, s.dictionary, s.feature) for s in suppressed),
        num_prompts=found.before[lying.LIARS_TRUE].total,
        sets=sets,
        outcomes=tuple(checks(row)),
    )
