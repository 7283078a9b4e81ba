"""What the page tells a newcomer: its terms, and how to read each of its parts."""

from __future__ import annotations

from collections.abc import Mapping

LEAD = (
    "A language model computes with long lists of numbers, its activations. Dictionaries rewrite "
    "them as sums of features, each of which stands for something that a person can name. This "
    "page shows which features were found, and what was learned with them."
)
TERMS: Mapping[str, str] = {
    "token": "A piece of text that the model reads or writes: a word, a part of one, a sign. ␣ is "
    "a space that belongs to the token, ↵ a line end, ⇥ a tab, <0xEB> a byte, only part of a "
    "character. Names in <|…|> are special tokens, such as <|endoftext|>, which stands between "
    "documents.",
    "feature": "A direction in the model's activations that is active on few tokens. It is written "
    "dictionary/number, such as resid_post.14/692; the words after it are its label, a short guess "
    "by a program at what it stands for, tested on other texts (50 % right is chance). Where it "
    "has none, “tokens:” and the tokens that it is most active on stand there.",
    "activation": "How strongly a feature is present on a token; 0 on most. In text examples, the "
    "darker a token is shaded the stronger the feature is active on it.",
    "site": "A place in the model where activations are read. The residual stream (resid_post.14: "
    "after layer 14) carries everything from layer to layer; each layer's MLP (mlp_in.5 to "
    "mlp_out.5) adds to it.",
    "logit": "The model's score for a possible next token. One logit more makes that token about "
    "2.7 times as likely, compared with the others.",
    "95 % interval": "In brackets after a figure: where its true value probably lies, given how "
    "many cases it was measured on. – means: not measured.",
}
GUIDES: Mapping[str, str] = {
    "dictionaries": "Each row is one dictionary. It is good if little of the activations is left "
    "unexplained (unexplained variance near 0), if the model predicts almost as well when its "
    "activations are replaced by the dictionary's (loss recovered near 100 %), and if few features "
    "are dead, that is, never active. Fewer active features per token are easier to read.",
    "checks": "Whether features know a concept: one feature, or up to three, tell the texts that "
    "match it from texts that do not, chosen on half of the texts and judged on the other. AUROC "
    "is the chance that a matching text scores above another: 1 is perfect, 0.5 is chance. Beside "
    "it: what one channel of the residual stream, one neuron and one token can do, and a linear "
    "probe, which may use the whole stream.",
    "prompts": "What the model has in mind while it reads a prompt, token by token. Those features "
    "that seem to matter most to the next token were removed one by one, and the model was run "
    "again: what it then says is measured.",
    "features": "Open a feature to see how well its name holds, the texts on which it is active "
    "from strongly to weakly, the next tokens that it makes more or less likely, and the features "
    "near it.",
    "traces": "How an answer came about. The prompt's tokens stand at the bottom, the layers above "
    "them, the answer at the top. A box is a feature that was active on the token in its column; a "
    "dashed box is an error: what the dictionaries miss there. Follow the wide lines from the "
    "answer back to the tokens.",
    "diagnoses": "Why the model gives a wrong answer. Features are removed while the model reads "
    "the prompt, first one at a time; then a set is searched whose removal brings the correct "
    "answer back. Random features that are about as active are removed for comparison: if that "
    "helps as much, the features found explain nothing.",
    "steering": "What the model writes when features are changed while it writes, next to what it "
    "writes without the change. The loss is the unchanged model's, in nats per token: the higher, "
    "the less natural it finds the text.",
}
EMPTY: Mapping[str, str] = {
    "dictionaries": "inscape build MODEL --text TEXT --out ATLAS, or "
    "inscape import SOURCE --into ATLAS",
    "features": "inscape index ATLAS --text TEXT, then inscape label ATLAS",
    "checks": "inscape check ATLAS",
    "prompts": 'inscape concepts ATLAS "a prompt"',
    "traces": 'inscape trace ATLAS "a prompt", where inscape build has trained transcoders',
    "diagnoses": 'inscape diagnose ATLAS "a prompt" --correct " answer"',
    "steering": 'inscape steer ATLAS "a prompt" --feature resid_post.14/692',
}
