"""CoNLL: a word a line; its tag in one more column. A record is a sentence with what ends it."""

from collections.abc import Iterator, Sequence

from textcls.data import conll
from textcls.data.conll import LONGEST_SENTENCE, Line
from textcls.data.decoding import BLANKS
from textcls.records import lines as files
from textcls.records.lines import LineReader
from textcls.records.record import Record, Records, Value
from textcls.runtime.errors import InputError

NO_TAG = "_"


class SentenceRecords(Records):
    """`word` and `tag`: places of the columns. An item is the list of a sentence's words, its answer a tag for each. A
    sentence that cannot be read has _ in place of tags."""

    kind, named = "CoNLL", False

    def __init__(self, lines: LineReader, word: int, tag: int, columns: dict[str, Value]):
        self.lines, self.word, self.tag, self.columns = lines, word, tag, columns
        self.taken: list[files.Line] = []

    def __iter__(self) -> Iterator[Record]:
        for block, width in conll.blocks(self._texts(), self.lines.name, LONGEST_SENTENCE):
            taken, self.taken = self.taken, []
            yield self._record(taken, block, width)

    def _texts(self) -> Iterator[str]:
        for line in self.lines:
            self.taken.append(line)
            yield line.text

    def _record(self, taken: list[files.Line], block: list[Line], width: int | None) -> Record:
        raw = b"".join(line.raw for line in taken)
        try:
            if fault := next((line.fault for line in taken if line.fault), ""):
                raise InputError(fault)
            block = conll.with_words(block, width, self.word, self.tag)
        except InputError as error:
            block = [line._replace(word="" if conll.is_ordinary(line) else None) for line in block]
            tags = [NO_TAG] * sum(line.word is not None for line in block)
            return Record(raw, self._tagged(taken, block, tags), error=str(error))
        words = [line.word for line in block if line.word is not None]
        if not words:
            return Record(raw, self._tagged(taken, block, []), data=False)
        return Record(raw, raw, item=Sentence(words, taken, block), where=block[0].where)

    def _tagged(self, taken: list[files.Line], block: list[Line], tags: Sequence[str]) -> bytes:
        tags, parts = iter(tags), []
        for line, same in zip(taken, block, strict=True):
            column = same.column(next(tags) if same.word is not None else None)
            end = line.text[len(line.text.rstrip(f"{BLANKS}\r\n")) :].encode(self.lines.codec)
            parts += [line.raw[: len(line.raw) - len(end)], self.encoded(column), end]
        return b"".join(parts)

    def written(self, record: Record, answer: Sequence[str] | None) -> bytes:
        if record.item is None:
            return record.before
        sentence = record.item
        return self._tagged(sentence.taken, sentence.block, answer or [NO_TAG] * len(sentence))


class Sentence(list):
    """The words of a sentence, and its lines."""

    def __init__(self, words: list[str], taken: list[files.Line], block: list[Line]):
        super().__init__(words)
        self.taken, self.block = taken, block
