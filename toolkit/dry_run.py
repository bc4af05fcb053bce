"""Let the engine itself check planned files before a live file changes.

Its dump or check command runs first. Then the engine starts on the files for a moment, in a sandbox
where it can change nothing. Without a sandbox, the engine's rules in the adapter (``faults``)
replace the start.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from msgspec import Struct

from runtime_configs.adapter import ConfigRequest, DryRun, Fault, Trial
from runtime_configs.formats.secrets import without_secret_shapes
from runtime_configs.model import ConfigError, FileEdit
from runtime_configs.overlay import Overlay
from toolkit import logs
from toolkit.engine.facts import HostFacts
from toolkit.errors import EngineConfigError
from toolkit.host.commands import CommandResult
from toolkit.host.sandbox import DIRECTORY, Program, Sandbox, SandboxUnavailableError
from toolkit.journal.baseline import engine_config_error
from toolkit.journal.record import FileRecord
from toolkit.node import Node

log = logs.get(__name__)

CANNOT_BE_RUN = (126, 127)
"""Exit statuses of a program that is missing or not executable."""
LOAD_SECONDS = 20.0
"""How long the engine's binary may take to load a config of any size."""
START_SECONDS = 10.0
"""How long the engine may take to start; it needs a tenth of one second."""
OF_THE_SANDBOX = ("read-only file system", "operation not permitted")
"""Words of a failure that is due to the sandbox and not to the engine's files."""


class Loaded(Struct, frozen=True, kw_only=True):
    """The engine binary's result for files."""

    result: CommandResult
    reason: str
    """Why it rejects them, without the names of staged copies."""
    excused: bool
    """Whether the reason may come from where the binary runs, not from the files."""
    prints: bool
    """Whether the result has a dump of the config."""

    @property
    def refused(self) -> bool:
        """Whether it rejects them."""
        return self.result.status != 0 and self.result.status not in CANNOT_BE_RUN


class Refusal(Struct, frozen=True, kw_only=True):
    """Why the engine would not serve pods with these files."""

    reason: str
    fault: Fault | None
    """The line at fault, if the engine's rules find it."""

    def __str__(self) -> str:
        """Return the reason with the line to fix."""
        if self.fault is None:
            return self.reason
        return f"{self.reason} ({self.fault.where})" if self.reason else str(self.fault)


class _SandboxedEngine:
    """The engine's binary in a sandbox. What ran ahead is not run again."""

    def __init__(self, sandbox: Sandbox, executable: str) -> None:
        self._sandbox = sandbox
        self._executable = executable
        self._results: list[tuple[Program, CommandResult]] = []

    def load(self, check: DryRun) -> Program:
        """Return how it loads files."""
        return Program(
            arguments=(self._executable, *check.arguments),
            seconds=LOAD_SECONDS,
            files=dict(check.files),
        )

    def start(self, trial: Trial) -> Program:
        """Return how it is started for a moment."""
        return Program(
            arguments=(self._executable, *trial.arguments),
            seconds=START_SECONDS,
            files=dict(trial.files),
            until=trial.until,
            search=False,
        )

    def run_ahead(self, programs: Sequence[Program]) -> None:
        """Run programs in parallel."""
        with contextlib.suppress(SandboxUnavailableError):
            self._results = list(zip(programs, self._sandbox.run(*programs), strict=True))

    def run(self, program: Program) -> CommandResult:
        """Run a program, or return its result if it ran ahead. Raises SandboxUnavailableError."""
        for known, result in self._results:
            if known == program:
                return result
        (result,) = self._sandbox.run(program)
        return result


