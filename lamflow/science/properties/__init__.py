"""Properties of crystals: each is a module with `frames` and `reduce`, and none knows an engine."""
