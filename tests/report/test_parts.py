"""Snippets, charts, diagnoses and steering studies on the page."""

from __future__ import annotations

import pytest
from tests.report.made import diagnosis, steering
from tests.report.reading import Page

from inscape.core import Share
from inscape.diagnosis import Baseline, Diagnosis
from inscape.features import Example
from inscape.intervention import Dose
from inscape.report import (
    Check,
    Concept,
    DictionaryRow,
    FeatureName,
    Figure,
    Measure,
    Snippet,
    at_least,
    diagnosis_html,
    diagnosis_view,
    dose_line,
    fragment,
    snippets,
)
from inscape.report.charts import HEIGHT, WIDTH, Series, legend, line_chart, ticks
from inscape.report.parts import checks_table, feature_list, snippet, visible
from inscape.report.sections import concepts, dictionaries
from inscape.report.steering import steering_html


def test_a_snippet_keeps_its_text_and_marks_what_fires() -> None:
    given = Snippet(
        tokens=("We", " saw", " the", " Golden", " Gate", "\n"),
        values=(0.0, 0.01, 0.0, 2.0, 4.0, 1.0),
    )
    page = Page(snippet(given))
    assert "".join(page.words).startswith("We saw the Golden Gate↵")
    marks = page.named("mark")
    assert [m["data-value"] for m in marks] == ["0.01", "2.0", "4.0", "1.0"]
    assert [m["class"] for m in marks] == ["h1", "h4", "h8 strongest", "h2"]
    assert marks[2]["title"] == "activation 4.00"


def test_a_snippet_without_activation_has_no_marks() -> None:
    assert Page(snippet(Snippet(tokens=("a", "b"), values=(0.0, 0.0)))).named("mark") == []


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
    view = diagnosis().model_copy(update={"for_wrong": diagnosis().for_wrong * 4})
    shown = Page(diagnosis_html(view))
    assert "7 more" in shown.words
    assert shown.words.count("resid_post.2/611") == 4 + 1  # four of the list, one of the repair


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


def test_spaces_at_the_ends_of_tokens_are_seen() -> None:
    assert [visible(t) for t in (" Mary", "a b", "  ", "", "\n", "x ")] == [
        "␣Mary",
        "a b",
        "␣␣",
        "(empty)",
        "↵",
        "x␣",
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-4.0, 8.0), (0.0, 0.013), (-0.2, -0.1), (5.0, 5.0), (0, 1234)]
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


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
    assert [e["y1"] for e in page.named("line") if e.get("class") == "level"] == ["111.0"]
    assert len(page.named("circle")) == 2
    assert len(page.named("polygon")) == 2
    shapes = Page(legend(series))
    assert len(shapes.named("circle")) == len(shapes.named("polygon")) == 1
    assert "prompted" in shapes.text


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


def real_diagnosis(**changes: object) -> Diagnosis:
    fields: dict[str, object] = {
        "prompt": "unagi is a dish from the country of",
        "right": "Japan",
        "wrong": " Italy",
        "right_token": " Japan",
        "mechanism": "outvoted",
        "num_prompts": 4,
        "num_failures": 3,
        "clean_margin": 0.7,
        "right_probability": 0.25,
        "wrong_probability": 0.5,
        "for_wrong": (),
        "for_right": (),
        "repair": (),
        "repaired": Share(3, 3),
        "random": Share(1, 300),
        "turned_up": Share(2, 3),
        "before": {"eel": Share(0, 9)},
        "after": {"eel": Share(8, 9)},
    }
    return Diagnosis(**(fields | changes))  # type: ignore[arg-type]


def test_a_diagnosis_of_the_diagnosis_room_is_shown() -> None:
    baseline = Baseline("leave one token out", {"eel": Share(4, 9)}, "mean of resid_post.2")
    bars = {"eel": at_least(0.85)}
    view = diagnosis_view(real_diagnosis(), title="unagi", baselines=[baseline], bars=bars)
    assert view == diagnosis_view(
        real_diagnosis().to_json(), title="unagi", baselines=[baseline], bars=bars
    )
    assert view.sets[0].after.passed is True
    page = Page(fragment(diagnosis_html(view)))
    for told in ("␣Italy", "␣Japan", "outvoted", "leave one token out", "88.9\u00a0%", "✓ passed"):
        assert told in page.words, told


def test_a_prompt_without_failure_claims_nothing() -> None:
    nothing = Share(0, 0)
    right = real_diagnosis(
        mechanism="right",
        wrong="",
        num_failures=0,
        repaired=nothing,
        random=nothing,
        turned_up=nothing,
        before={},
        after={},
    )
    view = diagnosis_view(right, title="fine")
    assert view.repaired is None
    page = Page(diagnosis_html(view))
    assert "there is nothing to diagnose" in page.text
    assert "Repair" not in page.words


def test_the_verdict_and_the_controls_stand_together() -> None:
    text = Page(diagnosis_html(diagnosis())).text
    assert "as many matched random features removed" in text
    assert text.index("Verdict") < text.index("Right answers by set of prompts")
