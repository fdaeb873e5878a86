"""The codes that do physics: protocols, a registry of plug-ins, and one module per code."""
