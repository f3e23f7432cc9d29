"""DistilBERT and RoBERTa: read as the BERTs that compute the same, and trained like these."""

import json

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from textcls import Bert, load_bert
from textcls.pretrained.backbone import dims_of, published
from textcls.pretrained.relatives import RELATIVES
from textcls.pretrained.safetensors import write_safetensors
from textcls.runtime.errors import InputError
from textcls.text.sequences import assemble
from textcls.text.vocabulary import Vocabulary
from textcls.text.word_dropout import WordDropout

TEXTS = [
    "The red sky, and the blue sea.",
    " don't look  at é ü 漢字 😀 it<mask> ",
    "<s>\n\ttabs</s> and\u00a0more\r\nlines",
    "",
    "Ġ is a letter",
    "a red sea and the sky",
]
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 80,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 24,
    "max_position_embeddings": 32,
}
ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 400,
    **SHAPE,
    "max_position_embeddings": 34,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
PAIRS = "a,b,y\n" + "".join(f"{a} {a},{b},{y}\n" for a, b, y in [("red", "sky", "x"), ("blue", "sea", "z")] * 6)
TAGS = "the O\nred B-X\nsky O\n\nblue B-X\nsea O\n\n" * 6
SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "The sky is red and the sea is very blue.",
                    "qas": [
                        {"id": f"q{i}", "question": f"{i} what?", "answers": [{"text": a, "answer_start": s}]}
                        for i, (a, s) in enumerate([("red", 11), ("blue", 35)] * 4)
                    ],
                }
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run: training files, and both backbones with random weights."""
    folder = tmp_path_factory.mktemp("relatives")
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "tags.conll").write_text(TAGS)
    (folder / "squad.json").write_text(json.dumps(SQUAD))
    (folder / "plain.txt").write_text("red sky\nblue sea\n\nsea sky\nred red\n" * 8)
    write(folder / "distilbert", DISTILBERT, distilbert_tensors())
    write(folder / "roberta", ROBERTA, roberta_tensors())
    return folder


def write(folder, config, tensors):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(tensors, folder / "model.safetensors")
    if config["model_type"] == "roberta":
        write_bytes_pieces(folder)
    else:
        Vocabulary.learn(["red blue sky sea"] * 3, 60).publish(folder)
    return folder


def write_bytes_pieces(folder):
    """vocab.json and merges.txt."""
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(TEXTS * 5, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    made.save_model(str(folder))


def random_bert(types: int, vocab_size: int, positions: int = 32) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shape = SHAPE | {"type_vocab_size": types, "vocab_size": vocab_size, "max_position_embeddings": positions}
    return Bert(type(dims_of("bert-base-uncased"))(**shape), pooler=False).state_dict()


def distilbert_tensors() -> dict[str, torch.Tensor]:
    """As transformers' DistilBertForMaskedLM names them, written from its documentation and not from our table."""
    tensors = {}
    for name, tensor in random_bert(0, 80).items():
        for ours, theirs in {
            "encoder.layer": "transformer.layer",
            "attention.self.query": "attention.q_lin",
            "attention.self.key": "attention.k_lin",
            "attention.self.value": "attention.v_lin",
            "attention.output.dense": "attention.out_lin",
            "attention.output.LayerNorm": "sa_layer_norm",
            "intermediate.dense": "ffn.lin1",
            "output.dense": "ffn.lin2",
            "output.LayerNorm": "output_layer_norm",
        }.items():
            name = name.replace(ours, theirs)
        tensors["distilbert." + name] = tensor
    return tensors | {"vocab_projector.bias": torch.zeros(80), "vocab_transform.bias": torch.zeros(16)}


