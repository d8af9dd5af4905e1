"""Takes what the readers of an epoch deliver, for the tests of all pools."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpstorage.engine.reading import Pool

PATIENCE = 20.0


def consume(pool: Pool, steps: int) -> None:
    """Take all batches; whatever the pool raises, and an error instead of a hang."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with pool:
                for step in range(steps):
                    pool.batches.wait(step)
        except BaseException as error:  # noqa: BLE001 (raised below)
            raised.append(error)

    consumer = threading.Thread(target=work, daemon=True)
    consumer.start()
    consumer.join(PATIENCE)
    assert not consumer.is_alive(), "the epoch hangs"
    assert not [thread for thread in pool._threads if thread.is_alive()]
    if raised:
        raise raised[0]
