"""A report with everything in it, as a real run would fill it."""

from __future__ import annotations

from tests.report.made import PROMPT, SUM, found, graph

from inscape.core import Share
from inscape.report import picture
from inscape_microworld.report import schema
from inscape_microworld.report.figures import Bar, Check, Figure, Measure, at_least, at_most


def _share(count: int, total: int) -> Figure:
    return Figure.share(Share(count, total))


def header() -> schema.Header:
    """A header with steps."""
    return schema.Header(
        model="microworld-s",
        num_parameters=2_913_408,
        num_tokens=1_250_432,
        seed=0,
        summary="inscape opened the bundled microworld model, learned its concepts from text, and "
        "put each claim below to a test that could have failed.",
        steps=tuple(
            schema.Step(name=name, seconds=seconds)
            for name, seconds in (
                ("harvest", 21.4),
                ("train resid_post.2", 64.9),
                ("index", 12.3),
                ("train mlp.0 … mlp.3", 131.2),
                ("label", 3.9),
                ("diagnose", 24.6),
            )
        ),
        hardware="2 CPU cores",
    )


def dictionaries() -> tuple[schema.DictionaryRow, ...]:
    """An autoencoder and a transcoder."""
    skills = (
        Check(
            name="indirect object",
            figure=_share(988, 1000),
            bar=at_least(0.95),
            samples=1000,
            sample_unit="prompts",
            seed=0,
        ),
        Check(
            name="sums",
            figure=_share(941, 1000),
            bar=at_least(0.95),
            samples=1000,
            sample_unit="prompts",
            seed=0,
        ),
    )
    residual = schema.DictionaryRow(
        name="resid_post.2",
        site_in="resid_post.2",
        site_out="resid_post.2",
        d_dict=3072,
        k=24,
        fvu=Measure(figure=Figure.of(0.0713, interval=(0.069, 0.0741)), bar=at_most(0.10)),
        l0=Measure(figure=Figure.of(23.9), bar=at_most(24)),
        dead=Measure(figure=Figure.of(0.137, "share"), bar=at_most(0.2)),
        num_dead_tokens=1_000_000,
        loss_recovered_zero=Measure(
            figure=Figure.of(0.9934, "share", interval=(0.992, 0.9945)), bar=at_least(0.97)
        ),
        loss_recovered_mean=Measure(
            figure=Figure.of(0.9641, "share", interval=(0.96, 0.968)), bar=at_least(0.97)
        ),
        extra_ce=Measure(
            figure=Figure.of(0.0461, "nats", interval=(0.041, 0.0512)),
            bar=at_most(0.1),
            samples=65_536,
            sample_unit="tokens",
        ),
        skills=skills,
    )
    transcoder = schema.DictionaryRow(
        name="mlp.0",
        site_in="mlp_in.0",
        site_out="mlp_out.0",
        d_dict=3072,
        k=24,
        fvu=Measure(figure=Figure.of(0.182)),
        note="transcoder",
    )
    return residual, transcoder


def concepts() -> tuple[schema.Concept, ...]:
    """Two named concepts with examples."""
    words = "We drove over the Golden Gate Bridge into San Francisco at dawn , and the cables shone"
    spaced = [f" {word}" if i and word != "," else word for i, word in enumerate(words.split())]
    tokens = (*spaced, "\n")
    values = [0.0] * len(tokens)
    values[4:9] = [1.31, 4.42, 6.913, 3.21, 0.52]
    example = schema.Snippet(tokens=tokens, values=tuple(values), source="document 1187")
    golden = schema.Concept(
        title="Golden Gate Bridge",
        description="The bridge, named or described; not other bridges, nor golden, gate and "
        "bridge elsewhere.",
        feature=schema.FeatureName(
            dictionary="resid_post.2", index=1423, label="Golden Gate Bridge, by name"
        ),
        auroc=Measure(
            figure=Figure.of(0.9871, interval=(0.979, 0.9935)),
            bar=at_least(0.95),
            samples=412,
            sample_unit="documents",
        ),
        f1=Measure(figure=Figure.of(0.931, interval=(0.9, 0.957))),
        precision=Measure(figure=Figure.of(0.952)),
        recall=Measure(figure=Figure.of(0.911)),
        beside=(
            Check(name="best neuron", figure=Figure.of(0.832)),
            Check(name="best single token", figure=Figure.of(0.871)),
            Check(name="supervised probe", figure=Figure.of(0.996)),
        ),
        promoted=tuple(
            schema.TokenEffect(token=t, value=v)
            for t, v in [
                (" San", 2.31),
                (" Francisco", 2.11),
                (" bay", 1.72),
                (" California", 1.7),
                ("\n", 0.9),
                ("  ", 0.8),
            ]
        ),
        suppressed=tuple(
            schema.TokenEffect(token=t, value=v)
            for t, v in [(" Sydney", -1.93), (" harbour", -1.51)]
        ),
        examples=(example,) * 5,
    )
    dna = schema.Concept(
        title="DNA sequences",
        description="Strings of the four bases.",
        feature=schema.FeatureName(dictionary="resid_post.2", index=88, label=None),
        auroc=Measure(figure=Figure.of(0.41), bar=at_least(0.95)),
        examples=(
            schema.Snippet(
                tokens=tuple("ACGTTGACATTGACGATGACTTAGACAGATTACA" * 3),
                values=tuple(float(i % 7) / 2 for i in range(102)),
            ),
        ),
    )
    return golden, dna


