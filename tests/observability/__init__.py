"""Tests of stacks/: every alarm fires when it must, stays quiet when it may, and says what to do."""
