"""Tests of stacks/governance.yaml and stacks/access.yaml: who sees what was done, who is told, who may do what."""
