"""The parts of an ONNX folder's predict.py that answer questions: passages in windows, as text/passages.py and
text/spans.py have them."""

PLACED = '''
MARKS, JOINED = ("Mn", "Me"), "\\u200c\\u200d" + "".join(map(chr, range(0xE0020, 0xE0080)))


def encoded(text):
    """What the tokeniser makes of a text; half of a surrogate pair is a question mark."""
    return TOKENIZER.encode(text.encode("utf-8", "replace").decode("utf-8"), add_special_tokens=False)


def placed(text):
    """Its tokens, and the characters at which each begins and ends: marks, which the tokeniser drops, belong to the
    token before them."""
    found = encoded(text)
    starts, ends = [start for start, _ in found.offsets], [end for _, end in found.offsets]
    for i, limit in enumerate([*starts[1:], len(text)][: len(ends)]):
        while ends[i] < limit and (unicodedata.category(text[ends[i]]) in MARKS or text[ends[i]] in JOINED):
            ends[i] += 1
    return found.ids, starts, ends
'''

WINDOWS = '''
def windows(question, ids):
    """(tokens before the passage, rows of a question and a window, the first token of the passage in each)."""
    asked = encoded(question).ids[: CONFIG["longest_question"]]
    head, starts = CONFIG["begin"] + asked + CONFIG["between"], [0]
    room = CONFIG["max_length"] - len(head) - len(CONFIG["end"])
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + min(room, CONFIG["stride"]))
    return len(head), [head + ids[start : start + room] + CONFIG["end"] for start in starts], starts


def richest(lengths, starts):
    """For each token of a passage the window in which it has most context: the fewer of the tokens to its left and to
    its right, and a hundredth of the window's length."""
    window, most = np.zeros(starts[-1] + lengths[-1], int), np.full(starts[-1] + lengths[-1], -np.inf)
    for k, (length, start) in enumerate(zip(lengths, starts)):
        left, part = np.arange(length), slice(start, start + length)
        context = np.minimum(left, length - 1 - left) + 0.01 * length
        more = context > most[part]
        window[part][more], most[part][more] = k, context[more]
    return window
'''

LOGITS = '''
def logits(rows, head):
    """Of each token of each row, as the first one of an answer and as the last one; a few rows at a time."""
    for i in range(0, len(rows), 32):
        lengths = np.array([[len(ids)] for ids in rows[i : i + 32]])
        places = np.arange(lengths.max())
        second = (places >= head) & (places < lengths)
        yield from zip(*run(rows[i : i + 32], token_type_ids=second.astype(np.int64)))
'''

ANSWERS = '''
def largest(values):
    """Where the largest are, largest first."""
    places = np.argsort(-values, kind="stable")[: CONFIG["best"]]
    return places[values[places] > -np.inf]


def answers(question, passage):
    """[(text, probability, its first character in the passage, the one behind it)], the best first, at most 20; none
    where no token that may begin an answer comes before one that may end it."""
    ids, begins, ends = placed(passage)
    if not ids:
        return []
    head, rows, starts = windows(question, ids)
    lengths = [len(row) - head - len(CONFIG["end"]) for row in rows]
    window, spans = richest(lengths, starts), []
    for k, (first, last) in enumerate(logits(rows, head)):
        start, part = starts[k], slice(head, head + lengths[k])
        first, last = np.where(window[start : start + lengths[k]] == k, first[part], -np.inf), last[part]
        for i in largest(first):
            for j in largest(last):
                if 0 <= j - i < CONFIG["longest_answer"]:
                    spans.append((-(float(first[i]) + float(last[j])), start + i, start + j))
    best = {}
    for score, i, j in sorted(spans):
        best.setdefault(passage[begins[i] : ends[j]], (-score, begins[i], ends[j]))
        if len(best) == CONFIG["best"]:
            break
    scores = np.array([score for score, _, _ in best.values()])
    shares = np.exp(scores - scores.max(initial=-np.inf))
    return [(text, float(share), i, j) for (text, (_, i, j)), share in zip(best.items(), shares / shares.sum())]
'''

PREDICT = '''
def predict(pairs):
    """The best answer to each (question, passage); "" where there is none."""
    return [(answers(*pair) or [("", 0.0, 0, 0)])[0] for pair in pairs]
'''

PRINT = '''\
    for text, probability, *_ in predict({arguments}):
        print(f"{{text}}\\t{{probability:.4f}}")
'''
