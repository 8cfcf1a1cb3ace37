"""The notes, the verdict and the figures of a result.json again, after its chain was checked.

    python3 -m common.score.show build/eval_bs8_openvino.json
"""
import argparse

from common import cli, provenance
from common.score import verdict

TODO = "delete it and score again (make eval)"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="JSON that a scoring step wrote")
    file = parser.parse_args().file
    content = cli.read_json(file, TODO)
    if not {"notes", "verdict", "line"} <= content.keys():
        raise cli.Failure(f"{file} holds no figures and no verdict", TODO)
    provenance.check(file, TODO)
    verdict.say(content["notes"], content["verdict"], content["line"])


if __name__ == "__main__":
    cli.run(main)
