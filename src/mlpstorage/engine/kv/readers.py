"""The timed path of reading: threads that read blocks into their own buffers."""

from __future__ import annotations

import itertools
import threading
from time import perf_counter_ns
from typing import TYPE_CHECKING

from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.kv.board import ABSENT, BROKEN, DONE
from mlpstorage.engine.kv.inspection import Inspector
from mlpstorage.engine.kv.layouts import explained
from mlpstorage.engine.stamps import SECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.kv.board import Board
    from mlpstorage.engine.kv.inspection import Findings
    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.stamps import BlockPool


class _OpenBlock:
    """A block that several threads read piece by piece."""

    def __init__(self, descriptor: int, offset: int, pieces: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.count = itertools.count(1)
        self.ends_ns = [0] * pieces
        self.whole = True


class Readers:
    """Reader threads, each with a buffer of one piece.

    A thread takes a block, opens it, and reads it; of a block with several pieces it reads the
    first, while other threads take the rest. A block's time runs from before it is opened to its
    last byte; its file is closed and its stamps are compared afterwards.

    Args:
        board: What to read.
        layout: Where from.
        pool: What the blocks were made from.
        findings: Where to put what is wrong.
        chosen: By operation, whether the block is compared as a whole.
    """

    def __init__(
        self, board: Board, layout: Layout, pool: BlockPool, findings: Findings, chosen: bytes
    ) -> None:
        self._board = board
        self._layout = layout
        self._open: dict[int, _OpenBlock] = {}
        size = board.piece_bytes
        buffers = [aligned_buffer(size)[:size] for _ in range(board.settings.readers)]
        self.moved_bytes = [0] * len(buffers)
        self.inspectors = [
            Inspector(pool, buffer, layout, findings, board.settings.verify, chosen)
            for buffer in buffers
        ]
        self.threads = [
            threading.Thread(target=self._serve, args=(number, buffer), daemon=True)
            for number, buffer in enumerate(buffers)
        ]

    def _serve(self, number: int, buffer: memoryview) -> None:
        try:
            if self._board.pieces == 1:
                self._read_blocks(number, buffer)
            else:
                self._read_pieces(number, buffer)
        except BaseException as error:  # noqa: BLE001 (the dispatcher raises it, whatever it is)
            self._board.fail(error)

    def _read_blocks(self, number: int, buffer: memoryview) -> None:
        """Read blocks of one piece until told to end: local names, because it all holds the GIL."""
        board, layout, inspector = self._board, self._layout, self.inspectors[number]
        sleep, take, arrive = board.reads.sleep, board.reads.take, board.arrive
        place_of, block_of, outcome = board.place, board.block, board.outcome
        begin_ns, end_ns, moved = board.begin_ns, board.end_ns, self.moved_bytes
        open_, read, close, inspect = layout.open, layout.read, layout.close, inspector.inspect
        clock, length, whole = perf_counter_ns, len(buffer), [buffer]
        while True:
            sleep()
            op = take()
            if op < 0:
                return
            if board.stopped:
                continue
            place = place_of[op]
            begin_ns[op] = clock()
            try:
                descriptor, offset = open_(place)
                try:
                    got = read(descriptor, whole, offset)
                    if got != length:
                        got = _rest(read, descriptor, buffer, offset, got)
                    end = clock()
                finally:
                    close(descriptor)
            except FileNotFoundError:
                self._not_there(op, inspector)
                continue
            except OSError as error:
                raise explained(error, layout.root, layout.path_of(place)) from error
            end_ns[op] = end
            moved[number] += got
            outcome[op] = DONE if got == length else BROKEN
            arrive(op, end)
            if got == length:
                inspect(op, block_of[op], place, 0, length)
            else:
                inspector.short(block_of[op], place, got)

    def _read_pieces(self, number: int, buffer: memoryview) -> None:
        """Read pieces of blocks until told to end."""
        board = self._board
        while True:
            board.reads.sleep()
            item = board.reads.take()
            if item < 0:
                return
            op, piece = divmod(item, board.pieces)
            if board.stopped:
                continue
            if piece:
                self._read_piece(number, buffer, op, piece, self._open[op])
            elif (opened := self._begin(op, self.inspectors[number])) is not None:
                self._read_piece(number, buffer, op, 0, opened)

    def _begin(self, op: int, inspector: Inspector) -> _OpenBlock | None:
        """Open a block, and let other threads read its other pieces."""
        board, layout = self._board, self._layout
        place = board.place[op]
        board.begin_ns[op] = perf_counter_ns()
        try:
            opened = _OpenBlock(*layout.open(place), board.pieces)
        except FileNotFoundError:
            self._not_there(op, inspector)
            return None
        except OSError as error:
            raise explained(error, layout.root, layout.path_of(place)) from error
        self._open[op] = opened
        for piece in range(board.pieces - 1, 0, -1):
            board.reads.push_first(op * board.pieces + piece)
        return opened

    def _read_piece(
        self, number: int, buffer: memoryview, op: int, piece: int, opened: _OpenBlock
    ) -> None:
        board, layout, inspector = self._board, self._layout, self.inspectors[number]
        start = piece * board.piece_bytes
        length = min(board.piece_bytes, layout.block_bytes - start)
        view, offset = buffer[:length], opened.offset + start
        try:
            got = layout.read(opened.descriptor, [view], offset)
            if got != length:
                got = _rest(layout.read, opened.descriptor, view, offset, got)
        except OSError as error:
            path = layout.path_of(board.place[op])
            raise explained(error, layout.root, path) from error
        opened.ends_ns[piece] = perf_counter_ns()
        self.moved_bytes[number] += got
        opened.whole &= got == length
        if next(opened.count) == board.pieces:
            self._finish(op, opened)
        if got == length:
            inspector.inspect(op, board.block[op], board.place[op], start, length)
        else:
            inspector.short(board.block[op], board.place[op], start + got)

    def _finish(self, op: int, opened: _OpenBlock) -> None:
        """All pieces are in."""
        board = self._board
        del self._open[op]
        board.end_ns[op] = end = max(opened.ends_ns)
        board.outcome[op] = DONE if opened.whole else BROKEN
        board.arrive(op, end)
        self._layout.close(opened.descriptor)

    def _not_there(self, op: int, inspector: Inspector) -> None:
        board = self._board
        if board.settings.shared:
            board.outcome[op] = ABSENT
        else:
            board.outcome[op] = BROKEN
            inspector.missing(board.block[op], board.place[op])
        board.arrive(op, perf_counter_ns())

    def close(self) -> None:
        """After the threads have ended: close blocks that were given up half read."""
        for opened in self._open.values():
            self._layout.close(opened.descriptor)
        self._open.clear()


def _rest(
    read: Callable[[int, list[memoryview], int], int],
    descriptor: int,
    view: memoryview,
    offset: int,
    got: int,
) -> int:
    """Read on after a short read; how many bytes there are in all before the file ends."""
    while got < len(view) and not got % SECTOR_BYTES:
        more = read(descriptor, [view[got:]], offset + got)
        if not more:
            break
        got += more
    return got
