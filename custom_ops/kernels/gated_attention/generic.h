// The vector body. New keys and values go into the cache first. Then a row with many tokens has a
// task for every block of its queries, which runs through all columns they see; one with few has a
// task for every stretch of columns, so that a long context keeps all threads busy, and the
// stretches are put together in order. Which it is, and how long a stretch, follows from the row.
#pragma once

#include "kernels/gated_attention/attend.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int64_t kStretchTokens = 4;  // up to which a row's columns are split
constexpr int64_t kQueries = 128;      // about as many in a block

// How the tasks of one row and key/value head follow from the row.
struct RowPlan {
  int64_t length, columns, tokens, stretch, tasks;
};
inline RowPlan plan_row(const GatedAttentionArgs& args, int64_t row) {
  const int64_t length = args.lengths[row], columns = args.past_lengths[row] + length;
  if (length == 0) return {0, columns, 0, 0, 0};
  if (length <= kStretchTokens) {
    const int64_t stretch = max_of(512, round_up(columns / 32, kBlock));
    return {length, columns, length, stretch, round_up(columns, stretch) / stretch};
  }
  const int64_t tokens = max_of(1, kQueries / args.group());
  return {length, columns, tokens, 0, round_up(length, tokens) / tokens};
}

// o = values / total * sigmoid(gate)
inline void write_output(const GatedAttentionArgs& args, const Queries& q, int64_t value_dim,
                         const Attended& a) {
  const int64_t D = args.head_dim, G = args.group();
  for (int64_t i = 0; i < q.tokens * G; ++i) {
    const int64_t token = q.row * args.tokens + q.token + i / G;
    const int64_t head = token * args.query_heads + q.kv_head * G + i % G;
    const Vec inverse = Vec::all(1.0f / a.total[i]);
    for_each_vector(D, [&](int64_t c, int n) {
      const Vec gate = sigmoid(load_n(args.q_gate + head * 2 * D + D + c, n));
      store_n(args.o + head * D + c, load_n(a.values + i * value_dim + c, n) * inverse * gate, n);
    });
  }
}

// Takes up a later stretch of columns.
inline void merge(int64_t lanes, int64_t value_dim, const Attended& into, const Attended& from) {
  for (int64_t i = 0; i < lanes; ++i) {
    const Vec before = Vec::all(into.largest[i]), other = Vec::all(from.largest[i]);
    const Vec largest = max(before, other);
    const Vec base = max(Vec::all(-3e38f), largest);
    const Vec keep = exp(before - base), add = exp(other - base);
    store_partial(into.largest + i, largest, 1);
    store_partial(into.total + i,
                  fmadd(add, Vec::all(from.total[i]), keep * Vec::all(into.total[i])), 1);
    for (int64_t c = i * value_dim; c < (i + 1) * value_dim; c += Vec::width) {
      store(into.values + c, fmadd(add, load(from.values + c), keep * load(into.values + c)));
    }
  }
}

inline void gated_attention(const GatedAttentionArgs& args, const Parallel& parallel) {
  constexpr int64_t kWritten = 64;  // tokens a task writes into the cache
  const int64_t planes = args.rows * args.kv_heads, D = args.head_dim;
  const int64_t writes = round_up(max_of(args.tokens, 1), kWritten) / kWritten;
  parallel(planes * writes, [&](size_t i) {
    const int64_t plane = i / writes, t = static_cast<int64_t>(i) % writes * kWritten;
    const int64_t row = plane / args.kv_heads;
    const int64_t n = min_of(kWritten, args.lengths[row] - t);
    if (n > 0 || t == 0) write_cache(args, row, plane % args.kv_heads, t, max_of(n, 0));
  });
  int64_t tasks = 0, stretches = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    const RowPlan plan = plan_row(args, row);
    tasks = max_of(tasks, plan.tasks);
    if (plan.stretch > 0) stretches = max_of(stretches, plan.tasks);
    const int64_t width = args.query_heads * D, at = row * args.tokens;
    zero_floats(args.o + (at + plan.length) * width, (args.tokens - plan.length) * width);
  }
  // Of rows with few tokens: what each stretch gives.
  const int64_t most = AttendScratch::lanes_of(kStretchTokens * args.group());
  const int64_t value_dim = round_up(D, kValues);
  const int64_t part_size = Attended::size(most, value_dim);
  const SharedBuffer parts(planes * stretches * part_size);
  const auto part = [&](int64_t plane, int64_t i) {
    return parts.floats() + (plane * stretches + i) * part_size;
  };
  parallel(planes * tasks, [&](size_t i) {
    const int64_t plane = static_cast<int64_t>(i) / tasks, task = static_cast<int64_t>(i) % tasks;
    const RowPlan plan = plan_row(args, plane / args.kv_heads);
    if (task >= plan.tasks) return;
    Queries q{plane / args.kv_heads, plane % args.kv_heads, 0, plan.length};
    if (plan.stretch == 0) {
      q.token = task * plan.tokens;
      q.tokens = min_of(plan.tokens, plan.length - q.token);
    }
    const int64_t count = q.tokens * args.group(), lanes = AttendScratch::lanes_of(count);
    const int64_t size = round_up(AttendScratch::size(count, D), 16);
    float* memory = thread_scratch(size + Attended::size(lanes, value_dim));
    const AttendScratch s(count, D, memory);
    if (plan.stretch == 0) {
      const Attended a = Attended::start(lanes, value_dim, memory + size);
      attend(args, q, 0, plan.columns - plan.length + q.token + q.tokens, s, a);
      write_output(args, q, value_dim, a);
    } else {
      const Attended a = Attended::start(lanes, value_dim, part(plane, task));
      attend(args, q, task * plan.stretch, min_of(plan.columns, (task + 1) * plan.stretch), s, a);
    }
  });
  parallel(stretches == 0 ? 0 : planes, [&](size_t plane) {
    const RowPlan plan = plan_row(args, plane / args.kv_heads);
    if (plan.stretch == 0) return;
    const Queries q{static_cast<int64_t>(plane) / args.kv_heads,
                    static_cast<int64_t>(plane) % args.kv_heads, 0, plan.length};
    const int64_t lanes = AttendScratch::lanes_of(q.tokens * args.group());
    float* memory = thread_scratch(Attended::size(lanes, value_dim));
    const Attended whole = Attended::start(lanes, value_dim, memory);
    for (int64_t i = 0; i < plan.tasks; ++i) {
      merge(lanes, value_dim, whole, Attended::at(lanes, part(plane, i)));
    }
    write_output(args, q, value_dim, whole);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
