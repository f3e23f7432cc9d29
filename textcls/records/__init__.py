"""Files in, files out: the records of a file, byte for byte, with a model's answers beside them.

lines        bytes -> lines that know their bytes, from a file, a compressed one, or standard input
record       what all formats have in common: a record, what is written of it, cells
tables       CSV, TSV         objects   JSON Lines       document   JSON as a whole: an array, SQuAD
plain        a text a line    conll     a word a line
formats      which of them it is     command   which columns, and where to
fill         reads, has answered, writes: in chunks, in order, by one process or several; goes on where it was stopped
"""
