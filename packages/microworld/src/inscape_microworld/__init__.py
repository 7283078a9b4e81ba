"""The microworld: bundled models and corpora in which the truth is known."""

from inscape_microworld.bundle import (
    FOLDER,
    IMAGES,
    card,
    corpus,
    open_image_model,
    open_model,
    write_corpus,
)
from inscape_microworld.corpus import documents, held_out_documents
from inscape_microworld.document import Document
from inscape_microworld.faults import Fault, FaultPrompt, Prompt, fault
from inscape_microworld.truth import Truth, token_truth

__all__ = [
    "FOLDER",
    "IMAGES",
    "Document",
    "Fault",
    "FaultPrompt",
    "Prompt",
    "Truth",
    "card",
    "corpus",
    "documents",
    "fault",
    "held_out_documents",
    "open_image_model",
    "open_model",
    "token_truth",
    "write_corpus",
]