def roberta_tensors() -> dict[str, torch.Tensor]:
    """Two rows that no token reads stand before the positions."""
    tensors = {"roberta." + name: tensor for name, tensor in random_bert(1, 400).items()}
    table = tensors["roberta.embeddings.position_embeddings.weight"]
    tensors["roberta.embeddings.position_embeddings.weight"] = torch.cat([torch.full((2, 16), 7.0), table])
    return tensors | {"roberta.embeddings.position_ids": torch.arange(34)[None], "lm_head.bias": torch.zeros(400)}


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, types, vocab_size", [("distilbert", 0, 80), ("roberta", 1, 400)])
def test_tensors_get_berts_names(folder, name, types, vocab_size):
    bert = load_bert(folder / name)
    expected = random_bert(types, vocab_size)
    assert bert.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in bert.state_dict().items())
    assert bert.pooler is None
    description = published(str(folder / name)).description
    assert description.startswith(f"{name}: 2 layers, hidden 16, ") and "left out" not in description


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForSequenceClassification"])
@pytest.mark.parametrize("kind", ["DistilBert", "Roberta"])
def test_hidden_states_equal_those_of_transformers(tmp_path, kind, head):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    fields = {k: v for k, v in (DISTILBERT if kind == "DistilBert" else ROBERTA).items() if k != "model_type"}
    theirs = getattr(transformers, kind + head)(getattr(transformers, kind + "Config")(**fields)).eval()
    for parameter in theirs.parameters():  # LayerNorms and biases too, and longer than they begin
        parameter.data = torch.randn_like(parameter) * 0.3
    theirs.save_pretrained(tmp_path)
    ours = load_bert(tmp_path)
    ids, mask = torch.randint(5, 80, (3, 32)), torch.ones(3, 32, dtype=torch.int64)
    for row, length in enumerate((32, 9, 1)):
        mask[row, length:], ids[row, length:] = 0, fields.get("pad_token_id", 0)
    body = theirs if head == "Model" else getattr(theirs, kind.lower())
    with torch.no_grad():
        expected = body(input_ids=ids, attention_mask=mask)
        hidden, pooled = ours(ids, mask, torch.ones_like(ids))  # segments are not read
    difference = (hidden - expected.last_hidden_state)[mask.bool()].abs().max()
    assert difference < 2e-5
    if ours.pooler is not None:
        assert (pooled - expected.pooler_output).abs().max() < 2e-5


def test_a_row_too_short_for_its_padding_is_an_error(tmp_path):
    with pytest.raises(InputError, match="max_position_embeddings must be from 1 to 2147483647, got 0"):
        load_bert(write(tmp_path / "a", ROBERTA | {"max_position_embeddings": 2}, {}))
    with pytest.raises(InputError, match="max_position_embeddings is 'many' and pad_token_id 1: no whole numbers"):
        load_bert(write(tmp_path / "b", ROBERTA | {"max_position_embeddings": "many"}, {}))
    with pytest.raises(InputError, match="not the config.json of a BERT: it has no n_heads"):
        load_bert(write(tmp_path / "c", {k: v for k, v in DISTILBERT.items() if k != "n_heads"}, {}))


@pytest.mark.parametrize("kind", ["albert", "xlm-roberta", "electra", "modernbert"])
def test_other_architectures_are_refused_by_name(tmp_path, kind):
    folder = write(tmp_path / "a", DISTILBERT, distilbert_tensors())
    (folder / "config.json").write_text(json.dumps(DISTILBERT | {"model_type": kind}))
    with pytest.raises(InputError, match=f"model_type is '{kind}', supported: 'bert', 'distilbert', 'roberta'"):
        load_bert(folder)


def test_the_table_names_every_parameter_count():
    """As their authors give them, without heads; RoBERTa's two rows that nobody reads are left out."""
    for name, count in {"distilbert-base-uncased": 66_362_880, "roberta-base": 124_055_040 - 2 * 768}.items():
        with torch.device("meta"):
            bert = Bert(dims_of(name), pooler=False)
        assert sum(p.numel() for p in bert.parameters()) == count, name
    assert dims_of("FacebookAI/roberta-large").hidden_size == 1024
    assert set(RELATIVES) == {"distilbert", "roberta"}


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["vocab.json", "tokenizer.json"])
@pytest.mark.parametrize("blank", [None, False, True])
def test_pieces_of_bytes_are_those_of_transformers(tmp_path, file, blank):
    transformers = pytest.importorskip("transformers", "5")
    write_bytes_pieces(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(ROBERTA))
    settings = {"tokenizer_class": "RobertaTokenizer"} | ({} if blank is None else {"add_prefix_space": blank})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if file == "tokenizer.json":
        theirs.save_pretrained(tmp_path)
        (tmp_path / "vocab.json").unlink(missing_ok=True)
        (tmp_path / "merges.txt").unlink(missing_ok=True)
        assert (tmp_path / file).is_file()
    ours = Vocabulary.from_folder(tmp_path)
    alone = assemble([ours.encode(TEXTS)], ours, 200)
    pairs = assemble([ours.encode(TEXTS), ours.encode(TEXTS[::-1])], ours, 200)
    for i, text in enumerate(TEXTS):
        assert alone.rows[i].tolist() == theirs(text)["input_ids"], text
        assert pairs.rows[i].tolist() == theirs([text], [TEXTS[-1 - i]])["input_ids"][0], text
    short = assemble([ours.encode(TEXTS), ours.encode(TEXTS[::-1])], ours, 12)
    for i, text in enumerate(TEXTS):
        both = theirs([text], [TEXTS[-1 - i]], truncation="longest_first", max_length=12)["input_ids"][0]
        assert len(short.rows[i]) == len(both) and short.rows[i][0] == both[0] and short.rows[i][-1] == both[-1]
    words = ["red", "sky,", "é漢字", "<s>", "<s>red", "red</s>"]
    split = transformers.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True)
    expected = [split([word], is_split_into_words=True, add_special_tokens=False)["input_ids"] for word in words]
    assert [pieces.tolist() for pieces in ours.encode_words(words)] == expected


