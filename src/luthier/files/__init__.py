"""Files and folders: table readers, JSONL, atomic writes, digests, and the run store."""
