// The vector body: a task runs one key head of one row, with the value heads that read it.
#pragma once

#include "kernels/gated_delta_rule/chunk.h"
#include "kernels/gated_delta_rule/step.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace deltaport::DELTAPORT_ISA {

// Columns [c, c + kColumns) of a state, to or from the block that is worked on.
inline void load_block(const float* state, int64_t key_dim, int64_t value_dim, int64_t c,
                       float* block) {
  const int64_t n = min_of(kColumns, value_dim - c);
  zero_floats(block, round_up(key_dim, 16) * kColumns);
  for (int64_t i = 0; i < key_dim; ++i) {
    copy_floats(block + i * kColumns, state + i * value_dim + c, n);
  }
}
inline void store_block(const float* block, int64_t key_dim, int64_t value_dim, int64_t c,
                        float* state) {
  const int64_t n = min_of(kColumns, value_dim - c);
  for (int64_t i = 0; i < key_dim; ++i) {
    copy_floats(state + i * value_dim + c, block + i * kColumns, n);
  }
}

// Ask for what the next chunk reads, a few tokens with each block of columns: a token's heads are
// too far from the next token's for the processor to see them coming.
__attribute__((always_inline)) inline void prefetch_tokens(const GatedDeltaRuleArgs& args,
                                                           int64_t row, int64_t t, int64_t n,
                                                           int64_t key_head) {
  const int64_t end = min_of(t + n, args.lengths[row]), width = args.group() * args.value_dim;
  for (; t < end; ++t) {
    const TokenAt token = token_at(args, row, t, key_head);
    prefetch(token.q, args.key_dim);
    prefetch(token.k, args.key_dim);
    prefetch(token.v, width);
    const int64_t at = (row * args.tokens + t) * args.value_width() + key_head * width;
    if (args.z != nullptr) prefetch(args.z + at, width);
    prefetch(args.o + at, width);
  }
}

// Tokens [t, t + n) of one value head.
inline void run_chunk(const GatedDeltaRuleArgs& args, int64_t row, int64_t t, int64_t n,
                      int64_t key_head, int64_t r, const ChunkScratch& s, float* state) {
  const int64_t head = key_head * args.group() + r;
  load_gates(args, row, t, n, head, s.log_decay, s.beta);
  load_decays(n, s);
  const int64_t at = (row * args.tokens + t) * args.value_width() + head * args.value_dim;
  const int64_t blocks = round_up(args.value_dim, kColumns) / kColumns;
  const int64_t share = round_up(kChunk, args.group() * blocks) / (args.group() * blocks);
  for (int64_t c = 0; c < args.value_dim; c += kColumns) {
    const int64_t part = r * blocks + c / kColumns;
    prefetch_tokens(args, row, t + kChunk + part * share, share, key_head);
    const int64_t columns = min_of(kColumns, args.value_dim - c);
    if (columns < kColumns || n % kTile != 0) zero_floats(s.u, kChunk * kColumns);
    for (int64_t i = 0; i < n; ++i) {
      const float* v = token_at(args, row, t + i, key_head).v + r * args.value_dim + c;
      copy_floats(s.u + i * kColumns, v, columns);
    }
    run_block(n, s, state + c * s.padded_key_dim());
    for (int64_t i = 0; i < n; ++i) {
      copy_floats(args.o + at + i * args.value_width() + c, s.out + i * kColumns, columns);
    }
  }
  if (args.norm == nullptr) return;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t token = at + i * args.value_width();
    norm_and_gate(args, args.z + token, args.o + token);
  }
}

inline void run_chunks(const GatedDeltaRuleArgs& args, int64_t row, int64_t key_head) {
  const ChunkScratch s(args, thread_scratch(ChunkScratch::size(args)));
  const int64_t size = args.key_dim * args.value_dim, block = s.padded_key_dim();
  const auto each_block = [&](auto body) {
    for (int64_t r = 0; r < args.group(); ++r) {
      const int64_t head = row * args.value_heads + key_head * args.group() + r;
      for (int64_t c = 0; c < args.value_dim; c += kColumns) {
        body(head * size, c, s.states + r * ChunkScratch::state_size(args) + c * block);
      }
    }
  };
  each_block([&](int64_t at, int64_t c, float* to) {
    load_block(args.state + at, args.key_dim, args.value_dim, c, to);
  });
  for (int64_t t = 0; t < args.lengths[row]; t += kChunk) {
    const int64_t n = min_of(kChunk, args.lengths[row] - t);
    load_keys(args, row, t, n, key_head, s);
    for (int64_t r = 0; r < args.group(); ++r) {
      run_chunk(args, row, t, n, key_head, r, s, s.states + r * ChunkScratch::state_size(args));
    }
  }
  each_block([&](int64_t at, int64_t c, float* from) {
    store_block(from, args.key_dim, args.value_dim, c, args.new_state + at);
  });
}

inline void run_row(const GatedDeltaRuleArgs& args, int64_t row, int64_t key_head) {
  constexpr int64_t kMostSteps = 3;  // up to this a chunk costs more than its tokens one by one
  const int64_t length = args.lengths[row], width = args.group() * args.value_dim;
  for (int64_t t = length; t < args.tokens; ++t) {
    zero_floats(args.o + (row * args.tokens + t) * args.value_width() + key_head * width, width);
  }
  const int64_t size = args.value_heads * args.key_dim * args.value_dim;
  const float* state = args.state + row * size;
  if (length > kMostSteps) {
    run_chunks(args, row, key_head);
  } else if (length > 0) {
    float* scratch = thread_scratch(2 * args.key_dim);
    for (int64_t t = 0; t < length; ++t) {
      run_step(args, row, t, key_head, t == 0 ? state : args.new_state + row * size, scratch);
    }
  } else if (args.new_state != args.state) {
    const int64_t heads = key_head * width * args.key_dim;
    copy_floats(args.new_state + row * size + heads, state + heads, width * args.key_dim);
  }
}

inline void gated_delta_rule(const GatedDeltaRuleArgs& args, const Parallel& parallel) {
  parallel(args.rows * args.key_heads, [&](size_t i) {
    run_row(args, i / args.key_heads, i % args.key_heads);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
