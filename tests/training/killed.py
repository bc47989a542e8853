"""A training process to be killed: ``python killed.py WORK ADAPTER METHOD STEPS``; it writes the adapter at its end."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training")]


def main(work: Path, adapter: Path, method: str, steps: int) -> None:
    """Train with dropout, a checkpoint every step and a validation every few; go on where a killed process was."""
    import torch
    from rows import held_out, run, start

    from luthier.methods.adapter_io import Card, save_adapter

    torch.set_num_threads(1)
    model, attached = start(method)
    print("loaded", flush=True)
    run(
        model,
        attached,
        work,
        validate=held_out(model),
        steps=steps,
        validations=steps // 5,
        checkpoint_seconds=0,
        rate=2e-3,
    )
    save_adapter(model, attached, adapter, Card("0", method, {}, "tiny", model.digest))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
