"""Tests of .github/workflows and delivery/: what the pipeline runs, and as whom. tests/release rehearses it whole."""
