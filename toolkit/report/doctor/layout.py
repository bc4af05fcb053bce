"""The findings for a person, in columns, and for programs such as grep, one a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from toolkit.logs import one_line
from toolkit.report.doctor.findings import Finding, Verdict
from toolkit.report.layout import Line, wrapped

_COLOURS = {
    Verdict.PROBLEM: "red",
    Verdict.WARNING: "yellow",
    Verdict.UNKNOWN: "cyan",
    Verdict.OK: "green",
}
"""In the order of the columns."""
_ORDER = tuple(_COLOURS)


def doctor_lines(findings: Sequence[Finding]) -> Iterator[Line]:
    """Return the findings in columns, problems first, then a summary line."""
    column = max((len(each.check) for each in findings), default=0)
    for each in sorted(findings, key=lambda each: _ORDER.index(each.verdict)):
        colour = _COLOURS[each.verdict]
        before = f"{each.verdict:<8} {each.check:<{column}}  "
        texts = [each.message, *([f"fix: {each.fix}"] if each.fix else [])]
        for text in texts:
            for line in wrapped(text, len(before)):
                yield Line(text=f"{before}{line}", colour=colour, letters=len(each.verdict))
                before, colour = " " * len(before), ""
    yield summary(each.verdict for each in findings)


def doctor_records(findings: Iterable[Finding]) -> Iterator[Line]:
    """Return one finding per line."""
    for each in findings:
        fix = f" -> {each.fix}" if each.fix else ""
        text = one_line(f"{each.verdict:8} {each.check}: {each.message}{fix}")
        yield Line(text=text, colour=_COLOURS[each.verdict], letters=len(each.verdict))


def summary(verdicts: Iterable[Verdict]) -> Line:
    """Return a summary of the findings."""
    count = Counter(verdicts)
    found = ", ".join(
        f"{count[each]} {each}{'' if count[each] == 1 else 's'}"
        for each in (Verdict.PROBLEM, Verdict.WARNING)
        if count[each]
    )
    if count[Verdict.PROBLEM]:
        what = "problem" if count[Verdict.PROBLEM] == 1 else "problems"
        return Line(text=f"{found}: fix the {what}, then start", colour="red")
    return Line(text=f"{found or 'no problems'}: ready to start", colour="green")
