"""What there is to do with texts: one file a task, which holds everything that is true of that task and of no other.

A task is a module with these names (tests/test_tasks.py holds every one to them):

UNIT                 what one item is called, in results and reports
LABELS               what its labels are called; "" where it has none
SELECT               dev metrics that can choose the best epoch: the more the better, but `loss`, which is dev `nll`
DEFAULTS             settings of all its models; a model's own come on top
load                 (config, progress, vocabulary=None) -> Corpus
prepare              (config, run, recipe) -> (Corpus, Backbone): text and vocabulary, in the order that they need
batches              (split, vocabulary, config, name) -> Batches
loss                 (config, corpus) -> loss_fn: (model, batch, carry) -> ({name: sum}, carry)
evaluate             (batches, corpus, device, precision, quiet) -> (model) -> {metric: value}
result               (predictor, split, quiet) -> Result
chance               (corpus) -> {"metric", "value", "lower_is_better"}: always the commonest answer, on dev
count_labels         (config) -> how many labels the training data has, without loading the rest; 0 where there are none
Predictor            what textcls.load gives; by its answer_columns, answers and records evaluate.py --out fills files, by
                     out_of_fold, judge and suspects train.py --folds says what came out, by its outputs and explained
                     --explain speaks of labels and scores; else unexplained says why not
predict_file         (predictor, source, arguments): what evaluate.py --predict prints; "-" is standard input
"""

from textcls.tasks import classification, language, multilabel, pretraining, regression, spans, tagging

TASKS = {
    "classification": classification,
    "multilabel": multilabel,
    "regression": regression,
    "tagging": tagging,
    "lm": language,
    "pretrain": pretraining,
    "spans": spans,
}
