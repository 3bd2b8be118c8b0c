"""Tests of stacks/: every alarm fires when it must, is quiet when it may, and says what to do."""
