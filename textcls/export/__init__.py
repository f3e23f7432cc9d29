"""A trained run in other libraries' formats: Hugging Face's folder (hf.py), ONNX (onnx_folder.py, int8.py)."""

import pathlib

from textcls.export import hf, int8, onnx_folder
from textcls.export.size import in_words, size_of
from textcls.runtime.files import folder_in_place_of
from textcls.tasks.base import Predictor

FORMATS = {"hf": hf.write, "onnx": onnx_folder.write}


def export(predictor: Predictor, folder: str, arguments) -> list[str]:
    """Write the model as a new `folder`, whole or not at all, as `arguments` say: `format`, and whether with `int8`;
    what was written, in sentences. Raises InputError for a model that the format has no place for, and where `folder`
    is there already."""
    path = pathlib.Path(folder)
    with folder_in_place_of(path) as temporary:
        lines = FORMATS[arguments.format](predictor, temporary)
        if arguments.int8:
            lines += int8.write(predictor, temporary, arguments.data_dir, arguments.quiet)
    return [*lines, f"{folder}: {in_words(size_of(path))}, all that is needed to predict"]
