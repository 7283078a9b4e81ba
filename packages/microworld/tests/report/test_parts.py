"""Concepts, diagnoses and steering studies on the demo's page."""

from __future__ import annotations

import pytest
from packages.microworld.tests.report.made import steering
from tests.report.made import found
from tests.report.reading import Page

from inscape.core import Share
from inscape.features import Example
from inscape.intervention import Dose
from inscape.report.charts import HEIGHT, WIDTH, legend
from inscape_microworld.benchmark.plain_methods import Baseline
from inscape_microworld.report.charts import Series, line_chart
from inscape_microworld.report.figures import Check, Figure, Measure, at_least
from inscape_microworld.report.filling import diagnosis_view, dose_line, snippets
from inscape_microworld.report.parts import checks_table, feature_list
from inscape_microworld.report.schema import Concept, DictionaryRow, FeatureName, Snippet
from inscape_microworld.report.sections import concepts, dictionaries
from inscape_microworld.report.sections import diagnosis as diagnosis_section
from inscape_microworld.report.steering import steering_html


def test_examples_that_read_alike_are_shown_once() -> None:
    def example(document: int, *tokens: str) -> Example:
        count = len(tokens)
        return Example(document, 0, 0, tokens, (0,) * count, (1.0,) * count, 0, 1.0, None)

    found = snippets([example(4, " a", " b"), example(7, " a", " b"), example(9, " a")], 2)
    assert [s.source for s in found] == ["document 4", "document 9"]


def test_what_rows_share_is_told_once() -> None:
    rows = [
        Check(name=n, figure=Figure.of(0.5), sample_unit=u, seed=3)
        for n, u in (("x", "30 prompts"), ("y", "30 prompts"), ("z", "9 prompts"))
    ]
    page = Page(checks_table(rows) or "")
    assert page.words.count("30 prompts") == 1
    assert [c.get("rowspan") for c in page.named("td") if c.get("rowspan")] == ["2"]
    assert page.words.count("3") == 1
    apart = Page(checks_table([rows[0], rows[2].model_copy(update={"seed": 4})]) or "")
    assert "seed" in apart.words
    assert {"3", "4"} <= set(apart.words)


def test_a_long_list_of_features_is_folded() -> None:
    features = [FeatureName(dictionary="mlp.0", index=i, label=None) for i in range(60)]
    assert Page(feature_list("Removed", features[:3])).named("details") == []
    page = Page(feature_list("Removed", features))
    assert len(page.named("details")) == 1
    assert "Removed: 60 features" in page.words


def test_figures_of_a_concept_say_what_they_rest_on_once() -> None:
    measure = Measure(figure=Figure.of(0.9), samples=102, sample_unit="documents")
    name = FeatureName(dictionary="d", index=1)
    given = Concept(title="t", description="told by all", feature=name, auroc=measure, f1=measure)
    assert Page(concepts([given])).words.count("102") == 1
    mixed = given.model_copy(update={"f1": Measure(figure=Figure.of(0.8), samples=7)})
    assert Page(concepts([mixed])).words.count("102") == 1
    assert Page(concepts([mixed])).words.count("7") == 1
    both = Page(concepts([given, mixed])).words
    assert both.count("told by all") == 1


def test_skills_are_folded_unless_one_is_lost() -> None:
    kept = Check(name="sums", figure=Figure.of(0.96, "share"), bar=at_least(0.95))
    lost = Check(name="names", figure=Figure.of(0.5, "share"), bar=at_least(0.95))
    row = DictionaryRow(name="r", site_in="s", site_out="s", d_dict=4, k=1, skills=(kept,))
    page = Page(dictionaries([row]))
    assert len(page.named("details")) == 1
    assert "weakest, sums: 96.0\u00a0%" in page.text
    assert (
        Page(dictionaries([row.model_copy(update={"skills": (kept, lost)})])).named("details") == []
    )


def test_a_snippet_needs_a_value_for_each_token() -> None:
    with pytest.raises(ValueError, match="2 tokens but 1 values"):
        Snippet(tokens=("a", "b"), values=(0.0,))


def test_dose_lines_count_their_price_from_strength_zero() -> None:
    doses = [Dose(0.0, 0.1, (0.0, 0.2), 2.0, 50), Dose(2.0, 0.7, (0.6, 0.8), 2.5, 50)]
    line = dose_line("resid_post.2/3", "feature", doses)
    assert [d.extra_loss for d in line.doses] == [0.0, 0.5]
    assert line.doses[1].effect.low == 0.6
    asked = dose_line("asked", "prompting", [Dose(1.0, 0.4, (0.3, 0.5), 2.2, 50)], plain=doses[0])
    assert asked.doses[0].extra_loss == pytest.approx(0.2)
    assert dose_line("asked", "prompting", [doses[1]]).doses[0].extra_loss is None
    with pytest.raises(ValueError, match="kind"):
        dose_line("x", "magic", doses)


def test_a_steering_study_shows_both_charts_and_samples_side_by_side() -> None:
    page = Page(steering_html(steering()))
    charts = [s for s in page.named("svg") if s.get("class") == "chart"]
    assert len(charts) == 2
    assert page.words.count("plain") == 2
    assert page.words.count("steered") == 2


def test_many_samples_are_folded_and_what_they_share_is_told_once() -> None:
    told = steering().samples[0].model_copy(update={"note": "at strength 2"})
    page = Page(steering_html(steering().model_copy(update={"samples": (told,) * 6})))
    assert page.words.count("at strength 2") == 1
    assert "2 more samples" in page.words
    assert page.words.count("steered") == 6


def test_a_diagnosis_has_its_baselines_and_thresholds() -> None:
    name = "held-out eel dishes"
    baseline = Baseline("leave one token out", {name: Share(4, 40)}, "mean of resid_post.2")
    view = diagnosis_view(found(), title="unagi", baselines=[baseline], bars={name: at_least(0.85)})
    page = Page(diagnosis_section(view))
    for text in ("␣Italy", "␣Japan", "leave one token out", "90.0\u00a0%", "✓ passed"):
        assert text in page.words, text


def test_chart_points_lie_inside_and_lines_differ_without_colour() -> None:
    series = [
        Series("feature", ((0.0, 0.1, 0.05, 0.2), (4.0, 0.9, 0.8, 1.0)), 0),
        Series("random", ((0.0, 0.1, None, None), (4.0, 0.12, None, None)), 1),
        Series("prompted", ((1.0, 0.5, None, None),), 2, level=True),
    ]
    page = Page(line_chart(series, title="t", x="strength", y="share", unit="share"))
    for line in page.named("polyline"):
        for point in str(line["points"]).split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert len(page.named("polyline")) == 2
    assert [e["y1"] for e in page.named("line") if e.get("class") == "level"] == ["111"]
    assert len(page.named("circle")) == 2
    assert len(page.named("polygon")) == 2
    shapes = Page(legend({s.style: s.name for s in series}, levels=[2]))
    assert len(shapes.named("circle")) == len(shapes.named("polygon")) == 1
    assert "prompted" in shapes.text
