"""Where things lie in the repository."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Where handlers are imported from: one folder for each zip that has packages.
IMPORT_ROOTS = (REPOSITORY / "functions", REPOSITORY / "converter")
LOCAL_AWS_PYTHON = REPOSITORY / ".engine" / "venv" / "bin" / "python"  # runs the local AWS, and the functions in it
