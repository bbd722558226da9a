/* Engines for C and C++ programs, without Python. See docs/embedding.md.
 *
 * Errors. Every function but deltaport_api_version and deltaport_last_error returns a status. One
 * that is not DELTAPORT_OK leaves what it was given as it was, unless it says otherwise, and
 * deltaport_last_error() tells why. No C++ exception ever comes out. A null handle, or a null
 * pointer that is not said to be allowed, gives DELTAPORT_INPUT.
 *
 * Ownership. Whoever gets a handle ends it, once, with its close or free function. In which order
 * does not matter: a session keeps its engine, and a generation keeps its session. Memory that a
 * caller passes is read or written during the call alone.
 *
 * Threads. An engine, a snapshot and a prefix cache may be used from any number of threads at once. A session, with
 * its generations, is for one thread at a time, but for deltaport_session_cancel. Different
 * sessions never wait for each other but for the compute threads of their engine and, for moments, a
 * prefix cache that they share.
 *
 * Versions. Within DELTAPORT_API_VERSION functions and fields are only ever added, fields at the
 * end of structs that begin with struct_size. The library's SOVERSION is this number.
 */
#ifndef DELTAPORT_DELTAPORT_H_
#define DELTAPORT_DELTAPORT_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define DELTAPORT_API
#else
#define DELTAPORT_API __attribute__((visibility("default")))
#endif

#define DELTAPORT_API_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef enum deltaport_status {
  DELTAPORT_OK = 0,
  DELTAPORT_INPUT = 1,     /* an argument is out of range */
  DELTAPORT_CAPACITY = 2,  /* a sequence would outgrow its context, or there is no memory */
  DELTAPORT_ENGINE = 3,    /* an engine or ONNX Runtime is not what it must be, or a step failed */
  DELTAPORT_CANCELLED = 4, /* by deltaport_session_cancel */
  DELTAPORT_INTERNAL = 5,  /* a bug in deltaport */
  DELTAPORT_OUTPUT = 6     /* a file could not be written; what was there is there still */
} deltaport_status;

typedef struct deltaport_engine deltaport_engine;         /* a loaded decoder; never changes */
typedef struct deltaport_session deltaport_session;       /* the state of rows, one a sequence */
typedef struct deltaport_generation deltaport_generation; /* rows that are continued together */
typedef struct deltaport_snapshot deltaport_snapshot;     /* a row set aside; never changes */
typedef struct deltaport_prefix_cache deltaport_prefix_cache; /* prompts that were read */

/* The DELTAPORT_API_VERSION that the library was built with. */
DELTAPORT_API int32_t deltaport_api_version(void);

/* One line about the calling thread's last failure, empty if there was none. It is the library's,
 * and stays until the thread's next failure or end. */
DELTAPORT_API const char* deltaport_last_error(void);

/* ---- Engines ---- */

typedef enum deltaport_device {
  DELTAPORT_DEVICE_AUTO = 0, /* a GPU for engines made for one where there is one, else the CPU */
  DELTAPORT_DEVICE_CPU = 1,
  DELTAPORT_DEVICE_CUDA = 2
} deltaport_device;

typedef struct deltaport_engine_options {
  size_t struct_size;
  /* Path or name of the library. NULL: the environment's DELTAPORT_ONNXRUNTIME, else
   * libonnxruntime.so.1. */
  const char* onnxruntime;
  /* Path of ort_kernels.so, which engines for ort-cpu need. NULL: the environment's
   * DELTAPORT_KERNELS, else the one beside libdeltaport.so. */
  const char* kernels;
  /* Path or name of TensorRT's library, for engines made for it. NULL: the environment's
   * DELTAPORT_TENSORRT, else the name of the version that built the engine. */
  const char* tensorrt;
  /* Path of libdeltaport_tensorrt.so, which those engines need. NULL: the environment's
   * DELTAPORT_TENSORRT_PLUGINS, else the one beside libdeltaport.so. */
  const char* plugins;
  int32_t threads;   /* compute threads; 0: one per core */
  int32_t device;    /* a deltaport_device */
  int32_t checksums; /* read every file once and compare it with the manifest; 0: do not */
  int32_t reserved;  /* 0: fills the struct, so that the next field makes it larger */
} deltaport_engine_options;

