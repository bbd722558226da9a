"""Rules of the state machine by which rows come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from deltaport.errors import InputError, StepCancelledError
from deltaport.runtime import Snapshot
from tests.runtime.session_machine import TOKENS, SessionMachine, some_open
from tests.runtime.session_model import RowModel, check_row, unchanged
from tests.runtime.toy_engine import toy_logits

__all__ = ["RowRules"]

MOST_ROWS = 7
room_for_more = precondition(lambda self: len(self.rows) < MOST_ROWS)


class RowRules(SessionMachine):
    """Rows are opened, closed, forked, cleared, set aside, brought back and wound back."""

    @room_for_more
    @rule()
    def open_row(self) -> None:
        row = self.session.open_row()
        assert row == min(set(range(len(self.rows) + 1)) - set(self.rows))
        self.rows[row] = RowModel()

    @some_open
    @rule(data=st.data())
    def close_row(self, data: st.DataObject) -> None:
        row = self.leave(data)
        self.session.close_row(row)
        del self.rows[row]
        for refused in (self.session.close_row, self.session.fork, self.session.snapshot):
            with pytest.raises(InputError, match=f"row {row} is closed"):
                refused(row)
        with pytest.raises(InputError, match=f"row is {row}, which is not open"):
            self.session.native.fork(row)

    @room_for_more
    @some_open
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.rows)))
        made = self.session.fork(row)
        assert made not in self.rows
        self.rows[made] = self.rows[row].copy()

    @some_open
    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        row = self.leave(data)
        self.session.clear(row)
        self.rows[row] = RowModel()

    @some_open
    @rule(data=st.data(), as_file=st.booleans())
    def snapshot(self, data: st.DataObject, as_file: bool) -> None:
        row = data.draw(st.sampled_from(sorted(self.rows)))
        snapshot = self.session.snapshot(row)
        if as_file:
            snapshot.save(self.folder / "snapshot")
            snapshot = Snapshot.load(self.folder / "snapshot", self.engine)
        self.snapshots.append((snapshot, self.rows[row].copy()))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), elsewhere=st.booleans(), token=TOKENS)
    def restore(self, data: st.DataObject, elsewhere: bool, token: int) -> None:
        snapshot, model = data.draw(st.sampled_from(self.snapshots))
        model = model.copy()
        if elsewhere or not self.rows:
            self.other.restore(0, snapshot)
            check_row(self.other, 0, model)
            (logits,) = self.other.decode([token])
            model.add([token])
            np.testing.assert_array_equal(logits, toy_logits(model.tokens)[-1])
            check_row(self.other, 0, model)
        else:
            row = self.leave(data)
            self.session.restore(row, snapshot)
            self.rows[row] = model

    @some_open
    @rule(data=st.data(), cancelled=st.booleans())
    def rewind(self, data: st.DataObject, cancelled: bool) -> None:
        row = self.leave(data)
        model = self.rows[row]
        offered = data.draw(st.lists(st.sampled_from(self.snapshots), max_size=3)
                            if self.snapshots else st.just([]))  # fmt: skip
        count = data.draw(st.integers(0, len(model.tokens)))
        snapshots = [snapshot for snapshot, _ in offered]
        tokens = model.tokens[:count]
        starts = [then.seen for _, then in offered if covers(then, tokens)]
        if count == len(model.tokens):
            self.session.rewind(row, count, snapshots)
        elif count > 0 and not starts:
            with unchanged(self.session, InputError, f"row {row} cannot be wound back to {count}"):
                self.session.rewind(row, count, snapshots)
        elif count > 0 and max(starts) < count and cancelled:
            self.session.cancel()
            with unchanged(self.session, StepCancelledError, "step was cancelled"):
                self.session.rewind(row, count, snapshots)
        else:
            self.session.rewind(row, count, snapshots)
            self.rows[row] = RowModel(tokens, count)


def covers(then: RowModel, tokens: list[int]) -> bool:
    """Whether a snapshot of ``then`` is a beginning of ``tokens``, or all of them with logits."""
    if then.seen == len(tokens) and not then.has_logits:
        return False
    return then.tokens[: then.seen] == tokens[: then.seen] and then.seen <= len(tokens)
