"""Questions about passages: ours against transformers, from text to answers, with the same weights and windows.

python benchmarks/spans.py --data dev-v1.1.json --bert FOLDER                 1 in 20 of its questions
python benchmarks/spans.py --data dev-v1.1.json --bert FOLDER --questions 200 --repetitions 3

The peer is transformers' question-answering pipeline where the installed version has one (it is gone from version 5),
with the windows it makes itself when told the same length and overlap; and the way of its example run_qa.py, whose
steps are written out here: windows by the tokeniser, batches of 8 padded to the full length (its default) or to the
longest, and a search through 20 x 20 pairs of each window in Python. Runs take turns (A B A B), after one that is not
counted; a ratio is the median of the ratios of neighbouring runs. The head is drawn at random: how long an answer takes
does not depend on what it says. How many are the same is printed; those that differ have a beginning that has more
context in another window, or stand at the edge of rounding.
"""

import argparse
import pathlib
import statistics
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from textcls import recipes  # noqa: E402
from textcls.config import TrainConfig  # noqa: E402
from textcls.data import squad  # noqa: E402
from textcls.pretrained.backbone import published  # noqa: E402
from textcls.runtime.device import Precision, choose_device, choose_precision, prepare_cpu  # noqa: E402
from textcls.tasks import spans  # noqa: E402
from textcls.text import spans as decoding  # noqa: E402
from textcls.text.passages import place  # noqa: E402

BATCH = 8  # run_qa's --per_device_eval_batch_size
COLUMNS = ("question", "context", "answer")


clock = time.perf_counter


def main() -> None:
    global clock
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="SQuAD 1.1, such as dev-v1.1.json")
    parser.add_argument("--bert", required=True, help="folder of a BERT")
    parser.add_argument("--questions", type=int, default=0, help="drawn at random (default: 1 in 20)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--amp", default="auto", choices=("auto", "off", "bf16"), help="of ours; the peer's is fp32")
    parser.add_argument("--cpu-seconds", action="store_true", help="count those, where others use the machine too")
    arguments = parser.parse_args()
    if arguments.cpu_seconds:
        clock = time.process_time
    prepare_cpu()
    ours, *peers = make(arguments)
    threads = torch.get_num_threads()
    print(f"{len(ours.pairs)} questions, {ours.windows()} windows, {threads} threads, ours in {ours.precision.name}\n")
    compare(ours, peers, arguments.repetitions)


def make(arguments) -> list:
    torch.manual_seed(0)
    config = recipes.complete(
        TrainConfig(
            model="bert", task="spans", train=arguments.data, bert=arguments.bert, max_length=arguments.max_length,
            stride=arguments.stride, amp=arguments.amp, quiet=True,
        )
    )  # fmt: skip
    split = squad.read(arguments.data, COLUMNS)
    count = arguments.questions or len(split) // 20
    chosen = np.random.default_rng(0).permutation(len(split))[:count]
    pairs = [(split.questions[i].strip(), split.contexts[i]) for i in chosen]
    backbone = published(arguments.bert)
    model = recipes.build(config, backbone.dims, 0)
    recipes.share(config, model, backbone)
    torch.nn.init.normal_(model.qa_outputs.weight)  # logits as far apart as a trained model's
    ours = Ours(config, model, backbone.vocabulary, pairs)
    peers = [RunQa(ours, arguments.bert, padding) for padding in ("max_length", "longest")]
    return [ours, *((Pipeline(ours, arguments.bert, batch) for batch in (1, BATCH)) if has_pipeline() else ()), *peers]


def compare(ours, peers: list, repetitions: int) -> None:
    """A row a peer: how often its answers are ours, and how much faster ours come."""
    expected = ours.run()[1]
    print("| against | ratio (range) | windows/s | same answers |\n|---|---|---|---|")
    for peer in peers:
        same = np.mean([a == b for a, b in zip(peer.run()[1], expected, strict=True)])
        seconds = [(ours.run()[0], peer.run()[0]) for _ in range(repetitions)]
        ratios = [theirs / own for own, theirs in seconds]
        own, theirs = (ours.windows() / statistics.median(part) for part in zip(*seconds, strict=True))
        print(
            f"| {peer.name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{own:.1f} : {theirs:.1f} | {same:.1%} |",
            flush=True,
        )
    print(f"\nof ours, seconds: {ours.phases()}")


class Ours:
    """What `textcls.load(run).predict(pairs)` does."""

    def __init__(self, config: TrainConfig, model, vocabulary, pairs: list[tuple[str, str]]):
        self.config, self.model, self.vocabulary, self.pairs = config, model.eval(), vocabulary, pairs
        self.device = choose_device("cpu")
        self.precision: Precision = choose_precision(config.amp, self.device, "fp16")

    def batches(self) -> spans.SpanBatches:
        rows, passages, placed = spans.windows_of(*zip(*self.pairs, strict=True), self.vocabulary, self.config, place)
        return spans.SpanBatches(rows, passages, placed, None, 32, pad=self.vocabulary.pad)

    def windows(self) -> int:
        return len(self.batches().windows.starts)

    def run(self) -> tuple[float, list[str]]:
        """(seconds, answers)."""
        start = clock()
        found = spans.find_answers(self.model, self.batches(), self.device, self.precision)
        return clock() - start, [answers[0].text if answers else "" for answers in found]

    def phases(self) -> str:
        """Tokenising, all, and of it decoding."""
        spent, decode = [0.0], decoding.decode

        def timed(*arguments):
            start = clock()
            result = decode(*arguments)
            spent[0] += clock() - start
            return result

        start = clock()
        self.batches()
        tokenising = clock() - start
        spans.decode = timed
        try:
            whole = self.run()[0]
        finally:
            spans.decode = decode
        return (
            f"tokenising {tokenising:.2f}, forward passes {whole - tokenising - spent[0]:.2f}, decoding {spent[0]:.2f}"
        )


