"""Files of DP-GEN, dpgen2, PFD-kit and dpclean as one lamflow YAML, with a list of all that was said in them."""

from lamflow.migrate.convert import Migration, migrate

__all__ = ["Migration", "migrate"]
