"""The background path: threads that write and delete blocks, and step back while reads wait."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.kv.board import ABSENT, BROKEN, DONE, DROPPED, LOST
from mlpstorage.engine.kv.layouts import explained
from mlpstorage.engine.kv.plan import Op
from mlpstorage.engine.kv.record import Finding
from mlpstorage.engine.stamps import SECTOR_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.kv.board import Board
    from mlpstorage.engine.kv.inspection import Findings
    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.stamps import BlockPool

# How long a writer that leaves its work naps before it looks again whether reads wait.
_NAP_SECONDS = 0.005


class Writers:
    """Writer threads, each with a buffer of one piece.

    A block's bytes are made, stamped and written piece by piece; its time is that of the storage's
    calls alone, from creating it to making it visible.

    Args:
        board: What to write.
        layout: Where to.
        pool: What the blocks are made from.
        findings: Where to put what is wrong.
    """

    def __init__(self, board: Board, layout: Layout, pool: BlockPool, findings: Findings) -> None:
        self._board = board
        self._layout = layout
        self._pool = pool
        self._findings = findings
        self._budget_ns = int(board.settings.write_budget_seconds * 1e9)
        size = board.piece_bytes
        buffers = [aligned_buffer(size)[:size] for _ in range(board.settings.writers)]
        self.moved_bytes = [0] * len(buffers)
        self.threads = [
            threading.Thread(target=self._serve, args=(number, buffer), daemon=True)
            for number, buffer in enumerate(buffers)
        ]

    def _serve(self, number: int, buffer: memoryview) -> None:
        board = self._board
        try:
            words: NDArray[np.uint64] = np.frombuffer(buffer, np.uint64)
            while True:
                self._wait_for_turn(number)
                op = board.writes.take()
                if op < 0:
                    return
                if board.stopped:
                    continue
                if board.op[op] == Op.DELETE:
                    self._delete(op)
                else:
                    self._write(number, op, buffer, words)
        except BaseException as error:  # noqa: BLE001 (the dispatcher raises it, whatever it is)
            board.fail(error)

    def _wait_for_turn(self, number: int) -> None:
        """Sleep until there is something to do, and reads allow that this writer does it.

        All but a few writers leave their work to the others as long as reads wait for a reader.
        """
        board = self._board
        beside = number < board.settings.writers_beside_reads
        board.writes.sleep()
        while not beside and board.reads.waiting and not board.stopped:
            board.writes.leave()
            time.sleep(_NAP_SECONDS)
            board.writes.sleep()

    def _delete(self, op: int) -> None:
        board, layout, place = self._board, self._layout, self._board.place[op]
        if board.undone(op):
            board.settle(op, LOST, perf_counter_ns())
            return
        outcome = DONE
        board.begin_ns[op] = perf_counter_ns()
        try:
            layout.delete(place)
        except FileNotFoundError:
            outcome = ABSENT if board.settings.shared else BROKEN
        except OSError as error:
            raise explained(error, layout.root, layout.path_of(place)) from error
        board.end_ns[op] = now = perf_counter_ns()
        if outcome == BROKEN:
            self._findings.add(
                Finding(
                    what="missing",
                    file=layout.path_of(place),
                    offset=layout.offset_of(place),
                    block=f"{board.block[op]:016x}",
                    detail="the block to delete is not there",
                )
            )
        board.settle(op, outcome, now)

    def _write(self, number: int, op: int, buffer: memoryview, words: NDArray[np.uint64]) -> None:
        board, layout, place = self._board, self._layout, self._board.place[op]
        began = perf_counter_ns()
        if began - board.ready_ns[op] > self._budget_ns:
            board.settle(op, DROPPED, began)
            return
        board.begin_ns[op] = began
        try:
            spent_ns = self._put(op, place, buffer, words)
        except OSError as error:
            raise explained(error, layout.root, layout.path_of(place)) from error
        board.end_ns[op] = now = perf_counter_ns()
        board.spent_ns[op] = spent_ns
        self.moved_bytes[number] += layout.block_bytes
        board.settle(op, DONE, now)

    def _put(self, op: int, place: int, buffer: memoryview, words: NDArray[np.uint64]) -> int:
        """Write one block; the nanoseconds of the storage's calls."""
        board, layout, fill, clock = self._board, self._layout, self._pool.fill, perf_counter_ns
        block, total, step = board.block[op], layout.block_bytes, board.piece_bytes
        spent = -clock()
        descriptor, offset = layout.create(place)
        spent += clock()
        try:
            for start in range(0, total, step):
                length = min(step, total - start)
                fill(words[: length // 8], block, start // SECTOR_BYTES)
                spent -= clock()
                self._put_piece(descriptor, buffer[:length], offset + start)
                spent += clock()
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                layout.discard(descriptor, place)
            raise
        spent -= clock()
        layout.commit(descriptor, place)
        return spent + clock()

    def _put_piece(self, descriptor: int, piece: memoryview, offset: int) -> None:
        write = self._layout.write
        done = write(descriptor, [piece], offset)
        while done < len(piece):
            more = write(descriptor, [piece[done:]], offset + done)
            if not more:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += more
