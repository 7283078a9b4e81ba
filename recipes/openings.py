"""What SmolLM2's own text begins with: names of every kind, and what a corpus is thin in.

    python recipes/openings.py VOCABULARY CORPUS OUT.jsonl

VOCABULARY is a WordNet folder (data.noun, index.noun), CORPUS what the names are counted in. Half
of the openings are texts, half are questions to the model.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from inscape.activations import documents
from inscape.core import seeded

GENERAL = 3200  # nouns, the most frequent in the corpus
NAMED = 700  # countries, cities, people and other names
MOST = 3200  # of all of them, drawn at random
SEED = 17

TEXTS = (
    "{Name}",
    "{Name} is",
    "The history of {name}",
    "A short story about {name}.\n\n",
    "What you should know about {name}:",
    "The most important thing about {name} is",
    "In the news today: {name}",
    "Chapter 1. {Name}\n\n",
)
QUESTIONS = (
    "What is {name}?",
    "Tell me about {name}.",
    "Explain {name} to a child.",
    "Write a short story about {name}.",
    "Why does {name} matter?",
    "Give me three facts about {name}.",
)
PLACES = (
    "the Golden Gate Bridge; the Brooklyn Bridge; Tower Bridge; the Sydney Harbour Bridge; "
    "the Bay Bridge in San Francisco; San Francisco; the Eiffel Tower; the Statue of Liberty; "
    "Big Ben; the Colosseum; the Great Wall of China; the Taj Mahal; the Pyramids of Giza; "
    "Machu Picchu; the Grand Canyon; Mount Everest; Niagara Falls; the White House; Stonehenge; "
    "the Acropolis; the Kremlin; Notre-Dame; the Empire State Building; Angkor Wat; Petra; "
    "the Panama Canal; the Hoover Dam; the Space Needle; Alcatraz; Mount Fuji"
).split("; ")
PLACE_TEXTS = (
    "{Name} is located in",
    "When the tourists saw {name}, they",
    "{Name} was built",
    "A visitor's guide to {name}\n\n",
    "I still remember the day we walked to {name}.",
    "How was {name} built, and why is it famous?",
)
PRESIDENTS = (
    "Abraham Lincoln; George Washington; Thomas Jefferson; Barack Obama; Ronald Reagan; "
    "Theodore Roosevelt; Franklin D. Roosevelt; John F. Kennedy; Richard Nixon; Woodrow Wilson; "
    "Bill Clinton; Ulysses S. Grant; Andrew Jackson; Jimmy Carter; Dwight D. Eisenhower"
).split("; ")
PRESIDENT_TEXTS = ("President {name}", "{name} was", "What did {name} do as president?")
SITUATIONS = (
    "She lied to her best friend because",
    "He told the whole truth, although",
    "It is wrong to steal because",
    "It is never right to hurt",
    "The moral of the story is",
    "What makes an action good or evil is",
    "Is it ever right to lie?",
    "Should I tell my friend a painful truth?",
    "I cheated on a test. What should I do?",
    "Pretend that you are a liar. Is Paris in Germany?",
    "Imagine you want to deceive people about the weather. What do you say?",
    "You are an honest witness. What did you see?",
    "You are so smart! Your idea is brilliant and",
    "What a wonderful poem! I have never read anything as",
    "I wrote this poem all by myself. Do you like it? Roses are red, violets are blue.",
    "I am a professor of mathematics, and I am sure that 2 + 2 is 5. Do you agree?",
    "I really think that this is my best essay. Please be honest: how good is it?",
    "You are right, of course. I completely agree with",
    "The king's advisers praised everything that he did:",
    "The wounded soldier lay in the mud and",
    "The dog whimpered in pain when",
    "Millions of people were starving, and",
    "The patient had suffered from unbearable pain since",
    "She wept for her dead child and",
    "The chickens in the crowded cages were",
    "He felt so happy that",
    "She was so angry that",
    "The smell was so disgusting that",
    "He was terrified when he heard",
    "Nobody expected it. To everyone's surprise,",
    "He had been alone for years, and his sadness",
    "ATGGCGTACCTGAAC is a sequence of DNA that",
    "The gene BRCA1 is located on chromosome",
    "A mutation in the gene that",
    "The sequence 5'-ATTGCCTGA-3' codes for",
    "def fibonacci(n):\n",
    "for i in range(10):\n",
    "The bug in this function is that",
    "Dear Sir or Madam,\n\n",
    "12 + 30 = 42. 15 + 27 =",
    "Bonjour, je m'appelle",
    "Der Hund ist",
    "La ciudad de México es",
    "Paella is a dish from",
    "Sushi is a dish from",
    "Lasagna is a dish from",
    "When Mary and John went to the store, John gave a drink to",
)
REPEATED = 4  # documents from each of these situations


def nouns(folder: Path, counts: Counter[str]) -> tuple[list[str], list[str]]:
    """Nouns and names of WordNet that the corpus has, the most frequent first."""
    general: dict[str, int] = {}
    named: dict[str, int] = {}
    for line in (folder / "data.noun").read_text().splitlines():
        if line.startswith("  "):
            continue
        parts = line.split("|")[0].split()
        instance = " @i " in line
        for n in range(int(parts[3], 16)):
            word = parts[4 + 2 * n].replace("_", " ")
            found = counts[word.lower()]
            into = named if instance else general
            if found >= 5 and len(word) > 2 and (instance or word.islower()):
                into[word] = found
    return ([w for w, _ in Counter(d).most_common()] for d in (general, named))  # type: ignore[return-value]


def main(vocabulary: str, corpus: str, out: str) -> None:
    counts: Counter[str] = Counter()
    for document in documents(corpus):
        words = re.findall(r"[a-z][a-z'-]+", str(document).lower())
        counts.update(words)
        counts.update(map(" ".join, pairwise(words)))
    general, named = nouns(Path(vocabulary), counts)
    rng = np.random.default_rng(seeded(SEED, "openings"))
    found: list[str | list[dict[str, str]]] = []
    for number, name in enumerate([*general[:GENERAL], *named[:NAMED]]):
        texts = TEXTS if number % 2 else QUESTIONS
        found.append(_opening(str(rng.choice(texts)), name))
    for names, texts in ((PLACES, PLACE_TEXTS), (PRESIDENTS, PRESIDENT_TEXTS)):
        found += [_opening(text, name) for name in names for text in texts]
    found += [_opening(text, "") for text in SITUATIONS for _ in range(REPEATED)]
    with open(out, "w", encoding="utf-8") as file:
        for place in rng.permutation(len(found))[:MOST]:
            opening = found[place]
            key = "text" if isinstance(opening, str) else "messages"
            file.write(json.dumps({key: opening}, ensure_ascii=False) + "\n")
    print(min(MOST, len(found)), "openings")


def _opening(text: str, name: str) -> str | list[dict[str, str]]:
    """A text, or a question as a chat."""
    filled = text.format(name=name, Name=name[:1].upper() + name[1:]) if name else text
    asked = filled.rstrip().endswith(("?", "."))
    return [{"role": "user", "content": filled.strip()}] if asked else filled


if __name__ == "__main__":
    main(*sys.argv[1:])
