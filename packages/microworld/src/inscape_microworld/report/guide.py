"""What the page tells a newcomer: its conventions, and how to read each of its parts."""

from __future__ import annotations

from collections.abc import Mapping

HOW_TO_READ = (
    "A dictionary takes a model's activations apart into features, each of which fires on few "
    "tokens. A feature is written dictionary/index; the label beside it, in quotes, is a short "
    "guess at what it stands for.",
    "Tokens are the pieces of text that the model reads; ␣ is a space that belongs to one, ↵ a "
    "line end. A logit is the model's score for a next token: one logit more makes that token "
    "e ≈ 2.7 times as likely against the others.",
    "In text examples the shade of a token is the feature's activation on it; the strongest token "
    "is bold and underlined. Where there is a pointer, resting it on a token or on a box of a "
    "graph shows the figure; the tables beneath hold the same figures.",
    "Every figure stands with its 95 % interval where one was computed, and with the bar that it "
    "was to reach: ✓ passed, ✗ short. – was not measured. Features and thresholds are chosen on "
    "one half of the documents or prompts and judged on the other.",
)

GUIDES: Mapping[str, str] = {
    "dictionaries": "Each dictionary rewrites what one site of the model computes as a sum of few "
    "features; one whose site reads a → b is a transcoder and rewrites the step from a to b. It "
    "is good where little of the activations is left unexplained (FVU near 0), where the model "
    "predicts almost as well on the rewritten activations (loss recovered near 1, of which 0 is "
    "the site set to zero or to its mean; extra loss near 0), and where few features are dead, "
    "which is: never fire.",
    "concepts": "For each concept, the one feature that tells it best. AUROC is the chance that "
    "the feature is stronger on a mention than elsewhere: 1 is perfect, 0.5 is a coin. Precision "
    "is the share of what it marks that is the concept, recall the share of mentions that it "
    "marks, F1 joins both. Then come the texts on which it is strongest, and the next tokens "
    "whose logits it moves most, in logits per unit of its activation.",
    "traces": "How one answer came about. The prompt's tokens stand at the bottom, the layers "
    "above them, the answer on top; a box is a feature that was active on the token beneath it, "
    "a dashed box what the dictionaries miss there. Follow the wide lines from the answer back "
    "to the tokens.",
    "diagnosis": "Why the model gives a wrong answer. Features are removed one at a time, and a "
    "set whose removal brings the right answer back is looked for. The verdict rests on what that "
    "set changes: on prompts that had no part in finding it, beside random features of like "
    "strength as control, and on prompts that should stay as they are.",
    "steering": "What the model says when features are turned up or down while it writes. An "
    "effect counts only beside its price in fluency and beside the other ways to get it.",
    "validation": "Every figure of this page that had a bar to reach, and what it rests on.",
}
