"""What the middle dictionary of SmolLM2's atlas keeps of the model, on documents held out.

The atlas is that of the variable INSCAPE_ATLAS; of its dictionaries of the residual stream the one
in the middle is measured, over ../shared/data/corpus/heldout.jsonl.gz.
"""

from __future__ import annotations

from benchmarks.atlas.concepts import SHARED, opened
from benchmarks.measurement import Absent, Measurement, Run
from inscape_microworld.benchmark import Check, Row

HELD_OUT = SHARED / "corpus" / "heldout.jsonl.gz"
TOKENS = 40_000


def dictionary(run: Run) -> Row:
    """Loss recovered, FVU, L0 and dead share; beside them sparse probing and absorption."""
    atlas = opened()
    if not HELD_OUT.is_file():
        raise Absent(f"it needs {HELD_OUT}")
    names = [name for name in atlas.dictionary_names if name.startswith("resid_post")]
    name = names[len(names) // 2]
    (found,) = atlas.validate(HELD_OUT, [name], max_tokens=TOKENS, seed=run.seed, save=False)
    kept = found.fidelity
    dead = float("nan") if found.dead_share is None else found.dead_share
    detail: dict[str, object] = {"dictionary": name}
    if found.probing is not None:
        detail["sparse probing, accuracy of 1 and 5 features, of the site"] = [
            round(value, 3) for value in (*map(found.probing.mean, (1, 5)), found.probing.mean())
        ]
    if found.absorption is not None:
        detail["absorption, mean fraction and full"] = [
            round(value, 3) for value in (found.absorption.fraction, found.absorption.full)
        ]
    return Row(
        "atlas-dictionary",
        "what the middle dictionary keeps of SmolLM2",
        (
            Check(
                "loss recovered (mean floor)",
                kept.loss_recovered_mean,
                "≥ 0.97",
                kept.interval.get("loss_recovered_mean"),
            ),
            Check("FVU", kept.fvu, "≤ 0.14", kept.interval.get("fvu")),
            Check("dead share", dead, "≤ 0.05"),
            Check("active features per token (L0)", kept.l0, "≤ 48", kept.interval.get("l0")),
            Check("KL, nats", kept.kl, "", kept.interval.get("kl")),
        ),
        f"{kept.num_tokens} tokens of {kept.num_documents} held-out documents; dead share over "
        f"{found.index_tokens} indexed tokens",
        seed=run.seed,
        detail=detail,
    )


FIGURES = {"atlas-dictionary": Measurement(dictionary)}
