"""The notes and the figures of a result.json again, after its chain has been checked.

    python3 -m common.score.show build/eval_bs8_openvino.json
"""
import argparse

from common import cli, provenance

TODO = "score again (make eval)"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="JSON that a scoring step wrote")
    file = parser.parse_args().file
    content = cli.read_json(file, TODO)
    if not isinstance(content.get("notes"), list) or not isinstance(content.get("line"), str):
        raise cli.Failure(f"{file} holds no figures", TODO)
    provenance.check(file, TODO)
    for note in content["notes"]:
        print(f"note: {note}")
    print(content["line"])


if __name__ == "__main__":
    cli.run(main)
