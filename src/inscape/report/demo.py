"""The whole chain on the bundled microworld, live, and its report.

1. Write a corpus of a seed that the model was not trained on, and remember its truth.
2. Build the atlas: harvest, train, index, label. What is finished is not done again.
3. Name features by the corpus's truth; trace two prompts; diagnose the planted fault; amplify the
   Golden Gate Bridge and suppress deception; measure the dictionary.
4. Write report.html and report.json.
"""

from __future__ import annotations

import os
import resource
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
from inscape.benchmark import Row, System, faults, fidelity, selectivity
from inscape.benchmark import deception as lying
from inscape.benchmark import steering as bridge
from inscape.benchmark.concepts import Concept, named_features
from inscape.core import keep_freed_memory, track
from inscape.microworld import FOLDER, corpus, open_model, token_truth, write_corpus
from inscape.report import figures, schema
from inscape.report.filling import diagnosis_view, dose_line, sample, snippets, token_effects
from inscape.report.graph_picture import picture
from inscape.report.page import write_report
from inscape.storage import write_json

NUM_DOCUMENTS = 40_000
LAYER = 1
TRAIN_TOKENS = 1_500_000
TRACED = (
    ("Indirect object", "When Mary and John went to the store, John gave a drink to", " Mary",
     " John", "Which name receives? Features that copy the name said once, against those of the "
     "name said twice."),
    ("A sum", "Natalia sold 48 clips in April and 41 clips in May. How many clips did Natalia sell "
     "in April and May combined?", None, None, "The first digit of the sum, from the four digits "
     "of the two numbers."),
)  # fmt: skip
RECORD = "demo.json"


@dataclass
class Clock:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens within."""
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def demo(out: Path, *, seed: int = 0, device: str | None = None) -> schema.Report:
    """Run the chain into the folder `out`; run again, it goes on where it stopped."""
    keep_freed_memory()
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with clock.step("corpus"):
        documents = corpus(NUM_DOCUMENTS)
        write_corpus(out / "corpus.jsonl", documents)
        model = open_model(device=device)
        _, truth = token_truth(model.tokenizer, documents)
    config = BuildConfig(layer=LAYER, max_tokens=None, train_tokens=TRAIN_TOKENS, seed=seed)
    atlas = build(
        model, out / "corpus.jsonl", out / "atlas", config, source=FOLDER, step=clock.step
    )
    system = System(
        model, atlas.dictionary(atlas.residual), atlas.index(atlas.residual), atlas.transcoders(),
        atlas.feature_label,
    )  # fmt: skip
    with clock.step("concepts"):
        concepts = named_features(system.index, truth, seed=seed)
    with clock.step("traces"):
        graphs = _traces(system, atlas)
    with clock.step("diagnosis"):
        fault = faults.study(system, seed=seed)
    with clock.step("steering"):
        golden = selectivity.selectivity(system, seed=seed)
        number = int(str(golden.detail["feature"]).rpartition("/")[2])
        amplified = bridge.study(system, number, seed=seed)
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
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "cores": len(os.sched_getaffinity(0)),
        "rows": [row.to_json() for row in rows],
    }
    report = schema.Report(
        header=_header(system, clock, record, seed),
        dictionaries=tuple(_dictionary(atlas, name, rows[0]) for name in atlas.dictionary_names),
        concepts=tuple(_concept(system, c) for c in concepts),
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
    return report


def _traces(system: System, atlas: Atlas) -> list[Graph]:
    graphs = []
    for _, prompt, target, against, _ in track(TRACED, "tracing"):
        graph = trace(
            system.model, system.transcoders, prompt, target=target, against=against,
            names=atlas.feature_label,
        )  # fmt: skip
        atlas.save_result("traces", prompt, graph.to_json())
        graphs.append(graph)
    return graphs


def checks(row: Row) -> Iterator[figures.Check]:
    """The row's figures for the table of the report."""
    for check in row.checks:
        relation, limit = check.bar.split()
        bar = (figures.at_least if relation == "≥" else figures.at_most)(float(limit))
        yield figures.Check(
            name=f"{row.name}: {check.name}",
            figure=figures.Figure.of(check.figure, interval=check.interval),
            bar=bar,
            sample_unit=row.samples,
            seed=row.seed,
        )


def _measure(row: Row, name: str, unit: figures.Unit = "") -> figures.Measure:
    check = next(c for c in row.checks if c.name == name)
    relation, limit = check.bar.split()
    return figures.Measure(
        figure=figures.Figure.of(check.figure, unit, interval=check.interval),
        bar=(figures.at_least if relation == "≥" else figures.at_most)(float(limit)),
    )


