"""Run ``docs/tutorial.ipynb`` from its first cell to its last, and keep what its cells show.

    python -m docs.tutorial

It runs in an empty folder, with the kernel of this Python. What is kept is what a reader needs: no times of execution,
and none of the empty places in which progress was shown.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
SECONDS = 600
"""For one cell, on a slow machine with other work."""


def read() -> Any:
    """Return the notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook: Any, folder: Path) -> Any:
    """Run every cell of a notebook in a folder; return it with what the cells show.

    Raises:
        CellExecutionError: A cell raises.
    """
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    done = client.execute()
    for cell in done.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_empty(output)]
    done.metadata = {"kernelspec": dict(notebook.metadata["kernelspec"]), "language_info": {"name": "python"}}
    return done


def _is_empty(output: Any) -> bool:
    return output["output_type"] == "display_data" and not any(output["data"].values())


def main() -> None:
    """Run the notebook and store it."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(read(), Path(folder))
    nbformat.write(done, NOTEBOOK)


if __name__ == "__main__":
    main()
