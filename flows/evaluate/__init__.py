"""`millrace eval …`: how good the engine is on labelled data that nobody here made."""