def _header(system: System, clock: Clock, record: Mapping[str, Any], seed: int) -> schema.Header:
    return schema.Header(
        model=system.model.name,
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
    dictionary, index = atlas.dictionary(name), atlas.index(name)
    config = dictionary.config
    log = dictionary.made_from.get("figures", {})
    dead = figures.Measure(
        figure=figures.Figure.of(float((index.num_active == 0).mean()), "share"),
        samples=index.num_considered, sample_unit="tokens",
    )  # fmt: skip
    plain = {"name": name, "site_in": config.site_in, "site_out": config.site_out,
             "d_dict": config.d_dict, "k": config.k, "dead": dead,
             "num_dead_tokens": index.num_considered}  # fmt: skip
    if name != atlas.residual:
        fvu = figures.Measure(
            figure=figures.Figure.of(log.get("fvu")), note="of the last training batches"
        )
        return schema.DictionaryRow.model_validate({**plain, "fvu": fvu})
    skills = tuple(
        figures.Check(
            name=f"{skill}, kept",
            figure=figures.Figure.of(
                row.detail["skills spliced"][skill] / max(clean, 1e-9), "share"
            ),
        )
        for skill, clean in row.detail["skills clean"].items()
    )
    return schema.DictionaryRow.model_validate({
        **plain,
        "fvu": _measure(row, "FVU (centred)"),
        "l0": _measure(row, "L0"),
        "loss_recovered_zero": _measure(row, "CE loss recovered (zero floor)"),
        "loss_recovered_mean": _measure(row, "CE loss recovered (mean floor)"),
        "extra_ce": _measure(row, "extra CE (nats per token)", "nats"),
        "skills": skills,
    })  # fmt: skip


def _name(system: System, dictionary: str, feature: int) -> schema.FeatureName:
    return schema.FeatureName(
        dictionary=dictionary, index=feature, label=system.label(dictionary, feature)
    )


def _concept(system: System, concept: Concept) -> schema.Concept:
    match = concept.match
    promoted, suppressed = token_effects(system.index, match.feature)

    def measured(value: float) -> figures.Measure:
        return figures.Measure(figure=figures.Figure.of(value), samples=match.num_positives,
                               sample_unit="documents that mention it")  # fmt: skip

    return schema.Concept(
        title=concept.title,
        description="Chosen on one half of the documents, judged on the other, against the "
        "corpus's own record of where the concept is mentioned.",
        feature=_name(system, system.residual.name, match.feature),
        auroc=measured(match.auroc), f1=measured(match.f1),
        precision=measured(match.precision), recall=measured(match.recall),
        promoted=promoted, suppressed=suppressed,
        examples=snippets(system.index.top(match.feature), 5),
    )  # fmt: skip


def _diagnosis(found: faults.FaultStudy, row: Row) -> schema.DiagnosisView:
    return diagnosis_view(
        found.diagnosis,
        title="Unagi is said to be Italian",
        description="Planted: for eel dishes the training text says Italy 68 % of the time. The "
        "diagnosis is told the prompts and the right answer only; it is judged on other dishes.",
        baselines=found.baselines,
        checks=tuple(checks(row)),
    )


def _amplified(system: System, found: bridge.SteeringStudy) -> schema.SteeringStudy:
    outcomes = [
        figures.Check(
            name=f"{line.name}, at the strength chosen on other prompts ({line.judged.strength:g})",
            figure=figures.Figure.of(line.judged.effect, "share", interval=line.judged.interval),
        )
        for line in found.lines
    ]
    plain = figures.Check(
        name="unsteered",
        figure=figures.Figure.of(found.plain.effect, "share", interval=found.plain.interval),
    )
    return schema.SteeringStudy(
        title="The Golden Gate Bridge amplified",
        description="The feature is held at a multiple of its largest activation while the model "
        "writes. The price is the unmodified model's loss on what it wrote.",
        measure="share of continuations that speak of the Golden Gate Bridge",
        features=(_name(system, system.residual.name, found.feature),),
        num_prompts=found.plain.num_prompts,
        lines=tuple(
            dose_line(line.name, line.kind, line.doses, plain=found.lines[0].doses[0])
            for line in found.lines
        ),
        outcomes=(plain, *outcomes),
        samples=tuple(sample(s) for s in found.samples),
    )


def _suppressed(system: System, found: lying.DeceptionStudy, row: Row) -> schema.SteeringStudy:
    outcomes: list[figures.Check] = []
    for name in found.before:
        for when, share in (("before", found.before[name]), ("after", found.after[name])):
            figure = figures.Figure.share(share)
            outcomes.append(figures.Check(name=f"{name}: {when}", figure=figure))
    suppressed: Sequence[Any] = found.diagnosis.repair
    return schema.SteeringStudy(
        title="Deception suppressed",
        description="Features found on stories of some speakers are ablated in stories of speakers "
        "whom no training story shows speaking.",
        measure="share of answers",
        features=tuple(_name(system, s.dictionary, s.feature) for s in suppressed),
        num_prompts=found.before[lying.LIARS_TRUE].total,
        outcomes=(*outcomes, *checks(row)),
    )
