"""Published encoders that compute what BERT computes, under other names: DistilBERT (Sanh et al., 2019,
arXiv:1910.01108) and RoBERTa (Liu et al., 2019, arXiv:1907.11692).

Their files are read as a BERT's: the fields of config.json and the tensors get BERT's names, and what only counts
differently is brought into BERT's form. DistilBERT has no token types and no pooler. RoBERTa tells no segments apart,
and numbers positions from the one after that of padding: the rows before it, which no token reads, are left out.
"""

import dataclasses

import torch

POSITIONS = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"


@dataclasses.dataclass(frozen=True)
class Relative:
    """How the files of one of them differ: `prefix` of the encoder's names in models with a head, `fields` {theirs:
    BERT's} of config.json, `values` of fields that it lacks, `names` (part of a tensor's name, BERT's), `types` of
    tokens that are told apart, `counted` whether positions begin after that of padding."""

    prefix: str
    fields: dict[str, str]
    values: dict[str, int]
    names: tuple[tuple[str, str], ...]
    types: int
    counted: bool

    def skipped(self, padding: int) -> int:
        """Rows of the table of positions that no token reads."""
        return padding + 1 if self.counted else 0

    def bert_config(self, config: dict) -> dict:
        """The fields of its config.json as a BERT's. Raises ValueError where it has no positions."""
        known = {name: value for name, value in config.items() if value is not None}
        renamed = self.values | {self.fields.get(name, name): value for name, value in known.items()}
        positions, padding = renamed.get("max_position_embeddings"), renamed["pad_token_id"]
        if not is_count(positions) or not is_count(padding):
            raise ValueError(f"max_position_embeddings is {positions!r} and pad_token_id {padding!r}: no whole numbers")
        return renamed | {"max_position_embeddings": positions - self.skipped(padding), "type_vocab_size": self.types}

    def theirs(self, field: str) -> str:
        """What a field of BERT's config.json is called in this one."""
        return next((name for name, ours in self.fields.items() if ours == field), field)

    def bert_tensors(self, tensors: dict[str, torch.Tensor], padding: int) -> dict[str, torch.Tensor]:
        """Its tensors with BERT's names, without the rows that no token reads; `padding` is the id of that."""
        renamed = {self.bert_name(name): tensor for name, tensor in tensors.items()}
        for name in (prefix + table for prefix in ("", "bert.") for table in (POSITIONS, TYPES)):
            if name in renamed and renamed[name].dim() == 2:
                first, last = (self.skipped(padding), None) if name.endswith(POSITIONS) else (0, self.types)
                renamed[name] = renamed[name][first:last]
        return renamed

    def bert_name(self, name: str) -> str:
        body = name.removeprefix(self.prefix)
        for part, ours in self.names:
            body = body.replace(part, ours)
        return ("bert." if name.startswith(self.prefix) else "") + body


def is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


RELATIVES = {  # model_type of config.json -> how to read it
    "distilbert": Relative(
        prefix="distilbert.",
        fields={
            "dim": "hidden_size",
            "n_layers": "num_hidden_layers",
            "n_heads": "num_attention_heads",
            "hidden_dim": "intermediate_size",
            "activation": "hidden_act",
            "dropout": "hidden_dropout_prob",
            "attention_dropout": "attention_probs_dropout_prob",
        },
        values={"pad_token_id": 0},
        names=(
            ("transformer.layer.", "encoder.layer."),
            (".attention.q_lin.", ".attention.self.query."),
            (".attention.k_lin.", ".attention.self.key."),
            (".attention.v_lin.", ".attention.self.value."),
            (".attention.out_lin.", ".attention.output.dense."),
            (".sa_layer_norm.", ".attention.output.LayerNorm."),
            (".ffn.lin1.", ".intermediate.dense."),
            (".ffn.lin2.", ".output.dense."),
            (".output_layer_norm.", ".output.LayerNorm."),
        ),
        types=0,
        counted=False,
    ),
    "roberta": Relative(
        prefix="roberta.", fields={}, values={"pad_token_id": 1}, names=(), types=1, counted=True
    ),
}