class RunQa:
    """The steps of transformers' examples/pytorch/question-answering/run_qa.py: prepare_validation_features, the model,
    postprocess_qa_predictions. The overlap is chosen for each question so that windows begin every --stride pieces."""

    def __init__(self, ours: Ours, bert: str, padding: str):
        from transformers import AutoTokenizer, BertForQuestionAnswering

        self.ours, self.padding, self.name = ours, padding, f"run_qa, padded to the {padding.replace('_', ' ')}"
        self.tokenizer = AutoTokenizer.from_pretrained(bert)
        self.model = BertForQuestionAnswering(published_config(bert)).eval()
        self.model.load_state_dict(ours.model.state_dict())

    @torch.no_grad()
    def run(self) -> tuple[float, list[str]]:
        start, features, answers = clock(), [], []
        for number, (question, context) in enumerate(self.ours.pairs):
            features += self.features(number, question, context)
        logits = []
        for begin in range(0, len(features), BATCH):
            inputs = [{name: feature[name] for name in NAMES} for feature in features[begin : begin + BATCH]]
            batch = self.tokenizer.pad(inputs, return_tensors="pt")
            output = self.model(**batch)
            logits += zip(output.start_logits.numpy(), output.end_logits.numpy(), strict=True)
        of_question: list[list] = [[] for _ in self.ours.pairs]
        for feature, both in zip(features, logits, strict=True):
            of_question[feature["question"]].append((feature["offsets"], *both))
        for (_, context), windows in zip(self.ours.pairs, of_question, strict=True):
            answers.append(best_answer(context, windows))
        return clock() - start, answers

    def features(self, number: int, question: str, context: str) -> list[dict]:
        config = self.ours.config
        room = config.max_length - 3 - len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
        encoded = self.tokenizer(
            question, context, truncation="only_second", max_length=config.max_length,
            stride=max(0, room - config.stride), return_overflowing_tokens=True, return_offsets_mapping=True,
            padding="max_length" if self.padding == "max_length" else False,
        )  # fmt: skip
        features = []
        for i, offsets in enumerate(encoded["offset_mapping"]):
            of_context = [kind == 1 for kind in encoded.sequence_ids(i)]
            kept = [pair if inside else None for pair, inside in zip(offsets, of_context, strict=True)]
            features.append({name: encoded[name][i] for name in NAMES} | {"offsets": kept, "question": number})
        return features


NAMES = ("input_ids", "attention_mask", "token_type_ids")


def best_answer(context: str, windows: list, best: int = 20, longest: int = 30) -> str:
    """The best of 20 x 20 pairs of each window, as postprocess_qa_predictions has it; it knows no most context."""
    found = []
    for offsets, start_logits, end_logits in windows:
        for start in np.argsort(start_logits)[-1 : -best - 1 : -1].tolist():
            for end in np.argsort(end_logits)[-1 : -best - 1 : -1].tolist():
                if max(start, end) >= len(offsets) or offsets[start] is None or offsets[end] is None:
                    continue
                if end < start or end - start + 1 > longest:
                    continue
                found.append((float(start_logits[start] + end_logits[end]), offsets[start][0], offsets[end][1]))
    if not found:
        return ""
    _, begin, end = max(found, key=lambda answer: answer[0])
    return context[begin:end]


def published_config(bert: str):
    from transformers import BertConfig

    return BertConfig.from_pretrained(bert)


def has_pipeline() -> bool:
    import transformers

    return hasattr(transformers, "QuestionAnsweringPipeline")


class Pipeline(RunQa):
    """pipeline("question-answering"), one window at a time, as it does unless told, or in batches. It makes windows
    by one overlap for all questions: that of a question of 12 pieces."""

    def __init__(self, ours: Ours, bert: str, batch: int):
        super().__init__(ours, bert, "longest")
        from transformers import QuestionAnsweringPipeline

        self.name = f"question-answering pipeline, batches of {batch}"
        self.pipeline = QuestionAnsweringPipeline(model=self.model, tokenizer=self.tokenizer, batch_size=batch)

    def run(self) -> tuple[float, list[str]]:
        start, config = clock(), self.ours.config
        questions, contexts = map(list, zip(*self.ours.pairs, strict=True))
        found = self.pipeline(
            question=questions, context=contexts, max_seq_len=config.max_length, max_answer_len=30,
            doc_stride=max(0, config.max_length - 15 - config.stride),
        )  # fmt: skip
        return clock() - start, [answer["answer"] for answer in found]


if __name__ == "__main__":
    main()
