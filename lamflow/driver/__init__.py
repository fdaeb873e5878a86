"""The loop over iterations: build one, run it, decide, repeat. All of its state is files."""
