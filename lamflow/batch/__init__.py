"""Jobs on a batch system: scripts, the queue, and what runs on its nodes."""
