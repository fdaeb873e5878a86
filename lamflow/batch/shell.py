"""A machine without a batch system: an array is a session of processes, a few of its elements at a time."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lamflow.batch.system import Element, Request, Seen, System

SESSION = re.compile(r"^\s*(\d+)\s+\S*bash\s+\S*\.sh\s+(\d+)\s*$", re.MULTILINE)


class Shell(System):
    """See System. Its elements run as long as their shells do; those that have not begun wait with xargs."""

    name = "the shell"
    programs = ("bash", "setsid", "xargs", "ps", "pkill")
    index, job = "${1:-0}", "${LAMFLOW_SESSION:-0}"
    full = outage = gone = never_begins = r"(?!)"
    usual = r"waiting"
    advice: dict[str, str] = {}
    longest = 60

    def header(self, request: Request) -> list[str]:
        """See System. Nothing is asked for."""
        del request
        return []

    def submit(self, script: str, request: Request) -> str:
        """See System."""
        lanes = request.at_once or request.elements
        output = shlex.quote(request.output.replace("INDEX", "all"))
        inner = (
            f"export LAMFLOW_SESSION=$$; seq 0 {request.elements - 1} | "
            f"xargs -P {lanes} -I INDEX bash {shlex.quote(script)} INDEX"
        )
        return f"setsid bash -c {shlex.quote(inner)} </dev/null >>{output} 2>&1 & echo $!"

    def submitted(self, answer: str) -> str:
        """See System."""
        return answer.strip()

    def ask(self, arrays: Sequence[str]) -> str:
        """See System."""
        del arrays
        return "ps -e -ww -o sess=,args="

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """See System."""
        found = {(row[1], int(row[2])): Seen("running", "running") for row in SESSION.finditer(answer)}
        waiting = re.findall(r"^\s*(\d+)\s+.*\bseq 0 (\d+) \| xargs", answer, re.MULTILINE)
        for session, last in waiting:
            for index in range(int(last) + 1):
                found.setdefault((session, index), Seen("waiting", "waiting"))
        return {element: seen for element, seen in found.items() if element[0] in arrays}

    def called(self, index: int) -> str:
        """See System. All elements print into one file."""
        del index
        return "all"

    def cancel(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"pkill -TERM -s {','.join(arrays)}; true"

    def find(self, name: str) -> str:
        """See System."""
        return f"ps -e -ww -o sess=,args= | grep -F {shlex.quote(f'/{name}.sh')} | grep -v grep | awk '{{print $1}}'"

    def named(self, answer: str) -> list[str]:
        """See System."""
        return list(dict.fromkeys(answer.split()))

    def queues(self) -> str:
        """See System."""
        return "true"
