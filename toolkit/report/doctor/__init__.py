"""`doctor`: check the host before anything is changed, and name each problem with its fix."""

from toolkit.report.doctor.checks import examine
from toolkit.report.doctor.findings import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
