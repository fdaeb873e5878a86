"""The queue of a batch system: submit, look, cancel. What does not answer is asked again for a while."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from lamflow.batch.host import Host
from lamflow.batch.system import Element, Request, Seen, System
from lamflow.config.batch import BatchSystem
from lamflow.errors import ClusterError, OutageError

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0
"""s between two questions to a system that does not answer: doubled each time."""


class FullError(OutageError):
    """The queue takes no more jobs now."""


class Queue:
    """A batch system as the driver uses it.

    say  is told what is waited for
    """

    def __init__(
        self, settings: BatchSystem, system: System, machine: Host, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings, self.system, self.machine, self.say = settings, system, machine, say

    def require(self) -> None:
        """Raise ClusterError when the commands of the system are not where they should be."""
        for program in self.system.programs:
            code, _, _ = self.machine.shell(f"command -v {program}")
            if code != 0:
                raise ClusterError(self._lacks(program))

    def _lacks(self, program: str) -> str:
        where = f"on {self.settings.host}" if self.settings.host else "on this machine"
        return (
            f"{program}: there is no such program {where}; {self.system.name} is reached from its login nodes: run "
            "lamflow there, or name one as `host` under `batch:`"
        )

    def new_name(self, work: str, run: str) -> str:
        """A name that no other job has. Systems differ in the characters that they take."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", f"{work}.{uuid.uuid4().hex[:6]}.{run}")[: self.system.longest]

    def submit(self, script: str, request: Request, *, wait_while_full: bool = True) -> str:
        """Submit a script, and return the id of its array.

        Raises ClusterError when it is refused, and FullError if that is not to be waited for.

        A submission whose answer was lost may have gone through: before another one its name is looked for.
        """
        lost = False

        def attempt() -> str:
            nonlocal lost
            known = self.find(request.name) if lost else []
            lost = True
            answer = "" if known else self._ask(self.system.submit(script, request))
            array = known[0] if known else self.system.submitted(answer)
            if not array:
                raise ClusterError(f"{self.system.name} answered to {script} without the id of a job: {answer!r}")
            return array

        return self._patiently(attempt, () if wait_while_full else FullError)

    def rehearse(self, script: str) -> None:
        """Raise what `submit` would, as far as the system says it without."""
        command = self.system.rehearse(script)
        if command:
            self._ask(command)

    def states(self, arrays: Sequence[str]) -> dict[Element, Seen]:
        """The elements of arrays that the system lists."""
        if not arrays:
            return {}
        return self._patiently(lambda: self.system.seen(self._ask(self.system.ask(arrays)), arrays))

    def explained(self, array: str, ended: Mapping[int, str]) -> dict[int, str]:
        """Why elements of an array are held or have ended, with what the system says of it beside its list."""
        command, known = self.system.explain(array), {}
        if command:
            known = self.system.explained(self._patiently(lambda: self.machine.shell(command))[1])
        return {index: f"{why}: {known[index]}" if index in known else why for index, why in ended.items()}

    def cancel(self, arrays: Sequence[str]) -> None:
        """End arrays; those that are over already are no error."""
        if arrays:
            self._ask(self.system.cancel(arrays))

    def find(self, name: str) -> list[str]:
        """Ids of the arrays called `name` that the system lists."""
        return self.system.named(self._ask(self.system.find(name)))

    def find_patiently(self, name: str) -> list[str]:
        """See find; asks until there is an answer."""
        return self._patiently(lambda: self.find(name))

    def send(self, keys: Iterable[str]) -> None:
        """See Host; asks until there is an answer, as do those that follow."""
        self._patiently(partial(self.machine.send, list(keys)))

    def bring(self, keys: Iterable[str]) -> None:
        """See Host."""
        self._patiently(partial(self.machine.bring, list(keys)))

    def make(self, keys: Iterable[str]) -> None:
        """See Host."""
        self._patiently(partial(self.machine.make, list(keys)))

    def remove(self, keys: Iterable[str]) -> None:
        """See Host."""
        self._patiently(partial(self.machine.remove, list(keys)))

    def _ask(self, command: str) -> str:
        """The answer to a command. Raises OutageError, FullError, and ClusterError when it is refused."""
        system = self.system
        code, output, errors = self.machine.shell(command)
        said = errors or output
        if code == 0 or re.search(system.gone, said):
            return output
        where = f"{self.settings.host + ': ' if self.settings.host else ''}`{command}`"
        if code == 127:
            raise ClusterError(self._lacks(command.split(maxsplit=1)[0]))
        if re.search(system.outage, said):
            raise OutageError(f"{where}: {system.name} does not answer: {said}")
        if re.search(system.full, said):
            raise FullError(f"{where}: the queue is full: {said}")
        raise ClusterError(f"{where}: {system.name} refuses: {said or f'exit status {code}'}{self.advice(said)}")

    def advice(self, message: str) -> str:
        """What to do about what the system says, on a line of its own; empty where nothing is known."""
        for pattern, advice in self.system.advice.items():
            if re.search(pattern, message):
                return f"\n  {advice.replace('QUEUES', ', '.join(self.queues()) or 'none that it names')}"
        return ""

    def queues(self) -> list[str]:
        """Names of the queues; none where the system does not say."""
        code, output, _ = self.machine.shell(self.system.queues())
        return list(dict.fromkeys(output.split())) if code == 0 else []

    def _patiently(self, ask: Callable[[], T], passes: type[Exception] | tuple[()] = ()) -> T:
        """The answer, asked for again while there is none, for `outage` s at most; an error that `passes` is raised."""
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return ask()
            except passes:
                raise
            except OutageError as error:
                if time.monotonic() - began + pause > self.settings.outage:
                    raise
                if pause == FIRST_PAUSE or pause >= LONGEST_PAUSE:
                    self.say(f"{error}; asking again")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
