"""What is known of an ONNX, {name: value}: in its metadata, and in the records of what follows."""
import json
from pathlib import Path

# Metadata holds text only; these are JSON there.
NOT_TEXT = {"opset", "preprocessing", "classes", "demo"}


def write(model, facts):
    """Put `facts` into the metadata of an onnx.ModelProto."""
    import onnx

    onnx.helper.set_model_props(model, {
        key: json.dumps(value) if key in NOT_TEXT else value for key, value in facts.items()})


def read(model):
    """The facts in the metadata of an onnx.ModelProto; {} when it is of another program."""
    facts = {p.key: p.value for p in model.metadata_props}
    for key in NOT_TEXT & set(facts):
        try:
            facts[key] = json.loads(facts[key])
        except ValueError:
            del facts[key]
    return facts


def code_path(file):
    """A file of code as a record names it: from the model folder where it is in there, else in
    full, so that a folder that is moved still finds it."""
    file, here = Path(file).resolve(), Path.cwd().resolve()
    return str(file.relative_to(here) if here in file.parents else file)