class DryRuns:
    """One engine with its files, asked about edits to them."""

    def __init__(
        self,
        node: Node,
        facts: HostFacts,
        request: ConfigRequest,
        engine: _SandboxedEngine | None,
        *,
        stages: bool,
    ) -> None:
        self._node = node
        self._facts = facts
        self._request = request
        self._adapter = node.adapter(facts.engine)
        self._engine = engine
        self.stages = stages
        # Asked for twice, to run it ahead and to evaluate it; a large config takes its time.
        self._check = cache(self._check_of)
        self._trial = cache(self._trial_of)

    def run_ahead(self, edits: Sequence[FileEdit], base: Sequence[FileEdit] | None = None) -> None:
        """Run in parallel all that the questions about these edits need.

        ``base`` has the edits to the files without us, to compare the engine's dump with.
        """
        engine = self._engine
        if engine is None:
            return
        programs: list[Program] = []
        with contextlib.suppress(ConfigError, EngineConfigError):  # the question reports it
            for each in (edits, base):
                check = None if each is None else self._check(tuple(each), DIRECTORY)
                if check is not None and (each is edits or check.prints):
                    programs.append(engine.load(check))
            trial = self._trial(tuple(edits))
            if trial is not None:
                programs.append(engine.start(trial))
        if programs:
            engine.run_ahead(programs)

    def missing(self, edits: Iterable[FileEdit]) -> Fault | None:
        """Return the first missing file that the edited files need."""
        try:
            found = self._adapter.missing_files(self._request, self._edited(edits))
        except ConfigError as error:
            raise engine_config_error(error) from error
        return found[0] if found else None

    def loaded(self, edits: Iterable[FileEdit]) -> Loaded | None:
        """Let the engine's binary load copies of its files; None where it cannot be run."""
        edits = tuple(edits)
        if self._engine is not None:
            check = self._check(edits, DIRECTORY)
            if check is None:
                return None
            with contextlib.suppress(SandboxUnavailableError):  # the copies are staged instead
                result = self._engine.run(self._engine.load(check))
                if result.status not in CANNOT_BE_RUN and not _is_of_the_sandbox(result.reason):
                    return _loaded(check, result, DIRECTORY)
        return self._staged(edits) if self.stages else None

    def refused(self, edits: Iterable[FileEdit]) -> Refusal | None:
        """Return why the engine, started on its files with edits, would serve no pods."""
        edits = tuple(edits)
        try:
            trial = self._trial(edits)
            faults = self._adapter.faults(self._request, self._edited(edits))
        except ConfigError as error:
            return Refusal(reason=str(error), fault=None)
        result = None if trial is None else self._started(trial)
        if trial is None or result is None:
            return Refusal(reason="", fault=faults[0]) if faults else None
        reason = trial.failure(result.errors)
        if reason is None and result.status != 0:
            reason = result.reason
        if reason is None:
            faults = tuple(each for each in faults if each.hidden)
        elif _is_of_the_sandbox(reason):
            log.debug("config.untried", "a trial start gives no answer", reason=reason)
        else:
            fault = faults[0] if faults else None
            return Refusal(reason=_shown(reason, DIRECTORY), fault=fault)
        return Refusal(reason="", fault=faults[0]) if faults else None

    def _started(self, trial: Trial) -> CommandResult | None:
        """Start the engine for a moment; None where that is not possible."""
        if self._engine is None:
            return None
        try:
            result = self._engine.run(self._engine.start(trial))
        except SandboxUnavailableError:
            return None
        return None if result.timed_out or result.status in CANNOT_BE_RUN else result

    def _edited(self, edits: Iterable[FileEdit]) -> Overlay:
        return Overlay(self._node.view, {each.path: each.after for each in edits})

    def _trial_of(self, edits: tuple[FileEdit, ...]) -> Trial | None:
        if self._engine is None:
            return None
        return self._adapter.trial(self._request, self._edited(edits), DIRECTORY)

    def _check_of(self, edits: tuple[FileEdit, ...], directory: str) -> DryRun | None:
        try:
            return self._adapter.dry_run(self._request, self._edited(edits), directory)
        except ConfigError as error:
            raise engine_config_error(error) from error

    def _staged(self, edits: tuple[FileEdit, ...]) -> Loaded | None:
        """Let the engine's binary load copies that are on the host during the call."""
        node, executable = self._node, self._facts.executable
        if executable is None:
            return None
        with node.store.staging() as directory:
            check = self._check(edits, directory)
            if check is None:
                return None
            for path, content in check.files:
                node.writer.make_directories(posixpath.dirname(path))
                node.writer.write(path, content)
            result = node.commands.run((executable, *check.arguments), LOAD_SECONDS)
        return _loaded(check, result, directory)


@contextmanager
def dry_runs(
    node: Node, facts: HostFacts, request: ConfigRequest, *, stages: bool = True
) -> Iterator[DryRuns]:
    """Yield a way to ask the engine; ``stages`` allows copies on the host without a sandbox."""
    with contextlib.ExitStack() as stack:
        engine = None
        if facts.executable is not None:
            try:
                sandbox = stack.enter_context(contextlib.closing(node.sandbox()))
                engine = _SandboxedEngine(sandbox, facts.executable)
            except SandboxUnavailableError as error:
                log.debug(
                    "config.untried", "the engine can't be started in a sandbox", reason=str(error)
                )
        yield DryRuns(node, facts, request, engine, stages=stages)


def refusal(
    node: Node,
    facts: HostFacts,
    request: ConfigRequest,
    files: Iterable[tuple[FileRecord, bytes | None]],
    *,
    stages: bool = True,
) -> str | None:
    """Return why the engine would not start, or not serve pods, with these contents.

    None if it would, and if that is not known.
    """
    edits = tuple(
        FileEdit(path=each.path, before=None, after=content, format=each.format, role=each.role)
        for each, content in files
    )
    with dry_runs(node, facts, request, stages=stages) as runs:
        missing = runs.missing(edits)
        if missing is not None:
            return str(missing)
        runs.run_ahead(edits)
        found = runs.loaded(edits)
        if found is not None and found.refused and not found.excused:
            return found.reason
        refused = runs.refused(edits)
    return None if refused is None else str(refused)


def _is_of_the_sandbox(reason: str) -> bool:
    return any(each in reason.lower() for each in OF_THE_SANDBOX)


def _shown(reason: str, directory: str) -> str:
    """Return a reason without the names of staged copies, and without secrets."""
    return without_secret_shapes(reason.replace(directory, ""))


def _loaded(check: DryRun, result: CommandResult, directory: str) -> Loaded:
    reason = _shown(result.reason, directory)
    excused = check.excused is not None and check.excused in reason
    return Loaded(result=result, reason=reason, excused=excused, prints=check.prints)
