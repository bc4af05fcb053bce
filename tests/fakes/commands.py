"""Commands that only remember how they were called."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.cli import Commands
from toolkit.errors import ExitCode
from toolkit.settings import Output, Settings


@dataclass
class RecordingCommands(Commands):
    """Remembers each call; answers with ``answer`` or raises ``failure``."""

    answer: ExitCode = ExitCode.DONE
    failure: BaseException | None = None
    printed: str = ""
    calls: list[tuple[str, Settings, dict[str, object]]] = field(default_factory=list)

    def run(self, settings: Settings) -> ExitCode:
        return self._called("run", settings)

    def revert(self, settings: Settings, output: Output, *, purge: bool) -> ExitCode:
        return self._called("revert", settings, output=output, purge=purge)

    def plan(self, settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
        return self._called("plan", settings, output=output, detailed_exitcode=detailed_exitcode)

    def status(self, settings: Settings, output: Output) -> ExitCode:
        return self._called("status", settings, output=output)

    def verify(self, settings: Settings, output: Output, *, run: bool) -> ExitCode:
        return self._called("verify", settings, output=output, run=run)

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        return self._called("doctor", settings, output=output)

    def _called(self, name: str, settings: Settings, **options: object) -> ExitCode:
        self.calls.append((name, settings, options))
        if self.printed:
            print(self.printed)  # noqa: T201 - a command's result goes to stdout
        if self.failure is not None:
            raise self.failure
        return self.answer
