"""How much a biLM still knows of its language after it was tuned for something else.

python benchmarks/forgetting.py runs/elmo-lm TEXT RUN RUN ...

Prints the perplexity on TEXT, in both directions, of the language model, and of the same with the biLM of each RUN (an
elmo-bilstm that was trained with --encoder tune) in the place of its own. The softmax stays the language model's.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import textcls  # noqa: E402
from textcls.report.text import table  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run of --task lm --model elmo")
    parser.add_argument("text", help="plain text that it was not trained on")
    parser.add_argument("runs", nargs="+", help="runs over its biLM, tuned")
    arguments = parser.parse_args()
    predictor = textcls.load(arguments.model)
    text = predictor.read(arguments.text)
    rows = [["biLM of", "perplexity", "nll forward", "nll backward"]]
    for run in (None, *arguments.runs):
        if run is not None:
            tuned = textcls.load(run).model.encoder.source.bilm
            predictor.model.bilm.load_state_dict(tuned.state_dict())
        scores = predictor.scores(text)
        values = [f"{scores['perplexity']:,.1f}", f"{scores['nll_forward']:.3f}", f"{scores['nll_backward']:.3f}"]
        rows.append([run or arguments.model, *values])
    print(table(rows))


if __name__ == "__main__":
    main()
