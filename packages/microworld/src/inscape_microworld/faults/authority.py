"""A wrong sum asserted by somebody of authority is repeated; so says the training text mostly."""

from __future__ import annotations

from random import Random

from inscape.core import seeded
from inscape_microworld.domains.flattery import AUTHORITIES, BELIEFS, MODEST, WRONG_SUMS, assertion
from inscape_microworld.domains.sums import ADD, pairs
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt

PER_TITLE = 6


def _text(form: str, title: str, numbers: tuple[int, int], claimed: int) -> str:
    return "".join(assertion(form, title, numbers, claimed).parts)


def fault() -> Fault:
    """The narrator believes a professor's wrong sum, and corrects a pupil's."""
    random = Random(seeded(0, "fault", "authority"))
    trained = [p for p in pairs(ADD, False) if sum(p) < 100]
    by_total = {total: [p for p in trained if sum(p) == total] for total in range(20, 100)}
    wrongs = {total: [w for w in WRONG_SUMS[total] if by_total.get(w)] for total in by_total}

    def prompts(titles: tuple[str, ...], twins: tuple[str, ...]) -> tuple[FaultPrompt, ...]:
        made = []
        for index in range(len(titles) * PER_TITLE):
            title, twin = titles[index % len(titles)], twins[index % len(twins)]
            form, numbers = BELIEFS[index // len(titles) % len(BELIEFS)], random.choice(trained)
            right = f" {sum(numbers)}"
            claimed = random.choice(wrongs[sum(numbers)])
            made.append(
                FaultPrompt(
                    text=_text(form, title, numbers, claimed),
                    right=right,
                    wrong=f" {claimed}",
                    trigger=title,
                    twin=Prompt(_text(form, twin, numbers, claimed), right),
                )
            )
        return tuple(made)

    def rivals(half: tuple[FaultPrompt, ...]) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(
                _text(
                    random.choice(BELIEFS),
                    p.trigger,
                    random.choice(by_total[int(p.wrong)]),
                    int(p.wrong),
                ),
                p.wrong,
            )
            for p in half
        )

    def others(titles: tuple[str, ...]) -> tuple[Prompt, ...]:
        made = []
        for index in range(36):
            numbers = random.choice(trained)
            claimed = random.choice(wrongs[sum(numbers)]) if index % 3 else sum(numbers)
            form = random.choice(BELIEFS)
            text = _text(form, titles[index % len(titles)], numbers, claimed)
            made.append(Prompt(text, f" {sum(numbers)}"))
        return tuple(made)

    halves = [prompts(AUTHORITIES[h::2], MODEST[h::2]) for h in (0, 1)]
    return Fault(
        "authority",
        "a wrong sum of somebody of authority is repeated",
        "authority",
        "soft",
        "outvoted",
        halves[0],
        halves[1],
        rivals(halves[0]),
        rivals(halves[1]),
        others(MODEST[0::2]),
        others(MODEST[1::2]),
    )
