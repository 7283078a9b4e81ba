"""What a diagnosis says besides its figures: the answers, and where features are active."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from inscape.core import LabelOf
from inscape.diagnosis.candidates import Effect
from inscape.diagnosis.cases import Batch, Case
from inscape.diagnosis.result import AHEAD, MIXED, WRITTEN, Candidate, CorrectMeans
from inscape.diagnosis.study import Study
from inscape.model import Inputs, Model, Source

LONGEST = 12  # tokens that the model writes itself
MOST_TOKENS = 3  # of a feature


def correct_means(batches: Sequence[Batch]) -> CorrectMeans:
    """When an answer to these cases counts as correct."""
    compared = torch.cat([batch.num_rows for batch in batches]) > 1
    if compared.all():
        return AHEAD
    return MIXED if compared.any() else WRITTEN


def continued(model: Model, source: Source) -> tuple[int, list[int]]:
    """A prompt with what the model itself writes behind it, and the prompt's length."""
    prompt = model.prompt(source)
    most = min(LONGEST, model.context_length - len(prompt))
    ids: list[int] = model.generate(prompt, most)[0].tolist()
    return len(prompt), ids


@torch.no_grad()
def written(model: Model, start: int, ids: Sequence[int]) -> tuple[str, float]:
    """The first word behind a prompt of `start` tokens, and its probability."""
    end = _word_end(model, ids, start)
    tokens = torch.tensor([ids[:end]], device=model.device)
    states = model.run(tokens, read=["final"])["final"][0, start - 1 : end - 1]
    logs = model.unembed(states).log_softmax(-1)[range(end - start), list(ids[start:end])]
    text = model.continuation(ids[:end], start) or model.token_text(ids[start])
    return text, float(logs.sum().exp())


def answers(study: Study, case: Case) -> dict[str, Any]:
    """The fields of a diagnosis that say what is answered to its first failing prompt, the case."""
    failing, model = study.failures, study.model
    start, ids = continued(model, case.prompt)
    wrong, wrong_probability = _wrong_answer(study, case, start, ids)
    writes, writes_probability = written(model, start, ids)
    likeliest = int(study.clean.log_probability[: int(failing.num_rows[0])].argmax())
    return {
        "correct": case.correct,
        "wrong": wrong,
        "correct_token": model.token_text(int(failing.correct[0])),
        "wrong_token": model.token_text(int(failing.wrong[0])),
        "shared": "".join(map(model.token_text, failing.shared(0))),
        "correct_probability": float(study.clean.log_probability[failing.first].exp().mean()),
        "wrong_probability": wrong_probability,
        "writes": writes,
        "writes_probability": writes_probability,
        "answers_given": case.answers[1:],
        "preferred": case.answers[likeliest] if len(case.answers) > 1 else "",
    }


def _wrong_answer(study: Study, case: Case, start: int, ids: Sequence[int]) -> tuple[str, float]:
    """The wrong answer to the first failing prompt (`ids`, see `continued`), and the mean
    probability of the wrong ones: whole where the cases give answers, else as far as the first
    token that is wrong."""
    failing, clean, model = study.failures, study.clean, study.model
    scores = []
    for i, named in enumerate(study.named):
        row, own = int(failing.first[i]), [*failing.shared(i), int(failing.wrong[i])]
        logs = model.unembed(clean.states[row][: len(own)]).log_softmax(-1)
        said = logs[range(len(own)), own].sum().cpu()
        scores.append(clean.log_probability[row + named] if named else said)
    probability = float(torch.stack(scores).exp().mean())
    if study.named[0]:
        return case.answers[study.named[0]], probability
    end = _word_end(model, ids, start + len(failing.shared(0)))
    return model.continuation(ids[:end], start), probability


def _word_end(model: Model, ids: Sequence[int], at: int) -> int:
    """Where the word ends that begins at a token, or behind the space there."""
    while at < len(ids) - 1 and not model.token_text(ids[at]).strip():
        at += 1
    at += 1
    while at < len(ids) and model.token_text(ids[at])[:1].isalnum():
        at += 1
    return at


def display(study: Study, labels: LabelOf) -> Callable[[Effect], Candidate]:
    """How effects are shown: with labels, and where each feature is active on the first failure:
    on its prompt, or where it is not, on the answers that are fed in behind it."""
    model, first = study.model, study.failures.cases([0])
    start, counted = int(first.starts[0]), first.counted.clone()
    counted[1:, :start] = False  # the prompt is the same in every row
    rows, places = counted.nonzero(as_tuple=True)
    given = Inputs(first.tokens.to(model.device), counted=first.counted)
    run = model.run(given, read=sorted({s for d in study.dictionaries for s in d.reads}))
    codes = {
        d: d.encode(d.concat_sites({s: run[s][rows, places] for s in d.reads}))
        for d in study.dictionaries
    }

    def shown(effect: Effect) -> Candidate:
        name, feature = effect.dictionary.name, effect.feature
        values = codes[effect.dictionary].of(feature).tolist()
        active = [
            (int(place), model.token_text(int(first.tokens[row, place])), value)
            for value, row, place in zip(values, rows, places, strict=True)
            if value > 0
        ]
        in_prompt = [token for token in active if token[0] < start]
        # By place and token: answers share their first ones.
        unique = {token[:2]: token for token in in_prompt or active}.values()
        return Candidate(
            name,
            feature,
            labels(name, feature),
            estimate=effect.estimate,
            margin=effect.margin,
            wrong=effect.wrong,
            correct=effect.correct,
            repaired=effect.repaired,
            tokens=tuple(sorted(unique, key=lambda token: -token[2])[:MOST_TOKENS]),
            in_answer=bool(active) and not in_prompt,
        )

    return shown
