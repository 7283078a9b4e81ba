"""circuit-tracer's side of peers.py, run by a Python that has it: FOLDER TOKENS."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace


def main(folder: Path, tokens: int) -> None:
    """Prints seconds, gigabytes above model and transcoders, and nodes."""
    import torch
    from circuit_tracer.attribution.attribute import attribute
    from circuit_tracer.graph import prune_graph
    from circuit_tracer.replacement_model.replacement_model_transformerlens import (
        TransformerLensReplacementModel,
    )
    from circuit_tracer.transcoder.activation_functions import TopK
    from circuit_tracer.transcoder.single_layer_transcoder import (
        SingleLayerTranscoder,
        TranscoderSet,
    )
    from safetensors.torch import load_file
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
    from transformers import GPT2LMHeadModel

    shape = json.loads((folder / "shape.json").read_text())
    hugging = GPT2LMHeadModel.from_pretrained(folder / "model")
    config = HookedTransformerConfig(
        n_layers=shape["layers"],
        d_model=shape["d_model"],
        n_ctx=512,
        d_head=shape["d_model"] // shape["heads"],
        n_heads=shape["heads"],
        d_mlp=4 * shape["d_model"],
        d_vocab=shape["vocabulary"],
        act_fn="gelu_new",
        normalization_type="LN",
        original_architecture="GPT2LMHeadModel",
        device="cpu",
    )
    model = TransformerLensReplacementModel(config)
    model.load_state_dict(convert_gpt2_weights(hugging, config), strict=False)
    del hugging
    parts = {}
    for layer in range(shape["layers"]):
        part = SingleLayerTranscoder(
            shape["d_model"],
            shape["features"],
            TopK(shape["active"]),
            layer,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        part.load_state_dict(load_file(folder / f"transcoder-{layer}.safetensors"))
        parts[layer] = part
    model._configure_replacement_model(TranscoderSet(parts, "mlp.hook_in", "mlp.hook_out"))
    ids = torch.tensor(shape["ids"][:tokens])
    model.tokenizer = SimpleNamespace(  # the first token stands for one that begins the text
        all_special_ids=[int(ids[0])],
        decode=str,
        bos_token_id=int(ids[0]),
        padding_side="right",
        vocab_size=shape["vocabulary"],
    )
    before = resident()
    start = time.perf_counter()
    graph = attribute(ids, model, max_feature_nodes=shape["budget"])
    prune_graph(graph)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {"seconds": seconds, "gb": peak - before, "features": len(graph.selected_features)}
        )
    )


def resident() -> float:
    """Memory of this process now, GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
