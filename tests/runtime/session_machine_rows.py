"""Rules of the state machine by which rows come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from deltaport.errors import InputError
from deltaport.runtime import Snapshot
from tests.runtime.session_machine import TOKENS, SessionMachine, some_open
from tests.runtime.session_model import RowModel, check_row
from tests.runtime.toy_engine import toy_logits

__all__ = ["RowRules"]

MOST_ROWS = 7
room_for_more = precondition(lambda self: len(self.rows) < MOST_ROWS)


class RowRules(SessionMachine):
    """Rows are opened, closed, forked, cleared, set aside and brought back."""

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
