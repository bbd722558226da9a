// Sessions in the C layer: rows come, go and are read.

#include "session.h"

#include "c_api/handles.h"

using namespace deltaport;
using namespace deltaport::c_api;

extern "C" {

deltaport_status deltaport_session_open(const deltaport_engine* engine, int64_t sequences,
                                        int64_t context, deltaport_session** session) {
  return guarded([&] {
    const auto& opened = need(engine, "engine").engine;
    deltaport_session*& made = need(session, "session");
    const int64_t most = opened->longest_context();
    if (sequences < 0) {
      throw InputError("sequences is " + std::to_string(sequences) +
                       ", expected an integer, at least 0");
    }
    if (context < 0 || context > most) {
      throw InputError("context is " + std::to_string(context) + ", expected an integer, 0 to " +
                       std::to_string(most));
    }
    const int64_t columns = context == 0 ? most : context;
    made = new deltaport_session{std::make_shared<Session>(opened, sequences, columns)};
  });
}

deltaport_status deltaport_session_close(deltaport_session* session) {
  return guarded([&] { delete &need(session, "session"); });
}

deltaport_status deltaport_session_cancel(deltaport_session* session) {
  return guarded([&] { session_of(session).cancel(); });
}

deltaport_status deltaport_session_open_row(deltaport_session* session, int64_t* row) {
  return guarded([&] {
    int64_t& made = need(row, "row");
    made = session_of(session).open();
  });
}

deltaport_status deltaport_session_close_row(deltaport_session* session, int64_t row) {
  return guarded([&] { session_of(session).close(row); });
}

deltaport_status deltaport_session_fork(deltaport_session* session, int64_t row, int64_t* made) {
  return guarded([&] {
    int64_t& copy = need(made, "made");
    copy = session_of(session).fork(row);
  });
}

deltaport_status deltaport_session_clear(deltaport_session* session, int64_t row) {
  return guarded([&] { session_of(session).clear(row); });
}

deltaport_status deltaport_session_tokens(const deltaport_session* session, int64_t row,
                                          int64_t* tokens, size_t capacity, size_t* count) {
  return guarded([&] { copy_ids(session_of(session).row(row).tokens, tokens, capacity, count); });
}

deltaport_status deltaport_session_length(const deltaport_session* session, int64_t row,
                                          int64_t* length) {
  return guarded([&] {
    const Session& opened = session_of(session);
    need(length, "length") = opened.row(row).length;
  });
}

deltaport_status deltaport_session_row_bytes(const deltaport_session* session, int64_t row,
                                             size_t* bytes) {
  return guarded([&] {
    const Session& opened = session_of(session);
    need(bytes, "bytes") = opened.row_bytes(row);
  });
}

}  // extern "C"
