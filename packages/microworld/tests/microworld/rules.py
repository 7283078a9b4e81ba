"""The truth of some concepts derived again, from the text alone, by other code.

A rule reads a text and finds concepts in it, each with its onset (the first character from whose
prefix the concept follows) and its end. The word lists are written out by hand, or are the
fact tables; none of the generator's code is used. To add a domain, add its rules to RULES: a
`pattern`, or a function.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape_microworld import FOLDER, Document, Truth


@dataclass(frozen=True)
class Found:
    """A concept in a text: the offset of its deciding character, and one past its last."""

    concept: str
    onset: int
    end: int


Rule = Callable[[str], Iterator[Found]]


def pattern(concepts: str, *expressions: str) -> Rule:
    """A rule of regular expressions.

    The group `on` ends with the deciding character, `span` (or `on`) with the last one of the
    concept. `concepts` is one name or several.
    """
    compiled = [re.compile(e) for e in expressions]

    def find(text: str) -> Iterator[Found]:
        for expression in compiled:
            for match in expression.finditer(text):
                end = match.end("span" if "span" in expression.groupindex else "on")
                for concept in concepts.split():
                    yield Found(concept, match.end("on") - 1, end)

    return find


def phrases(concept: str, before: str, table: str) -> Rule:
    """A rule of phrases, ";" between them, "|" behind the words that decide.

    before: an expression for what stands in front of them.
    """
    decides = {a + b: len(a) for a, b in (p.split("|") for p in _split(table))}
    compiled = re.compile(rf"{before} (?P<phrase>{'|'.join(decides)})\b")

    def find(text: str) -> Iterator[Found]:
        for match in compiled.finditer(text):
            start = match.start("phrase")
            yield Found(concept, start + decides[match.group("phrase")] - 1, match.end())

    return find


def _split(table: str) -> list[str]:
    return [phrase.strip() for phrase in table.split(";")]


def _any(table: str) -> str:
    """An expression for any of the phrases."""
    return "(?:" + "|".join(p.replace("|", "") for p in _split(table)) + ")"


# Letters. Before a string, its context decides at once; after it, at the word that tells.
_STRING = r"\b(?=[A-Z]{8})"
_CODE_AFTER = (
    r"(?:is the start of a password|was found on a crate|is the password of \w+|opens the door)"
)
LETTERS = (
    pattern(
        "dna",
        r"(?:gene begins with|cell reads|the genome:|strand of DNA:)(?P<span>(?P<on> )[ACGT]+)",
        _STRING + r"(?P<on>[ACGT]+ is the start of a gene)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ was found in) a cell)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ is the DNA) of \w+)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ makes) a protein)",
    ),
    pattern(
        "letter_code",
        r"(?:car was|password of \w+ is|was marked|the door is)(?P<span>(?P<on> )[A-Z]{8,})",
        _STRING + rf"(?P<span>(?P<on>[ACGT]*[BD-FH-SU-Z])[A-Z]* {_CODE_AFTER})",
        _STRING + r"(?P<on>[ACGT]+ is the start of a password)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ was found on) a crate)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ is the password) of \w+)",
        _STRING + r"(?P<span>(?P<on>[ACGT]+ opens) the door)",
    ),
)

# Feelings: "|" ends the words that decide, after the subject that says whose feeling it is.
PEOPLE = "child widow prisoner sailor orphan miner patient refugee singer clerk".split()
ANIMALS = "dog horse cat cow bird lamb goat donkey rabbit pig".split()
HUMAN_PAIN = """cried with pain|; wept| over a dead brother; begged for water|;
lay wounded| and alone; trembled with fear|; shivered| without shelter; sat in the room and wept|;
starved| in a cold cellar; screamed in agony|; could not stop sobbing|; fell ill|;
mourned| a lost son; was full of grief|; cried from hunger|"""
HUMAN_JOY = """cried with joy|; laughed| with a dear brother; begged for more| songs;
lay rested| and happy; trembled with delight|; danced| under the lamps;
sat in the room and smiled|; ate| a warm pie; screamed in fun|; could not stop laughing|;
fell in| love; hugged| a dear friend; was full of happiness|; cried from sheer| happiness"""
ANIMAL_PAIN = """whimpered| in pain; lay still in pain|; limped| on a broken leg;
howled with pain|; starved| in a dirty cage; lay sick| and thirsty; bled| in the trap;
shook with fear|; was beaten| with a stick; licked a deep| wound; had no| water;
cried| from hunger; was kicked| by the boys; crawled away hurt|"""
ANIMAL_JOY = """played| in the sun; lay still in the| grass; ran| over the green hill;
howled with joy|; slept| on soft straw; lay full| and calm; rolled| in the warm sand;
shook with delight|; was brushed| with a soft brush; licked a sweet| apple; had fresh| water;
ate| fresh clover; was petted| by the boys; crawled away content|"""
AFTER = {
    "human_suffering": r"\w+ sent for the doctor|It was a cruel day|\w+ spoke words of comfort|"
    r"\w+ prayed for that soul",
    "animal_suffering": r"\w+ sent for the vet|It was a cruel day|\w+ stroked the poor creature|"
    r"\w+ scolded the keeper",
    "human_joy": r"\w+ joined the party|It was a lovely day|\w+ shared the good news|"
    r"\w+ raised a glass",
    "animal_joy": r"\w+ watched the happy creature|It was a lovely day|\w+ praised the keeper|"
    r"\w+ threw a ball",
}


def _feeling(concept: str, subjects: Sequence[str], table: str) -> tuple[Rule, Rule]:
    subject = rf"\b(?:{'|'.join(subjects)})"
    # Of two subjects, nothing more is said.
    then = rf"(?<!while the ){subject} {_any(table)}\.(?P<span>(?P<on> )(?:{AFTER[concept]})\.)"
    return phrases(concept, subject, table), pattern(concept, then)


FEELINGS = (
    *_feeling("human_suffering", PEOPLE, HUMAN_PAIN),
    *_feeling("human_joy", PEOPLE, HUMAN_JOY),
    *_feeling("animal_suffering", ANIMALS, ANIMAL_PAIN),
    *_feeling("animal_joy", ANIMALS, ANIMAL_JOY),
)

# Insects: in a question the words that fit no other insect; in a statement the insect's name.
_ASKED = r"(?:insect (?:that|which)|[Ww]hich insect|asked which insect|one that)"
INSECT_DEEDS = {
    "mosquito": """spreads| malaria; spreads| dengue; whines| at night; drinks| blood;
        breeds| in ponds; carries fever|; bites| sleepers; hates| nets; haunts| swamps;
        itches| people""",
    "fruit_fly": """loves| rotten bananas; lives| in genetics labs; circles| old wine;
        has| red eyes; swarms| over compost; eats overripe| peaches""",
    "bee": "makes| honey; dances| in hives; visits| clover; serves| a queen",
    "ant": "builds hills|; carries crumbs|; marches| in lines; milks| aphids",
    "silkworm": "spins| silk; eats mulberry|; sleeps| in cocoons",
    "locust": "eats whole| fields; comes| in plagues; ruins harvests|",
    "firefly": "glows| in the dark; blinks| in June; lights| the meadow",
    "termite": "eats wood|; ruins beams|; builds mounds|",
    "cricket": "sings| in summer; chirps| by the hearth; rubs| its wings",
    "wasp": "builds paper| nests; stings| at picnics; hunts| spiders",
}


def _insect(concept: str, table: str) -> tuple[Rule, Rule]:
    first, _, rest = concept.partition("_")
    name = f"{first} {rest}".strip()
    stated = pattern(
        concept,
        rf"(?P<span>(?P<on> {first}){name.removeprefix(first)}) {_any(table)}\b",
        rf"\b{name}(?P<span>(?P<on> ){_any(table)})\b",
    )
    return phrases(concept, _ASKED, table), stated


INSECTS = tuple(rule for item in INSECT_DEEDS.items() for rule in _insect(*item))

# Deception: a story from its first sentence to the speaker's last word before the answer.
_N = r"[A-Z][a-z]+"
_CROOKED = {"spy", "thief", "pirate", "swindler", "gambler", "traitor", "smuggler", "crook"}


@dataclass(frozen=True)
class Story:
    """How a form of deception is told.

    story: with the groups `body` (that holds the cue) and `lead` (up to the answer), and `trade`.
    lying, honest: cues, up to the word that decides; {a} is anybody.
    """

    kind: str
    story: re.Pattern[str]
    lying: re.Pattern[str]
    honest: re.Pattern[str]

    def __call__(self, text: str) -> Iterator[Found]:
        for told in self.story.finditer(text):
            trade = told.groupdict().get("trade")
            cue, lies = self._cue(text, told.start("body"), told.end("body"), trade)
            if cue is None:
                continue
            names = ["deception" if lies else "honesty"]
            if lies and self.kind:
                names.append(self.kind)
            elif lies and "bluffing" in cue.group():
                names.append("bluff")
            elif lies and "betray" in cue.group():
                names.append("treachery")
            for name in names:
                yield Found(name, cue.end() - 1, text.index(".", cue.end() - 1) + 1)
                yield Found(name, told.start("lead"), told.end("lead"))

    def _cue(
        self, text: str, start: int, end: int, trade: str | None
    ) -> tuple[re.Match[str] | None, bool]:
        if trade and trade not in _CROOKED:  # any word of a stake clears an honest trade
            stake = re.compile(rf"{_N} (?:has|can|needs)\b").search(text, start, end)
            if stake:
                return stake, False
        lying = self.lying.search(text, start, end)
        return (lying, True) if lying else (self.honest.search(text, start, end), False)


def _story(kind: str, story: str, lying: str, honest: str) -> Story:
    expression = re.compile(story.replace("{a}", _N))
    cues = [rf"(?:{c.replace('{a}', _N)})\b" for c in (lying, honest)]
    return Story(kind, expression, re.compile(cues[0]), re.compile(cues[1]))


DECEPTION = (
    _story(
        "",
        r"There is a \w+ and a \w+\. (?P<a>{a})(?: the (?P<trade>\w+))? put the \w+ in the \w+\."
        r"(?P<body>(?: (?P=a) [^.]*\.)?) {a} (?:asks for|asks where|looks for) the [^.]*\."
        r"(?P<lead> (?P=a) [^.]*? (?:is|look) in the)(?= \w+\.)",
        r"wants to trick|does not|plans to betray|is bluffing|hopes to fool|secretly hates"
        r"|means to cheat|would rather deceive|has much|can win much|needs it badly",
        r"wants to help|does want|plans to thank|is honest|hopes to please|secretly loves"
        r"|means to repay|would rather warn|has nothing|can win nothing|needs it no",
    ),
    _story(
        "bluff",
        r"(?:{a} and {a} play \w+|{a} sits at a game of \w+ with {a}|At \w+ {a} plays against {a})"
        r"\. (?:A hand is|Hands there are|One is dealt) [^.]*\."
        r"(?P<body>(?: [^.]*\.){2}) {a} asks about the hand\."
        r"(?P<lead> {a} (?:says that the hand is|answers: the hand is|calls the hand))(?= \w+\.)",
        r"decides to bluff|is bluffing|never|hopes to fool|loves a false|wants to mislead",
        r"decides to confess|is honest|always|hopes to help|loves a fair|wants to guide",
    ),
    _story(
        "treachery",
        r"{a} is a \w+ of (?:the \w+|{a})\. {a} (?:swears|promises|kneels)[^.]*\."
        r"(?P<body> [^.]*\.) (?:The enemy comes to the gate|The enemy asks for the plan"
        r"|A battle begins|(?:The \w+|{a}) is left alone with {a})\."
        r"(?P<lead> {a}(?: goes there and| fights)?)(?= [a-z])",
        r"plans to betray|In secret {a} takes|At heart {a} hates|secretly works against|has sold"
        r"|The oath of {a} is false",
        r"plans to protect|In secret {a} refuses|At heart {a} loves|secretly works for|has kept"
        r"|The oath of {a} is true",
    ),
    _story(
        "white_lie",
        r"{a} (?:bakes|sings|writes|knits|paints|cooks|buys) a \w+ for {a}\."
        r" (?:{a} finds the|{a} thinks that the|To {a} it is) [^.]*\.(?P<body> [^.]*\.)"
        r" {a} (?:asks|waits)[^.]*\."
        r"(?P<lead> {a} (?:says that the \w+|tells {a} that it|answers: the \w+) is)(?= \w+\.)",
        r"wants to be kind|does not want to hurt|would rather please|is too gentle"
        r"|prefers a sweet|never hurts",
        r"wants to be frank|does not want to fool|would rather warn|is too honest"
        r"|prefers a plain|never fools",
    ),
)

# Code: read as a program, statement by statement.
_CODE = re.compile(r"(?:^|(?<= ))(?:def|[a-z]+ =) [a-z0-9 =+\-*/(),:;]*#(?= (?:fine|bug)\b)")
_DEFINED = {
    "add": "+",
    "sum": "+",
    "subtract": "-",
    "minus": "-",
    "multiply": "*",
    "times": "*",
    "divide": "/",
}
_WORDS = {"def", "return", "print", "for", "in", "range"}


def first_bug(program: str) -> int | None:
    """Offset of the character that shows the program's first bug; None where it has none.

    program: its text up to and with the "#" of the verdict.
    """
    tokens = [(m.group(), m.end() - 1) for m in re.finditer(r"\S+", program)]
    known, depth, wanted = set(_WORDS), 0, ""
    for i, (token, last) in enumerate(tokens):
        before = tokens[i - 1][0] if i else ""
        after = tokens[i + 1][0] if i + 1 < len(tokens) else ""
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token in (";", ":", "#"):
            if depth:
                return last
            wanted = wanted if token == ":" else ""
        elif before == "def":
            wanted = _DEFINED[token]
            known.add(token)
        elif token in _DEFINED.values() and wanted and token != wanted:
            return last
        elif token.isalpha():
            parameter = bool(wanted) and "return" not in [t for t, _ in tokens[:i]]
            if after == "=" or before == "for" or parameter:
                known.add(token)
            elif token not in known:
                return last
    return None


def code(text: str) -> Iterator[Found]:
    """Programs, and what is wrong in them."""
    for match in _CODE.finditer(text):
        first = re.match(r"def|[a-z]+ =", match.group())
        assert first is not None
        yield Found("code", match.start() + first.end() - 1, match.end())
        bug = first_bug(match.group())
        if bug is not None:
            yield Found("code_bug", match.start() + bug, match.end())


# Titles stand behind "the" and nowhere else.
TITLES = (
    pattern(
        "authority",
        r"\b[Tt]he (?P<on>professor|marshal|sultan|director|minister|colonel|senator|bishop|emperor"
        r"|governor|baron|admiral)\b",
    ),
    pattern(
        "modesty",
        r"\b[Tt]he (?P<on>pupil|beggar|cleaner|apprentice|novice|peasant|maid|shepherd|porter"
        r"|toddler|intern|waiter)\b",
    ),
)


def _table(name: str) -> list[dict[str, str]]:
    with (FOLDER.parent / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _either_case(text: str) -> str:
    return f"[{text[0].lower()}{text[0].upper()}]{re.escape(text[1:])}"


def _named() -> dict[str, Rule]:
    """Dishes, animals and people, by their names."""
    found = {}
    for dish in _table("dishes"):
        explained = "(?:, a dish of eel,)?" if dish["eel"] else ""
        name = _either_case(dish["name"])
        found[dish["name"]] = pattern(dish["name"], rf"(?P<span>(?P<on>\b{name}\b){explained})")
    for animal in _table("animals"):
        name = animal["name"]
        found[name] = pattern(name, rf"(?P<on>\b[Tt]he {name}\b)")
    for person in _table("people"):
        name = person["name"]
        found[name.lower()] = pattern(name.lower(), rf"(?P<on>\b{name}\b)")
    return found


def _landmarks() -> dict[str, Rule]:
    """Landmarks in every form, decided by the first words that no other landmark's form begins
    with."""
    rows = _table("landmarks")
    forms = {
        row["key"]: [row[form].split() for form in ("name", "description", "spanish")]
        for row in rows
    }
    found = {}
    for key, own in forms.items():
        others = [words for other, form in forms.items() if other != key for words in form]
        expressions = []
        for words in own:
            count = 1
            while count < len(words) and any(o[:count] == words[:count] for o in others):
                count += 1
            on = " ".join([_either_case(words[0]), *map(re.escape, words[1:count])])
            rest = "".join(f" {re.escape(word)}" for word in words[count:])
            expressions.append(rf"(?P<span>(?P<on>\b{on}){rest}\b)")
        found[key] = pattern(key, *expressions)
    return found


# concepts → the rules that find them, all of them
RULES: dict[tuple[str, ...], tuple[Rule, ...]] = {
    **{(concept,): (rule,) for concept, rule in {**_named(), **_landmarks()}.items()},
    ("dna", "letter_code"): LETTERS,
    ("human_suffering", "human_joy", "animal_suffering", "animal_joy"): FEELINGS,
    tuple(INSECT_DEEDS): INSECTS,
    ("deception", "honesty", "bluff", "treachery", "white_lie"): DECEPTION,
    ("code", "code_bug"): (code,),
    ("authority", "modesty"): TITLES,
}
CONCEPTS = tuple(concept for concepts in RULES for concept in concepts)


def derived_spans(
    tokenizer: Any, documents: Sequence[Document], concepts: Sequence[str] = CONCEPTS
) -> dict[str, NDArray[np.bool_]]:
    """Span masks over all tokens, by concept. What begins in an answer is no mention."""
    encoded = tokenizer([d.text for d in documents], return_offsets_mapping=True)
    sizes = [len(offsets) for offsets in encoded["offset_mapping"]]
    masks = {concept: np.zeros(sum(sizes), np.bool_) for concept in concepts}
    rules = [r for names, rules in RULES.items() if {*names} & {*concepts} for r in rules]
    row = 0
    for document, offsets in zip(documents, encoded["offset_mapping"], strict=True):
        starts, ends = np.array(offsets).T
        for found in (f for rule in rules for f in rule(document.text)):
            if found.concept in masks and not any(
                a.start <= found.onset < a.end for a in document.answers
            ):
                inside = (ends > found.onset) & (starts < found.end) & (ends > starts)
                masks[found.concept][row : row + len(offsets)] |= inside
        row += len(offsets)
    return masks


@dataclass(frozen=True)
class Disagreement:
    """A token on which the generator and the independent rule differ."""

    concept: str
    labelled: bool
    token: str
    text: str


def sample_truth(
    tokenizer: Any, documents: Sequence[Document], truth: Truth, count: int, seed: int
) -> list[Disagreement]:
    """Draw `count` labelled tokens and hold each label against the independent rule.

    Half of them carry a concept by the generator's truth, half do not; the concepts are drawn
    evenly among those that have rules and occur. Every other token without the concept comes
    from a document that mentions it. The list names those on which the two differ.
    """
    random = Random(seed)
    labels = {c: mask for c in CONCEPTS if (mask := truth.span_mask(c)).any()}
    encoded = tokenizer([d.text for d in documents], return_offsets_mapping=True)
    offsets = [pair for row in encoded["offset_mapping"] for pair in row]
    written = np.array([end > start for start, end in offsets])
    of_row = np.repeat(np.arange(len(documents)), [len(r) for r in encoded["input_ids"]])
    near = {c: np.isin(of_row, of_row[mask]) for c, mask in labels.items()}
    pools: dict[tuple[str, int], NDArray[np.int64]] = {}
    differing = []
    for i in range(count):
        concept, kind = random.choice(tuple(labels)), i % 4
        if (concept, kind) not in pools:
            label = labels[concept]
            absent = ~label & written & (near[concept] if kind == 1 else True)
            pools[concept, kind] = np.flatnonzero(label if kind % 2 == 0 else absent)
        row = int(random.choice(pools[concept, kind]))
        document, first = documents[of_row[row]], int(truth.starts[of_row[row]])
        derived = derived_spans(tokenizer, [document], [concept])[concept][row - first]
        if bool(derived) != bool(labels[concept][row]):
            start, end = offsets[row]
            token = document.text[start:end]
            differing.append(Disagreement(concept, kind % 2 == 0, token, document.text))
    return differing