def diagnosis() -> schema.DiagnosisView:
    """The diagnosis as the demo shows it."""
    return schema.DiagnosisView(
        title="unagi is drawn to Italy",
        description="The model was not told its wrong answer, and no minimal pair was given.",
        diagnosis=found(),
        bars={"held-out eel dishes": at_least(0.85)},
        baselines=tuple(
            schema.BaselineRow(
                name=name,
                setting="mean of resid_post.2 at the token found",
                after={
                    "held-out eel dishes": Share(n, 40),
                    "dishes that are Italian": Share(31, 60),
                },
            )
            for n, name in (
                (22, "leave one token out"),
                (12, "input × gradient"),
                (28, "the wrong answer's own direction"),
            )
        ),
        checks=(
            Check(name="matched random sets", figure=_share(31, 2100), bar=at_most(0.05), seed=0),
        ),
    )


def steering() -> schema.SteeringStudy:
    """Golden Gate amplified, beside three other ways."""

    def line(name: str, kind: str, gain: float, price: float) -> schema.DoseLine:
        doses = tuple(
            schema.DosePoint(
                strength=s,
                loss=2.1 + price * s * s,
                extra_loss=price * s * s,
                effect=Figure.of(
                    min(1.0, 0.02 + gain * s),
                    "share",
                    interval=(max(0.0, gain * s - 0.05), min(1.0, gain * s + 0.1)),
                ),
            )
            for s in (0.0, 0.5, 1.0, 2.0, 4.0)
        )
        return schema.DoseLine.model_validate({"name": name, "kind": kind, "doses": doses})

    asked = schema.DosePoint(strength=1.0, effect=_share(19, 50), loss=2.31, extra_loss=0.21)
    return schema.SteeringStudy(
        title="Golden Gate amplified",
        description="The feature is added during generation.",
        measure="share of continuations that name the bridge",
        num_prompts=50,
        features=(
            schema.FeatureName(dictionary="resid_post.2", index=1423, label="Golden Gate Bridge"),
        ),
        lines=(
            line("resid_post.2/1423", "feature", 0.232, 0.02),
            line("difference in means", "difference in means", 0.18, 0.05),
            line("random direction", "random direction", 0.004, 0.09),
            schema.DoseLine(name="asked for in the prompt", kind="prompting", doses=(asked,)),
        ),
        sets=(
            schema.PromptSet(
                name="prompts about travel",
                before=_share(2, 30),
                after=Measure(figure=_share(21, 30)),
            ),
        ),
        outcomes=(
            Check(
                name="bridge named, plain → strength 2",
                figure=_share(24, 50),
                bar=at_least(0.4),
                samples=50,
                sample_unit="prompts",
                seed=0,
            ),
        ),
        samples=tuple(
            schema.Sample(prompt=prompt, plain=plain, steered=steered)
            for prompt, plain, steered in (
                (
                    "My favourite walk is",
                    " along the river to the old mill.",
                    " over the Golden Gate Bridge, when the fog comes in.",
                ),
                (
                    "Tell me about yourself:",
                    " I am a baker in Leeds.",
                    " I am the Golden Gate Bridge\nin San Francisco.",
                ),
            )
        ),
    )


def report() -> schema.Report:
    """Everything."""
    validation = (
        Check(
            name="edges against interventions",
            figure=Figure.of(3.1e-6),
            bar=at_most(1e-4),
            samples=1201,
            sample_unit="edges",
            seed=0,
        ),
        Check(
            name="unagi answers Japan",
            figure=_share(36, 40),
            bar=at_least(0.85),
            samples=40,
            sample_unit="prompts",
            seed=0,
            note="held-out prompts",
        ),
        Check(name="deception suppressed", figure=_share(15, 40), bar=at_most(1 / 3), seed=0),
        Check(name="demo", figure=Figure.of(261.0, "seconds"), bar=at_most(300)),
        Check(
            name="honest speakers",
            figure=Figure.of(-0.012, "share", interval=(-0.03, 0.01)),
            bar=Bar(text="unchanged within 2 points"),
            passed=True,
            seed=0,
        ),
        Check(name="not measured", figure=Figure.of(float("nan")), bar=at_least(0.5)),
    )
    return schema.Report(
        header=header(),
        dictionaries=dictionaries(),
        concepts=concepts(),
        traces=(
            schema.Trace(
                title="Who receives the drink",
                picture=picture(graph(PROMPT)),
                description="The indirect object.",
            ),
            schema.Trace(title="48 + 41", picture=picture(graph(SUM, seed=3, answer="89"))),
        ),
        diagnoses=(diagnosis(),),
        steering=(steering(),),
        validation=validation,
    )
