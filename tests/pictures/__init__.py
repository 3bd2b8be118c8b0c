"""Pictures against the gate and the stripping of metadata: every kind with every secret, and thousands of mutants."""
