"""What is in this folder needs a GPU: without one there is nothing to collect."""

from __future__ import annotations

from tests.gpu import PLACES, Place

collect_ignore_glob = [] if Place.GPU in PLACES else ["test_*.py"]