/* Fills in the defaults. `struct_size`: sizeof(deltaport_engine_options) as the caller knows it. */
DELTAPORT_API deltaport_status deltaport_engine_options_init(deltaport_engine_options* options,
                                                             size_t struct_size);

/* Opens the engine in `folder`. `options` may be NULL, for the defaults. */
DELTAPORT_API deltaport_status deltaport_engine_open(const char* folder,
                                                     const deltaport_engine_options* options,
                                                     deltaport_engine** engine);

/* Gives the handle back. Sessions that are open go on; the last of them frees the engine. */
DELTAPORT_API deltaport_status deltaport_engine_close(deltaport_engine* engine);

/* How many token ids there are: 0 to vocab_size - 1. */
DELTAPORT_API deltaport_status deltaport_engine_vocab_size(const deltaport_engine* engine,
                                                           int64_t* vocab_size);

/* The longest context a session may have: what the model was trained for, or less where the engine's
 * caches have a size of their own. */
DELTAPORT_API deltaport_status deltaport_engine_max_positions(const deltaport_engine* engine,
                                                              int64_t* max_positions);

/* Copies the ids that end a sequence. `count` gets their number; `ids` may be NULL, to ask for that
 * alone. DELTAPORT_INPUT, with `count` set, where `capacity` is too small. */
DELTAPORT_API deltaport_status deltaport_engine_eos_token_ids(const deltaport_engine* engine,
                                                              int64_t* ids, size_t capacity,
                                                              size_t* count);

/* ---- Sessions ---- */

/* `sequences` open rows, 0 to sequences - 1, of at most `context` tokens each; context 0: the
 * engine's max_positions. Memory is taken as tokens come. */
DELTAPORT_API deltaport_status deltaport_session_open(const deltaport_engine* engine,
                                                      int64_t sequences, int64_t context,
                                                      deltaport_session** session);

/* Gives the handle back. Generations of the session that are not freed yet keep its memory. */
DELTAPORT_API deltaport_status deltaport_session_close(deltaport_session* session);

/* Ends the step in progress with DELTAPORT_CANCELLED, or else the session's next one. From any
 * thread, while the handle is open. Rows are then as they were before that step. */
DELTAPORT_API deltaport_status deltaport_session_cancel(deltaport_session* session);

/* A new empty row: the lowest number that no open row has. */
DELTAPORT_API deltaport_status deltaport_session_open_row(deltaport_session* session, int64_t* row);

/* Ends a row and gives its memory back. */
DELTAPORT_API deltaport_status deltaport_session_close_row(deltaport_session* session, int64_t row);

/* A new row, `made`, that goes on from where `row` is. */
DELTAPORT_API deltaport_status deltaport_session_fork(deltaport_session* session, int64_t row,
                                                      int64_t* made);

/* Makes `row` an empty sequence again. */
DELTAPORT_API deltaport_status deltaport_session_clear(deltaport_session* session, int64_t row);

/* Tokens for one row; `tokens` may be NULL where `count` is 0. */
typedef struct deltaport_row_tokens {
  int64_t row;
  const int64_t* tokens;
  size_t count;
} deltaport_row_tokens;

/* Appends tokens to `count` different rows, each any number of them, and runs the model over them.
 * `logits` gets [count, vocab_size], in the order of `given`, after each row's last token; what
 * belongs to rows given no token is left as it is. It may be NULL; `logits_capacity` is its size in
 * floats. Where a step fails or is cancelled, what earlier steps have run stays, and tokens not run
 * are taken back: all of them, if it was the first. */
DELTAPORT_API deltaport_status deltaport_session_prefill(deltaport_session* session,
                                                         const deltaport_row_tokens* given,
                                                         size_t count, float* logits,
                                                         size_t logits_capacity);

/* Copies all tokens of `row`, prompts and generated. `count` gets their number; `tokens` may be
 * NULL, to ask for that alone. DELTAPORT_INPUT, with `count` set, where `capacity` is too small. */
