"""Faults on the real commands. Each test names its fault and what is expected, and tells what it
saw; `make faults` prints the table.

    @pytest.mark.fault("truncated JPEG", "exit 1, the file named, all others written")
    def test_truncated(seen):
        ...
        seen(done)              a subprocess.CompletedProcess, or text

In name and expected, {parameter} stands for the value of a test's parameter.
"""
import subprocess

import pytest

TABLE = []


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(name, expected): one row of the table of faults")


def pytest_addoption(parser):
    parser.addoption(
        "--fault-table", metavar="FILE", help="write the table of faults to FILE as Markdown")


@pytest.fixture
def seen(record_property, request):
    """seen(what): note what the fault led to; a finished process is noted as its exit status and
    its last line."""
    marker = request.node.get_closest_marker("fault")
    assert marker, "a test of a fault names its fault: @pytest.mark.fault(name, expected)"
    texts = list(marker.args)
    for name, value in getattr(getattr(request.node, "callspec", None), "params", {}).items():
        texts = [text.replace(f"{{{name}}}", str(value)) for text in texts]
    record_property("fault", texts)

    def note(what):
        if isinstance(what, subprocess.CompletedProcess):
            said = (what.stderr or what.stdout) if what.returncode else (what.stdout or what.stderr)
            lines = [line for line in (said or "").strip().splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("error: ")] or [
                line for line in lines if "*** " in line]
            what = f"exit {what.returncode}: {(errors or lines or ['nothing printed'])[-1]}"
        record_property("seen", what)
    return note


def pytest_runtest_logreport(report):
    properties = dict(report.user_properties)
    if "fault" in properties and (report.when == "call" or report.failed):
        name, expected = properties["fault"]
        TABLE.append(
            (name, expected, properties.get("seen", "-"), report.outcome == "passed", report.nodeid)
        )


def pytest_terminal_summary(terminalreporter, config):
    if not TABLE or not config.getoption("--fault-table", None):
        return
    rows = sorted(TABLE)
    with open(config.getoption("--fault-table"), "w", encoding="utf-8") as f:
        f.write("| fault | expected | seen | |\n|---|---|---|---|\n")
        for name, expected, what, good, _ in rows:
            cells = [" ".join(c.split()).replace("|", "\\|")[:200] for c in (name, expected, what)]
            f.write(f"| {' | '.join(cells)} | {'' if good else 'NOT '}as expected |\n")
    distinct, good = len({row[0] for row in rows}), sum(row[3] for row in rows)
    terminalreporter.write_line(
        f"{len(rows)} faults, {distinct} distinct, {good} as expected, {len(rows) - good} not")
