"""Graph files as other tools write them: small ones, made up, with the fields that those have."""

from __future__ import annotations

from typing import Any

from inscape.attribution.viewer import pair

Row = dict[str, Any]
TOKENS = ["<bos>", "1", "2", "3"]


def feature(layer: int, number: int, position: int, /, **fields: Any) -> Row:
    """A feature as circuit-tracer writes it."""
    return {
        "node_id": f"{layer}_{number}_{position}",
        "feature": pair(layer, number),
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": "cross layer transcoder",
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{layer}_{number}-0",
        "clerp": "",
        "influence": 0.4,
        "activation": 5.5,
        **fields,
    }


def other(id: str, kind: str, position: int, **fields: Any) -> Row:
    """A node of another type."""
    node = {
        **feature(0, 0, position),
        "node_id": id,
        "feature": -1,
        "layer": id.partition("_")[0],
        "feature_type": kind,
        "jsNodeId": f"{id}-0",
        "activation": None,
    }
    return {**node, **fields}


def circuit_tracer() -> Row:
    """Two logits, three features, an error, the tokens."""
    tokens = [
        other(f"E_{20 + n}_{n}", "embedding", n, feature=n, influence=0.1 * n) for n in range(4)
    ]
    logits = [
        other(
            f"27_{token}_3",
            "logit",
            3,
            feature=token,
            token_prob=share,
            influence=None,
            is_target_logit=share > 0.2,
            clerp=f'Output "{text}" (p={share:.3f})',
        )
        for token, text, share in ((704, " four", 0.233), (706, '"six"', 0.142))
    ]
    links = [
        ("E_20_0", "0_18753_3", -2.4),
        ("E_23_3", "0_18753_3", 9.75),
        ("E_21_1", "13_82873_3", 0.9),
        ("0_18753_3", "13_82873_3", 2.5),
        ("13_82873_3", "20_93988_3", 1.7),
        ("24_-1_3", "27_704_3", -1.5),
        ("20_93988_3", "27_704_3", 2.7),
        ("20_93988_3", "27_706_3", -0.5),
        ("E_23_3", "27_706_3", 16.0),
    ]
    return {
        "metadata": {
            "slug": "one-two-three",
            "scan": "gemma-2-2b",
            "transcoder_list": [],
            "prompt_tokens": list(TOKENS),
            "prompt": "<bos>123",
            "node_threshold": 0.5,
            "schema_version": 1,
            "info": {"generator": {"name": "circuit-tracer", "version": "1"}},
            "generation_settings": {"max_n_logits": 5},
            "pruning_settings": {"node_threshold": 0.5, "edge_threshold": 0.8},
        },
        "qParams": {
            "pinnedIds": ["13_82873_3", "27_704_3"],
            "supernodes": [["counting", "13_82873_3", "20_93988_3"]],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [
            feature(0, 18753, 3),
            feature(13, 82873, 3, clerp="numbers\x1b[31m in order"),
            feature(20, 93988, 3),
            other("24_-1_3", "mlp reconstruction error", 3),
            *tokens,
            *logits,
        ],
        "links": [{"source": s, "target": t, "weight": w} for s, t, w in links],
    }


def neuronpedia() -> Row:
    """A graph with attention replaced, as Neuronpedia writes it: ids with words, layers that are
    numbers, features that are null, explanations of queries and keys, types without a place."""
    told = {
        "pair_wise_contributors": [["E_20_0", "2_bias_attn_bO_1", 0.5]],
        "top_q_marginal_contributors": [["E_20_0", 0.5]],
        "top_k_marginal_contributors": [["1_cro_9_2", 0.1]],
    }
    nodes = [
        other("E_20_0", "embedding", 0, feature=None, clerp='Emb: "<bos>"', token="<bos>"),
        # out of order: what is above stands first
        feature(2, 30, 3, node_id="2_cro_30_3", layer=2, clerp=f"F{pair(2, 30)}"),
        feature(
            2,
            30,
            3,
            node_id="2_lor_30_3",
            layer=2,
            feature_type="lorsa",
            clerp="looks back",
            qk_tracing_results=told,
        ),
        other("1_error_attn_3", "lorsa error", 3, layer=1, feature=None),
        other("1_error_mlp_3", "mlp reconstruction error", 3, layer=1, feature=None),
        other("2_bias_attn_bO_1", "bias", 1, layer=2, feature=None),
        other("2_unknown_blocks_2_x_1", "unknown", 1, layer=2, feature=None),
        other(
            "4_55_3", "logit", 3, layer=4, feature=55, clerp='Logit "x" (p=0.250)', token_prob=None
        ),
    ]
    links = [
        ("E_20_0", "2_lor_30_3", 1.0),
        ("2_lor_30_3", "2_cro_30_3", 2.0),
        ("2_bias_attn_bO_1", "2_lor_30_3", 0.3),
        ("2_unknown_blocks_2_x_1", "2_cro_30_3", 0.2),
        ("1_error_attn_3", "2_cro_30_3", 0.1),
        ("1_error_mlp_3", "2_cro_30_3", -0.1),
        ("2_cro_30_3", "4_55_3", 3.0),
        ("1_cro_9_2", "4_55_3", 9.0),
    ]
    graph = circuit_tracer()
    graph["metadata"]["feature_details"] = {
        "neuronpedia_source_set": "scope-tc",
        "neuronpedia_lorsa_source_set": "scope-lorsa",
    }
    return {
        **graph,
        "nodes": nodes,
        "links": [{"source": s, "target": t, "weight": w} for s, t, w in links],
        "qk_only_nodes": {"1_cro_9_2": {"node_id": "1_cro_9_2"}},
    }