DELTAPORT_API deltaport_status deltaport_session_tokens(const deltaport_session* session,
                                                        int64_t row, int64_t* tokens,
                                                        size_t capacity, size_t* count);

/* How many of its tokens the row's state has seen; a generated one is seen with its successor. */
DELTAPORT_API deltaport_status deltaport_session_length(const deltaport_session* session,
                                                        int64_t row, int64_t* length);

/* Bytes of state that the row has in memory. */
DELTAPORT_API deltaport_status deltaport_session_row_bytes(const deltaport_session* session,
                                                           int64_t row, size_t* bytes);

/* ---- Snapshots ---- */

/* Copies what `row` is now into memory of its own. It keeps neither session nor engine. */
DELTAPORT_API deltaport_status deltaport_session_snapshot(const deltaport_session* session,
                                                          int64_t row,
                                                          deltaport_snapshot** snapshot);

/* Makes `row` what it was, in any session of an engine of the same files. */
DELTAPORT_API deltaport_status deltaport_session_restore(deltaport_session* session, int64_t row,
                                                         const deltaport_snapshot* snapshot);

/* Makes `row` a sequence of its first `count` tokens, if it has more: the state of that of `snapshots`, or of the
 * session's prefix cache, which was taken of most of them, and the tokens after it run again.
 * `snapshots` may be NULL where `snapshot_count` is 0. DELTAPORT_INPUT where there is none, and for
 * snapshots of another engine. After any failure the row is as it was. */
DELTAPORT_API deltaport_status deltaport_session_rewind(deltaport_session* session, int64_t row,
                                                        int64_t count,
                                                        const deltaport_snapshot* const* snapshots,
                                                        size_t snapshot_count);

/* Writes a safetensors file, in place of what is there; its owner alone may read it. */
DELTAPORT_API deltaport_status deltaport_snapshot_save(const deltaport_snapshot* snapshot,
                                                       const char* path);

/* Reads what deltaport_snapshot_save, or Python's Snapshot.save, wrote of a session of an engine of
 * the same files. DELTAPORT_INPUT for a file that is not there, is damaged, or another engine's. */
DELTAPORT_API deltaport_status deltaport_snapshot_load(const deltaport_engine* engine,
                                                       const char* path,
                                                       deltaport_snapshot** snapshot);

DELTAPORT_API deltaport_status deltaport_snapshot_free(deltaport_snapshot* snapshot);

/* ---- Prompts that begin alike ---- */

/* Holds `budget` bytes at most; what was not of use for longest is dropped for others. A prompt is
 * kept if `min_tokens` of its tokens at least had to be run; 0: the default, 64. */
DELTAPORT_API deltaport_status deltaport_prefix_cache_new(size_t budget, int64_t min_tokens,
                                                          deltaport_prefix_cache** cache);

/* Gives the handle back. Sessions that use the cache keep it. */
DELTAPORT_API deltaport_status deltaport_prefix_cache_free(deltaport_prefix_cache* cache);

/* Drops everything. */
DELTAPORT_API deltaport_status deltaport_prefix_cache_clear(deltaport_prefix_cache* cache);

/* Bytes and prompts that are held now, and how many prompts so far began where an earlier one was
 * set aside, or did not. Any of them may be NULL, for what is of no interest. */
DELTAPORT_API deltaport_status deltaport_prefix_cache_usage(const deltaport_prefix_cache* cache,
                                                            size_t* bytes, int64_t* prompts,
                                                            int64_t* hits, int64_t* misses);

/* From now on prompts that the session has read are kept in `cache`, and prompts of rows without
 * tokens start from the longest one there that they begin with. Any number of sessions, of any
 * engines, may use one. NULL: none, as at first. */
DELTAPORT_API deltaport_status deltaport_session_use_prefixes(deltaport_session* session,
                                                              deltaport_prefix_cache* cache);

/* ---- Generation ---- */

