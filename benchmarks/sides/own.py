"""inscape's side of peers.py: run with FOLDER TOKENS."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path


def main(folder: Path, tokens: int) -> None:
    """Prints seconds, gigabytes above model and transcoders, and nodes."""
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2LMHeadModel

    from inscape.attribution import trace
    from inscape.dictionary import Dictionary, DictionaryConfig
    from inscape.model import Model

    shape = json.loads((folder / "shape.json").read_text())
    model = Model.wrap(GPT2LMHeadModel.from_pretrained(folder / "model").eval())
    made = {}
    for layer in range(shape["layers"]):
        config = DictionaryConfig(
            kind="topk",
            site_in=f"mlp_in.{layer}",
            site_out=f"mlp_out.{layer}",
            d_in=shape["d_model"],
            d_out=shape["d_model"],
            d_dict=shape["features"],
            k=shape["active"],
            subtract_b_dec=False,
        )
        weights = load_file(folder / f"transcoder-{layer}.safetensors")
        made[layer] = Dictionary(config, weights, name=f"mlp.{layer}")
    ids = shape["ids"][:tokens]
    model.run(torch.tensor([ids[:8]]), logits="last")
    for dictionary in made.values():  # weights are mapped from their file until they are used
        assert all(bool(x.isfinite().all()) for x in dictionary.weights.values())
    before = resident()
    start = time.perf_counter()
    graph = trace(model, ids, made, max_features=shape["budget"], verified=0)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    nodes = sum(node.kind == "feature" for node in graph.nodes)
    print(json.dumps({"seconds": seconds, "gb": peak - before, "features": nodes}))


def resident() -> float:
    """Memory of this process now, GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
