"""What several suites need, each thing once. Suites import from here, and nothing from each other."""