typedef struct deltaport_sampling_params {
  size_t struct_size;
  int64_t max_new_tokens; /* -1: as many as the context holds; default 128 */
  int64_t min_new_tokens;
  double temperature; /* 0, the default: greedy */
  int64_t top_k;      /* 0: off */
  double top_p;
  double min_p;
  double typical_p;
  double repetition_penalty;
  double presence_penalty;
  double frequency_penalty;
  const int64_t* logit_bias_ids; /* logit_bias_values[i] is added to the logit of this token */
  const double* logit_bias_values;
  size_t logit_bias_count;
  const int64_t* suppress_tokens;
  size_t suppress_count;
  const int64_t* stop_token_ids; /* beside the engine's own */
  size_t stop_count;
  uint64_t seed;      /* of use if has_seed; else each sequence has a fresh one */
  int32_t has_seed;
  int32_t ignore_eos; /* the engine's own end tokens end nothing */
  int64_t logprobs;   /* -1: none; n: of the token chosen, and of the n most likely ones */
} deltaport_sampling_params;

/* Fills in the defaults. `struct_size`: sizeof(deltaport_sampling_params) as the caller knows
 * it. */
DELTAPORT_API deltaport_status deltaport_sampling_params_init(deltaport_sampling_params* params,
                                                              size_t struct_size);

/* What a row is to continue, and how. Without a prompt: from where it is. `params` may be NULL, for
 * the defaults. */
typedef struct deltaport_request {
  int64_t row;
  const int64_t* prompt;
  size_t prompt_count;
  const deltaport_sampling_params* params;
} deltaport_request;

typedef enum deltaport_finish_reason {
  DELTAPORT_NOT_FINISHED = 0,
  DELTAPORT_LENGTH = 1,   /* max_new_tokens, or the end of the context */
  DELTAPORT_END_TOKEN = 2 /* this token is one of the engine's end tokens or of stop_token_ids */
} deltaport_finish_reason;

/* A new token of a row, which is in the row's tokens by now. */
typedef struct deltaport_event {
  int64_t row;
  int64_t token;
  double logprob;        /* natural logarithm of its probability by the model; NaN if not asked */
  int32_t finish_reason; /* a deltaport_finish_reason: why the token is the row's last, if it is */
  int32_t top_count;     /* how many deltaport_generation_top_logprobs gives */
} deltaport_event;

/* `chunk`: most tokens that a row runs per step; 0: as it suits. */
DELTAPORT_API deltaport_status deltaport_generation_new(deltaport_session* session, int64_t chunk,
                                                        deltaport_generation** generation);

/* Rows stay as they are. */
DELTAPORT_API deltaport_status deltaport_generation_free(deltaport_generation* generation);

/* Appends the prompts of `count` different rows and continues these from the next step on: all of
 * them or, where this fails, none. A row without any token has nothing to continue and does not
 * become live. */
DELTAPORT_API deltaport_status deltaport_generation_start(deltaport_generation* generation,
                                                          const deltaport_request* requests,
                                                          size_t count);

/* Lets a row end here; it may have ended. */
DELTAPORT_API deltaport_status deltaport_generation_cancel(deltaport_generation* generation,
                                                           int64_t row);

/* How many rows are live: go on until there are none. */
DELTAPORT_API deltaport_status deltaport_generation_live(const deltaport_generation* generation,
                                                         size_t* count);

/* Runs one step and gives the new tokens, one of every row that has one; `count` gets their number,
 * which is less than that of live rows while long prompts run. `capacity`: size of `events`, at
 * least the number of live rows. After any failure no row has gone on and the step can be
 * repeated. */
DELTAPORT_API deltaport_status deltaport_generation_step(deltaport_generation* generation,
                                                         deltaport_event* events, size_t capacity,
                                                         size_t* count);

/* Of event `index` of the last step that succeeded: its top_count most likely tokens, the most
 * likely first, and their log-probabilities. Both arrays hold `capacity`, at least top_count. */
DELTAPORT_API deltaport_status deltaport_generation_top_logprobs(
    const deltaport_generation* generation, size_t index, int64_t* tokens, double* logprobs,
    size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* DELTAPORT_DELTAPORT_H_ */
