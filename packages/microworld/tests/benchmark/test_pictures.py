"""Pictures beside texts: rows of patches, and a picture as one mention of a landmark."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from inscape.core import InputError
from inscape.model import Model
from inscape_microworld import FOLDER, documents, open_model
from inscape_microworld.benchmark.crossform import cross_form
from inscape_microworld.benchmark.scored import (
    Scored,
    by_feature,
    joined,
    run_documents,
    run_pictures,
)
from inscape_microworld.pictures.assemble import with_eyes, write_model
from inscape_microworld.pictures.documents import PictureDocument, picture_document

SITE, KEY = "resid_post.1", "colosseum"


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> Model:
    folder: Path = tmp_path_factory.mktemp("eyes")
    write_model(folder, *with_eyes(FOLDER, num_layers=1, d_vision=16, seed=0))
    return Model.open(folder, device="cpu")


@pytest.fixture(scope="module")
def made() -> list[PictureDocument]:
    return [picture_document(Random(i), False, kind="landmark") for i in range(900)]


@pytest.fixture(scope="module")
def both(seeing: Model, made: list[PictureDocument]) -> Scored:
    texts = list(documents(7, 3000, shares={"landmark": 1.0}))
    return joined(run_documents(open_model(), texts, [SITE]), run_pictures(seeing, made, [SITE]))


def test_patches_have_rows_of_their_own(seeing: Model, made: list[PictureDocument]) -> None:
    part = made[:5]
    scored = run_pictures(seeing, part, [SITE])
    for i, document in enumerate(part):
        inputs = seeing.prompt(document.document.text, document.picture.pixels)
        rows = scored.documents == i
        assert scored.tokens[rows].tolist() == inputs.tokens[0].tolist()
        alone = seeing.run(inputs, read=[SITE])[SITE][0]
        assert torch.allclose(scored.site(SITE)[torch.from_numpy(rows)], alone, atol=1e-4)


def test_joined_documents_keep_their_truth(both: Scored, made: list[PictureDocument]) -> None:
    assert len(both.tokens) == len(both.documents) == both.truth.num_tokens
    assert both.num_documents == 3000 + len(made) == both.documents.max() + 1
    shown = both.truth.span_mask(KEY, "picture")
    assert set(both.tokens[shown]) == {both.tokens[both.documents == 3000][1]}  # the image token
    assert (both.documents[shown] >= 3000).all()
    assert (both.documents[both.truth.span_mask(KEY, "name")] < 3000).all()


@pytest.mark.parametrize(("forms", "holds"), [(("picture", None), True), ((None,), False)])
def test_a_picture_is_one_mention_however_its_patches_lie(
    both: Scored, forms: tuple[str | None, ...], holds: bool
) -> None:
    mask = np.zeros(len(both.tokens), np.bool_)
    for form in ("name", "description", "spanish"):
        mask |= both.truth.span_mask(KEY, form)
    if "picture" in forms:  # one patch of each picture is enough
        shown = np.flatnonzero(both.truth.span_mask(KEY, "picture"))
        mask[shown[np.unique(both.documents[shown], return_index=True)[1]]] = True
    rows = np.flatnonzero(mask).astype(np.int32)
    system = by_feature(
        "planted", 1, [(rows, np.zeros(len(rows), np.int32), np.ones(len(rows), np.float32))]
    )
    found = {m.landmark: m for m in cross_form(both, system).landmarks}[KEY]
    assert set(found.recalls) == {"name", "description", "spanish", "picture"}
    pictures = np.unique(both.documents[both.truth.span_mask(KEY, "picture") & ~both.selection])
    assert found.recalls["picture"].total == len(pictures)
    assert found.holds is holds


def test_a_model_without_eyes_and_no_pictures_are_refused(made: list[PictureDocument]) -> None:
    with pytest.raises(InputError, match="reads no pictures"):
        run_pictures(open_model(), made[:2], [SITE])
    with pytest.raises(InputError, match="no pictures"):
        run_pictures(open_model(), [], [SITE])
