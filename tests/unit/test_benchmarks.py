"""The page of the benchmarks: its headline is of one run, and what was measured again says so."""
import json
import types

import pytest

from benchmarks import infer, measure, results
from common import cli


def part(title, run, *reached, date="2026-11-21"):
    targets = [[f"{title} {i}", "1.00", "1", "reached" if good else "MISSED"]
               for i, good in enumerate(reached)]
    return {"title": title, "machine": "Some CPU", "date": date, "run": run, "head": ["a"],
            "rows": [["1"]], "targets": targets, "notes": []}


@pytest.fixture
def folder(tmp_path):
    """What `make benchmarks` leaves: all parts of one run, and its headline."""
    parts = {name: part(name, "run", True, name != "prep") for name in results.PARTS}
    for name, content in parts.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    line = results.headline(parts.values())
    (tmp_path / "headline.json").write_text(json.dumps({"run": "run", "line": line}))
    return tmp_path


def page(folder, monkeypatch):
    out = folder / "RESULTS.md"
    monkeypatch.setattr("sys.argv", ["results", "--folder", str(folder), "--out", str(out)])
    results.main()
    return out.read_text()


def test_the_page_of_one_run(folder, monkeypatch):
    text = page(folder, monkeypatch)
    count = 2 * len(results.PARTS)
    assert f"{count - 1} of {count} targets reached; missed: prep 1." in text
    assert "measured again" not in text.lower()


def test_a_part_that_is_measured_again_has_its_date_and_no_part_in_the_headline(
        folder, monkeypatch):
    before = page(folder, monkeypatch)
    again = part("prep", None, True, True, date="2026-12-01")
    (folder / "prep.json").write_text(json.dumps(again))
    text = page(folder, monkeypatch)
    headline = next(line for line in before.splitlines() if "targets reached" in line)
    assert headline in text and "missed: prep 1" in headline
    assert "Measured again since, by themselves, and not in the line above: prep." in text
    assert "`python3 -m benchmarks.prep`, measured again on 2026-12-01, Some CPU" in text


def test_a_run_goes_on_with_the_parts_that_failed(tmp_path, monkeypatch):
    """precision fails at first; then it alone is measured, as a part of the same run."""
    calls, fails = [], ["benchmarks.precision"]

    def run(command, env):
        calls.append(command[2])
        if command[2] not in fails:
            content = part(command[2], env[measure.RUN], True)
            command[4].write_text(json.dumps(content))
        return types.SimpleNamespace(returncode=command[2] in fails)

    monkeypatch.setattr(results.subprocess, "run", run)
    with pytest.raises(cli.Failure, match="benchmarks.precision failed.*it goes on"):
        results.run(tmp_path)
    assert len(calls) == len(results.PARTS) and not (tmp_path / "headline.json").exists()
    fails.clear()
    results.run(tmp_path)
    assert calls[len(results.PARTS):] == ["benchmarks.precision"]
    head = json.loads((tmp_path / "headline.json").read_text())
    assert {content["run"] for content in results.read(tmp_path).values()} == {head["run"]}
    results.run(tmp_path)
    assert len(calls) == 2 * len(results.PARTS) + 1  # a run of its own


def test_a_missed_target_has_its_reason():
    targets = [["a b, batch 8: x", "0.9", "1", "MISSED"], ["a b: y", "0.9", "1", "MISSED"],
               ["c", "0.9", "1", "MISSED"], ["a", "1.1", "1", "reached"]]
    assert results.missed(targets, {"a b": "memory", "a b, batch 8": "cores"}) == [
        "- a b, batch 8: x: cores", "- a b: y: memory", "- c: why is not known"]


def test_parts_know_the_run_that_they_are_of(tmp_path, monkeypatch):
    args = types.SimpleNamespace(json=tmp_path / "x.json")
    for run in ("abc", None):
        if run:
            monkeypatch.setenv(measure.RUN, run)
        else:
            monkeypatch.delenv(measure.RUN)
        measure.finish(args, "T", ["a"], [["1"]], [("x", 0.999, 1), ("y", 1.0, 1)])
        content = json.loads(args.json.read_text())
        assert content["run"] == run
        assert [row[-1] for row in content["targets"]] == ["MISSED", "reached"]


def test_figures_are_medians():
    times = {"ours": [1.0, 2.0, 9.0], "peer": [3.0, 4.0, 9.0]}
    assert measure.per_second(times["ours"], 8) == 4
    assert measure.ratio(times, "peer", "ours") == (2, 1, 3)
    assert measure.noise([1.0, 2.0, 1.0]) == pytest.approx(0.75)


def test_the_order_turns_round():
    said = []
    sides = {name: lambda name=name: said.append(name) for name in "ab"}
    times = measure.interleave(sides, rounds=2, warm=1)
    assert "".join(said) in ("abbaab", "baabba") and [len(t) for t in times.values()] == [2, 2]


def test_at_least_as_fast_has_no_grace():
    """The best peer's ratio is the claim, its noise is said, and the target is 1."""
    ratios = {"ort": (0.97, 0.9, 1.0), "ov": (1.2, 1.1, 1.3), infer.OTHER: (0.5, 0.4, 0.6)}
    claim, figure, wanted = next(infer.targets_of("SPACH", 8, infer.PLAIN, ratios, 0.03))
    assert (figure, wanted) == (0.97, 1) and "(ort)" in claim and "noise 3%" in claim
