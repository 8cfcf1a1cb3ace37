"""Records by SHA-256: what is noticed, and what is deleted."""
import os
import shutil
import sys

import pytest

from common import cli, provenance


@pytest.fixture
def here(tmp_path, monkeypatch):
    """weights w → model m → compiled c, each with its record; and a folder of results r of c."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").write_text("weights")
    (tmp_path / "m").write_text("model")
    provenance.record("m", ["w"], ["-o", "m"], opset=11)
    (tmp_path / "c").write_text("compiled")
    provenance.record("c", ["m"], ["-o", "c"])
    (tmp_path / "r").mkdir()
    (tmp_path / "r/1.bin").write_text("one")
    (tmp_path / "r/2.bin").write_text("two")
    provenance.record("r", ["c"], [])
    return tmp_path


def replaced(path, text):
    """Another content under the same name, size and time of change: as `cp -p` or `mv` brings
    it."""
    old = path.stat()
    other = path.with_name("other")
    other.write_text(text)
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.rename(path)


def test_facts_and_hashes_are_recorded(here):
    about = provenance.read("m")
    assert about["opset"] == 11 and about["made"]["arguments"] == ["-o", "m"]
    assert about["made"]["from"]["w"]["sha256"] == cli.sha256("w")
    assert about["made"]["sha256"] == cli.sha256("m")


def test_the_whole_chain_fits(here):
    chain = provenance.check("r", "todo")
    assert chain == {name: cli.sha256(name) for name in ("c", "m", "w")}


@pytest.mark.parametrize("name, said", [
    ("w", "m was made from another w"), ("m", "m is not the one that m.json describes|another m"),
    ("c", "another c"), ("r/1.bin", "r is not the one that r.json describes")])
def test_another_content_of_the_same_size_and_time_is_refused(here, name, said):
    replaced(here / name, (here / name).read_text()[::-1])
    with pytest.raises(cli.Failure, match=f"({said}).* — do it again"):
        provenance.check("r", "do it again")


@pytest.mark.parametrize("change", [
    lambda r: (r / "3.bin").write_text("three"), lambda r: (r / "1.bin").unlink(),
    lambda r: (r / "1.bin").rename(r / "0.bin")])
def test_files_that_come_or_go_in_a_folder_are_noticed(here, change):
    change(here / "r")
    assert "is not the one" in provenance.misfit("r")


def test_a_folder_of_links_is_what_they_lead_to(here):
    (here / "links").mkdir()
    (here / "links/r").symlink_to(here / "r")
    before = provenance.seen("links")
    replaced(here / "r/1.bin", "two")
    assert not provenance.fits("links", before)


def test_a_copy_elsewhere_fits(here, tmp_path_factory, monkeypatch):
    """Times and inodes differ there, contents do not."""
    there = tmp_path_factory.mktemp("there") / "copy"
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    monkeypatch.chdir(there)
    assert provenance.check("r", "todo")


def test_what_is_not_at_hand_is_not_missed(here):
    (here / "w").unlink()
    assert provenance.misfit("m") is None


@pytest.mark.parametrize("record", ["", "{", "[]", '{"made": 1}', '{"made": {"from": []}}'])
def test_a_damaged_record_is_none(here, record):
    (here / "m.json").write_text(record)
    assert "has no record" in provenance.misfit("m")


LINKS = [("m", ["-o", "m"]), ("c", ["-o", "c"]), ("r", [])]


def test_sweep_leaves_what_fits(here, capsys):
    before = sorted(here.rglob("*"))
    provenance.delete_stale(LINKS)
    assert sorted(here.rglob("*")) == before and capsys.readouterr().err == ""


@pytest.mark.parametrize("change, gone", [
    (lambda h: replaced(h / "w", "wrong!!"), "mcr"),
    (lambda h: (h / "c").write_text("compiled otherwise"), "cr"),
    (lambda h: (h / "m").unlink(), "mcr"),
    (lambda h: (h / "c.json").unlink(), "cr"),
    (lambda h: (h / "r/1.bin").write_text("won"), "r")])
def test_sweep_deletes_what_does_not_fit_and_all_that_was_made_from_it(here, change, gone, capsys):
    change(here)
    provenance.delete_stale(LINKS)
    left = {p.name for p in here.iterdir()} - {"w"}
    kept = {"m", "c", "r"} - set(gone)
    assert left == kept | {f"{name}.json" for name in kept}
    said = capsys.readouterr().err
    assert all(f"again: {name} " in said for name in gone)


def test_another_spelling_of_a_path_is_the_same(here, monkeypatch):
    """make OUT=build/ has // in its paths."""
    (here / "m").unlink()
    monkeypatch.setattr(sys, "argv", ["provenance", ".//m", "-o m", "./c", "", "r/", ""])
    provenance.main()
    assert {p.name for p in here.iterdir()} == {"w"}


@pytest.mark.parametrize("place", ["host", "produced_by"])
def test_a_timing_of_another_host_is_taken_again(here, capsys, place):
    host = {"cpu": "another", "cores": 2}
    cli.write_json("perf.json", {place: host if place == "host" else {"host": host},
                                 "made": provenance.made("perf.json", ["m"], ["-x"])})
    assert provenance.misfit("perf.json") is None  # a record of it may be shown as such
    provenance.delete_stale([("perf.json", ["-x"])])
    assert "again: perf.json was timed on another host" in capsys.readouterr().err


def test_other_arguments_make_it_again(here, capsys):
    provenance.delete_stale([("m", ["-o", "m", "-v", "12"]), *LINKS[1:]])
    assert {p.name for p in here.iterdir()} == {"w"}
    assert "again: m was made with other settings" in capsys.readouterr().err
