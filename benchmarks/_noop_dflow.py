"""The OP that dflow's slices run in noop_graph.py."""

from pathlib import Path

from dflow.python import OP, OPIO, Artifact, OPIOSign


class Noop(OP):  # type: ignore[misc]  # dflow has no types
    """Write one small file."""

    @classmethod
    def get_input_sign(cls) -> OPIOSign:
        """A number."""
        return OPIOSign({"number": int})

    @classmethod
    def get_output_sign(cls) -> OPIOSign:
        """A file."""
        return OPIOSign({"file": Artifact(Path)})

    @OP.exec_sign_check  # type: ignore[untyped-decorator]
    def execute(self, op_in: OPIO) -> OPIO:
        """Write it."""
        path = Path(f"{op_in['number']:06d}")
        path.write_text("done", encoding="utf-8")
        return OPIO({"file": path})
