"""What a worker writes on its pipe before its answer: a byte for each stage that it reaches, in this order."""

READY, TAKEN, WARMING = STAGES = (b"R", b"T", b"W")
"""It waits for a job; it has the job; it has run the model once."""