def test_a_saved_vocabulary_is_the_same_one(tmp_path, folder):
    ours = Vocabulary.from_folder(folder / "roberta")
    assert (ours.cls, ours.pad, ours.sep, ours.unk, ours.mask) == (0, 1, 2, 3, 4)
    assert (ours.begin, ours.between, ours.end) == ((0,), (2, 2), (2,))
    ours.save(tmp_path)
    again = Vocabulary.from_folder(tmp_path)
    assert again.digest == ours.digest and again.between == ours.between
    assert [p.tolist() for p in again.encode(TEXTS)] == [p.tolist() for p in ours.encode(TEXTS)]


def test_word_dropout_leaves_out_whole_words_of_bytes(folder):
    ours = Vocabulary.from_folder(folder / "roberta")
    row = assemble([ours.encode(["the red sky and the blue sea"])], ours, 60)
    dropout = WordDropout.of(0.5, 1, ours)
    for epoch in range(20):
        left = dropout.thinned(row, np.array([0]), np.array([epoch])).rows[0]
        text = Tokenizer.from_str(ours.tokenizer.to_str()).decode(left.tolist())
        assert set(text.split()) <= {"the", "red", "sky", "and", "blue", "sea"}, text
        assert left[0] == ours.cls and left[-1] == ours.sep and len(left) > 2


@pytest.mark.parametrize("broken", [{"vocab.json": "{"}, {"vocab.json": "[]"}, {"merges.txt": "#v\na\n"}])
def test_damaged_pieces_are_an_error(tmp_path, broken):
    write_bytes_pieces(tmp_path)
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"vocab.json and merges.txt: no byte-level BPE \("):
        Vocabulary.from_folder(tmp_path)


def test_a_vocabulary_that_lacks_its_marks_is_an_error(tmp_path):
    write_bytes_pieces(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({k: v for k, v in vocab.items() if k != "<s>"}))
    with pytest.raises(InputError, match="vocab.json: lacks the special tokens <s>"):
        Vocabulary.from_folder(tmp_path)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["distilbert", "roberta"])
@pytest.mark.parametrize("model", ["bert", "bilstm", "bert-lstm"])
def test_every_model_stands_on_them(call, name, model):
    units = " --hidden 8" * model.endswith("lstm")
    common = f"--model {model}{units} --bert {name} --train pairs.csv --label-column y --dev 0.3 --epochs 1"
    common += " --max-length 16"
    for columns in ("a", "a,b"):
        out = f"{name}-{model}-{len(columns)}"
        said = call("train", *common.split(), "--text-column", columns, "--test", "pairs.csv", "--out", out)
        assert ("its weights have no pooler, which begins at random" in said) == (model == "bert")
        call("evaluate", out)


@pytest.mark.parametrize("name", ["distilbert", "roberta"])
def test_tags_and_answers(call, folder, name):
    common = f"--model bert --bert {name} --epochs 1 --max-length 24 --dev 0.3"
    call("train", *f"--task tagging {common} --train tags.conll --test tags.conll --out {name}-tags".split())
    call("train", *f"--task spans {common} --train squad.json --dev squad.json --out {name}-spans".split())
    answers = json.loads(call("evaluate", f"{name}-spans", "--predict", "squad.json"))
    context = SQUAD["data"][0]["paragraphs"][0]["context"]
    assert len(answers) == 8 and all(answer in context for answer in answers.values())


@pytest.mark.parametrize("name", ["distilbert", "roberta"])
@pytest.mark.parametrize("scratch", [(), ("--scratch",)])
def test_pre_training_goes_on_with_berts_alone(call, name, scratch):
    options = f"--task pretrain --model bert --bert {name} --train plain.txt --dev 0.2 --out {name}-on".split()
    error = call("train", *options, *scratch, status=2)
    assert f"--bert {name}: a {name}; --task pretrain trains BERTs, and goes on with no other model" in error


@pytest.mark.parametrize("name", ["distilbert", "roberta"])
def test_their_shape_at_random_and_their_plan(call, name):
    common = f"--model bert --bert {name} --train pairs.csv --text-column a,b --label-column y --max-length 16".split()
    call("train", *common, "--dev", 0.3, "--epochs", 1, "--scratch", "--out", f"{name}-random")
    assert "hidden 16" in call("train", *common, "--plan")
