"""One job's work each: read artifacts, call one function, write artifacts."""
