// forkreason.h 0.1.0 - train, tune and run small language models that reason in parallel. MIT license.
//
// Do this in ONE .c (or .cpp) file of your program, and include the header plainly everywhere else:
//     #define FORKREASON_IMPLEMENTATION
//     #include "forkreason.h"
// Then:  cc -O2 program.c -lm
//
// The method is Set Supervised Fine-Tuning with global forking tokens (Jia, Wang and Kasiviswanathan, ICLR 2026, arXiv
// 2510.05132, "the paper" below). A language model gets N reserved tokens, its forks. A question with M correct reasoning traces
// is scored under every fork, the best one-to-one matching of traces to forks is found, and only the matched pairs are trained.
// Forks specialise by themselves; at run time each one starts another line of thought, and the answers vote.
//
//     fr_model    model;  fr_work work;  fr_adamw adamw;                 // whatever memory you like
//     fr_config   config = { 0 };
//     config.layers = 3;  config.dim = 96;  config.heads = 4;  config.ffn = 256;  config.vocab = 64;
//     fr_model_new(&model, &config);   fr_model_init(&model, seed);
//     fr_adamw_new(&adamw, &model);
//     fr_work_new(&work, &config, &limits);
//     for (step = 0; step < steps; step++)                               // costs, matching, gradient, update
//       fr_ssft_step(&model, &work, &adamw, &options, questions, count, 1e-3f, &report);
//     fr_generate(&model, &work, &tree, &sampling, leaves, leaf_count);  // all forks at once
//     fr_vote(leaf_count, same_answer, leaves, NULL, &vote, NULL);
//
// Contents (search for the tag)
//   >>options  >>legend  >>api                                           what you include
//   >>backend                                                            what a device fills; the table of parameters
// The method
//   >>platform >>status >>memory >>random                                ground
//   >>scalar >>gemm >>ops                                                arithmetic, forward then backward
//   >>tree >>model >>optim                                               one network over a forest of spans
//   >>assign >>ssft                                                      matching, the set loss, baselines
//   >>generate >>choose                                                  decoding; which fork to take?
// Around it
//   >>weights >>vote >>answer >>diagnose                                 views; majority, answers, do the forks part?
//   >>bytes >>json >>gguf >>dataset >>bpe >>bpe-train >>checkpoint >>corpus     text and files, from data to steps
//   >>pretrained                                                         models of others: safetensors, GGUF, llama2.c
//   >>new >>machines >>avx2 >>avx512 >>neon >>cuda >>license             the malloc pairs; rows of vector instructions; a GPU
#ifndef FORKREASON_H
#define FORKREASON_H
#include <stddef.h>
#include <stdint.h>

// ---- >>options ----------------------------------------------------------------------------------------
// Define any of these before the include that carries FORKREASON_IMPLEMENTATION. None of them changes a struct or a prototype.
//
//   macro                 default          what it does, what it costs
//   FR_DEF                extern           linkage of public functions; `static inline` keeps them to one file
//   FR_MALLOC, FR_FREE    malloc, free     both or neither; used by the fr_*_new / fr_*_free pairs only
//   FR_NO_MALLOC          off              leaves the fr_*_new / fr_*_free pairs out
//   FR_NO_STDIO           off              leaves the functions that open files out
//   FR_NO_SIMD            off              scalar kernels only; about 6 times slower where AVX2 or AVX-512 exists (make bench)
//   FR_OPENMP             off              fills the thread hook with OpenMP (compile with -fopenmp)
//   FR_ASSERT(x)          off              checks our own logic, never your input
// The implementation refuses -ffast-math and its like: it must see what is not finite. (clang tells nothing of parts of it.)
#define FR_VERSION_MAJOR 0
#define FR_VERSION_MINOR 1
#define FR_VERSION_PATCH 0
#define FR_VERSION "0.1.0"
#ifndef FR_DEF
#define FR_DEF extern
#endif

// ---- >>legend -----------------------------------------------------------------------------------------
// Shapes. Matrices are row-major, float32, without padding.
//   N rows: all tokens of a tree, packed     C channels (config.dim)      L layers      V vocabulary
//   H query heads   K key/value heads        D head size                  F inner size of the MLP
//   In the set loss, where no head is in sight: N forks, M traces, and L the prefix of a trace that is scored, as in the paper.
//
// The fork tree. All the method computes is a forest of spans of tokens:
//
//     question -+- fork 1 -+- trace 1          costs:    N*M leaves, the question is computed once
//               |          +- trace 2          set loss: the M matched leaves of the same tree
//               +- fork 2 -+- trace 1 ...      decoding: growing leaves over one shared prefix
//
// A token attends to its own span up to itself and to every span on its path to the root; its position is its depth in tokens.
// Rows are packed span by span. The result equals that of separate sequences up to rounding, at a fraction of the work.
//
// Memory. Nothing here allocates while it works. For each object there is a `place`, which lays it out in memory that you own.
// With memory NULL it only measures, by the same layout function, and the object may be NULL; either way *needed (which may be
// NULL if memory is not) is set to the bytes that are wanted. The `new`/`free` pairs do both with malloc. Parameters, gradients
// (as many floats), optimiser state and the workspace are four blocks; the last is sized from limits and not from a tree.
//
// Same bits. For one binary, libm and kernel row, results do not depend on the number of threads or tasks, on the alignment of
// your memory, nor on what else is decoded in the batch.
#ifdef __cplusplus
extern "C" {
#endif
typedef ptrdiff_t fr_int;    // every size, index and count: signed, so x + n*C needs no cast and cannot wrap
typedef int32_t   fr_token;  // 0 .. vocab-1

// ---- >>api --------------------------------------------------------------------------------------------
// ---- status: every function that can fail returns one; FR_OK is 0
// On anything but FR_OK the outputs are as they were, but for buffers that were filled up to the error, and objects of *_new and
// *_load, which are empty then. Where a function works on an fr_work, the reason in words, with the place, is in work->reason;
// loaders take an fr_reason of yours, which may be NULL. Stack (x86-64, cc -O2): what runs a model takes 8 KB at most, what reads
// or writes files what its comment says, all else less than 4 KB.
#define FR_STATUS_LIST(S)                                                              \
  S(FR_OK,          "ok")                                                              \
  S(FR_INVALID,     "an argument is outside of what the function accepts")             \
  S(FR_CONFIG,      "the model configuration is not valid")                            \
  S(FR_RANGE,       "a token id, row or span index is out of range")                   \
  S(FR_LIMIT,       "the work is larger than the limits or the room that were given")  \
  S(FR_MEMORY,      "the memory given is too small, or an allocation failed")          \
  S(FR_OVERFLOW,    "a size does not fit the address space")                           \
  S(FR_NONFINITE,   "a number that has to be finite is not")                           \
  S(FR_SYNTAX,      "the text is not well formed")                                     \
  S(FR_FORMAT,      "well formed, but not what was expected")                          \
  S(FR_UNSUPPORTED, "something is asked for that is not supported")                    \
  S(FR_CHECKSUM,    "the file is damaged: its checksum differs")                       \
  S(FR_IO,          "a file could not be opened, read or written")
typedef enum fr_status {
#define FR__ENUM(name, text) name,
  FR_STATUS_LIST(FR__ENUM)
#undef FR__ENUM
  FR_STATUS_COUNT
} fr_status;
typedef struct fr_reason { char text[192]; } fr_reason;  // always terminated; empty when all went well
FR_DEF const char *fr_status_text(fr_status status);  // never NULL, also for numbers that are no status

// ---- config: the decoders of Llama 3.1, Qwen2.5 and Qwen3 in one struct
// Pre-norm decoder: RMSNorm, rotary positions (rotate-half), grouped-query attention, SwiGLU. A field left 0 takes the default in
// brackets; fr_model_place writes the resolved config into the model.
typedef struct fr_config {
  fr_int layers, dim, heads;    // L, C, H
  fr_int kv_heads, head_dim;    // K [H], divides H; D [C / H], even: H*D may differ from C
  fr_int ffn, vocab;            // F; V, which includes the rows reserved for forks
  float  norm_eps, rope_theta;  // [1e-5], [10000]
  float  embed_scale;           // multiplies the input embedding only [1]
  int    tied, qkv_bias;        // head = embedding [0]; bias on q, k, v [0]: Qwen2
  int    qk_norm;               // RMSNorm over the D values of each head of q and k, before rope [0]: Qwen3
  float  rope_factor;           // llama3 scaling [0: off], 8 for Llama 3.1, 32 for 3.2, with its
  float  rope_low, rope_high;   // low_freq_factor [1], high_freq_factor [4]
  fr_int rope_original;         // and original_max_position_embeddings [8192]
} fr_config;

// Checks every field and, if resolved is not NULL, stores the config with its defaults filled in. FR_CONFIG with the reason, or
// FR_OVERFLOW when the parameters would not fit the address space.
FR_DEF fr_status fr_config_check(const fr_config *config, fr_config *resolved, fr_reason *reason);

// ---- weights: matrices where they lie, in a block of floats, in memory that cannot be written, in a file that is mapped
// Row 0 is at `at`, the next `step` bytes further, both multiples of 4, or of 2 for bfloat16; the values of a row lie side by
// side. A bfloat16 is the upper half of a float32: what it gives equals, bit for bit, what the float of the same value gives.
typedef enum fr_type { FR_FLOAT32, FR_BFLOAT16 } fr_type;
typedef struct fr_view { const void *at; fr_int step, rows; fr_type type; } fr_view;

// ---- model: parameters in one block of floats, described by a table
typedef struct fr_model {
  fr_config config;              // resolved
  fr_int    count;               // floats in params
  float    *params;              // all tensors that it holds itself, in the order of fr_model_tensor
  const struct fr_views *views;  // the matrices that lie elsewhere; NULL: none
  uint32_t  frozen;              // bit i: tensor i is not trained: no gradient, no moments. Set it before fr_adamw_place [0]
  int       stale;               // 1: a backend holds newer parameters, see fr_work_download
  void     *owned;               // what fr_model_new allocated, else NULL
} fr_model;

FR_DEF fr_status fr_model_place(fr_model *model, const fr_config *config, void *memory, fr_int bytes, fr_int *needed);
// A model whose matrices lie where they are: in a mapped file, in flash, in another model's block. Gains, biases and what views
// leave out are its own, in params. Such a model runs forward, decodes and scores; what would have to change a view, or save it,
// says FR_UNSUPPORTED. The views are copied, what they point to is not. Embedding and head may be views of fewer rows than the
// vocabulary: the rest, such as rows of forks, is its own and can be trained, alone if all other tensors are frozen.
typedef struct fr_layer_views { fr_view q, k, v, out, gate, up, down; } fr_layer_views;  // all seven
typedef struct fr_views { fr_view embedding, head; const fr_layer_views *layers; } fr_views;  // [L]; zeroed: the model's own
FR_DEF fr_status fr_model_place_views(fr_model *model, const fr_config *config, const fr_views *views, void *memory, fr_int bytes,
                                      fr_int *needed, fr_reason *reason);
// Tensor `index` = 0, 1, ... ; FR_RANGE after the last. The walk is the order of the file, of params and, less frozen tensors, of
// gradients and moments:
//   tok_emb  norm_att  w_qkv  b_qkv  norm_q  norm_k  w_out  norm_mlp  w_gate_up  w_down  norm_final  head
// It is `copies` (one a layer, or 1) matrices of rows x cols, contiguous from params + offset; params is aligned to 64 bytes, a
// tensor as a float only. Linear layers are stored as [out, in], y = W x. w_qkv stacks the rows of q, then k, then v; w_gate_up
// those of gate, then up. copies is 0 for what the config leaves out, or views hold; of embedding and head, rows are those that
// views leave. decays is 1 if AdamW's weight decay applies.
typedef struct fr_tensor { const char *name; fr_int offset, copies, rows, cols; int decays; } fr_tensor;
FR_DEF fr_status fr_model_tensor(const fr_model *model, fr_int index, fr_tensor *tensor);
// Normal weights with std 1/sqrt(fan in), the two projections into the residual stream further divided by sqrt(2 L); embedding
// std 1/(2 sqrt(C)); gains 1; biases 0. Each tensor has its own random stream. NULL, or a model without params: nothing is done.
FR_DEF void fr_model_init(fr_model *model, uint64_t seed);
// Copies `from` into `to`, whose config may only differ by a larger vocab; new rows of embedding and head: the mean of the old.
FR_DEF fr_status fr_model_append_rows(fr_model *to, const fr_model *from);
// Sets rows first .. first+count-1 of the embedding and of an untied head to centre + std * normal noise. centre: the mean over
// all other rows if `around_mean`, else 0. Use std .02 to let forks begin nearly alike.
FR_DEF fr_status fr_model_set_rows(fr_model *model, fr_int first, fr_int count, int around_mean, float std, uint64_t seed);

// ---- workspace: everything that a step needs beside parameters, sized from limits; one that you do not use may be 0
typedef struct fr_limits {
  fr_int rows;            // tokens in a tree that is only run forward; also leaves decoded at once
  fr_int grad_rows;       // tokens in a tree whose gradient is wanted; their activations of all layers are kept
  fr_int spans, targets;  // in a tree; spans: and leaves decoded at once
  fr_int leaves;          // sequences in one pass: N*M a question (and at least M+1, for the loss), or leaves decoded at once
  fr_int depth;           // tokens on the longest path from a root: the largest position + 1
  fr_int tasks;           // pieces of work given to the thread hook at once, each with its own scratch [1]
  fr_int cache_rows;      // key/value rows kept by fr_generate: prompts + leaves * max_tokens
  const struct fr_backend *backend;  // a device that computes; NULL: the CPU
} fr_limits;
// Runs task(arg, 0) .. task(arg, tasks-1), in any order, on any threads, and returns when all have run.
typedef void (*fr_run)(void *pool, fr_int tasks, void (*task)(void *arg, fr_int index), void *arg);
typedef struct fr_backend fr_backend;
typedef struct fr_work {
  fr_config   config;
  fr_limits   limits;
  fr_run      run;     // NULL: one thread. You may set run and pool at any time between calls.
  void       *pool;
  fr_reason   reason;  // why the last call on this workspace failed
  const char *kernel;  // the row of kernels in use: "avx512", "avx2", "neon" or "scalar"; place takes the processor's best
  const struct fr__kernels *kernels;
  const fr_backend *backend;  // what computes
  struct fr__body *body;      // pointers into the block
  void       *owned;
} fr_work;

// Where a backend refuses a workspace that was to replace one in the same memory, neither is there.
FR_DEF fr_status fr_work_place(fr_work *work, const fr_config *config, const fr_limits *limits, void *memory, fr_int bytes,
                               fr_int *needed);
// Forces a row by name; FR_UNSUPPORTED, and no change, if this processor or build does not have it.
FR_DEF fr_status fr_work_select(fr_work *work, const char *kernel);

// ---- tree: a forest of spans, and what is to be predicted
typedef struct fr_tokens { const fr_token *ids; fr_int count; } fr_tokens;
typedef struct fr_span { fr_int parent; fr_tokens tokens; } fr_span;  // parent: an earlier one, -1 for a root; maybe no tokens
// -log p(token | path up to and including the packed row `row`) counts with `weight`. A row may have many targets; they share one
// softmax: loss = sum_t w_t (-log p(t)), dlogits = (sum w) p - sum_t w_t onehot(t). `group` says which of the reported sums the
// target enters; it is any index below group_count (-1: none).
typedef struct fr_target { fr_int row; fr_token token; float weight; fr_int group; } fr_target;
typedef struct fr_tree { const fr_span *spans; fr_int span_count; const fr_target *targets; fr_int target_count; } fr_tree;
// Of the targets of a group: the sums of -log p, of weight * -log p, and of the weights; their number.
typedef struct fr_sum { double nll, weighted, weight; fr_int count; } fr_sum;

// First packed row of span `span`; span_count gives the number of all rows. The row that predicts a span's first token is the
// last one of its nearest non-empty ancestor a: fr_tree_row(tree, a + 1) - 1.
FR_DEF fr_int fr_tree_row(const fr_tree *tree, fr_int span);
// The limits that this tree needs: rows and grad_rows both its rows; tasks and cache_rows 0; leaves its childless spans.
FR_DEF fr_status fr_tree_limits(const fr_tree *tree, fr_limits *limits);
FR_DEF fr_limits fr_limits_max(fr_limits a, fr_limits b);  // each field the larger of the two

// Runs the model over the tree without gradient: activations of one layer only. sums[group_count] is set; NULL is allowed with 0.
// A loss that is not finite is reported as such, with FR_OK.
FR_DEF fr_status fr_forward(const fr_model *model, fr_work *work, const fr_tree *tree, fr_sum *sums, fr_int group_count);
// Runs forward (limit grad_rows), then backward, and ADDS the gradient of sum_t w_t (-log p(t)) to grads[adamw->count]:
// model->count floats, less those of frozen tensors. Call it on any number of trees before one optimiser step.
FR_DEF fr_status fr_backward(const fr_model *model, fr_work *work, const fr_tree *tree, float *grads, fr_sum *sums,
                             fr_int group_count);
// After fr_forward or fr_backward, of any rows of that tree: logits (count, V), and hidden (count, C), the final normed
// activations that the vocabulary is multiplied with. Either may be NULL. The model must not have changed.
FR_DEF fr_status fr_logits(const fr_model *model, fr_work *work, const fr_int *rows, fr_int count, float *logits, float *hidden);

// ---- optimiser: AdamW (Loshchilov and Hutter, 2019), decay decoupled, with global-norm clipping
typedef struct fr_adamw {
  float   beta1, beta2, eps;  // [.9, .98, 1e-8]  eps: outside the root, above 0
  float   decay;              // [.01]  on tensors marked so; p *= 1 - lr*decay first
  float   clip;               // [1]    gradient scaled by min(1, clip / (norm + 1e-6)); 0: never
  fr_int  count;              // floats in each of the three arrays:
  float  *grads, *m, *v;      // gradients, yours to add to, cleared by fr_adamw_step; moments
  int64_t step, skipped;      // updates done so far; steps left out because loss or gradient was not finite
  void   *owned;
} fr_adamw;

FR_DEF fr_status fr_adamw_place(fr_adamw *adamw, const fr_model *model, void *memory, fr_int bytes, fr_int *needed);
// One update with learning rate lr; then grads are cleared. If loss or the gradient norm is not finite, parameters and state stay
// as they are, skipped is counted up, and FR_NONFINITE is returned. *norm (may be NULL): before clipping, accumulated in double.
// FR_INVALID, as in fr_ssft_step and fr_gfpo_step: an optimiser of another model, factors out of range, or a model whose gains are
// all 0, which was neither initialised nor loaded.
FR_DEF fr_status fr_adamw_step(fr_adamw *adamw, fr_model *model, fr_work *work, double loss, float lr, double *norm);
// With limits.backend: gives the backend its copy of a model (policy, start and writer one each), and with an optimiser of its
// gradients and moments, which then live there; call it again when you have changed parameters. download brings parameters, and
// with an optimiser gradients and moments, back; until then what reads them here refuses. Without a backend: nothing. FR_INVALID:
// an optimiser of another model, a model that was not attached; what else fails is the backend's, with its reason.
FR_DEF fr_status fr_work_attach(fr_work *work, const fr_model *model, const fr_adamw *adamw);
FR_DEF fr_status fr_work_download(fr_work *work, fr_model *model, fr_adamw *adamw);

// Factors for the learning rate at step = 0 .. total-1 (others count as the first or last): linear warm-up over `warmup` steps to
// 1; then half a cosine down to `floor`, or constant until `stable` and linear down to `floor` at the last step.
FR_DEF float fr_schedule_cosine(int64_t step, int64_t warmup, int64_t total, float floor);
FR_DEF float fr_schedule_stable(int64_t step, int64_t warmup, int64_t stable, int64_t total, float floor);

// ---- assignment: exact rectangular minimum-cost matching, usable alone
// cost of (r, c) is cost[r*row_stride + c*col_stride]. Sets col_of_row[rows] to distinct columns that minimise the sum, -1 for
// rows left over, and *total (may be NULL) to that sum in row order. Shortest augmenting paths with potentials (Jonker and
// Volgenant 1987; Crouse 2016), O(min^2 max). Ties: rows (columns, if fewer) enter in order; of equally short paths that to a
// free column, then to the lowest, is taken. memory: scratch of any alignment; NULL measures it.
// A cost that is not finite, or so large that sums of 8 (min + 1) could overflow: FR_NONFINITE.
FR_DEF fr_status fr_assign(const double *cost, fr_int row_stride, fr_int col_stride, fr_int rows, fr_int cols, fr_int *col_of_row,
                           double *total, void *memory, fr_int bytes, fr_int *needed);
// How far the best assignment is from the second best: the least total of one that differs in at least one pair, less the least
// total. 0: a tie; HUGE_VAL if there is only one. O(min) calls of fr_assign.
FR_DEF fr_status fr_assign_margin(const double *cost, fr_int row_stride, fr_int col_stride, fr_int rows, fr_int cols,
                                  double *margin, void *memory, fr_int bytes, fr_int *needed);

// ---- training: set supervised fine-tuning and its baselines (paper, section 3)
typedef enum fr_method {
  FR_SSFT,          // optimal matching of traces to forks by cost
  FR_SSFT_RANDOM,   // a random injective map, drawn from (seed, question key, draw)
  FR_FIXED_LABELS,  // trace j takes fork j
  FR_SFT_MIXED      // every trace takes fork 0: ordinary fine-tuning on all traces
} fr_method;
typedef enum fr_reduction { FR_MEAN_TOKENS, FR_MEAN_TRACES } fr_reduction;
typedef enum fr_fork_target { FR_FORK_UNIFORM, FR_FORK_MATCHED } fr_fork_target;
typedef struct fr_ssft_options {
  const fr_tokens *forks;      // N forks of one or more tokens each, distinct as sequences
  fr_int         fork_count;   // N
  fr_method      method;
  fr_int         prefix;       // L: tokens of a trace that the cost sees; 0: all. Price: the cost pass has N*M*L rows
  fr_reduction   reduction;    // mean over [all trace tokens of the batch: the paper's sum, normalised], or traces' means
  float          fork_weight;  // weight of the fork term, a mean over questions [0]: cross-entropy of the fork distribution
  fr_fork_target fork_target;  // towards [uniform over the N forks], or uniform over those that were matched
  uint64_t       seed, draw;   // of the random matching; draw, such as the step: another one for the same question
} fr_ssft_options;

// A question with its correct traces. A trace as the model sees it ends with the end token. The arrays are yours.
typedef struct fr_question {
  fr_tokens        prompt;       // at least one token
  const fr_tokens *traces;       // M traces of at least one token each
  fr_int           trace_count;  // M, 1 .. N (any number for FR_SFT_MIXED)
  uint64_t         key;          // names the question in random streams
  fr_int          *fork;         // out [M]: the fork of each trace; read by fr_ssft_backward
  double          *cost;         // out [N*M], cost[i*M + j] of fork i, trace j, nats per token; may be NULL
  double          *nll;          // out [M]: sum of -log p over the tokens of each trace under its fork; may be NULL
} fr_question;

typedef struct fr_ssft_report {
  double loss, nll, fork_nll;  // minimised by this call; sums of -log p over trace tokens, and of the fork term before its weight
  fr_int tokens, traces, questions;
  fr_int rows;                 // rows run with gradient
  double norm;                 // fr_ssft_step only: gradient norm before clipping
  int    skipped;              // and 1 if the update was left out
} fr_ssft_report;

// Limits for questions up to (prompt, trace) tokens with up to `traces` traces, `questions` of them in one pass, whatever the
// method and the fork term. Larger batches are run as several passes, whole questions at a time, equal up to rounding.
FR_DEF fr_status fr_ssft_limits(const fr_ssft_options *options, fr_int prompt, fr_int trace, fr_int traces, fr_int questions,
                                fr_limits *limits);
// Fills fork, and cost where asked for; the formulas stand in >>ssft. For FR_SSFT the matching minimises the sum of the costs of
// (fork[j], j); the other methods do not look at them, and run no cost pass for a question whose cost is NULL. A cost that is not
// finite: FR_NONFINITE names the question; those before it keep their new matching.
FR_DEF fr_status fr_ssft_match(const fr_model *model, fr_work *work, const fr_ssft_options *options, fr_question *questions,
                               fr_int count);
// What the batch's reduction divides by, given up front so that micro-batches add up to one gradient.
typedef struct fr_ssft_total { double traces, questions; } fr_ssft_total;
FR_DEF fr_status fr_ssft_count(const fr_ssft_options *options, const fr_question *questions, fr_int count, fr_ssft_total *total);
// ADDS the gradient of the set loss of these questions, matched before, to grads, as in fr_backward. grads NULL: the loss alone,
// without gradient (limits as for the cost pass), for validation.
FR_DEF fr_status fr_ssft_backward(const fr_model *model, fr_work *work, const fr_ssft_options *options,
                                  const fr_question *questions, fr_int count, fr_ssft_total total, float *grads,
                                  fr_ssft_report *report);
// Match, backward and update in one call, with the same bits. A step that is skipped because its numbers are not finite returns
// FR_OK, with report->skipped 1 and why in work->reason.
FR_DEF fr_status fr_ssft_step(fr_model *model, fr_work *work, fr_adamw *adamw, const fr_ssft_options *options,
                              fr_question *questions, fr_int count, float lr, fr_ssft_report *report);

// ---- random numbers: Philox 4x32-10 (Salmon et al. 2011), a pure function of key and counter
typedef struct fr_random {
  uint32_t key[2], counter[4], block[4];  // from the seed; block index, then the stream; the last block,
  int      left;                          // of which so many numbers are left
} fr_random;
FR_DEF fr_random fr_random_stream(uint64_t seed, uint64_t question, uint64_t leaf);
FR_DEF uint32_t  fr_random_bits(fr_random *random);
FR_DEF float     fr_random_uniform(fr_random *random);              // in [0, 1), multiples of 2^-24
FR_DEF float     fr_random_normal(fr_random *random);               // Box-Muller, two draws each
FR_DEF fr_int    fr_random_below(fr_random *random, fr_int bound);  // 0 .. bound-1, unbiased; bound below 1: 0

// ---- decoding: many leaves at once over one shared prefix
typedef struct fr_leaf {
  fr_int    span;            // in: the span of the tree that this leaf continues
  uint64_t  question, leaf;  // in: (seed, question, leaf) name the random stream: the text depends on nothing else in the batch
  fr_token *tokens;          // in: room for max_tokens
  fr_int    count;           // out: tokens written, without the stop token
  fr_token  stop;            // out: the stop token met, -1 if max_tokens ended it, FR_STOPPED if a callback did
  double    logp;            // out: sum of log p of the tokens and of the stop, at temperature 1, nothing cut or penalised
} fr_leaf;
#define FR_STOPPED (-2)
enum { FR_GO_ON, FR_STOP_LEAF, FR_STOP_ALL };  // what a callback returns: STOP_ALL ends the call, with FR_OK and what there is

typedef struct fr_sampling {  // as transformers means them
  float  temperature;     // 0: greedy, ties to the lowest id
  fr_int top_k;           // keep the k most likely tokens; 0: all
  float  top_p;           // then the smallest set of at least this mass; 0 or 1: all
  float  min_p;           // then those of p >= min_p * the largest p; 0: all
  float  repeat_penalty;  // but first, greedy too: divides logits of tokens on the path so far, negative ones times it; 0 or 1: off
  fr_int max_tokens;      // stop after this many,
  const fr_token *stops;  // or at any of these
  fr_int stop_count;
  uint64_t seed;
  // Called on the calling thread after each token of a leaf, leaves in order: its last token is new, or leaf->stop was met [NULL]
  int (*token)(void *user, fr_int leaf, const fr_leaf *the_leaf);
  void *user;
  // Going on, such as with the next turn of a chat: the tree's first cached_spans spans are the first of the last fr_generate on
  // this workspace, its spans and then its leaves (parent: leaf->span) with the tokens that they were left with, and the model is
  // as it was. They are in the cache and are not run again, but for each leaf's last token. cache_rows has to hold them, a leaf
  // with the room for its max_tokens, beside what is new. FR_INVALID if they are others, or another tree was run since. [0]
  fr_int cached_spans;
} fr_sampling;

// Picks one token from logits[vocab] (read only); scratch[2 * vocab]. *random is advanced by one draw unless greedy. -1 if a
// pointer that is needed is NULL (greedy needs neither random nor scratch) or vocab is below 1. It sees no path: no repeat_penalty.
FR_DEF fr_token fr_sample(const float *logits, fr_int vocab, const fr_sampling *sampling, fr_random *random, fr_int *scratch);
// Runs the tree (its targets are ignored) once, then grows all leaves together. Limits: rows >= tree rows and leaves, cache_rows
// >= tree rows + leaves * max_tokens, depth >= the longest path + max_tokens, spans >= tree spans + leaves. A model whose numbers
// went bad still gives tokens, with FR_OK: then logp is not finite.
FR_DEF fr_status fr_generate(const fr_model *model, fr_work *work, const fr_tree *tree, const fr_sampling *sampling,
                             fr_leaf *leaves, fr_int leaf_count);
FR_DEF fr_status fr_generate_limits(const fr_tree *tree, const fr_sampling *sampling, fr_int leaf_count, fr_limits *limits);

// ---- voting
// same(user, a, b): do answers a and b agree (an equivalence)? One for which same(user, a, a) is 0 is none: it does not vote.
typedef int (*fr_same)(void *user, fr_int a, fr_int b);
typedef struct fr_vote_result {
  fr_int winner, votes;    // index of the first answer of the largest class, -1 if there is none; size of that class
  fr_int distinct, valid;  // classes; answers that voted
  double weight;           // sum of the weights of the winning class; votes, if answers have no weights
} fr_vote_result;
// Majority over answers 0 .. count-1. Answer a counts weight[a] (1 if weight is NULL); the largest sum wins, added up in the
// order of the index; in a tie the class whose first answer has the lowest index. An answer of weight 0 votes, and wins only
// where all weights are 0. A weight or a sum that is not finite: FR_NONFINITE; a negative weight: FR_INVALID.
FR_DEF fr_status fr_vote(fr_int count, fr_same same, void *user, const double *weight, fr_vote_result *result, fr_reason *reason);
// The weight to take, 0 .. 1: exp(mean log p) of the leaf's tokens, stop included; 0 if it has none. Powers > 1 trust it more.
FR_DEF double fr_leaf_confidence(const fr_leaf *leaf);

// The same vote, answer by answer, which knows when to stop. Zero the poll, set classes and room, and add answers in order:
//   while (poll.count < k && !fr_poll_decided(&poll, k - poll.count, 1)) {
//     ... decode answer number poll.count ...
//     fr_poll_add(&poll, same_answer, answers, 1, NULL);
//   }
typedef struct fr_vote_class { fr_int first, votes; double weight; } fr_vote_class;  // first: index of its first answer
typedef struct fr_poll {
  fr_vote_class *classes;  // yours: the classes so far, in the order of their first answers
  fr_int         room;     // for so many; as many as answers is always enough
  fr_int         count;    // answers added, whether they voted or not
  fr_vote_result result;   // what fr_vote says of them; all 0 before the first
} fr_poll;
// Adds answer number poll->count. It is compared with the first answers of all classes, so `same` has to know these still. No
// room for one more class: FR_LIMIT; weights as in fr_vote, 1 for the plain vote.
FR_DEF fr_status fr_poll_add(fr_poll *poll, fr_same same, void *user, double weight, fr_reason *reason);
// 1 if result.winner is the same whatever `to_come` more answers of weights 0 .. most say (1 for the plain vote, and for
// fr_leaf_confidence), else 0: exactly, rounding included. With none to come it is decided; a `most` that is no weight: never.
FR_DEF int fr_poll_decided(const fr_poll *poll, fr_int to_come, double most);

// The unbiased 1 - C(n-c,k) / C(n,k) (Chen et al. 2021) from c correct of n samples. NaN unless 0 <= c <= n and 1 <= k <= n.
FR_DEF double fr_pass_at_k(fr_int n, fr_int c, fr_int k);
// The budget of Cons@k: the fork of each of k leaves, spread evenly over N, in O(k + N). Leaf j takes fork j mod N; k < N draws k
// different forks, every subset equally likely, ascending. random is advanced only then, and may be NULL otherwise.
FR_DEF fr_status fr_fork_spread(fr_int k, fr_int fork_count, fr_random *random, fr_int *fork);

// ---- answers: found in a text, and compared
typedef struct fr_text { const char *bytes; fr_int count; } fr_text;  // UTF-8, not terminated; may hold any character
typedef enum fr_answer_form {
  FR_ANSWER_HASH,   // behind the last '#', to the end
  FR_ANSWER_GSM8K,  // behind the last "####", to the end of that line
  FR_ANSWER_BOXED,  // in the last \boxed{} or \fbox{} that is closed; braces nest, \{ and \} are text; \boxed 12 is 12,
                    // of \boxed(1,2) and \boxed 2^3, which go on, none
  FR_ANSWER_NUMBER  // the last number, with its sign, as below; "3-5" ends with 5, "= -5" with -5, and of what is no number it
} fr_answer_form;   // takes the last piece that is: 3 of 1e3, 30 of 10:30
// Where the answer stands in any bytes, in linear time: a part of them, without white space at its ends; bytes NULL if none.
FR_DEF fr_text fr_answer_find(fr_answer_form form, fr_text text);
// Do two answers agree? What is no answer (bytes NULL, white space alone) agrees with nothing. Numbers agree if they are equal
// as fractions, exactly; all else is compared as text. Around both $ $, \( \), \[ \], { }, \text{ } and `x =` do not count. Equal:
//   18  018  +18  18.  18.0  $18  18 dollars  18%  18 percent  18\text{ units}  18^\circ  x = 18  $18$  \(18\)
//                                     a unit without a size of its own is left aside, so that 50% is 50 and not 1/2
//   .5  0.50  1/2  2 / 4  \frac{1}{2}  \frac12               and \dfrac, \tfrac, \cfrac;   2.5  5/2  2 1/2  2\frac{1}{2}
//   -.75  -3/4  \frac{-3}{4}                                 or with a minus sign, hyphen or dash of Unicode;   0  -0
//   1234  1,234  1{,}234  1,\!234  1\,234  1,234.00          groups of three, also behind thin and unbreakable spaces
//   (1, 2)  (1,2)  \left(1, 2\right)    \sqrt2  \sqrt{2}    A  (A)  \text{A}      as text: spaces where no two words part
// Not equal: what takes algebra or sets (x+1 and 1+x, {1,2} and {2,1}), intervals of other brackets, 3 and 3:00, .333 and 1/3.
// Text, not numbers: 1,23 and 12,34, 1/0, 1.5/2, 1e3, 2^3, \sqrt{4}, 3 cm (FR_ANSWER_NUMBER takes the 3), and what needs a
// numerator or denominator of more than FR_ANSWER_DIGITS digits. About 3 KB of stack.
#define FR_ANSWER_DIGITS 512
FR_DEF int fr_answer_same(fr_text a, fr_text b);
FR_DEF int fr_answer_agree(void *user, fr_int a, fr_int b);  // an fr_same: user is an array of fr_text, one for each answer

// ---- diagnosis: do the forks part? Plain counts, fed question by question after fr_ssft_match or fr_ssft_step
// A source is any label of a trace: the model that wrote it, its strategy, or its index j where that has a meaning. For values
// over time, read at the end of each window and clear:
//   fr_diagnosis_add(&d, &question, source, &reason);
//   if (d.questions == window) { fr_diagnosis_read(&d, &series[n++]); fr_diagnosis_clear(&d); }
typedef struct fr_diagnosis_options {
  fr_int forks, sources;   // N, S
  fr_int maps;             // different matchings that are told apart [256]   N = 6, M = 4 has 360
  fr_int bins, bin_width;  // of trace lengths [32], tokens [64]; the last bin counts all above, too
} fr_diagnosis_options;

typedef struct fr_diagnosis {          // all counts since place or clear; yours to read
  fr_diagnosis_options options;        // resolved
  fr_int  questions, traces, largest;  // questions with a matching; traces with a fork; M of the question that has most
  fr_int *coverage, *matrix;           // (N) traces of each fork; (N,S) traces of fork i and source s;
  fr_int  unlabelled;                  // traces whose source is -1, as in fr_trace: in all counts but the matrix
  fr_int *length;                      // (N,bins) traces of each length
  double *tokens;                      // (N) their tokens
  fr_int  map_count;                   // matchings by frequency, descending
  fr_int *map, *map_questions;         // (maps,N) the source of fork i's trace, -1: no trace, -2: no source; (maps) with it
  fr_int  other_questions;             // with one that came when all rows were taken
  fr_int  margins;                     // questions with costs and more than one possible matching;
  double  margin_sum, margin_least;    // their fr_assign_margin, nats a token
  fr_int  compared, agreeing;          // by fr_diagnosis_compare: traces; among these, those with the same fork
  double  regret;                      // the sum of the costs lost
  fr_int *row;                         // (N) scratch, as is the rest
  void   *scratch;
  fr_int  scratch_bytes;
  void   *owned;                       // what fr_diagnosis_new allocated, else NULL
} fr_diagnosis;

FR_DEF fr_status fr_diagnosis_place(fr_diagnosis *d, const fr_diagnosis_options *options, void *memory, fr_int bytes,
                                    fr_int *needed, fr_reason *reason);
FR_DEF void fr_diagnosis_clear(fr_diagnosis *d);
// One matched question: its map, the margin if cost is not NULL, and all its traces. source[M], -1: none; NULL: j of trace j. Two
// traces in one fork are no matching (FR_INVALID): note those of SFT-mixed, and decoded texts, one by one.
FR_DEF fr_status fr_diagnosis_add(fr_diagnosis *d, const fr_question *question, const fr_int *source, fr_reason *reason);
// One trace: coverage, matrix, length, tokens.
FR_DEF fr_status fr_diagnosis_note(fr_diagnosis *d, fr_int fork, fr_int source, fr_int tokens, fr_reason *reason);
// The matching of a question by another cost, such as that of a prefix of L tokens: fork[M] against full->fork, and the regret
// sum_j c[fork[j]][j] - c[full->fork[j]][j] if full->cost is not NULL. Forks that are alike disagree without regret.
FR_DEF fr_status fr_diagnosis_compare(fr_diagnosis *d, const fr_question *full, const fr_int *fork, fr_reason *reason);

// Mutual information of the row and the column of counts (rows,cols), in nats: I = sum p_ij log(p_ij / (p_i p_j)), as counted.
typedef struct fr_information {
  double value, maximum;  // I, 0 for an empty table; the smaller entropy of row and column: I cannot be larger with these sums
  double chance;          // what I would be on average if the same traces were dealt at random with these sums: exact
} fr_information;
FR_DEF fr_status fr_information_of(const fr_int *count, fr_int rows, fr_int cols, fr_information *information);

typedef struct fr_diagnosis_reading {  // what the counts say, at a glance; a ratio of nothing is 0
  fr_information source;        // I(fork; source)
  double entropy;               // of the matchings, nats; a lower bound if other_questions > 0: these count as one
  double entropy_most;          // log min(questions, N! / (N-M)!), M = largest: all matchings of M sources equally often
  double share, share_of_four;  // of the questions in the most frequent matching, in the four most frequent
  double margin, agreement;     // mean; agreeing / compared
  fr_int dead, starved;         // forks without a trace; forks below a tenth of an equal share, dead ones included
  fr_int widest;                // the paper's choice for Pass@1: the fork with the widest coverage in training, the first of
                                // equals, -1 without traces. Unreliable where all cover alike: validate, or learn a policy
} fr_diagnosis_reading;
FR_DEF fr_status fr_diagnosis_read(const fr_diagnosis *d, fr_diagnosis_reading *reading);

// ---- choosing: which fork for which question (GFPO in the paper), and GRPO on all tokens as its baseline
// The policy pi(i | question) is a distribution over the N forks at the question's last position. A step draws G forks a
// question, lets the writer finish them, has your reward judge the texts, and moves the policy towards the forks that did better
// than their group. The gradient enters at the fork alone: it costs the questions' rows and not the rollouts'.
//     fr_model_append_rows(&tuned, &writer);                             // of equal vocab: a copy
//     fr_policy policy = { &tuned, NULL, &adamw, NULL };
//     fr_gfpo_limits(&options, longest_prompt, questions_per_step, &limits);   // options: forks, group, sampling, reward, else 0
//     fr_work_new(&work, &writer.config, &limits);   fr_rollouts_new(&rollouts, &options, questions_per_step);
//     for (options.draw = 0; options.draw < steps; options.draw++)
//       fr_gfpo_step(&policy, &writer, &work, &options, questions, count, &rollouts, 1e-3f, &report);
//     fr_policy_logp(&policy, &work, &options, questions, count, logp);  // then: which fork to take
//     fork = fr_policy_pick(logp, N, NULL);
// The start policy is what SSFT left at the fork: train it with fork_weight .1 towards FR_FORK_UNIFORM, so that every fork is
// tried from the first step on; with fork_weight 0 the forks compete with the whole vocabulary and start anywhere.
//
// Policies. (a) A copy of the writer, the writer frozen: safe. (b) A linear chooser on the writer's activations: small, safe. (c)
// The writer itself (policy.model == &writer): its weights are shared with all that follows the fork, so the writer changes, and
// can be lost, although the gradient enters at the fork only. Measure every fork before and after: fr_gfpo_rollout.
typedef enum fr_credit { FR_GFPO, FR_GRPO } fr_credit;
typedef enum fr_fork_softmax { FR_OVER_FORKS, FR_OVER_VOCABULARY } fr_fork_softmax;
typedef enum fr_deviation { FR_STD_POPULATION, FR_STD_SAMPLE, FR_STD_NONE } fr_deviation;
// One rollout's worth, any finite number; 1 for right and 0 for wrong will do. `question` is the index in the call, and
// leaf->stop is -1 if max_tokens cut the text off. Called in order of questions, then rollouts, on the calling thread.
typedef double (*fr_reward)(void *user, fr_int question, fr_int fork, const fr_leaf *leaf);

typedef struct fr_gfpo_options {  // a field left 0 takes the default in brackets
  const fr_tokens *forks;       // N forks, as in fr_ssft_options
  fr_int          fork_count;   // N
  fr_int          group;        // G rollouts a question, at least 2 to learn from. Price: G * max_tokens tokens to decode, each
  fr_sampling     sampling;     // of the rollouts; its seed also names the draws of forks
  uint64_t        draw;         // such as the step: other forks and other texts for the same question
  fr_reward       reward;
  void           *user;
  // [FR_GFPO] The gradient enters at the fork's tokens only. FR_GRPO: at all of the rollout's, the stop included, and at the
  // fork's if there are several forks; price: a forward and a training pass over rollouts with advantage. Its p is the model's,
  // at temperature 1: a sampling that changes, cuts or penalises it (temperature .. repeat_penalty) is off policy.
  fr_credit       credit;
  // [FR_OVER_FORKS] log pi(i) = s_i - log sum_k exp(s_k), where s_i = log P(fork i | question), a sum over its tokens.
  // FR_OVER_VOCABULARY: log pi(i) = s_i; forks are still drawn in proportion.
  fr_fork_softmax softmax;
  fr_deviation    deviation;    // [FR_STD_POPULATION] divides by G, FR_STD_SAMPLE by G - 1, FR_STD_NONE not at all
  fr_reduction    reduction;    // FR_GRPO: a group's loss is [the mean over its tokens], or the mean of its rollouts' means
  float           fork_weight;  // FR_GRPO: of the fork beside one token of its text; about their number gives it a say [1]
  float           eps;          // advantage = (reward - mean) / (std + eps) [1e-6]
  float           clip_low;     // [.2] the ratio pi / pi_old is clipped to 1 - clip_low .. 1 + clip_high, which
  float           clip_high;    // [.2] matters from the second update on the same rollouts on
  float           entropy;      // weight of the policy's entropy over forks, a bonus [0]
  float           kl;           // weight of KL(pi || start) [0]; price: a pass of the start policy over the questions
  fr_int          updates;      // of fr_gfpo_step on the same rollouts [1]
} fr_gfpo_options;

// (b): logit_i = b_i + 1/T sum_t W[slot(t)]_i . h_t over the T tokens of the question, where h_t is fr_logits' hidden and slot(t)
// = min(T-1 - t, positions-1): with 1 position all tokens have one W, with more the last ones have their own.
typedef struct fr_chooser {
  fr_int   forks, positions, dim;  // N, P, C
  float   *params, *features;      // W (P,N,C), then b (N), zeros at first, a uniform policy; scratch (P,C)
  fr_adamw adamw;                  // its gradient and state; beta2 and the others may be set
  void    *owned;
} fr_chooser;
FR_DEF fr_status fr_chooser_place(fr_chooser *chooser, const fr_model *model, fr_int forks, fr_int positions, void *memory,
                                  fr_int bytes, fr_int *needed);

typedef struct fr_policy {
  fr_model       *model;    // scores the forks; with a chooser it is only read
  fr_chooser     *chooser;  // NULL: the model's own log-probabilities are the scores
  fr_adamw       *adamw;    // of the model; not used with a chooser
  const fr_model *start;    // the start policy: this model's log-probabilities. Needed if kl > 0 (often the writer)
} fr_policy;

// The rollouts of a step, rollout g of question q at q*G + g. Memory is yours; what follows is to be read between calls.
typedef struct fr_rollouts {
  fr_int    questions, group, forks, max_tokens;  // the room: Q, G, N
  fr_int    count, passes;       // questions of the last fr_gfpo_rollout, 0: none, or it failed; fr_gfpo_backward calls since
  fr_leaf  *leaves;              // [Q*G], as the next four
  fr_int   *fork;
  double   *reward, *advantage, *logp_old;  // logp_old: log pi of the fork that was drawn
  double   *logp, *logp_start;   // [Q*N] log pi at the draw, without a policy -log N; of the start, set by backward if kl > 0
  double   *token_logp;          // [Q*G*max_tokens] FR_GRPO: old log p of each token and of the stop, set by the first backward
  fr_int   *fork_count;          // [N] rollouts of each fork
  double   *fork_reward;         // [N] and their mean reward; 0 if there are none
  fr_token *tokens;              // [Q*G*max_tokens] the texts of the leaves
  fr_int    fork_tokens;         // what follows is scratch of backward
  double   *weight, *slope, *token_now, *token_start;
  void     *owned;
} fr_rollouts;
// Room for `questions` questions a call, with these forks, group, credit and max_tokens; these may not change afterwards.
FR_DEF fr_status fr_rollouts_place(fr_rollouts *rollouts, const fr_gfpo_options *options, fr_int questions, void *memory,
                                   fr_int bytes, fr_int *needed);

typedef struct fr_gfpo_report {
  double reward, frac_zero_std;  // mean over rollouts; share of questions whose rewards are all equal: their advantage is 0
  double loss;                   // what the last update minimised; the next three, too, are of the last update
  double entropy, kl;            // of the policy over the forks; KL(pi || start), 0 if its weight is: means over questions, nats
  double clip_fraction;          // of the terms (rollouts, or tokens) with an advantage: those that clipping left no gradient
  double norm;                   // gradient norm before clipping (fr_gfpo_step only)
  fr_int questions, rollouts;
  fr_int tokens, unfinished;     // generated, stops included; rollouts that max_tokens cut off
  fr_int rows;                   // rows run with gradient, all updates
  int    skipped;                // 1 if an update was left out because its gradient was not finite (fr_gfpo_step only)
} fr_gfpo_report;

// Limits for `questions` questions of up to `prompt` tokens in one batch; a longer call runs several, whole questions at a time.
// FR_GRPO runs one question with its group with gradient at a time; rows, grad_rows, spans and targets may be raised.
FR_DEF fr_status fr_gfpo_limits(const fr_gfpo_options *options, fr_int prompt, fr_int questions, fr_limits *limits);
// Advantages of one group. Equal rewards give 0 exactly, so does a group of one. *std (may be NULL): the deviation used, 0 for
// FR_STD_NONE. A reward that is not finite, and rewards too far apart or, without eps, too close: FR_NONFINITE.
FR_DEF fr_status fr_advantages(const double *reward, fr_int count, fr_deviation deviation, double eps, double *advantage,
                               double *std);
// logp[count*N]: log pi of every fork, of each question's prompt; the options' forks and softmax are read.
FR_DEF fr_status fr_policy_logp(const fr_policy *policy, fr_work *work, const fr_gfpo_options *options,
                                const fr_question *questions, fr_int count, double *logp);
// A fork drawn in proportion to exp(logp), by one draw; random NULL: the likeliest, first of equals. -1: a NaN, or none finite.
FR_DEF fr_int fr_policy_pick(const double *logp, fr_int count, fr_random *random);

// The parts of a step, usable alone; of a question they read prompt and key. This one draws, decodes in one batch, and judges.
// Stream (seed, key, draw*(G+1)) gives the forks of a question, (seed, key, draw*(G+1) + 1 + g) the text of rollout g: nothing
// depends on the other questions or on the tasks. policy NULL: rollout g takes fork g mod N; with G = k*N fork_reward is each
// fork's accuracy, to be compared before and after training. FR_NONFINITE names question and rollout: a reward, or the writer's
// log-probability, is not finite. report (may be NULL): what is known so far.
FR_DEF fr_status fr_gfpo_rollout(const fr_policy *policy, const fr_model *writer, fr_work *work, const fr_gfpo_options *options,
                                 const fr_question *questions, fr_int count, fr_rollouts *rollouts, fr_gfpo_report *report);
// ADDS to policy->adamw->grads (or chooser->adamw.grads) the gradient of the mean loss over these questions, those of the
// rollouts; the formulas stand in >>choose. H and KL are exact, sums over the N forks, and count for every question, whatever its
// rewards; a token's KL is estimated (Schulman's k3). The first call after fr_gfpo_rollout takes the policy as it is for the old
// one of the tokens. Of report (may be NULL) loss, entropy, kl, clip_fraction and rows are set. After FR_NONFINITE, a
// log-probability of the policy that is not finite, the gradient may hold a part; clear it.
FR_DEF fr_status fr_gfpo_backward(const fr_policy *policy, fr_work *work, const fr_gfpo_options *options,
                                  const fr_question *questions, fr_rollouts *rollouts, fr_gfpo_report *report);
// AdamW on the chooser's params; as fr_adamw_step.
FR_DEF fr_status fr_chooser_step(fr_chooser *chooser, fr_work *work, double loss, float lr, double *norm);
// Rollout, then `updates` times backward and update. A step without any advantage, entropy or kl weight updates nothing, the
// optimiser's moments included. On failure policy and optimiser are as they were, unless a later update of several failed.
FR_DEF fr_status fr_gfpo_step(const fr_policy *policy, const fr_model *writer, fr_work *work, const fr_gfpo_options *options,
                              const fr_question *questions, fr_int count, fr_rollouts *rollouts, float lr,
                              fr_gfpo_report *report);

// ---- data: questions with several traces each, from JSON lines
// One JSON object a line (LF or CRLF, a byte order mark at the start and blank lines are fine), in one of these forms:
//   {"question": "...", "answer": "18", "traces": [{"text": "...", "answer": "18", "correct": true, "source": "A"}]}
//       A trace may be a plain string. Other names for the question: problem, prompt; for the traces: generations,
//       thinking_trajectories. There may be correctness_math_verify, one boolean a trace
//   {"prompt": ..., "completion": ...}       one trace a row. Each is a string or a list of messages
//   {"messages": [{"role": "user", "content": "..."}, ..., {"role": "assistant", "content": "...", "reasoning_content": "..."}]}
//       The last one is the trace, its reasoning and a blank line first where there is one; all before it is the question, which
//       ends with the user's turn. Roles: system or developer, user, assistant
//   {"instruction": "...", "input": "...", "output": "..."}       the question is the instruction, a blank line, the input
// Where a row is one trace, answer, correct and source may stand beside it. Answers are strings or numbers; null counts as absent
// except for the question and the traces; other names are skipped. Rows with the same question, in whatever form, are merged into
// the first. A trace is correct if it says so (correct, then correctness_math_verify); else if both it and its row give an answer,
// if fr_answer_same says so; else yes. Incorrect, empty (only white space) and repeated traces are left out, and then problems
// without any trace; all of that is counted.
// A conversation of several turns is one text: for each turn the byte FF, which no UTF-8 has, s, u or a for its role, and its text.
//
// The JSON is read strictly: valid UTF-8, no lone surrogate, no name twice in an object, at most 64 levels, at most
// FR_DATASET_NAMES names in all objects open at one time (more: FR_LIMIT). The time is O(bytes log bytes) for any input, the
// memory less than 20 times the text's bytes plus 1,000 on a 64-bit machine; on real data about once the text.
#define FR_DATASET_NAMES 512
typedef struct fr_trace {
  fr_text text, answer;     // bytes of the answer are NULL if the file has none; as for a problem
  fr_int  source, problem;  // index into dataset->sources, -1: none; index of its problem
} fr_trace;
typedef struct fr_problem {
  fr_text  text, answer;
  fr_int   first, count;  // its traces are dataset->traces[first] .. [first+count-1], in the order of the file
  fr_int   line;          // of the file: its first row
  uint64_t key;           // hash of the text: the same in every file; names the problem in random streams
} fr_problem;
// Nothing is dropped silently: rows = problem_count + merged + no_trace, and traces = trace_count + incorrect + empty + repeated.
typedef struct fr_dataset_counts {
  fr_int rows, merged;         // lines with an object; of these, rows joined to an earlier row with the same question
  fr_int conflicts, no_trace;  // merged rows with another answer than the one before; problems dropped as no trace was left
  fr_int traces, incorrect, empty, repeated;  // traces in the text; repeated: the same text under the same question
} fr_dataset_counts;
typedef struct fr_dataset {
  fr_problem *problems;
  fr_trace   *traces;
  fr_text    *sources;  // names, distinct, in the order of the file
  fr_int problem_count, trace_count, source_count;
  fr_int longest;       // bytes of the longest question or trace, for fr_encoder_new
  fr_dataset_counts counts;
  void  *owned;
} fr_dataset;
// Errors: FR_SYNTAX (not JSON), FR_FORMAT (JSON, but not such a row) and FR_LIMIT, each with line and column (counted in
// characters) in the reason. All strings are copied; the text may go. A text without rows gives an empty dataset and FR_OK. 18 KB
// of stack, as for fr_dataset_new and _load.
FR_DEF fr_status fr_dataset_place(fr_dataset *dataset, const char *text, fr_int text_bytes, void *memory, fr_int bytes,
                                  fr_int *needed, fr_reason *reason);

// ---- tokenizer: byte-level BPE, text to ids and back
// Ids equal those of Hugging Face tokenizers and of tiktoken, and every input comes back unchanged, or in normal form C where a
// tokenizer has that: invalid UTF-8 and NUL are bytes like any other. Text is cut at special tokens (if asked), then into
// pre-tokens (classes of characters from Unicode 16.0), and each is merged by rank, in O(n log n) at worst.
typedef enum fr_split { FR_SPLIT_UNKNOWN, FR_SPLIT_NONE, FR_SPLIT_GPT2, FR_SPLIT_LLAMA3, FR_SPLIT_QWEN, FR_SPLIT_SMOLLM } fr_split;
// A text that is valid UTF-8 and not empty. id -1: the one that the file has for it, else the first one after all others.
typedef struct fr_special { fr_text text; fr_token id; } fr_special;
// What a tokenizer is made from. `file` may be (its content tells which)
//   tokenizer.json   model BPE with ByteLevel and one of the splits; anything else that would change ids is refused by name. Of
//                    post_processor what it puts before a text is kept (begins), and nothing else
//   GGUF             gpt2's model and, as `pre`, gpt-2, smollm, qwen2, deepseek-r1-qwen or llama-bpe; any other is refused by name
//   *.tiktoken       lines of base64 and rank; needs `split`, and `specials`, which are not in the file
//   vocab.json       with `merges`, the text of GPT-2's merges.txt or vocab.bpe (split [FR_SPLIT_GPT2])
//   nothing          with `merges` alone: GPT-2's numbering, byte ids 0 .. 255 in its order, merge k is id 256 + k
//   tokenizer.bin    of llama2.c: SentencePiece scores, byte fallback, one blank put before the text
//   our own form     see fr_tokenizer_write
// There must be a token for each printable character of ASCII and for the line end; a text with a byte that has none is refused.
// Ids may have holes, but lie below the larger of 65,536 and the file's bytes (of a GGUF only its head counts). The memory is
// less than 80 times the files plus 2 MB; really 1 to 2 times for tokenizer.json, 13 times for *.tiktoken. Loading is
// O(n log n), whatever the file says.
typedef struct fr_tokenizer_source {
  fr_text           file, merges;
  fr_split          split;     // of files that do not tell theirs (tiktoken, merges): LLAMA3 also for cl100k; NONE: text is not cut
  const fr_special *specials;  // added to those of the file
  fr_int            special_count;
  fr_int            forks;     // adds the specials <think1> .. <thinkN>, which other programs show as text
} fr_tokenizer_source;
typedef struct fr_tokenizer {
  fr_int   vocab, longest;      // all ids are below, there may be holes; bytes of the longest token
  fr_int   merge_count, special_count;
  fr_split split;
  int      ignore_merges;       // a pre-token that is a token is not merged (Llama 3, tiktoken)
  int      nfc, sentencepiece;  // text is brought into normal form C (Qwen), and comes back in it; llama2.c
  fr_token begins;              // what other programs put before each text (Llama 3), or -1: kept when it is written, not put by us
  struct fr__bpe *body;
  void    *owned;
} fr_tokenizer;
// Errors: FR_SYNTAX, FR_FORMAT (not such a file), FR_UNSUPPORTED, FR_LIMIT and FR_CHECKSUM, each with the place in the reason.
// The tokenizer keeps its own copy of everything; the source may go. 14 KB of stack, as for all that load or train one.
FR_DEF fr_status fr_tokenizer_place(fr_tokenizer *tokenizer, const fr_tokenizer_source *source, void *memory, fr_int bytes,
                                    fr_int *needed, fr_reason *reason);
FR_DEF fr_text  fr_tokenizer_token(const fr_tokenizer *tokenizer, fr_token id);  // its bytes; NULL and 0 for a hole
FR_DEF fr_token fr_tokenizer_find(const fr_tokenizer *tokenizer, fr_text text);  // the special or else the token, or -1

// Scratch for encoding, one for each thread; it points to the tokenizer, which has to outlive it. `longest`: bytes of the longest
// pre-token, from 64 on, and with tokenizer->nfc of the longest text that has marks or the like; a longer one is FR_LIMIT. The
// length of the longest text is always enough. The price: 28 bytes for each, 31 with nfc, and 32 for each of the last `cache`
// pre-tokens, which are remembered [16384]; ids do not depend on it.
typedef struct fr_encoder {
  const fr_tokenizer *tokenizer;
  fr_int    longest;
  fr_reason reason;  // why the last call failed
  struct fr__encoder *body;
  void     *owned;
} fr_encoder;
FR_DEF fr_status fr_encoder_place(fr_encoder *encoder, const fr_tokenizer *tokenizer, fr_int longest, fr_int cache, void *memory,
                                  fr_int bytes, fr_int *needed);
typedef enum fr_specials {
  FR_SPECIALS_TEXT,    // the text of a special token is ordinary text, so that no user can forge a fork
  FR_SPECIALS_MATCH,   // recognised anywhere, the leftmost first, then the longest; those that are normalized after all others
  FR_SPECIALS_REFUSE   // FR_FORMAT if there is one
} fr_specials;
// Sets *count, to what is needed also when FR_LIMIT says that there is no room; ids may be NULL, then it only counts. capacity =
// bytes + 1 is always enough, 3 * bytes with tokenizer->nfc. What ids holds after a failure is not defined.
FR_DEF fr_status fr_tokenizer_encode(fr_encoder *encoder, const char *text, fr_int bytes, fr_specials specials, fr_token *ids,
                                     fr_int capacity, fr_int *count);
// Sets *bytes; text may be NULL, then it only counts. An id without token: FR_RANGE.
FR_DEF fr_status fr_tokenizer_decode(const fr_tokenizer *tokenizer, const fr_token *ids, fr_int count, char *text,
                                     fr_int capacity, fr_int *bytes, fr_reason *reason);
// The same, one id at a time, in whole UTF-8 characters: bytes that may still become one are held back (at most 3) until the next
// id; those that cannot are handed out as they are. Begin with a zeroed fr_decoder; id -1 ends the text and hands out what is
// left. Room for tokenizer->longest + 3 bytes is always enough.
typedef struct fr_decoder { char held[4]; fr_int held_count; int begun; } fr_decoder;
FR_DEF fr_status fr_tokenizer_stream(const fr_tokenizer *tokenizer, fr_decoder *decoder, fr_token id, char *text, fr_int capacity,
                                     fr_int *bytes);

// From texts to an fr_question. A sequence is before, question, after, fork, trace, end. Question and traces may come from
// anyone: the text of a special token in them is ordinary text. The framing is yours: there it is the token.
typedef struct fr_turns {        // of a system, a user's and an assistant's turn: what stands before and after it
  fr_text before[3], after[3];
  fr_text begin[2];              // before all: where the conversation has no system turn, such as the template's own; where it has one
} fr_turns;
typedef struct fr_framing {
  fr_text        before, after;  // around the question, such as a chat template [empty]
  const fr_text *forks;          // N texts, each one special token, such as <think1>, or any text of one or more ids
  fr_int         fork_count;
  fr_token       end;            // the id that closes each trace
  const fr_turns *turns;         // for questions that are conversations: begin, the turns, before[1], the last one, and `after`
} fr_framing;                    // NULL: they are FR_UNSUPPORTED
// The ids of the forks, for fr_ssft_options: sets forks[N], which point into ids, and *count, ids in all, as fr_tokenizer_encode
// does. Equal forks are refused by what uses them (fr_ssft_*).
FR_DEF fr_status fr_framing_forks(fr_encoder *encoder, const fr_framing *framing, fr_token *ids, fr_int capacity,
                                  fr_tokens *forks, fr_int *count);
// Lays a question out in memory of yours: prompt, traces, key (as fr_problem has it) and room for fork; cost and nll are NULL. No
// traces: a prompt, to generate from. memory NULL: sets *used to what is always enough, from the lengths alone; of it the
// question keeps the first *used bytes (NULL is allowed), and what follows is free for the next one. Every boundary of question,
// fork and trace is checked: the ids of the parts have to be those of the whole, for trained with other ids than it is run with,
// a fork means nothing. FR_FORMAT tells which one, its byte, and the first id that differs, from 0 at `before`. Price: each fork
// is encoded with the question, and with each trace unless it ends with a special token.
FR_DEF fr_status fr_question_place(fr_question *question, fr_encoder *encoder, const fr_framing *framing, fr_text prompt,
                                   const fr_text *traces, fr_int trace_count, void *memory, fr_int bytes, fr_int *used);

// Two forms to keep a tokenizer in: our own, small, read without a parser and under a checksum, and a tokenizer.json that Hugging
// Face's library reads with equal ids (not for SentencePiece: FR_UNSUPPORTED). Sets *bytes, with FR_MEMORY, too; memory NULL
// measures. 6 KB of stack.
typedef enum fr_tokenizer_form { FR_TOKENIZER_OWN, FR_TOKENIZER_JSON } fr_tokenizer_form;
#define FR_TOKENIZER_VERSION 1
FR_DEF fr_status fr_tokenizer_write(const fr_tokenizer *tokenizer, fr_tokenizer_form form, void *memory, fr_int capacity,
                                    fr_int *bytes, fr_reason *reason);

// Training (Sennrich et al. 2016, over bytes): again and again the most frequent pair of neighbours becomes a token. Pairs are
// counted within pre-tokens, overlaps included ("aaa" holds two "aa"); ties go to the smaller left id, then the smaller right id.
// A pair whose bytes are a token already gets that token's id. The result does not depend on the order of the texts.
typedef struct fr_training {
  fr_int            vocab;       // ids in all: 256 bytes, merges, specials, forks; the tokenizer has fewer if the pairs end
  fr_split          split;       // [FR_SPLIT_GPT2]
  fr_int            min_count;   // a rarer pair is not merged [1]
  int               gpt2_bytes;  // 0: the id of a byte is its value; 1: GPT-2's order, which Hugging Face's trainer has too
  const fr_special *specials;    // their ids are given in order, after the merges
  fr_int            special_count, forks;
} fr_training;
// Works in `memory` and leaves there the trained tokenizer in our own form, *trained, which goes into a source as file. It needs
// about 150 bytes for each byte of distinct pre-tokens. FR_MEMORY sets *needed to what to try next: exactly what it needs once
// those could be counted, at least twice as much before. FR_LIMIT: 2^29 bytes of them, or texts made so that tables are slow.
FR_DEF fr_status fr_tokenizer_train(const fr_training *training, const fr_text *texts, fr_int text_count, void *memory,
                                    fr_int bytes, fr_text *trained, fr_int *needed, fr_reason *reason);

// ---- checkpoint: config, parameters, optimiser and bytes of yours in one file
#define FR_CHECKPOINT_VERSION 1
typedef struct fr_checkpoint {
  fr_config config;
  fr_int    count;              // parameters
  int       has_adamw;
  int64_t   step;               // of the optimiser
  fr_int    user_bytes, bytes;  // bytes of yours; of the whole file
} fr_checkpoint;
// All of these take adamw or user NULL: it is then not written, or not read. Reading needs a model of the file's config, an
// optimiser only if the file has one, and user_bytes as in the file. Before anything of yours changes, the whole file has been
// checked: magic, version (FR_UNSUPPORTED), config, its length against what the config implies, and the checksum (FR_CHECKSUM).
// adamw->grads are neither stored nor touched. *info (may be NULL) tells what the file holds; with model NULL that is all. Each
// takes 7 KB of stack.
FR_DEF fr_status fr_checkpoint_write(void *memory, fr_int bytes, fr_int *needed, const fr_model *model, const fr_adamw *adamw,
                                     const void *user, fr_int user_bytes, fr_reason *reason);
FR_DEF fr_status fr_checkpoint_read(const void *memory, fr_int bytes, fr_checkpoint *info, fr_model *model, fr_adamw *adamw,
                                    void *user, fr_int user_bytes, fr_reason *reason);

// ---- corpus: a data set, a tokenizer and a framing, ready to train on (examples/stream_forks.c)
typedef struct fr_corpus_options {
  fr_int   length;    // tokens of a question, a fork and a trace with its end; with more than this a trace is left out [0: any],
  int      truncate;  // or, if 1, cut behind as many
  fr_int   traces;    // drawn of a question at a time: min(its traces, N, this), every subset equally likely [0: no such bound];
                      // one fork takes all of them: with N = 1 there is no bound by N, and the method is FR_SFT_MIXED
  fr_int   batch;     // questions in a step [1]
  int      costs;     // 1: batches ask for their costs, of which a diagnosis makes margins
  double   held_out;  // about this fraction of the questions is not trained on; which depends on seed and text alone;
  fr_int   train_lines;  // or, if above 0, those that first stand behind so many lines of the file
  uint64_t seed;      // of the split, the order of the questions in each epoch, and the draws
} fr_corpus_options;
typedef enum fr_left_out {  // why a trace or a question is not in a corpus; what the data set left out itself is in its counts
  FR_TRACE_LONG,            // above options.length
  FR_TRACE_CUT,             // the same with options.truncate; it is not left out
  FR_TRACE_BOUNDARY,        // it has other ids behind a fork than apart
  FR_QUESTION_BOUNDARY,     // the same before a fork; its traces are not counted
  FR_QUESTION_BARE,         // no trace of it is left
  FR_LEFT_OUT_COUNT
} fr_left_out;
typedef struct fr_corpus {
  fr_corpus_options options;                 // resolved
  fr_int       left_out[FR_LEFT_OUT_COUNT];  // how many; and the first of each: index in the data set, how it begins, why
  fr_reason    example[FR_LEFT_OUT_COUNT];
  fr_tokens   *forks;                        // [fork_count], N, for fr_ssft_options
  fr_question *questions;                    // [count] with all their traces, in the order of the data set
  fr_int      *problem, *order;              // [count] its index in the data set; `train` to train on, then those held out
  fr_int       fork_count, count, train;
  fr_int       traces, tokens, sources;      // in all; the sources of the data set, and one for traces without
  uint64_t     key;                          // hash of all texts: names what a model was trained on
  fr_question *batch;                        // [options.batch], and for fr_diagnosis_add the sources of the traces of each
  fr_int     **source;
  struct fr__corpus *body;
  void        *owned;
} fr_corpus;

// Encodes all. The data set and the encoder may go afterwards. Errors name the question by its index in the data set. 5 KB of
// stack.
FR_DEF fr_status fr_corpus_place(fr_corpus *corpus, const fr_dataset *dataset, fr_encoder *encoder, const fr_framing *framing,
                                 const fr_corpus_options *options, void *memory, fr_int bytes, fr_int *needed, fr_reason *reason);
// Limits for a pass of any `questions` questions to train on, and of one that is held out, whole.
FR_DEF fr_status fr_corpus_limits(const fr_corpus *corpus, const fr_ssft_options *options, fr_int questions, fr_limits *limits);
// Sets corpus->batch to that of a step, 0 or later, whatever was asked for before: question p % train of epoch p / train, in an
// order of its own, with a draw of its traces, for each position p = step * options.batch + i.
FR_DEF fr_status fr_corpus_batch(fr_corpus *corpus, int64_t step);
// Of the first `questions` questions held out (0: all), always with the same traces, scored whole under every fork and matched as
// the options say; nats a token. diagnosis (may be NULL) is fed. Reasons are in work->reason.
typedef struct fr_validation {
  double mixture;  // -log( mean over forks of p(trace | question, fork) ): all forks as one model, to be compared with others
  double matched;  // -log p(trace | question, its fork): a matching by cost has seen the trace, so this is no prediction
  fr_int questions, traces, tokens;
} fr_validation;
FR_DEF fr_status fr_corpus_validate(fr_corpus *corpus, const fr_model *model, fr_work *work, const fr_ssft_options *options,
                                    fr_int questions, fr_diagnosis *diagnosis, fr_validation *validation);

// ---- bundle: what must not part, as the bytes of yours in a checkpoint
typedef struct fr_bundle {
  const fr_tokenizer *tokenizer;
  fr_framing          framing;
  fr_ssft_options     options;  // without the ids of the forks, which fr_framing_forks and a corpus give
  fr_corpus_options   corpus;
  uint64_t            key;      // of the corpus; 0: none
  fr_text             user;     // any bytes of yours
  void               *owned;
} fr_bundle;
// For fr_checkpoint_write and _save: sets *bytes; memory may be NULL, then it only measures. 6 KB of stack; placing takes 14.
FR_DEF fr_status fr_bundle_write(const fr_bundle *bundle, void *memory, fr_int capacity, fr_int *bytes, fr_reason *reason);
// From such bytes, which are checked whole and may go. `expected` (may be NULL) is what the model is to be run with: if its
// tokenizer, framing or key, where it has one, is another: FR_FORMAT with what differs.
FR_DEF fr_status fr_bundle_place(fr_bundle *bundle, const fr_bundle *expected, const void *user, fr_int user_bytes, void *memory,
                                 fr_int bytes, fr_int *needed, fr_reason *reason);

// ---- models of others: a folder of Hugging Face's, a GGUF file, a llama2.c file
// Families: Llama (SmolLM2 is one), Qwen2 with Qwen2.5, Qwen3. What else a file asks for is refused by name.
//   folder      config.json; model.safetensors, or model.safetensors.index.json and its shards: F32, F16, BF16. For what the fields
//               of fr_pretrained tell also generation_config.json, tokenizer_config.json and chat_template.jinja, if there
//   GGUF        F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K
//   llama2.c    version 0
// The files are yours, whole in memory, and stay until the last model that looks into them has gone: examples/map.h maps them.
typedef struct fr_pretrained_source {
  fr_text file;  // GGUF or llama2.c; NULL: a folder, of which
  int (*open)(void *user, const char *name, fr_text *text);  // gives the file of a name: 1 and its bytes, or 0: there is none
  void *user;
} fr_pretrained_source;
enum { FR_ENDS = 8 };
typedef enum fr_form { FR_FOLDER, FR_GGUF, FR_LLAMA2C } fr_form;
typedef struct fr_pretrained {
  fr_form     form;
  const char *family;            // "llama", "qwen2", "qwen3"
  fr_config   config;            // resolved
  fr_int      context;           // tokens that it was made for
  fr_token    begin, ends[FR_ENDS];  // -1: none; all end tokens that its files name
  fr_int      end_count;
  fr_text     chat, end;         // the chat template; the text of an end token that a file has instead of its id, for
                                 // fr_tokenizer_find; or empty
  fr_int      tensor_count, wrong;   // what fr_pretrained_tensor tells of; how many of them do not fit
  struct fr__pretrained *body;
  void       *owned;
} fr_pretrained;
// Reads what the files say; of weights nothing is copied or looked at, but for a head beside a tied embedding, which has to be
// equal to it. Reasons name the file. The memory is less than 40 times the bytes of JSON, of a GGUF's head, or of a llama2.c
// file. 6 KB of stack.
FR_DEF fr_status fr_pretrained_place(fr_pretrained *pretrained, const fr_pretrained_source *source, void *memory, fr_int bytes,
                                     fr_int *needed, fr_reason *reason);
// Tensor `index` = 0 .. tensor_count-1: those of the files in their order, then those that are missing. FR_RANGE behind them.
typedef enum fr_fit { FR_FITS, FR_MISSHAPEN, FR_LEFT_OVER, FR_MISSING } fr_fit;
typedef struct fr_found {
  char        name[128];         // cut, if it is longer
  const char *type;              // as its format calls it
  fr_int      rows, cols, bytes; // one-dimensional: 1 row
  int         stays;             // 1: a model of views uses it where it lies
  fr_fit      fit;
} fr_found;
FR_DEF fr_status fr_pretrained_tensor(const fr_pretrained *pretrained, fr_int index, fr_found *found);
// Makes a model of it. FR_FORMAT names what is missing, left over or misshapen, as far as the reason holds it.
typedef struct fr_pretrained_options {
  int     whole;  // 1: a model of floats, which can be trained and saved; 0: matrices stay where they lie, if they can: float32 or
  fr_type type;   // bfloat16, aligned, in the machine's byte order, q and k as we have them; others are copied once, as this type
  fr_int  vocab;  // rows of embedding and head, such as for forks behind them; new ones: the mean of the others [the file's]
} fr_pretrained_options;
FR_DEF fr_status fr_pretrained_model(const fr_pretrained *pretrained, const fr_pretrained_options *options, fr_model *model,
                                     void *memory, fr_int bytes, fr_int *needed, fr_reason *reason);

// ---- giving a model back: files that transformers, llama.cpp and llama2.c load
// Of matrices, rounded to nearest even: what was trained a little may round to what it was. float16 ends at 65504: FR_RANGE.
typedef enum fr_export_type { FR_EXPORT_F32, FR_EXPORT_F16, FR_EXPORT_BF16 } fr_export_type;
typedef struct fr_export {
  const fr_model     *model;     // of floats or of views
  const fr_tokenizer *tokenizer; // for a folder and GGUF
  fr_export_type type;
  fr_int         context;        // [2048]
  fr_token       begin, pad;     // -1: none; 0 is a token
  const fr_token *ends;          // the first one is that of tokenizer_config.json
  fr_int         end_count;
  fr_text        chat;           // the chat template, which carries the framing; or empty
  const char    *name, *base, *license, *data;  // for the model card and general.*; what it was made from; NULL: nothing is said
} fr_export;
// The files of a folder, then those that are a model by themselves.
typedef enum fr_export_file { FR_EXPORT_CONFIG, FR_EXPORT_WEIGHTS, FR_EXPORT_TOKENIZER, FR_EXPORT_TOKENIZER_CONFIG, FR_EXPORT_GENERATION,
                              FR_EXPORT_CHAT, FR_EXPORT_CARD, FR_EXPORT_GGUF, FR_EXPORT_LLAMA2C } fr_export_file;
FR_DEF const char *fr_export_name(fr_export_file file);  // config.json, ..; NULL: FR_EXPORT_GGUF and all behind it
// Sets *bytes, with FR_MEMORY, too; memory NULL measures. FR_UNSUPPORTED names what the form cannot hold: llama2.c biases and norms
// of heads, another eps or theta, float16; a folder both of them, which no family has; all an embed_scale. An empty chat template
// is 0 bytes. 14 KB of stack.
FR_DEF fr_status fr_export_write(const fr_export *what, fr_export_file file, void *memory, fr_int capacity, fr_int *bytes,
                                 fr_reason *reason);

// ---- files
// Saving writes PATH.tmp, then renames it over PATH: a reader finds the old file or the new one, never half of one. On failure
// the temporary file is removed and PATH is as it was. Of two that write one PATH at once neither is sure. A file at PATH is
// replaced, a symbolic link itself and not the file that it points to (where rename refuses, by way of PATH.old, and one of that
// name is lost); a pipe or a device, /dev/null, is written as it is. A PATH of 1,000 bytes or more: FR_LIMIT. No second copy of a
// model is made; loading a checkpoint goes over the file twice, and only a file that changes in between can leave half a model
// (FR_IO). 8 KB of stack, but where loading says more.
#ifndef FR_NO_STDIO
FR_DEF fr_status fr_tokenizer_save(const char *path, const fr_tokenizer *tokenizer, fr_tokenizer_form form, fr_reason *reason);
FR_DEF fr_status fr_export_save(const char *path, const fr_export *what, fr_export_file file, fr_reason *reason);
FR_DEF fr_status fr_checkpoint_save(const char *path, const fr_model *model, const fr_adamw *adamw, const void *user,
                                    fr_int user_bytes, fr_reason *reason);
FR_DEF fr_status fr_checkpoint_load(const char *path, fr_checkpoint *info, fr_model *model, fr_adamw *adamw, void *user,
                                    fr_int user_bytes, fr_reason *reason);
#ifndef FR_NO_MALLOC
// `path` and `merges_path` (either may be NULL) stand for file and merges of `source`, which gives the rest (NULL: nothing).
FR_DEF fr_status fr_tokenizer_load(fr_tokenizer *tokenizer, const char *path, const char *merges_path,
                                   const fr_tokenizer_source *source, fr_reason *reason);
FR_DEF fr_status fr_dataset_load(fr_dataset *dataset, const char *path, fr_reason *reason);
// A checkpoint with the bundle. Loading makes bundle, model and, if not NULL, adamw; on failure they are zeroed.
FR_DEF fr_status fr_bundle_save(const char *path, const fr_bundle *bundle, const fr_model *model, const fr_adamw *adamw,
                                fr_reason *reason);
FR_DEF fr_status fr_bundle_load(const char *path, const fr_bundle *expected, fr_bundle *bundle, fr_model *model, fr_adamw *adamw,
                                fr_reason *reason);
#endif  // FR_NO_MALLOC
#endif  // FR_NO_STDIO

// ---- the malloc pairs
// Measure, malloc, place; on failure nothing is allocated and *object is zeroed. Of a zeroed or placed one free releases nothing.
#ifndef FR_NO_MALLOC
FR_DEF fr_status fr_model_new(fr_model *model, const fr_config *config);
FR_DEF fr_status fr_adamw_new(fr_adamw *adamw, const fr_model *model);
FR_DEF fr_status fr_work_new(fr_work *work, const fr_config *config, const fr_limits *limits);
FR_DEF fr_status fr_chooser_new(fr_chooser *chooser, const fr_model *model, fr_int forks, fr_int positions);
FR_DEF fr_status fr_rollouts_new(fr_rollouts *rollouts, const fr_gfpo_options *options, fr_int questions);
FR_DEF fr_status fr_diagnosis_new(fr_diagnosis *diagnosis, const fr_diagnosis_options *options, fr_reason *reason);
FR_DEF fr_status fr_dataset_new(fr_dataset *dataset, const char *text, fr_int text_bytes, fr_reason *reason);
FR_DEF fr_status fr_tokenizer_new(fr_tokenizer *tokenizer, const fr_tokenizer_source *source, fr_reason *reason);
FR_DEF fr_status fr_tokenizer_train_new(fr_tokenizer *tokenizer, const fr_training *training, const fr_text *texts,
                                        fr_int text_count, fr_reason *reason);
FR_DEF fr_status fr_encoder_new(fr_encoder *encoder, const fr_tokenizer *tokenizer, fr_int longest, fr_int cache);
FR_DEF fr_status fr_corpus_new(fr_corpus *corpus, const fr_dataset *dataset, fr_encoder *encoder, const fr_framing *framing,
                               const fr_corpus_options *options, fr_reason *reason);
FR_DEF fr_status fr_pretrained_new(fr_pretrained *pretrained, const fr_pretrained_source *source, fr_reason *reason);
FR_DEF fr_status fr_pretrained_model_new(const fr_pretrained *pretrained, const fr_pretrained_options *options, fr_model *model,
                                         fr_reason *reason);
FR_DEF void fr_pretrained_free(fr_pretrained *pretrained);
FR_DEF void fr_model_free(fr_model *model);
FR_DEF void fr_adamw_free(fr_adamw *adamw);
FR_DEF void fr_work_free(fr_work *work);
FR_DEF void fr_chooser_free(fr_chooser *chooser);
FR_DEF void fr_rollouts_free(fr_rollouts *rollouts);
FR_DEF void fr_diagnosis_free(fr_diagnosis *diagnosis);
FR_DEF void fr_dataset_free(fr_dataset *dataset);
FR_DEF void fr_tokenizer_free(fr_tokenizer *tokenizer);
FR_DEF void fr_encoder_free(fr_encoder *encoder);
FR_DEF void fr_corpus_free(fr_corpus *corpus);
FR_DEF void fr_bundle_free(fr_bundle *bundle);
#endif

#if defined(FORKREASON_CUDA) || defined(FORKREASON_CUDA_IMPLEMENTATION)
// ---- CUDA: the same steps on an NVIDIA GPU
// Define FORKREASON_CUDA before the include. One more file of the program, gpu.cu, is compiled by nvcc and linked in:
//     #define FORKREASON_CUDA_IMPLEMENTATION
//     #include "forkreason.h"
//   fr_cuda *cuda = NULL;
//   if (fr_cuda_open(&cuda, 0, FR_CUDA_FLOAT32, &reason) == FR_OK) limits.backend = fr_cuda_backend(cuda);  // else the CPU goes on
//   fr_work_new(&work, &config, &limits);   fr_work_attach(&work, &model, &adamw);   ... train ...
//   fr_work_download(&work, &model, &adamw);   fr_cuda_close(cuda);
// With FR_CUDA_CUBLAS defined there, too, and cublasLt linked, products of matrices are NVIDIA's instead of the kernels of >>cuda.
// Parameters, gradients, moments and activations live on the device. Over the bus go, per pass, four numbers a token, with gradient
// seven, four for each 32 tokens of a span, and five a target; with repeat_penalty a bit for each leaf and token of the vocabulary;
// back comes a number a target, or what is asked for: tokens that were drawn, rows that are read, a norm.
typedef enum fr_cuda_math {  // how the products of matrices are computed; all else, and every sum, is float32 or double
  FR_CUDA_FLOAT32,           // as on the CPU
  FR_CUDA_TF32,              // factors rounded to 11 bits, on tensor cores; compute capability 8.0 or more
  FR_CUDA_BFLOAT16,          // to 8 bits, on tensor cores; the same
  FR_CUDA_PLAIN              // float32, one thread an output: to compare with
} fr_cuda_math;
typedef struct fr_cuda fr_cuda;
// Opens device 0, 1, ... FR_UNSUPPORTED, with the reason: this machine has none that can be used (none, none of that number, one of
// compute capability below 8.0, none that the program has code for). FR_MEMORY, FR_IO: CUDA failed. *cuda is set only with FR_OK.
FR_DEF fr_status fr_cuda_open(fr_cuda **cuda, int device, fr_cuda_math math, fr_reason *reason);
FR_DEF const fr_backend *fr_cuda_backend(const fr_cuda *cuda);  // for limits.backend; one thread at a time; of NULL NULL, the CPU
// Bytes that went over the bus since open.
FR_DEF void fr_cuda_traffic(const fr_cuda *cuda, int64_t *to_device, int64_t *to_host);
// Gives back what the device holds of a workspace, or of a model (either may be NULL), that will not be used with it any more. A
// model is known by where its parameters are: release one before you free it, or attach the next one at that address.
FR_DEF void fr_cuda_release(fr_cuda *cuda, const fr_work *work, const fr_model *model);
// Gives back everything. Workspaces that were made for this backend cannot be used any more. NULL: nothing is done.
FR_DEF void fr_cuda_close(fr_cuda *cuda);
#endif
#ifdef __cplusplus
}
#endif
#endif  // FORKREASON_H
// =======================================================================================================
#if (defined(FORKREASON_IMPLEMENTATION) || defined(FORKREASON_BACKEND) || defined(FORKREASON_CUDA_IMPLEMENTATION)) && \
    !defined(FORKREASON_SEAM)
#define FORKREASON_SEAM
// ---- >>backend ----------------------------------------------------------------------------------------
// What a backend is written against: the table of parameters, what a workspace holds of a forest, and the steps. The
// implementation needs it; another translation unit that fills an fr_backend gets it alone by FORKREASON_BACKEND.

// Rows of w_qkv: H heads of queries, K of keys, K of values.
static inline fr_int fr__qkv(const fr_config *c) { return (c->heads + 2 * c->kv_heads) * c->head_dim; }

// The architecture is this table: fields, sizes, start values, decay, file order and the names that a gradient check prints. Put a
// new row last: its index names its random stream, its bit in `frozen` and its place in files. README: "Change it".
//   NORMAL: std 1/sqrt(cols)    RESIDUAL: the same / sqrt(2 L)    EMBED: std 1/(2 sqrt(C))
#define FR__PARAMS(P)                                                                        \
  /* field        copies             rows                              cols      start  decay */ \
  P(tok_emb,      1,                 c->vocab,                         c->dim,   EMBED,  0)  \
  P(norm_att,     c->layers,         1,                                c->dim,   ONES,   0)  \
  P(w_qkv,        c->layers,         fr__qkv(c),                       c->dim,   NORMAL, 1)  \
  P(b_qkv,        c->qkv_bias ? c->layers : 0, 1,                      fr__qkv(c), ZEROS, 0) \
  P(norm_q,       c->qk_norm ? c->layers : 0,  1,                      c->head_dim, ONES, 0) \
  P(norm_k,       c->qk_norm ? c->layers : 0,  1,                      c->head_dim, ONES, 0) \
  P(w_out,        c->layers,         c->dim,           c->heads * c->head_dim, RESIDUAL, 1)  \
  P(norm_mlp,     c->layers,         1,                                c->dim,   ONES,   0)  \
  P(w_gate_up,    c->layers,         2 * c->ffn,                       c->dim,   NORMAL, 1)  \
  P(w_down,       c->layers,         c->dim,                           c->ffn, RESIDUAL, 1)  \
  P(norm_final,   1,                 1,                                c->dim,   ONES,   0)  \
  P(head,         c->tied ? 0 : 1,   c->vocab,                         c->dim,   NORMAL, 1)

typedef struct fr__params {  // where each tensor begins, in parameters or in gradients; NULL: not there
#define FR__FIELD(name, copies, rows, cols, start, decay) float *name;
  FR__PARAMS(FR__FIELD)
#undef FR__FIELD
} fr__params;
enum {
#define FR__INDEX(name, copies, rows, cols, start, decay) FR__AT_##name,
  FR__PARAMS(FR__INDEX)
#undef FR__INDEX
  FR__TENSORS
};

// Queries that stand next to each other in one span: rows row .. row+count-1, the first of which has `before` tokens before it.
typedef struct fr__block { fr_int span, row, before, count; } fr__block;
typedef struct fr__goal { fr_token token; float weight; double nll; } fr__goal;  // a target, and its -log p
typedef struct fr__head_row { fr_int row, first, count; } fr__head_row;          // a row with targets, and which are its own

// What a workspace holds. The tables are the host's for every backend; the floats are the CPU's alone.
struct fr__body {
  // the forest that was run last: [span]. A path consists of rows span_row .. span_row+span_count-1 of its spans: rows of the
  // activations, or when decoding rows of the cache.
  fr_int *span_row, *span_count, *span_parent, *span_depth, *span_root;
  fr_int span_count_used, row_count;
  fr_token *token;          // [row]
  fr_int *position;         // [row]
  fr__block *blocks;        // [block] in order of spans, cut to FR__QUERIES
  fr_int block_count;
  fr_int *root_next, *root_first, root_count;  // blocks of one root, chained: [block], [root]
  // targets, sorted by row
  fr__goal *goals;          // [target]
  fr_int *goal_source;      // [target] index in the caller's list
  fr__head_row *head_rows;  // [target]
  fr_int head_row_count;
  fr_int *row_fill;         // [row+1] for the counting sort
  // decoding
  fr_int *cache_row;        // [row] the cache row of each new row
  fr_int cached_spans;      // how many spans are in the cache, span_count_used of a tree and then leaves; 0 after any other run
  const float *cached_params;  // the parameters that it was made with
  uint64_t *span_print;     // [span] a hash of the tokens that are there
  fr_int *path_rows;        // (tasks, depth) scratch: rows or tokens of a path
  fr_int *leaf_active, *leaf_row;
  fr_random *leaf_random;
  float *leaf_draw;         // [leaf] uniform in 0 .. 1
  fr_token *leaf_token;     // [leaf] what was drawn,
  double *leaf_logp;        //        and its log p
  // the trees that the set loss builds
  fr_span *spans;
  fr_target *targets;
  fr_sum *sums;             // [leaves], as is cost
  double *cost;
  fr_int *match, assign_bytes;
  char *assign;
  float *read;              // (FR__READ,C) rows that the host asked for
  int ready;                // 1: the last run's final activations are there for fr_logits
  // the CPU's tables and activations, see >>model
  float *cosine, *sine;     // (depth, D/2)
  float *activations, *final_x;  // of the layers; (row,C) residual stream after the last layer
  float *logits, *hidden, *dhidden, *hidden_inverse;  // one chunk of head rows: (chunk,fr__stride(V)), (chunk,C) twice, (chunk)
  fr_int chunk;
  float *scratch;           // a piece for each task
  fr_int scratch_floats;
  fr_int *order;            // (tasks, V) for sampling
  float *cache;             // (L, 2 K, cache_rows, D): heads of keys, then of values, so that one head is read from end to end
};

// Activations of N rows. With gradient every layer has its own, else all share one set.
typedef struct fr__layer {
  float *x, *x_mid, *x_next;   // (N,C) residual stream before the layer, after attention, after the MLP
  float *qkv;                  // (N,(H+2K)D) after norm and rope
  float *raw, *raw_inverse;    // (N,(H+K)D), (N,H+K) q and k before their norm, with qk_norm and gradient only
  float *att, *lse;            // (N,H D) output of attention; (N,H) the log of each softmax's sum
  float *gate_up;              // (N,2F), rows 2 fr__stride(F) apart
  float *inverse_att, *inverse_mlp;  // (N) of the two norms
} fr__layer;

typedef struct fr__shared {  // what the layers have in common
  float *h, *dx, *dh;          // (N,C) normalised input; gradients
  float *act, *dact;           // (N,F), rows act_stride apart
  float *dqkv, *datt, *dgate_up;
  fr_int act_stride;
} fr__shared;

// The steps of a layer, in the order of the forward pass, and what can be done of each.
enum { FR__NORM_ATT, FR__QKV, FR__BIAS, FR__HEAD_NORM, FR__ROTATE, FR__ATTEND, FR__OUT, FR__NORM_MLP, FR__GATE_UP, FR__SWIGLU,
       FR__DOWN, FR__STEPS };
enum { FR__FORWARD, FR__BACKWARD, FR__SUMS };  // SUMS: gradients of weights and gains, which are sums over rows
typedef struct fr__act { unsigned char step, way; } fr__act;

// One run over a forest.
typedef struct fr__pass {
  fr_work *work;
  const fr_model *model;
  const fr_config *c;
  float *grads;              // NULL: forward only
  fr_int N;                  // rows
  int gradient;              // 1: the activations of all layers are kept
  int cached;                // 1: keys and values are those of the cache, and the new rows' go into it
  int decodes;               // 1: few rows; a CPU streams its weights
  fr_int layer, entered;     // entered: the layer that what follows is of
  // the CPU's view of it: whole blocks, then at the layer
  fr__params all_p, all_d, p, d;
  fr_layer_views w;
  fr__layer a;
  fr__shared r;
  fr_int head_first, head_count;  // the chunk of head rows
  const fr_int *head_list;        // rows to read, instead of rows with targets
  const fr_tree *tree;            // what sample goes on from: the spans, with the tokens of all, and the leaves
  const fr_leaf *leaves;
} fr__pass;

// rows[p] = row of path position p, for the first `count` positions of the path that ends in `span`: where the keys and values that a
// block sees lie (its before + count), in the activations, or in the cache if pass->cached.
static inline void fr__path(const struct fr__body *b, fr_int span, fr_int count, fr_int *rows)
{
  for (; span >= 0; span = b->span_parent[span])
    for (fr_int t = 0, p = b->span_depth[span]; t < b->span_count[span] && p < count; t++, p++) rows[p] = b->span_row[span] + t;
}

// The tokens of the path that row number `at` of a sample goes on from, its leaf's own first; how many: at most limits.depth
static inline fr_int fr__path_tokens(const fr__pass *s, fr_int at, fr_int *tokens)
{
  const fr_leaf *leaf = &s->leaves[s->work->body->leaf_active[at]];
  fr_int count = 0;
  for (fr_int t = 0; t < leaf->count; t++) tokens[count++] = leaf->tokens[t];
  for (fr_int span = leaf->span; span >= 0; span = s->tree->spans[span].parent)
    for (fr_int t = 0; t < s->tree->spans[span].tokens.count; t++) tokens[count++] = s->tree->spans[span].tokens.ids[t];
  return count;
}
static inline int fr__penalises(const fr_sampling *o) { return o->repeat_penalty > 0.0f && o->repeat_penalty != 1.0f; }

typedef struct fr__adamw_factors { float scale, keep, rate, beta1, beta2, unbias2, eps; } fr__adamw_factors;  // of a step

// A device fills this. Each call is one whole step over all rows; what goes in and out besides are the tables of the workspace and
// what is named here. Everything that touches floats of a model or of activations goes through it. A call that fails says why in
// work->reason, which is empty before it.
struct fr_backend {
  void *self;
  const char *name;
  // For a workspace that was just laid out: room for its activations.
  fr_status (*place)(void *self, fr_work *work);
  // Makes, or makes anew, the device's copy of a model, found again by model->params; with an optimiser also of its gradients and
  // moments: any other grads in a pass are FR_INVALID. download brings back what the device has changed (adamw may be NULL).
  fr_status (*attach)(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw);
  fr_status (*download)(void *self, fr_work *work, fr_model *model, fr_adamw *adamw);
  // x of the first layer (FR__FORWARD), or the gradient of the embedding from dx (FR__BACKWARD)
  fr_status (*embed)(void *self, fr__pass *pass, int way);
  // Runs pass->layer's steps list[0 ..], at least one; *done, 1 before, tells how many: neighbours may be run together.
  fr_status (*step)(void *self, fr__pass *pass, const fr__act *list, fr_int count, fr_int *done);
  // Loss, and with pass->grads its gradient: goals[].nll of all targets, dx (set) and the head's sums; a chunk of rows at a time.
  fr_status (*head)(void *self, fr__pass *pass);
  // Of rows list[count] of the pass: normed activations (count,C), or logits (count,V) if `vocabulary`.
  fr_status (*rows)(void *self, fr__pass *pass, const fr_int *list, fr_int count, int vocabulary, float *out);
  // A token for each of these rows, those of leaf_active, drawn by draw[count] in 0 .. 1, and its log p at temperature 1.
  fr_status (*sample)(void *self, fr__pass *pass, const fr_int *list, fr_int count, const fr_sampling *sampling,
                      const float *draw, fr_token *token, double *logp);
  // The norm of all gradients, in double; one update, with keep_decayed for what decays; gradients become 0.
  fr_status (*norm)(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw, double *norm);
  fr_status (*adamw)(void *self, fr_work *work, fr_model *model, fr_adamw *adamw, const fr__adamw_factors *factors,
                     float keep_decayed);
  fr_status (*zero)(void *self, fr_work *work, const fr_model *model, fr_adamw *adamw);
};
#endif  // FORKREASON_SEAM
// =======================================================================================================
#if defined(FORKREASON_IMPLEMENTATION) && !defined(FORKREASON_IMPLEMENTED)
#define FORKREASON_IMPLEMENTED
#define FR__METHOD
#endif
#if defined(FORKREASON_CUDA_IMPLEMENTATION) && !defined(FORKREASON_CUDA_IMPLEMENTED)
#define FORKREASON_CUDA_IMPLEMENTED
#define FR__CUDA
#endif
#if defined(FR__METHOD) || defined(FR__CUDA)  // the ground that both stand on
// ---- >>platform ---------------------------------------------------------------------------------------
#include <math.h>
#include <stdarg.h>
#include <string.h>
#ifndef FR_NO_STDIO
#include <errno.h>
#include <stdio.h>
#if defined(__unix__) || defined(__APPLE__)
#include <sys/stat.h>
#endif
#endif
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || \
    defined(__RECIPROCAL_MATH__) || defined(_M_FP_FAST)
#error "compile without -ffast-math, -Ofast, /fp:fast: tests for NaN and infinity and the order of sums would be optimised away"
#endif
#if !defined(__cplusplus) && !defined(_MSC_VER) && (!defined(__STDC_VERSION__) || __STDC_VERSION__ < 199901L)
#error "this is C99: compile with -std=c99 or later, or as C++11"
#endif
#if defined(FR_MALLOC) != defined(FR_FREE)
#error "define both FR_MALLOC and FR_FREE, or neither"
#undef FR_MALLOC  // so that this is the only message
#undef FR_FREE
#endif
#if !defined(FR_NO_MALLOC) && !defined(FR_MALLOC)
#include <stdlib.h>
#define FR_MALLOC(bytes) malloc(bytes)
#define FR_FREE(memory) free(memory)
#endif

#ifndef FR_ASSERT
#define FR_ASSERT(condition) ((void)0)
#endif

#if defined(__clang__)
#define FR__UNROLL(n) _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__) && __GNUC__ >= 8 && !defined(__CUDACC__)  // nvcc does not know it
#define FR__PRAGMA(text) _Pragma(#text)
#define FR__UNROLL(n) FR__PRAGMA(GCC unroll n)
#else
#define FR__UNROLL(n)
#endif

// For what is called from many places: five copies in line are five times the compiler's work. What nobody is in a hurry for is
// made small besides, our own by FR__SELDOM and these public functions.
#if defined(__GNUC__) || defined(__clang__)
#define FR__APART static __attribute__((noinline))
#define FR__SELDOM static __attribute__((noinline, cold))
#define FR__SMALL(name) __typeof__(fr_##name) fr_##name __attribute__((cold));
FR__SMALL(config_check) FR__SMALL(model_place) FR__SMALL(model_place_views) FR__SMALL(model_append_rows) FR__SMALL(work_place)
FR__SMALL(ssft_limits) FR__SMALL(gfpo_limits) FR__SMALL(assign_margin) FR__SMALL(diagnosis_place) FR__SMALL(dataset_place)
FR__SMALL(diagnosis_read) FR__SMALL(diagnosis_add) FR__SMALL(information_of) FR__SMALL(tree_limits) FR__SMALL(corpus_limits)
FR__SMALL(framing_forks) FR__SMALL(model_init) FR__SMALL(chooser_place) FR__SMALL(diagnosis_compare) FR__SMALL(fork_spread)
FR__SMALL(corpus_batch) FR__SMALL(advantages) FR__SMALL(model_set_rows) FR__SMALL(vote) FR__SMALL(generate_limits)
FR__SMALL(pretrained_place) FR__SMALL(pretrained_model) FR__SMALL(pretrained_tensor) FR__SMALL(export_write)
FR__SMALL(question_place) FR__SMALL(tokenizer_place) FR__SMALL(corpus_place) FR__SMALL(corpus_validate) FR__SMALL(bundle_place)
FR__SMALL(tokenizer_decode) FR__SMALL(tokenizer_stream) FR__SMALL(policy_pick) FR__SMALL(forward) FR__SMALL(backward)
#else
#define FR__APART static
#define FR__SELDOM static
#endif

static fr_int fr__min(fr_int a, fr_int b) { return a < b ? a : b; }
static fr_int fr__max(fr_int a, fr_int b) { return a > b ? a : b; }
static int fr__among(int value, int last) { return value >= 0 && value <= last; }  // of an enum, which may be unsigned
static fr_int fr__round_up(fr_int a, fr_int b) { return (a + b - 1) / b * b; }

// ---- >>status -----------------------------------------------------------------------------------------
#ifdef FR__METHOD
FR_DEF const char *fr_status_text(fr_status status)
{
  static const char *const text[] = {
#define FR__TEXT(name, words) words,
    FR_STATUS_LIST(FR__TEXT)
#undef FR__TEXT
  };
  const int index = (int)status;
  return index >= 0 && index < (int)FR_STATUS_COUNT ? text[index] : "not a status of this library";
}
#endif

// Writes the reason and hands the status through:  return fr__fail(reason, FR_RANGE, "row %d", row);
// Knows %d (an fr_int), %s and %c; cuts what does not fit. printf would need stdio.
FR__SELDOM fr_status fr__fail(fr_reason *reason, fr_status status, const char *format, ...)
{
  char *out, *end;
  va_list list;
  if (!reason) return status;
  out = reason->text;
  end = out + sizeof reason->text - 1;
  va_start(list, format);
  for (; *format && out < end; format++) {
    if (*format != '%') {
      *out++ = *format;
    } else if (*++format == 's') {
      for (const char *s = va_arg(list, const char *); *s && out < end; s++) *out++ = *s;
    } else if (*format == 'c') {
      *out++ = (char)va_arg(list, int);
    } else {
      char digits[24];
      int count = 0;
      const fr_int value = va_arg(list, fr_int);
      uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
      do { digits[count++] = (char)('0' + rest % 10); rest /= 10; } while (rest);
      if (value < 0) digits[count++] = '-';
      while (count && out < end) *out++ = digits[--count];
    }
  }
  va_end(list);
  *out = 0;
  return status;
}

static fr_status fr__fine(fr_reason *reason)
{
  if (reason) reason->text[0] = 0;
  return FR_OK;
}

// ---- >>memory -----------------------------------------------------------------------------------------
#define FR__INT_MAX ((fr_int)(((size_t)-1) >> 1))
enum { FR__ALIGN = 64 };  // one cache line, one AVX-512 register

// Non-negative a*b and a+b; 0 if the result does not fit.
static int fr__mul(fr_int a, fr_int b, fr_int *out)
{
  if (a < 0 || b < 0 || (b && a > FR__INT_MAX / b)) return 0;
  *out = a * b;
  return 1;
}

static int fr__add(fr_int a, fr_int b, fr_int *out)
{
  if (a < 0 || b < 0 || a > FR__INT_MAX - b) return 0;
  *out = a + b;
  return 1;
}

// Hands out aligned pieces of one block. With base NULL it only measures, so measuring and placing run the same code.
typedef struct fr__arena { char *base; fr_int used; int overflow; } fr__arena;

FR__APART void *fr__take(fr__arena *arena, fr_int count, fr_int size)
{
  const fr_int start = arena->used;
  fr_int bytes, next;
  if (!fr__mul(count, size, &bytes) || !fr__add(start, bytes, &next) || !fr__add(next, FR__ALIGN - 1, &next)) {
    arena->overflow = 1;
    return NULL;
  }
  arena->used = next / FR__ALIGN * FR__ALIGN;
  return arena->base ? arena->base + start : NULL;
}

// The same for floats that lie side by side in a piece, whose size was measured and checked.
static float *fr__cut(float *base, fr_int *used, fr_int count)
{
  const fr_int start = *used;
  *used += count;
  return base ? base + start : NULL;
}

static void *fr__align(void *memory)
{
  const size_t odd = (size_t)((uintptr_t)memory % FR__ALIGN);
  return (char *)memory + (odd ? FR__ALIGN - odd : 0);
}

// Between measuring and placing, which every `place` does by running its layout twice: tells what the layout took, and opens
// the block if there is one. The size allows for a block that starts anywhere.
static fr_status fr__arena_open(fr__arena *arena, void *memory, fr_int bytes, fr_int *needed, fr_reason *reason)
{
  fr_int size;
  if (arena->overflow || !fr__add(arena->used, FR__ALIGN - 1, &size))
    return fr__fail(reason, FR_OVERFLOW, "it does not fit this machine's address space");
  if (!memory && !needed) return fr__fail(reason, FR_INVALID, "memory is NULL, and so is where to tell its size");
  if (needed) *needed = size;
  if (memory && bytes < size) return fr__fail(reason, FR_MEMORY, "%d bytes are needed, %d were given", size, bytes);
  if (memory) arena->base = (char *)fr__align(memory);
  arena->used = 0;
  return fr__fine(reason);
}

// -- what a pass needs of memory, on every device
// Floats from row to row of an activation with n columns: rows a multiple of 4 KB apart (or their pairs, for gate and up)
// would fight for a few sets of the cache, so that every product would have to pack them.
static fr_int fr__stride(fr_int n) { return n % 512 == 0 ? n + 16 : n; }

// One layer's rows; returns the floats that they take, and with base NULL only measures.
FR__APART fr_int fr__layer_layout(const fr_config *c, float *base, fr_int N, int gradient, fr__layer *a)
{
  const fr_int normed = c->qk_norm ? c->heads + c->kv_heads : 0;  // heads with a norm of their own
  fr_int used = 0;
  memset(a, 0, sizeof *a);
  a->x = a->x_mid = a->x_next = fr__cut(base, &used, N * c->dim);
  if (gradient) a->x_mid = fr__cut(base, &used, N * c->dim);
  a->qkv = fr__cut(base, &used, N * fr__qkv(c));
  a->att = fr__cut(base, &used, N * c->heads * c->head_dim);
  a->gate_up = fr__cut(base, &used, N * 2 * fr__stride(c->ffn));
  if (!gradient) return used;
  a->raw = fr__cut(base, &used, N * normed * c->head_dim);
  a->raw_inverse = fr__cut(base, &used, N * normed);
  a->lse = fr__cut(base, &used, N * c->heads);
  a->inverse_att = fr__cut(base, &used, N);
  a->inverse_mlp = fr__cut(base, &used, N);
  a->x_next = fr__cut(base, &used, 0);  // x of the next layer, or the final rows
  return used;
}

// All activations of N rows, seen from a layer: with gradient every layer's and the final rows, else one set, then what the
// layers have in common. Returns the floats that they take, and with base NULL only measures.
FR__APART fr_int fr__activations(const fr_config *c, float *base, fr_int N, fr_int layer, int gradient, fr__layer *a,
                                 fr__shared *r)
{
  const fr_int C = c->dim, apart = fr__stride(c->ffn), each = fr__layer_layout(c, NULL, N, gradient, a);
  fr_int used = gradient ? c->layers * each + N * C : each;
  fr__layer_layout(c, base && gradient ? base + layer * each : base, N, gradient, a);
  memset(r, 0, sizeof *r);
  r->h = fr__cut(base, &used, N * C);
  r->act = gradient ? fr__cut(base, &used, N * apart) : a->gate_up;  // without gradient it takes the place of gate
  r->act_stride = gradient ? apart : 2 * apart;
  if (!gradient) return used;
  r->dx = fr__cut(base, &used, N * C);
  r->dh = fr__cut(base, &used, N * C);
  r->dqkv = fr__cut(base, &used, N * fr__qkv(c));
  r->datt = fr__cut(base, &used, N * c->heads * c->head_dim);
  r->dact = fr__cut(base, &used, N * apart);
  r->dgate_up = fr__cut(base, &used, N * 2 * apart);
  return used;
}

// Inverse frequencies of rope, theta^(-2j/D), with the smooth cut of llama3 scaling: long waves are slowed by `factor`,
// short ones left as they are, those between interpolated.
static double fr__rope_frequency(const fr_config *config, fr_int j)
{
  const double pi2 = 6.283185307179586, inverse = pow((double)config->rope_theta, -2.0 * (double)j / (double)config->head_dim);
  const double factor = (double)config->rope_factor, low = (double)config->rope_low, high = (double)config->rope_high;
  const double original = (double)config->rope_original, wave = pi2 / inverse;
  double s;
  if (factor <= 0.0 || wave < original / high) return inverse;
  if (wave > original / low) return inverse / factor;
  s = (original / wave - low) / (high - low);
  return (1.0 - s) * inverse / factor + s * inverse;
}

// Cosine and sine (depth,D/2) of each position's angles, in double: in float they are off by whole turns far out.
static void fr__rope_tables(const fr_config *c, fr_int depth, float *cosine, float *sine)
{
  const fr_int pairs = c->head_dim / 2;
  for (fr_int p = 0; p < depth; p++)
    for (fr_int j = 0; j < pairs; j++) {
      const double angle = (double)p * fr__rope_frequency(c, j);
      cosine[p * pairs + j] = (float)cos(angle);
      sine[p * pairs + j] = (float)sin(angle);
    }
}

#endif  // the ground
#ifdef FR__METHOD
// ---- >>random -----------------------------------------------------------------------------------------
// Philox 4x32-10: ten rounds of multiply, xor and swap over a 128-bit counter; the key grows by a constant a round.
static void fr__philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

// The 128 bits that name a stream are themselves hashed by one block under the seed into a key and half a counter.
FR_DEF fr_random fr_random_stream(uint64_t seed, uint64_t question, uint64_t leaf)
{
  const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
  const uint32_t name[4] = { (uint32_t)question, (uint32_t)(question >> 32), (uint32_t)leaf, (uint32_t)(leaf >> 32) };
  fr_random random = { { 0 }, { 0 }, { 0 }, 0 };
  uint32_t hash[4];
  fr__philox(hash, name, key);
  memcpy(random.key, hash, sizeof random.key);
  memcpy(random.counter + 2, hash + 2, 2 * sizeof hash[0]);
  return random;
}

FR_DEF uint32_t fr_random_bits(fr_random *random)
{
  if (random->left == 0) {
    fr__philox(random->block, random->counter, random->key);
    if (++random->counter[0] == 0) random->counter[1]++;
    random->left = 4;
  }
  return random->block[4 - random->left--];
}

FR_DEF float fr_random_uniform(fr_random *random) { return (float)(fr_random_bits(random) >> 8) * (1.0f / 16777216.0f); }

FR_DEF float fr_random_normal(fr_random *random)
{
  const double u = ((double)fr_random_bits(random) + 1.0) / 4294967296.0;  // (0, 1]
  const double v = (double)fr_random_bits(random) / 4294967296.0;
  return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

FR_DEF fr_int fr_random_below(fr_random *random, fr_int bound)
{
  const uint64_t n = (uint64_t)fr__max(bound, 1), uneven = (0 - n) % n;  // 2^64 mod n low values would count once too often
  uint64_t bits;
  do {
    bits = (uint64_t)fr_random_bits(random) << 32;
    bits |= fr_random_bits(random);
  } while (bits < uneven);
  return (fr_int)(bits % n);
}

// ---- >>scalar -----------------------------------------------------------------------------------------
// One register tile and a handful of row primitives an instruction set; everything above them is plain C. The scalar
// row is always there and is the reference.
//
// exp(x): x = n ln2 + r, |r| <= ln2/2; exp(r) by a polynomial of degree 6 (Cephes, S. L. Moshier), times 2^n. Relative
// error below 2e-7 wherever the result is a normal number; 0 below -104, infinity above 89, NaN stays NaN.
#define FR__EXP_LOW (-104.0f)
#define FR__EXP_HIGH 89.0f
#define FR__LOG2E 1.44269504088896341f
#define FR__LN2_HIGH 0.693359375f
#define FR__LN2_LOW (-2.12194440e-4f)
#define FR__EXP_P0 1.9875691500e-4f
#define FR__EXP_P1 1.3981999507e-3f
#define FR__EXP_P2 8.3334519073e-3f
#define FR__EXP_P3 4.1665795894e-2f
#define FR__EXP_P4 1.6666665459e-1f
#define FR__EXP_P5 5.0000001201e-1f

typedef struct fr__kernels {
  const char *name;
  fr_int mr, nr;  // shape of the register tile
  int (*available)(void);
  // C (m,n) = A B, or += with `add`;  A is a[i*ai + p*ap], B is b[p*bp + j], p < k.  Reads all mr rows of A and nr columns
  // of B, writes m <= mr rows and n <= nr columns of C. Each element is one chain of multiply-adds in the order of p.
  void (*tile)(float *c, fr_int ldc, const float *a, fr_int ai, fr_int ap, const float *b, fr_int bp, fr_int k, fr_int m,
               fr_int n, int add);
  // Y (m,n) = X W', or += with `add`:  x[i*ldx + p], value p < k of the row of W at w + j*step bytes, an fr_type.  For few
  // rows: W is read once, where it lies. The sum of an element runs in lanes of p, then over the lanes, in an order that
  // depends on k alone. A bfloat16 becomes a float as it is loaded.
  void (*stream)(float *y, fr_int ldy, const float *x, fr_int ldx, const void *w, fr_int step, int type, fr_int m, fr_int n,
                 fr_int k, int add);
  void (*widen)(float *y, const uint16_t *x, fr_int n);                              // y = x, which is bfloat16
  void (*transpose)(float *dst, fr_int width, const float *src, fr_int step);        // dst[p*width + i] = src[i*step + p]; i, p < 8
  float (*dot)(const float *x, const float *y, fr_int n);                            // sum x y
  float (*peak)(const float *x, fr_int n);                                            // n >= 1; a NaN may be passed over
  double (*exp_sum)(float *y, const float *x, float shift, fr_int n);                // y = exp(x - shift); sum y
  void (*axpy)(float *y, float a, const float *x, fr_int n);                         // y += a x
  void (*combine)(float *y, const float *a, const float *x, fr_int ldx, fr_int m, fr_int n);
                                                    // y += sum_j a_j x_j, j < m: so many axpy, bit for bit, y in registers
  void (*scale)(float *y, float s, fr_int n);                                        // y *= s
  void (*rotate)(float *a, float *b, float s, const float *cosine, const float *sine, float turn, fr_int n);
                                                    // (a, b) = s (a cosine - b sine turn, a sine turn + b cosine)
  void (*mul)(float *y, float s, const float *a, const float *b, fr_int n);          // y = s a b
  void (*mul_add)(float *y, float s, const float *a, const float *b, fr_int n);      // y += s a b
  void (*swiglu)(float *y, const float *gate, const float *up, fr_int n);            // y = gate sigmoid(gate) up
  void (*swiglu_back)(float *dgate, float *dup, float *y, const float *dy, const float *gate, const float *up, fr_int n);
                                                    // y again, and both gradients
  void (*adamw)(float *p, const float *g, float *m, float *v, fr_int n, const fr__adamw_factors *f);
} fr__kernels;

// Row i of the kernels, the best one first and the scalar one last; NULL after it. The rows of vector instructions stand at
// the end of the file, behind >>machines.
static const fr__kernels *fr__kernel_row(fr_int i);
enum { FR__MR_MAX = 12, FR__NR_MAX = 32 };  // the largest mr and nr of any row

static int fr__available_scalar(void) { return 1; }

// What a tile computed, the first m rows and n columns of it.
static void fr__put_tile(float *c, fr_int ldc, const float *t, fr_int width, fr_int m, fr_int n, int add)
{
  for (; m > 0; m--, c += ldc, t += width)
    for (fr_int j = 0; j < n; j++) c[j] = add ? c[j] + t[j] : t[j];
}

static void fr__tile_scalar(float *c, fr_int ldc, const float *a, fr_int ai, fr_int ap, const float *b, fr_int bp, fr_int k,
                            fr_int m, fr_int n, int add)
{
  float t[4][8] = { { 0 } };
  for (; k > 0; k--, a += ap, b += bp)
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 8; j++) t[i][j] += a[i * ai] * b[j];
  fr__put_tile(c, ldc, t[0], 8, m, n, add);
}

// Four chains of sums: one would wait for each addition.
static float fr__dot_scalar(const float *x, const float *y, fr_int n)
{
  float t[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
  fr_int i = 0;
  for (; i + 4 <= n; i += 4) for (int j = 0; j < 4; j++) t[j] += x[i + j] * y[i + j];
  for (; i < n; i++) t[0] += x[i] * y[i];
  return (t[0] + t[1]) + (t[2] + t[3]);
}

// The bits are copied: a float that goes through a register may change if it is a NaN.
static void fr__widen_scalar(float *y, const uint16_t *x, fr_int n)
{
  for (fr_int i = 0; i < n; i++) {
    const uint32_t bits = (uint32_t)x[i] << 16;
    memcpy(y + i, &bits, sizeof bits);
  }
}

static void fr__stream_scalar(float *y, fr_int ldy, const float *x, fr_int ldx, const void *w, fr_int step, int type, fr_int m,
                              fr_int n, fr_int k, int add)
{
  for (fr_int j = 0; j < n; j++) {
    const char *row = (const char *)w + j * step;
    for (fr_int i = 0; i < m; i++) {
      float sum = 0.0f, wide[64];
      for (fr_int p = 0, count; p < k; p += count) {
        count = fr__min(k - p, 64);
        if (type == FR_BFLOAT16) fr__widen_scalar(wide, (const uint16_t *)row + p, count);
        sum += fr__dot_scalar(x + i * ldx + p, type == FR_BFLOAT16 ? wide : (const float *)row + p, count);
      }
      y[i * ldy + j] = add ? y[i * ldy + j] + sum : sum;
    }
  }
}

static void fr__transpose_scalar(float *dst, fr_int width, const float *src, fr_int step)
{
  for (int p = 0; p < 8; p++)
    for (int i = 0; i < 8; i++) dst[p * width + i] = src[i * step + p];
}

static float fr__max_scalar(const float *x, fr_int n)
{
  float peak = x[0];
  for (fr_int i = 1; i < n; i++) if (x[i] > peak) peak = x[i];
  return peak;
}

static float fr__exp(float x)
{
  const float low = x < FR__EXP_LOW ? FR__EXP_LOW : x, clamped = low > FR__EXP_HIGH ? FR__EXP_HIGH : low;
  const float n = floorf(clamped * FR__LOG2E + 0.5f);
  const float r = (clamped - n * FR__LN2_HIGH) - n * FR__LN2_LOW;
  const float p = (((((FR__EXP_P0 * r + FR__EXP_P1) * r + FR__EXP_P2) * r + FR__EXP_P3) * r + FR__EXP_P4) * r +
                   FR__EXP_P5) * r * r + r + 1.0f;
  return n == n ? ldexpf(p, (int)n) : n;  // the cast of a NaN would be undefined
}

static double fr__exp_sum_scalar(float *y, const float *x, float shift, fr_int n)
{
  double sum = 0.0;
  for (fr_int i = 0; i < n; i++) sum += (double)(y[i] = fr__exp(x[i] - shift));
  return sum;
}

static void fr__axpy_scalar(float *y, float a, const float *x, fr_int n) { for (fr_int i = 0; i < n; i++) y[i] += a * x[i]; }

static void fr__scale_scalar(float *y, float s, fr_int n) { for (fr_int i = 0; i < n; i++) y[i] *= s; }

static void fr__combine_scalar(float *y, const float *a, const float *x, fr_int ldx, fr_int m, fr_int n)
{
  for (fr_int j = 0; j < m; j++) fr__axpy_scalar(y, a[j], x + j * ldx, n);
}

static void fr__rotate_scalar(float *a, float *b, float s, const float *cosine, const float *sine, float turn, fr_int n)
{
  for (fr_int i = 0; i < n; i++) {
    const float x = s * a[i], y = s * b[i], c = cosine[i], d = turn * sine[i];
    a[i] = x * c - y * d;
    b[i] = x * d + y * c;
  }
}

static void fr__mul_scalar(float *y, float s, const float *a, const float *b, fr_int n)
{
  for (fr_int i = 0; i < n; i++) y[i] = s * a[i] * b[i];
}

static void fr__mul_add_scalar(float *y, float s, const float *a, const float *b, fr_int n)
{
  for (fr_int i = 0; i < n; i++) y[i] += s * a[i] * b[i];
}

static void fr__swiglu_scalar(float *y, const float *gate, const float *up, fr_int n)
{
  for (fr_int i = 0; i < n; i++) y[i] = gate[i] / (1.0f + fr__exp(-gate[i])) * up[i];
}

// s = sigmoid(gate):  dup = dy gate s,   dgate = dy up (s + gate s (1 - s))
static void fr__swiglu_back_scalar(float *dgate, float *dup, float *y, const float *dy, const float *gate,
                                   const float *up, fr_int n)
{
  for (fr_int i = 0; i < n; i++) {
    const float g = gate[i], u = up[i], d = dy[i], s = 1.0f / (1.0f + fr__exp(-g)), silu = g * s;
    y[i] = silu * u;
    dup[i] = d * silu;
    dgate[i] = d * u * (s + silu * (1.0f - s));
  }
}

static void fr__adamw_scalar(float *p, const float *g, float *m, float *v, fr_int n, const fr__adamw_factors *f)
{
  for (fr_int i = 0; i < n; i++) {
    const float gradient = g[i] * f->scale;
    m[i] += (1.0f - f->beta1) * (gradient - m[i]);
    v[i] += (1.0f - f->beta2) * (gradient * gradient - v[i]);
    p[i] = p[i] * f->keep - f->rate * m[i] / (sqrtf(v[i]) * f->unbias2 + f->eps);
  }
}

// ---- >>gemm -------------------------------------------------------------------------------------------
// C (M,N) (+)= A (M,K) B (K,N), any strides, so that Y = X W', dX = dY W and dW = dY' X are one function.
//
//        N: panels of nr columns                 A block of KC x NC of B and one of MC x KC of A are cut into panels, and
//       +----+----+----+                         the tile runs over all pairs of panels. It reads A by two strides, so A
//     K | B0 | B1 | B2 |   a row of a panel      is read where it lies; so is B where a row's values stand side by side.
//       +----+----+----+   stands side by side   What does not lie so is packed: panels of B of W', the last, zero-padded
//   +-+ +----+----+----+                         panels at an edge, and rows a multiple of 4 KB apart, which would fight
//   |A0 | C00 | C01 ..                           for a few sets of the cache.
//   +-+ +----+----+----+
//
// KC: a panel of A (12 x 256 floats, 12 KB) stays in the first-level cache while the panels of B stream past it; NC: the
// block of B (512 KB) stays in the second level. The order of the sum over k depends on k alone: KC is a constant, every
// element is summed by one thread, and an edge runs the same multiply-adds as the middle.
enum { FR__KC = 256, FR__NC = 512, FR__MC = 96 };

static fr_int fr__type_bytes(fr_type type) { return type == FR_BFLOAT16 ? 2 : 4; }

// Floats of packing space for products with at most K and N; the same for every kernel row.
static fr_int fr__pack_floats(fr_int N, fr_int K)
{
  const fr_int kc = fr__min(K, FR__KC), nc = fr__round_up(fr__min(N, FR__NC), FR__NR_MAX);
  return kc * nc + FR__MC * kc;
}

// Panels of `width` rows (of A) or columns (of B): panel[p*width + i] = x[i*step + p*along], zero where i >= count. One of the
// two strides is 1, and x is read along it, so that each line of the cache is read once, also where lines lie 4 KB apart and
// share a set of it. Along the panels' rows it is a copy, a row of all panels at a time; across them eight rows of x at a time
// are read from end to end and transposed, the last eight overlapping those before. bfloat16 is widened: along the panels' rows
// into its place; across them, the rows of x that make a panel go into `rows` (width * depth floats) and are packed from there.
FR__APART void fr__pack(const fr__kernels *kernels, float *panel, const void *x, fr_int step, fr_int along, int type,
                        fr_int count, fr_int depth, fr_int width, float *rows)
{
  const float *floats = (const float *)x;  // x is one or the other
  const uint16_t *halves = (const uint16_t *)x;
  const int half = type == FR_BFLOAT16;
  for (fr_int p = 0; step == 1 && p < depth; p++)
    for (fr_int i0 = 0; i0 < count; i0 += width) {
      const fr_int n = fr__min(count - i0, width), at = i0 + p * along;
      float *out = panel + i0 * depth + p * width;
      fr_int i = half ? n : 0;
      if (half) kernels->widen(out, halves + at, n);
      for (; i + 4 <= n; i += 4) memcpy(out + i, floats + at + i, 4 * sizeof(float));  // a constant size needs no call
      for (; i < n; i++) out[i] = floats[at + i];
      for (; i < width; i++) out[i] = 0.0f;
    }
  for (fr_int i0 = 0; step != 1 && i0 < count; i0 += width) {
    const fr_int n = fr__min(count - i0, width), transposed = along == 1 && n >= 8 ? depth / 8 * 8 : 0;
    const fr_int apart = half ? depth : step;
    const float *in = half ? rows : floats + i0 * step;
    float *out = panel + i0 * depth;
    for (fr_int i = 0; half && i < n; i++) kernels->widen(rows + i * depth, halves + (i0 + i) * step, depth);
    for (fr_int i = 0; transposed && i < n; i += 8) {
      const fr_int first = fr__min(i, n - 8);
      for (fr_int p = 0; p < transposed; p += 8)
        kernels->transpose(out + p * width + first, width, in + first * apart + p, apart);
    }
    for (fr_int p = n == width ? transposed : 0; p < depth; p++) {
      for (fr_int i = 0; p >= transposed && i < n; i++) out[p * width + i] = in[i * apart + p * along];
      for (fr_int i = n; i < width; i++) out[p * width + i] = 0.0f;
    }
  }
}

//   pack    scratch of fr__pack_floats        ldc     row stride of C
//   ar, ac  row and column stride of A        br, bc  of B, in values; one of the two is 1     type  of B, an fr_type
//   K >= 1        add  0: C is set
// B of bfloat16 is widened while it is packed, in the space that A is packed into later: the tile sees the same floats.
static void fr__product(const fr__kernels *kernels, float *pack, float *C, fr_int ldc, const float *A, fr_int ar, fr_int ac,
                        const void *B, fr_int br, fr_int bc, int type, fr_int M, fr_int N, fr_int K, int add)
{
  const fr_int mr = kernels->mr, nr = kernels->nr;
  const int a_lies = (ac == 1 ? ar : ac) % 1024 != 0, b_lies = type == FR_FLOAT32 && bc == 1 && br % 1024 != 0;
  float *packed_a = pack, *packed_b = packed_a + FR__MC * fr__min(K, FR__KC);
  for (fr_int j0 = 0; j0 < N; j0 += FR__NC) {
    const fr_int nc = fr__min(N - j0, FR__NC), b_there = b_lies ? nc / nr * nr : 0;
    for (fr_int p0 = 0; p0 < K; p0 += FR__KC) {
      const fr_int kc = fr__min(K - p0, FR__KC), b0 = p0 * br + j0 * bc;
      const void *others = (const char *)B + (b0 + b_there * bc) * fr__type_bytes((fr_type)type);
      fr__pack(kernels, packed_b, others, bc, br, type, nc - b_there, kc, nr, packed_a);
      for (fr_int i0 = 0; i0 < M; i0 += FR__MC) {
        const fr_int mc = fr__min(M - i0, FR__MC), a_there = a_lies ? mc / mr * mr : 0;
        const float *a0 = A + i0 * ar + p0 * ac;
        fr__pack(kernels, packed_a, a0 + a_there * ar, ar, ac, FR_FLOAT32, mc - a_there, kc, mr, NULL);
        for (fr_int i = 0; i < mc; i += mr) {
          const int there = i < a_there;
          const float *a = there ? a0 + i * ar : packed_a + (i - a_there) * kc;
          for (fr_int j = 0; j < nc; j += nr) {
            const float *b = j < b_there ? (const float *)B + b0 + j : packed_b + (j - b_there) * kc;
            kernels->tile(C + (i0 + i) * ldc + j0 + j, ldc, a, there ? ar : 1, there ? ac : mr, b, j < b_there ? br : nr, kc,
                          fr__min(mc - i, mr), fr__min(nc - j, nr), add || p0);
          }
        }
      }
    }
  }
}

// ---- >>ops --------------------------------------------------------------------------------------------
// Each operation, then its backward. They work on a range of rows and know nothing of threads. `dx` is dLoss/dx; it is
// added to unless the comment says "sets".

// Embedding   x = s table[token]
//   x (C) of one token, row `row` of the table      scratch (C)
static void fr__embed(const fr__kernels *kernels, float *x, const fr_view *table, fr_int row, float s, fr_int C, float *scratch)
{
  const char *at = (const char *)table->at + row * table->step;
  if (table->type == FR_BFLOAT16) kernels->widen(scratch, (const uint16_t *)(const void *)at, C);
  memset(x, 0, (size_t)C * sizeof(float));
  kernels->axpy(x, s, table->type == FR_BFLOAT16 ? scratch : (const float *)(const void *)at, C);
}
// dtable[token_n - first] += s dx_n, for the channels c0 .. c1-1: rows may have the same token, so threads share out the
// channels. Tokens below `first` have no row here.
static void fr__embed_back(const fr__kernels *kernels, float *dtable, const float *dx, const fr_token *token, fr_int first,
                           float s, fr_int N, fr_int C, fr_int c0, fr_int c1)
{
  for (fr_int n = 0; n < N; n++)
    if (token[n] >= first) kernels->axpy(dtable + (token[n] - first) * C + c0, s, dx + n * C + c0, c1 - c0);
}

// RMSNorm   y = x r g,   r = 1 / sqrt(mean_c(x^2) + eps)
//   x, y (N,C)      g (C) gain      r (N) saved for backward, may be NULL
static void fr__rmsnorm(const fr__kernels *kernels, float *y, float *r, const float *x, const float *g, float eps,
                        fr_int N, fr_int C)
{
  for (fr_int n = 0; n < N; n++, x += C, y += C) {
    const float inverse = 1.0f / sqrtf(kernels->dot(x, x, C) / (float)C + eps);
    if (r) r[n] = inverse;
    kernels->mul(y, inverse, x, g, C);
  }
}
// r depends on every x of its row, dr/dx_c = -r^3 x_c / C, hence
//   dx += r g dy - r^3 x mean_c(dy g x)
//   t (C) scratch, receives g dy
static void fr__rmsnorm_back(const fr__kernels *kernels, float *dx, const float *dy, const float *x, const float *g,
                             const float *r, fr_int N, fr_int C, float *t)
{
  for (fr_int n = 0; n < N; n++, x += C, dx += C, dy += C) {
    kernels->mul(t, 1.0f, dy, g, C);
    kernels->axpy(dx, -r[n] * r[n] * r[n] * kernels->dot(t, x, C) / (float)C, x, C);
    kernels->axpy(dx, r[n], t, C);
  }
}
//   dg += sum_n dy x r, for the channels c0 .. c1-1: the sum runs over all rows, so threads share out the channels.
static void fr__rmsnorm_back_gain(const fr__kernels *kernels, float *dg, const float *dy, const float *x,
                                  const float *r, fr_int N, fr_int C, fr_int c0, fr_int c1)
{
  for (fr_int n = 0; n < N; n++) kernels->mul_add(dg + c0, r[n], dy + n * C + c0, x + n * C + c0, c1 - c0);
}

// Rope   (a, b) -> s (a cos - b sin, a sin + b cos),   a = x[j], b = x[j + D/2], angle = position * frequency_j
//   x (heads,D) of one token, in place      cosine, sine (D/2) of its position
// With s = 1/sqrt(D) for the queries, attention needs no scale of its own.
static void fr__rope(const fr__kernels *kernels, float *x, const float *cosine, const float *sine, float s, fr_int heads,
                     fr_int D)
{
  for (fr_int h = 0; h < heads; h++, x += D) kernels->rotate(x, x + D / 2, s, cosine, sine, 1.0f, D / 2);
}
// A scaled rotation: its transpose rotates back by the same angle. In place: dx becomes the gradient before rope.
static void fr__rope_back(const fr__kernels *kernels, float *dx, const float *cosine, const float *sine, float s,
                          fr_int heads, fr_int D)
{
  for (fr_int h = 0; h < heads; h++, dx += D) kernels->rotate(dx, dx + D / 2, s, cosine, sine, -1.0f, D / 2);
}

// Attention, for one block of queries that stand next to each other in one span, and one key/value head.
//   S = q k' (q is scaled by rope),  p = softmax(S) over the keys on the path up to the query,  o = p v
// The keys of a path lie in several spans. They are gathered into tiles of FR__KEYS; the softmax is brought up to date from
// tile to tile (running maximum m and sum l, Milakov and Gimelshein 2018; Dao et al. 2022), so that no score matrix larger
// than one tile exists. What backward needs of it is one number a row: lse = m + log l, off by no more than scores are themselves.
enum {
  FR__QUERIES = 96,  // queries of a block
  FR__KEYS = 64,     // keys of a tile
  FR__FEW = 4        // a block with fewer queries is computed row by row: packing would cost more than it saves
};

typedef struct fr__attention {
  const fr__kernels *kernels;
  float *o, *lse;            // (rows,H,D) output; (rows,H), may be NULL
  const float *q, *k, *v;    // first element of head 0
  fr_int q_stride, kv_stride, o_stride;  // floats from row to row
  fr_int kv_head;            // floats from one key/value head to the next; D where a gradient is wanted
  fr_int group, D, H;        // query heads that share one key/value head; head size; query heads
  const fr_int *key_rows;    // row in k, v of every position on the path
  fr_int row, count, before; // queries: rows row .. row+count-1; the first one sees before+1 keys, the next one more
  float *scratch;            // fr__attention_layout
} fr__attention;

// The products of a tile are so small that packing would cost more than they do. So what they read is copied once, padded
// with zeros: rows to W = D rounded up to a whole panel, the keys also across, as the columns of q k'.
typedef struct fr__attention_space {
  float *q, *d_o;            // (QUERIES,W) of one query head
  float *k, *v;              // (KEYS,W)
  float *k_across, *v_across;  // (D,KEYS)
  float *S, *dS;             // (QUERIES,KEYS), and as many floats behind dS as a panel of its transpose may reach over
  float *dk, *dv;            // (KEYS,W)
  float *m, *l;              // (group,QUERIES) maximum and sum;  backward: delta
  float *score;              // (depth) of one query
} fr__attention_space;

// Places it, or with scratch NULL only measures; returns its floats.
static fr_int fr__attention_layout(fr_int D, fr_int depth, fr_int group, float *scratch, fr__attention_space *space)
{
  const fr_int W = fr__round_up(D, FR__NR_MAX), across = fr__round_up(D, 8) * FR__KEYS;
  fr__attention_space measured;
  fr_int used = 0;
  if (!space) space = &measured;
  space->q = fr__cut(scratch, &used, FR__QUERIES * W);
  space->d_o = fr__cut(scratch, &used, FR__QUERIES * W);
  space->k = fr__cut(scratch, &used, FR__KEYS * W);
  space->v = fr__cut(scratch, &used, FR__KEYS * W);
  space->dk = fr__cut(scratch, &used, FR__KEYS * W);
  space->dv = fr__cut(scratch, &used, FR__KEYS * W);
  space->k_across = fr__cut(scratch, &used, across);
  space->v_across = fr__cut(scratch, &used, across);
  space->S = fr__cut(scratch, &used, FR__QUERIES * FR__KEYS);
  space->dS = fr__cut(scratch, &used, FR__QUERIES * FR__KEYS + FR__MR_MAX);
  space->m = fr__cut(scratch, &used, group * FR__QUERIES);
  space->l = fr__cut(scratch, &used, group * FR__QUERIES);
  space->score = fr__cut(scratch, &used, depth);
  return used;
}

// Row j of `tile` (most,W) is x + rows[j] * stride, or x + j * stride if rows is NULL; what is missing is zero.
static void fr__gather(float *tile, const float *x, fr_int stride, const fr_int *rows, fr_int count, fr_int most, fr_int D)
{
  const fr_int W = fr__round_up(D, FR__NR_MAX);
  for (fr_int j = 0; j < count; j++, tile += W) {
    memcpy(tile, x + (rows ? rows[j] : j) * stride, (size_t)D * sizeof(float));
    memset(tile + D, 0, (size_t)(W - D) * sizeof(float));
  }
  memset(tile, 0, (size_t)((most - count) * W) * sizeof(float));
}

// across[c*KEYS + j] = tile[j*W + c]
static void fr__transpose_tile(const fr__kernels *kernels, float *across, const float *tile, fr_int D)
{
  const fr_int W = fr__round_up(D, FR__NR_MAX);
  for (fr_int c = 0; c < D; c += 8)
    for (fr_int j = 0; j < FR__KEYS; j += 8) kernels->transpose(across + c * FR__KEYS + j, FR__KEYS, tile + j * W + c, W);
}

// How many of the tile's `width` keys query i sees; `reach` is the path position of query 0 less that of key 0.
static fr_int fr__seen(fr_int reach, fr_int i, fr_int width) { return fr__max(0, fr__min(width, reach + i + 1)); }

// S = q k' for all keys that some query of a panel sees; the others of S stay as they were
static void fr__scores(const fr__attention *t, float *S, const float *q, const float *k_across, fr_int width, fr_int reach)
{
  const fr_int mr = t->kernels->mr, nr = t->kernels->nr, W = fr__round_up(t->D, FR__NR_MAX);
  for (fr_int i = 0; i < t->count; i += mr)
    for (fr_int j = 0; j < fr__seen(reach, i + mr - 1, width); j += nr)
      t->kernels->tile(S + i * FR__KEYS + j, FR__KEYS, q + i * W, W, 1, k_across + j, FR__KEYS, t->D, fr__min(t->count - i, mr),
                       nr, 0);
}
// y_i (+)= sum_j S_ij x_j over the keys that query i sees (S is zero at the others)
static void fr__weigh(const fr__attention *t, float *y, fr_int stride, const float *S, const float *x, fr_int width, fr_int reach,
                      int add)
{
  const fr_int mr = t->kernels->mr, nr = t->kernels->nr, W = fr__round_up(t->D, FR__NR_MAX);
  for (fr_int i = 0; i < t->count; i += mr) {
    const fr_int seen = fr__seen(reach, i + mr - 1, width);
    for (fr_int c = 0; seen && c < t->D; c += nr)
      t->kernels->tile(y + i * stride + c, stride, S + i * FR__KEYS, FR__KEYS, 1, x + c, W, seen, fr__min(t->count - i, mr),
                       fr__min(t->D - c, nr), add);
  }
}
// y_j += sum_i S_ij x_i over the queries that see key j
static void fr__weigh_back(const fr__attention *t, float *y, const float *S, const float *x, fr_int width, fr_int reach)
{
  const fr_int mr = t->kernels->mr, nr = t->kernels->nr, W = fr__round_up(t->D, FR__NR_MAX);
  for (fr_int j = 0; j < width; j += mr) {
    const fr_int i = fr__max(0, j - reach);
    for (fr_int c = 0; i < t->count && c < t->D; c += nr)
      t->kernels->tile(y + j * W + c, W, S + i * FR__KEYS + j, 1, FR__KEYS, x + i * W + c, W, t->count - i,
                       fr__min(width - j, mr), fr__min(t->D - c, nr), 1);
  }
}

// How many of `most` rows lie one behind the other.
static fr_int fr__stretch(const fr_int *rows, fr_int most)
{
  fr_int count = 1;
  while (count < most && rows[count] == rows[0] + count) count++;
  return count;
}

// score_j = q k_j
static void fr__row_scores(const fr__attention *t, fr_int head, fr_int i, float *score)
{
  const float *q = t->q + (t->row + i) * t->q_stride + head * t->D, *k = t->k + head / t->group * t->kv_head;
  for (fr_int j = 0, count, keys = t->before + i + 1; j < keys; j += count) {
    count = fr__stretch(t->key_rows + j, keys - j);
    t->kernels->stream(score + j, 0, q, 0, k + t->key_rows[j] * t->kv_stride, t->kv_stride * (fr_int)sizeof(float), FR_FLOAT32, 1,
                       count, t->D, 0);
  }
}

// One query against all its keys: the plain form, and the one that decoding uses.
static void fr__attention_row(const fr__attention *t, fr_int head, fr_int i, float *score)
{
  const fr_int keys = t->before + i + 1;
  const float *v = t->v + head / t->group * t->kv_head;
  float *o = t->o + (t->row + i) * t->o_stride + head * t->D, peak;
  double sum;
  fr__row_scores(t, head, i, score);
  peak = t->kernels->peak(score, keys);
  sum = t->kernels->exp_sum(score, score, peak, keys);
  memset(o, 0, (size_t)t->D * sizeof(float));
  for (fr_int j = 0, count; j < keys; j += count) {
    count = fr__stretch(t->key_rows + j, keys - j);
    t->kernels->combine(o, score + j, v + t->key_rows[j] * t->kv_stride, t->kv_stride, count, t->D);
  }
  t->kernels->scale(o, (float)(1.0 / sum), t->D);
  if (t->lse) t->lse[(t->row + i) * t->H + head] = peak + (float)log(sum);
}

// Sets o and lse of the block's rows for the query heads kv*group .. kv*group + group-1.
static void fr__attend(const fr__attention *t, fr_int kv)
{
  const fr__kernels *kernels = t->kernels;
  const fr_int D = t->D, keys = t->before + t->count;
  fr__attention_space space;
  fr__attention_layout(D, 0, t->group, t->scratch, &space);
  if (t->count < FR__FEW) {
    for (fr_int g = 0; g < t->group; g++)
      for (fr_int i = 0; i < t->count; i++) fr__attention_row(t, kv * t->group + g, i, space.score);
    return;
  }
  for (fr_int first = 0; first < keys; first += FR__KEYS) {
    const fr_int width = fr__min(keys - first, FR__KEYS), reach = t->before - first;
    fr__gather(space.k, t->k + kv * t->kv_head, t->kv_stride, t->key_rows + first, width, FR__KEYS, D);
    fr__gather(space.v, t->v + kv * t->kv_head, t->kv_stride, t->key_rows + first, width, FR__KEYS, D);
    fr__transpose_tile(kernels, space.k_across, space.k, D);
    for (fr_int g = 0; g < t->group; g++) {
      const fr_int head = kv * t->group + g;
      float *o = t->o + t->row * t->o_stride + head * D, *m = space.m + g * FR__QUERIES, *l = space.l + g * FR__QUERIES;
      fr__gather(space.q, t->q + t->row * t->q_stride + head * D, t->q_stride, NULL, t->count,
                 fr__round_up(t->count, kernels->mr), D);
      fr__scores(t, space.S, space.q, space.k_across, width, reach);
      for (fr_int i = 0; i < t->count; i++) {
        float *s = space.S + i * FR__KEYS, *row = o + i * t->o_stride;
        const fr_int seen = fr__seen(reach, i, width);  // the causal mask
        if (first == 0) { m[i] = -HUGE_VALF; l[i] = 0.0f; }
        memset(s + seen, 0, (size_t)(width - seen) * sizeof(float));
        if (seen) {
          const float peak = kernels->peak(s, seen), old = m[i], next = peak > old ? peak : old;
          const float sum = (float)kernels->exp_sum(s, s, next, seen);
          if (first && next > old) {  // what was summed so far was relative to a smaller maximum
            const float shrink = fr__exp(old - next);
            kernels->scale(row, shrink, D);
            l[i] *= shrink;
          }
          m[i] = next;
          l[i] += sum;
        }
      }
      fr__weigh(t, o, t->o_stride, space.S, space.v, width, reach, first > 0);
      for (fr_int i = 0; first + width == keys && i < t->count; i++) {  // the last tile: the sums are complete
        kernels->scale(o + i * t->o_stride, 1.0f / l[i], D);
        if (t->lse) t->lse[(t->row + i) * t->H + head] = m[i] + logf(l[i]);
      }
    }
  }
}

// p = exp(S - lse) is computed again.  With delta = sum_c do_c o_c = sum_j p_j dp_j,
//   dv_j += p_j do      dp = do v'      dS = p (dp - delta)      dq += dS k      dk_j += dS_j q
//   dq, dk, dv: first element of head 0 of the gradient rows, laid out as q, k, v. All three are added to.
// The caller runs the blocks of one tree in order on one thread: ancestors collect from all their descendants.
static void fr__attend_back(const fr__attention *t, fr_int kv, float *dq, float *dk, float *dv, const float *d_o)
{
  const fr__kernels *kernels = t->kernels;
  const fr_int D = t->D, keys = t->before + t->count, W = fr__round_up(D, FR__NR_MAX);
  fr__attention_space space;
  fr__attention_layout(D, 0, t->group, t->scratch, &space);
  for (fr_int g = 0; g < t->group; g++)
    for (fr_int i = 0; i < t->count; i++) {
      const fr_int at = (t->row + i) * t->o_stride + (kv * t->group + g) * D;
      space.m[g * FR__QUERIES + i] = kernels->dot(d_o + at, t->o + at, D);  // delta
    }
  if (t->count < FR__FEW) {
    float *p = space.score;
    for (fr_int g = 0; g < t->group; g++)
      for (fr_int i = 0; i < t->count; i++) {
        const fr_int head = kv * t->group + g, row = t->row + i, seen = t->before + i + 1;
        const float *q = t->q + row * t->q_stride + head * D, *dout = d_o + row * t->o_stride + head * D;
        fr__row_scores(t, head, i, p);
        kernels->exp_sum(p, p, t->lse[row * t->H + head], seen);
        for (fr_int j = 0; j < seen; j++) {
          const fr_int at = t->key_rows[j] * t->kv_stride + kv * D;
          const float ds = p[j] * (kernels->dot(dout, t->v + at, D) - space.m[g * FR__QUERIES + i]);
          kernels->axpy(dv + at, p[j], dout, D);
          kernels->axpy(dk + at, ds, q, D);
          kernels->axpy(dq + row * t->q_stride + head * D, ds, t->k + at, D);
        }
      }
    return;
  }
  for (fr_int first = 0; first < keys; first += FR__KEYS) {
    const fr_int width = fr__min(keys - first, FR__KEYS), reach = t->before - first;
    fr__gather(space.k, t->k + kv * D, t->kv_stride, t->key_rows + first, width, FR__KEYS, D);
    fr__gather(space.v, t->v + kv * D, t->kv_stride, t->key_rows + first, width, FR__KEYS, D);
    fr__transpose_tile(kernels, space.k_across, space.k, D);
    fr__transpose_tile(kernels, space.v_across, space.v, D);
    memset(space.dk, 0, (size_t)(width * W) * sizeof(float));
    memset(space.dv, 0, (size_t)(width * W) * sizeof(float));
    for (fr_int g = 0; g < t->group; g++) {
      const fr_int head = kv * t->group + g, most = fr__round_up(t->count, kernels->mr);
      fr__gather(space.q, t->q + t->row * t->q_stride + head * D, t->q_stride, NULL, t->count, most, D);
      fr__gather(space.d_o, d_o + t->row * t->o_stride + head * D, t->o_stride, NULL, t->count, most, D);
      fr__scores(t, space.S, space.q, space.k_across, width, reach);
      fr__scores(t, space.dS, space.d_o, space.v_across, width, reach);
      for (fr_int i = 0; i < t->count; i++) {
        float *s = space.S + i * FR__KEYS, *ds = space.dS + i * FR__KEYS;
        const fr_int seen = fr__seen(reach, i, width);
        if (seen) {
          kernels->exp_sum(s, s, t->lse[(t->row + i) * t->H + head], seen);
          kernels->mul(ds, 1.0f, s, ds, seen);
          kernels->axpy(ds, -space.m[g * FR__QUERIES + i], s, seen);
        }
        memset(s + seen, 0, (size_t)(width - seen) * sizeof(float));
        memset(ds + seen, 0, (size_t)(width - seen) * sizeof(float));
      }
      fr__weigh_back(t, space.dv, space.S, space.d_o, width, reach);
      fr__weigh_back(t, space.dk, space.dS, space.q, width, reach);
      fr__weigh(t, dq + t->row * t->q_stride + head * D, t->q_stride, space.dS, space.k, width, reach, 1);
    }
    for (fr_int j = 0; j < width; j++) {
      const fr_int at = t->key_rows[first + j] * t->kv_stride + kv * D;
      kernels->axpy(dk + at, 1.0f, space.dk + j * W, D);
      kernels->axpy(dv + at, 1.0f, space.dv + j * W, D);
    }
  }
}

// Softmax and cross-entropy of one row with any number of targets
//   nll_t = lse - logit_t,   lse = max + log sum_v exp(logit_v - max);   sums over the vocabulary in double, and
//   max - logit_t first: the logarithm would be lost beside a large max.
//   logits (V); with gradient they become dlogits = (sum_t w_t) p - sum_t w_t onehot(t) (sets)
static void fr__cross_entropy(const fr__kernels *kernels, float *logits, fr_int V, fr__goal *goals, fr_int count,
                              float *exps, int gradient)
{
  const float peak = kernels->peak(logits, V);
  const double sum = kernels->exp_sum(exps, logits, peak, V), log_sum = log(sum);
  double weight = 0.0;
  for (fr_int t = 0; t < count; t++) {
    goals[t].nll = (double)peak - (double)logits[goals[t].token] + log_sum;
    weight += (double)goals[t].weight;
  }
  if (!gradient) return;
  memset(logits, 0, (size_t)V * sizeof(float));
  kernels->axpy(logits, (float)(weight / sum), exps, V);
  for (fr_int t = 0; t < count; t++) logits[goals[t].token] -= goals[t].weight;
}

// Sampling   a token in proportion to odds_v = exp((logit_v - max) / temperature), or the likeliest if that is 0
//   logits (V)      draw in 0 .. 1      odds, index (V) scratch; greedy needs neither
// Is candidate a before b? By logit, then by the lower id.
static int fr__likelier(const float *logits, fr_int a, fr_int b)
{
  return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void fr__sift(const float *logits, fr_int *heap, fr_int at, fr_int count)
{
  for (fr_int child = 2 * at + 1; child < count; at = child, child = 2 * at + 1) {
    fr_int swap;
    if (child + 1 < count && fr__likelier(logits, heap[child + 1], heap[child])) child++;
    if (!fr__likelier(logits, heap[child], heap[at])) return;
    swap = heap[at];
    heap[at] = heap[child];
    heap[child] = swap;
  }
}

// All odds, added up in 64 stretches, so that only that of the draw is looked through. With top_k or top_p candidates leave a
// heap from the likeliest on, so that the vocabulary is never sorted: those taken stand at the end of index, the likeliest last.
static fr_token fr__draw(const fr__kernels *kernels, const float *logits, fr_int V, const fr_sampling *o, float uniform,
                         float *odds, fr_int *index)
{
  const int cut_k = o->top_k > 0 && o->top_k < V, cut_p = o->top_p > 0.0f && o->top_p < 1.0f;
  const int cut_m = o->min_p > 0.0f && !cut_k && !cut_p;
  const fr_int stretch = (V - 1) / 64 + 1, most = cut_k ? o->top_k : V;
  const float peak = kernels->peak(logits, V);
  double part[64], mass = 0.0, taken = 0.0, draw = (double)uniform;
  fr_int v = 0, heap = V;
  float inverse;
  if (!(o->temperature > 0.0f) || peak - peak != 0.0f) {  // of infinite logits the first: they have no odds
    while (v < V - 1 && !(logits[v] >= peak)) v++;
    return (fr_token)(logits[v] >= peak ? v : 0);
  }
  inverse = 1.0f / o->temperature < 3e38f ? 1.0f / o->temperature : 3e38f;  // 0 times infinity would be no number
  for (fr_int i = 0; i < V; i++) odds[i] = (logits[i] - peak) * inverse;
  for (fr_int r = 0; r * stretch < V; r++) {
    part[r] = kernels->exp_sum(odds + r * stretch, odds + r * stretch, 0.0f, fr__min(stretch, V - r * stretch));
    if (cut_m) part[r] = 0.0;  // the largest odds are 1
    for (v = r * stretch; cut_m && v < fr__min((r + 1) * stretch, V); v++)
      part[r] += (double)(odds[v] = odds[v] < o->min_p ? 0.0f : odds[v]);
    mass += part[r];
  }
  if (!cut_k && !cut_p) {
    draw *= mass;
    for (v = 0; v + stretch < V && draw >= part[v / stretch]; v += stretch) draw -= part[v / stretch];
    for (; v < V; v++) if ((draw -= (double)odds[v]) < 0.0) return (fr_token)v;
    for (v = V - 1; v > 0 && !(odds[v] > 0.0f); v--) continue;  // rounding must not lead past the last possible token
    return (fr_token)v;
  }
  for (v = 0; v < V; v++) index[v] = v;
  for (v = V / 2 - 1; v >= 0; v--) fr__sift(logits, index, v, V);
  while (V - heap < most) {
    const fr_int top = index[0];
    index[0] = index[--heap];
    index[heap] = top;
    fr__sift(logits, index, 0, heap);
    taken += (double)odds[top];
    if (!cut_k && taken >= (double)o->top_p * mass) break;
  }
  if (cut_k) mass = taken;
  taken = 0.0;
  for (v = V - 1; v >= heap; v--) {  // of the k the smallest head that holds top_p of their mass, and what min_p leaves of it
    if (v < V - 1 && odds[index[v]] < o->min_p) { heap = v + 1; break; }
    taken += (double)odds[index[v]];
    if (cut_p && taken >= (double)o->top_p * mass) heap = v;
  }
  for (v = V - 1; v > heap; v--) if ((draw -= (double)odds[index[v]] / taken) < 0.0) return (fr_token)index[v];
  return (fr_token)index[heap];
}

// ---- >>tree -------------------------------------------------------------------------------------------
// Inside, a tree is a handful of arrays: where each span's rows begin, how deep it lies, and which rows its path holds.
// They are in struct fr__body, see >>backend.
// Does the caller still speak of the tokens that are in the cache? It guards against mistakes, not against malice.
static uint64_t fr__print(const fr_token *ids, fr_int count)
{
  uint64_t print = (uint64_t)count;
  for (fr_int i = 0; i < count; i++) {
    print = (print ^ (uint64_t)ids[i]) * 0x9E3779B97F4A7C15u;
    print ^= print >> 32;
  }
  return print;
}

FR_DEF fr_int fr_tree_row(const fr_tree *tree, fr_int span)
{
  fr_int row = 0;
  for (fr_int s = 0; s < span && s < tree->span_count; s++) row += tree->spans[s].tokens.count;
  return row;
}

FR_DEF fr_status fr_tree_limits(const fr_tree *tree, fr_limits *limits)
{
  fr_limits found;
  memset(&found, 0, sizeof found);
  if (!tree || !limits || tree->span_count < 0 || tree->target_count < 0 || (tree->span_count && !tree->spans)) return FR_INVALID;
  for (fr_int s = 0; s < tree->span_count; s++) {
    const fr_span *span = &tree->spans[s];
    if (span->parent < -1 || span->parent >= s || span->tokens.count < 0) return FR_RANGE;
    if (!fr__add(found.rows, span->tokens.count, &found.rows)) return FR_OVERFLOW;
  }
  // Depth without scratch: walking up from every span costs (spans x height), and trees of traces are two or three high.
  for (fr_int s = 0; s < tree->span_count; s++) {
    fr_int depth = 0, is_leaf = 1;
    for (fr_int a = s; a >= 0; a = tree->spans[a].parent) depth += tree->spans[a].tokens.count;
    for (fr_int c = s + 1; c < tree->span_count && is_leaf; c++) is_leaf = tree->spans[c].parent != s;
    found.depth = fr__max(found.depth, depth);
    found.leaves += is_leaf;
  }
  found.grad_rows = found.rows;
  found.spans = tree->span_count;
  found.targets = tree->target_count;
  *limits = found;
  return FR_OK;
}

FR_DEF fr_limits fr_limits_max(fr_limits a, fr_limits b)
{
  a.rows = fr__max(a.rows, b.rows);
  a.grad_rows = fr__max(a.grad_rows, b.grad_rows);
  a.spans = fr__max(a.spans, b.spans);
  a.targets = fr__max(a.targets, b.targets);
  a.leaves = fr__max(a.leaves, b.leaves);
  a.depth = fr__max(a.depth, b.depth);
  a.tasks = fr__max(a.tasks, b.tasks);
  a.cache_rows = fr__max(a.cache_rows, b.cache_rows);
  if (!a.backend) a.backend = b.backend;
  return a;
}

static fr_status fr__limit(fr_reason *reason, const char *name, fr_int needed, fr_int limit)
{
  return fr__fail(reason, FR_LIMIT, "limit '%s' is %d, the work needs %d", name, limit, needed);
}

// Rows of span s that are in the cache: all, or, of what was a leaf of the last call, all but the last, which may never have run.
static fr_int fr__there(const struct fr__body *b, const fr_span *span, fr_int s)
{
  return fr__max(span->tokens.count - (s >= b->span_count_used), 0);
}

// Behind the last row of the first `spans` spans.
static fr_int fr__cache_end(const struct fr__body *b, fr_int spans)
{
  fr_int end = 0;
  for (fr_int s = 0; s < spans; s++) end = fr__max(end, b->span_row[s] + b->span_count[s]);
  return end;
}

enum { FR__NO_CACHE = -1 };
// Checks a tree completely before anything of the workspace changes, then fills the arrays. `cached`: FR__NO_CACHE, or how many
// spans are in the cache already; all others follow there behind them.
FR__APART fr_status fr__tree_compile(fr_work *work, const fr_tree *tree, int gradient, fr_int group_count, fr_int cached)
{
  struct fr__body *b = work->body;
  const fr_limits *limits = &work->limits;
  const fr_int row_limit = gradient ? limits->grad_rows : limits->rows, V = work->config.vocab;
  fr_reason *reason = &work->reason;
  fr_int rows = 0, at = fr__cache_end(b, cached);
  if (!tree || tree->span_count < 0 || tree->target_count < 0 || (tree->span_count && !tree->spans) ||
      (tree->target_count && !tree->targets))
    return fr__fail(reason, FR_INVALID, "the tree is NULL or has a negative count");
  if (tree->span_count > limits->spans) return fr__limit(reason, "spans", tree->span_count, limits->spans);
  if (tree->target_count > limits->targets) return fr__limit(reason, "targets", tree->target_count, limits->targets);
  for (fr_int s = 0; s < tree->span_count; s++) {
    const fr_int parent = tree->spans[s].parent, count = tree->spans[s].tokens.count;
    const fr_int fresh = count - (s < cached ? fr__there(b, &tree->spans[s], s) : 0);
    const fr_token *ids = tree->spans[s].tokens.ids;
    if (parent < -1 || parent >= s) return fr__fail(reason, FR_RANGE, "span %d: its parent %d is not an earlier span", s, parent);
    if (count < 0 || (count && !ids))
      return fr__fail(reason, FR_INVALID, "span %d: %d tokens at no address, or a negative count", s, count);
    if (fresh > row_limit - rows) {
      fr_int needed = rows;
      for (; s < tree->span_count; s++) if (!fr__add(needed, tree->spans[s].tokens.count, &needed)) break;
      return fr__limit(reason, gradient ? "grad_rows" : "rows", needed, row_limit);
    }
    rows += fresh;
    for (fr_int t = 0; t < count; t++)
      if (ids[t] < 0 || ids[t] >= V)
        return fr__fail(reason, FR_RANGE, "span %d, token %d: id %d is not below the vocabulary of %d", s, t, (fr_int)ids[t], V);
  }
  for (fr_int i = 0; i < tree->target_count; i++) {
    const fr_target *t = &tree->targets[i];
    if (t->row < 0 || t->row >= rows) return fr__fail(reason, FR_RANGE, "target %d: row %d of %d", i, t->row, rows);
    if (t->token < 0 || t->token >= V)
      return fr__fail(reason, FR_RANGE, "target %d: id %d is not below the vocabulary of %d", i, (fr_int)t->token, V);
    if (t->group < -1 || t->group >= group_count)
      return fr__fail(reason, FR_RANGE, "target %d: group %d of %d", i, t->group, group_count);
  }
  for (fr_int s = 0; s < tree->span_count; s++) {
    const fr_int parent = tree->spans[s].parent;
    b->span_depth[s] = parent < 0 ? 0 : b->span_depth[parent] + tree->spans[parent].tokens.count;
    if (b->span_depth[s] + tree->spans[s].tokens.count > limits->depth)
      return fr__limit(reason, "depth", b->span_depth[s] + tree->spans[s].tokens.count, limits->depth);
  }
  b->ready = 0;  // from here on what fr_logits and fr_generate need of the last run is overwritten
  b->cached_spans = 0;
  b->block_count = b->root_count = rows = 0;
  for (fr_int s = 0; s < tree->span_count; s++) {
    const fr_span *span = &tree->spans[s];
    const fr_int count = span->tokens.count, there = s < cached ? fr__there(b, span, s) : 0;
    b->span_parent[s] = span->parent;
    b->span_count[s] = count;
    if (s >= cached) { b->span_row[s] = at; at += count; }
    if (cached >= 0) b->span_print[s] = fr__print(span->tokens.ids, count);
    b->span_root[s] = span->parent < 0 ? b->root_count : b->span_root[span->parent];
    if (span->parent < 0) b->root_first[b->root_count++] = -1;
    for (fr_int t = there; t < count; t += FR__QUERIES) {
      const fr__block block = { s, rows + t - there, b->span_depth[s] + t, fr__min(count - t, FR__QUERIES) };
      b->blocks[b->block_count++] = block;
    }
    for (fr_int t = there; t < count; t++, rows++) {
      b->token[rows] = span->tokens.ids[t];
      b->position[rows] = b->span_depth[s] + t;
      if (cached >= 0) b->cache_row[rows] = b->span_row[s] + t;
    }
  }
  b->span_count_used = tree->span_count;
  b->row_count = rows;
  for (fr_int i = b->block_count - 1; i >= 0; i--) {  // backwards, so that each chain runs in order of blocks
    const fr_int root = b->span_root[b->blocks[i].span];
    b->root_next[i] = b->root_first[root];
    b->root_first[root] = i;
  }
  // Counting sort of the targets by row; within a row they stay in the caller's order.
  memset(b->row_fill, 0, (size_t)(rows + 1) * sizeof(fr_int));
  for (fr_int i = 0; i < tree->target_count; i++) b->row_fill[tree->targets[i].row + 1]++;
  b->head_row_count = 0;
  for (fr_int r = 0; r < rows; r++) {
    const fr__head_row head_row = { r, b->row_fill[r], b->row_fill[r + 1] };
    if (head_row.count) b->head_rows[b->head_row_count++] = head_row;
    b->row_fill[r + 1] += head_row.first;
  }
  for (fr_int i = 0; i < tree->target_count; i++) {
    const fr_int to = b->row_fill[tree->targets[i].row]++;
    b->goal_source[to] = i;
    b->goals[to].token = tree->targets[i].token;
    b->goals[to].weight = tree->targets[i].weight;
  }
  return FR_OK;
}

// ---- >>model ------------------------------------------------------------------------------------------
enum { FR__EMBED, FR__ONES, FR__ZEROS, FR__NORMAL, FR__RESIDUAL };
typedef struct fr__tensor_row { const char *name; fr_int copies, rows, cols; int start, decay; } fr__tensor_row;

// The table FR__PARAMS for this config; what views hold (NULL: nothing) is not among the rows.
FR__APART void fr__tensor_rows(fr__tensor_row out[FR__TENSORS], const fr_config *c, const fr_views *views)
{
#define FR__SET(field, copies_, rows_, cols_, start_, decay_) \
  out[FR__AT_##field].name = #field; out[FR__AT_##field].copies = copies_; out[FR__AT_##field].rows = rows_; \
  out[FR__AT_##field].cols = cols_; out[FR__AT_##field].start = FR__##start_; out[FR__AT_##field].decay = decay_;
  FR__PARAMS(FR__SET)
#undef FR__SET
  if (!views) return;
  out[FR__AT_tok_emb].rows -= views->embedding.rows;
  if (!c->tied) out[FR__AT_head].rows -= views->head.rows;
  if (views->layers)
    out[FR__AT_w_qkv].copies = out[FR__AT_w_out].copies = out[FR__AT_w_gate_up].copies = out[FR__AT_w_down].copies = 0;
}

static fr_int fr__floats(const fr__tensor_row *row) { return row->copies * row->rows * row->cols; }

// Floats of all tensors that the model holds and that are not frozen (bit i: tensor i).
static fr_int fr__param_count(const fr_config *config, const fr_views *views, uint32_t frozen)
{
  fr__tensor_row rows[FR__TENSORS];
  fr_int count = 0;
  fr__tensor_rows(rows, config, views);
  for (int i = 0; i < FR__TENSORS; i++) if (!(frozen >> i & 1)) count += fr__floats(&rows[i]);
  return count;
}

// Points the fields into a block of parameters (frozen 0), or into one of gradients, which has the shape of what is trained.
FR__APART fr__params fr__bind(const fr_model *model, float *block, uint32_t frozen)
{
  fr__tensor_row rows[FR__TENSORS];
  fr__params p;
  fr__tensor_rows(rows, &model->config, model->views);
#define FR__POINT(name, copies_, rows_, cols_, start, decay)                                                     \
  p.name = block && !(frozen >> FR__AT_##name & 1) && fr__floats(&rows[FR__AT_##name]) ? block : NULL;           \
  if (p.name) block += fr__floats(&rows[FR__AT_##name]);
  FR__PARAMS(FR__POINT)
#undef FR__POINT
  return p;
}

// -- views
static fr_view fr__floats_view(const float *at, fr_int rows, fr_int cols)
{
  const fr_view view = { at, cols * (fr_int)sizeof(float), rows, FR_FLOAT32 };
  return view;
}

// Does b begin where a ends?
static int fr__follows(const fr_view *a, const fr_view *b)
{
  return a->rows && a->type == b->type && a->step == b->step && (const char *)a->at + a->rows * a->step == (const char *)b->at;
}

static int fr__finite(double x) { return x - x == 0.0; }
static int fr__positive(float x) { return x > 0.0f && fr__finite((double)x); }

FR_DEF fr_status fr_config_check(const fr_config *config, fr_config *resolved, fr_reason *reason)
{
  fr_config r;
  fr__tensor_row rows[FR__TENSORS];
  fr_int total = 0, part;
  if (!config) return fr__fail(reason, FR_INVALID, "the config is NULL");
  r = *config;
  if (r.layers < 1 || r.dim < 1 || r.heads < 1 || r.ffn < 1 || r.vocab < 1)
    return fr__fail(reason, FR_CONFIG, "layers %d, dim %d, heads %d, ffn %d and vocab %d must be at least 1", r.layers,
                    r.dim, r.heads, r.ffn, r.vocab);
  if (r.kv_heads == 0) r.kv_heads = r.heads;
  if (r.head_dim == 0) {
    if (r.dim % r.heads) return fr__fail(reason, FR_CONFIG, "dim %d is not a multiple of heads %d; set head_dim", r.dim, r.heads);
    r.head_dim = r.dim / r.heads;
  }
  if (r.norm_eps == 0.0f) r.norm_eps = 1e-5f;
  if (r.rope_theta == 0.0f) r.rope_theta = 10000.0f;
  if (r.embed_scale == 0.0f) r.embed_scale = 1.0f;
  if (r.rope_low == 0.0f) r.rope_low = 1.0f;
  if (r.rope_high == 0.0f) r.rope_high = 4.0f;
  if (r.rope_original == 0) r.rope_original = 8192;
  if (r.kv_heads < 1 || r.heads % r.kv_heads)
    return fr__fail(reason, FR_CONFIG, "kv_heads %d does not divide heads %d", r.kv_heads, r.heads);
  if (r.head_dim < 2 || r.head_dim % 2)
    return fr__fail(reason, FR_CONFIG, "head_dim %d is not an even number of at least 2", r.head_dim);
  if (!fr__positive(r.norm_eps)) return fr__fail(reason, FR_CONFIG, "norm_eps must be positive and finite");
  if (!fr__positive(r.rope_theta)) return fr__fail(reason, FR_CONFIG, "rope_theta must be positive and finite");
  if (!fr__finite((double)r.embed_scale)) return fr__fail(reason, FR_CONFIG, "embed_scale must be finite");
  if (r.rope_factor != 0.0f && !fr__positive(r.rope_factor))
    return fr__fail(reason, FR_CONFIG, "rope_factor must be finite and not negative");
  if (!(r.rope_low > 0.0f) || !(r.rope_high > r.rope_low) || !fr__finite((double)r.rope_high) || r.rope_original < 1)
    return fr__fail(reason, FR_CONFIG, "rope scaling needs 0 < rope_low < rope_high and a positive rope_original");
  if (r.vocab > 0x7fffffff) return fr__fail(reason, FR_CONFIG, "vocab %d does not fit a token id", r.vocab);
  r.tied = r.tied != 0;
  r.qkv_bias = r.qkv_bias != 0;
  r.qk_norm = r.qk_norm != 0;
  if (r.heads > FR__INT_MAX / 4 || !fr__mul(r.heads + 2 * r.kv_heads, r.head_dim, &part) || r.ffn > FR__INT_MAX / 2)
    return fr__fail(reason, FR_OVERFLOW, "the layers are too wide for this machine's address space");
  fr__tensor_rows(rows, &r, NULL);
  for (int i = 0; i < FR__TENSORS; i++)
    if (!fr__mul(rows[i].rows, rows[i].cols, &part) || !fr__mul(part, rows[i].copies, &part) ||
        !fr__add(total, part, &total) || total > FR__INT_MAX / 64)
      return fr__fail(reason, FR_OVERFLOW, "%s and what stands before it do not fit this machine's address space", rows[i].name);
  if (resolved) *resolved = r;
  return fr__fine(reason);
}

static fr_status fr__model_place(fr_model *model, const fr_config *resolved, const fr_views *views, void *memory, fr_int bytes,
                                 fr_int *needed, fr_reason *reason)
{
  fr__arena arena = { NULL, 0, 0 };
  fr_views *own = NULL;
  fr_layer_views *layers = NULL;
  float *params = NULL;
  const fr_int count = fr__param_count(resolved, views, 0);
  if (memory && !model) return fr__fail(reason, FR_INVALID, "the model is NULL");
  for (int pass = 0; pass < 2; pass++) {
    params = (float *)fr__take(&arena, count, (fr_int)sizeof(float));
    if (views) own = (fr_views *)fr__take(&arena, 1, (fr_int)sizeof *own);
    if (views && views->layers) layers = (fr_layer_views *)fr__take(&arena, resolved->layers, (fr_int)sizeof *layers);
    if (pass == 0) {
      const fr_status status = fr__arena_open(&arena, memory, bytes, needed, reason);
      if (status || !memory) return status;
    }
  }
  memset(model, 0, sizeof *model);
  model->config = *resolved;
  model->count = count;
  model->params = params;
  memset(params, 0, (size_t)count * sizeof(float));
  if (!own) return fr__fine(reason);
  *own = *views;
  own->layers = layers;
  if (layers) memcpy(layers, views->layers, (size_t)resolved->layers * sizeof *layers);
  model->views = own;
  return fr__fine(reason);
}

FR_DEF fr_status fr_model_place(fr_model *model, const fr_config *config, void *memory, fr_int bytes, fr_int *needed)
{
  fr_config resolved;
  const fr_status status = fr_config_check(config, &resolved, NULL);
  return status ? status : fr__model_place(model, &resolved, NULL, memory, bytes, needed, NULL);
}

FR_DEF fr_status fr_model_tensor(const fr_model *model, fr_int index, fr_tensor *tensor)
{
  fr__tensor_row rows[FR__TENSORS];
  fr_int offset = 0;
  if (!model || !tensor || model->stale) return FR_INVALID;
  if (index < 0 || index >= FR__TENSORS) return FR_RANGE;
  fr__tensor_rows(rows, &model->config, model->views);
  for (fr_int i = 0; i < index; i++) offset += fr__floats(&rows[i]);
  tensor->name = rows[index].name;
  tensor->offset = offset;
  tensor->copies = rows[index].copies;
  tensor->rows = rows[index].rows;
  tensor->cols = rows[index].cols;
  tensor->decays = rows[index].decay;
  return FR_OK;
}

FR_DEF void fr_model_init(fr_model *model, uint64_t seed)
{
  fr__tensor_row rows[FR__TENSORS];
  float *x = model ? model->params : NULL;
  if (!x) return;
  fr__tensor_rows(rows, &model->config, model->views);
  for (int i = 0; i < FR__TENSORS; i++) {
    const fr_int count = fr__floats(&rows[i]);
    fr_random random = fr_random_stream(seed, (uint64_t)i, 0);
    float std = 1.0f / sqrtf((float)rows[i].cols);
    if (rows[i].start == FR__EMBED) std *= 0.5f;
    if (rows[i].start == FR__RESIDUAL) std /= sqrtf(2.0f * (float)model->config.layers);
    for (fr_int j = 0; j < count; j++)
      x[j] = rows[i].start == FR__ONES ? 1.0f : rows[i].start == FR__ZEROS ? 0.0f : std * fr_random_normal(&random);
    x += count;
  }
}

// The embedding or an untied head: the rows of a view, if there is one, then the model's own. Returns how many the view has.
static fr_int fr__table(const fr_model *model, const fr__params *p, int head, fr_view piece[2])
{
  const fr_view nothing = { NULL, 0, 0, FR_FLOAT32 };
  const int own = head && !model->config.tied;
  piece[0] = !model->views ? nothing : own ? model->views->head : model->views->embedding;
  piece[1] = fr__floats_view(own ? p->head : p->tok_emb, model->config.vocab - piece[0].rows, model->config.dim);
  return piece[0].rows;
}

// The first field in which two configs differ, and its values; NULL if there is none. The vocabulary is the last of all.
FR__SELDOM const char *fr__config_differs(const fr_config *a, const fr_config *b, double value[2])
{
  static const char *const names[18] = { "layers", "dim", "heads", "kv_heads", "head_dim", "ffn", "tied", "qkv_bias", "qk_norm",
    "norm_eps", "rope_theta", "embed_scale", "rope_factor", "rope_low", "rope_high", "rope_original", "vocab", NULL };
  double all[2][17];
  int i = 0;
  for (int side = 0; side < 2; side++) {
    const fr_config *c = side ? b : a;
    const double values[17] = { (double)c->layers, (double)c->dim, (double)c->heads, (double)c->kv_heads, (double)c->head_dim,
      (double)c->ffn, (double)c->tied, (double)c->qkv_bias, (double)c->qk_norm, (double)c->norm_eps, (double)c->rope_theta,
      (double)c->embed_scale, (double)c->rope_factor, (double)c->rope_low, (double)c->rope_high, (double)c->rope_original,
      (double)c->vocab };
    memcpy(all[side], values, sizeof values);
  }
  while (i < 17 && all[0][i] == all[1][i]) i++;
  for (int side = 0; side < 2; side++) value[side] = i < 17 ? all[side][i] : 0.0;
  return names[i];
}

// Says which field differs: FR_CONFIG, or FR_OK. A small or broken value is told in units of 1e-9.
FR__SELDOM fr_status fr__config_same(fr_reason *reason, const char *first, const fr_config *a, const char *second,
                                     const fr_config *b)
{
  double value[2];
  const char *name = fr__config_differs(a, b, value), *unit = "";
  if (!name) return FR_OK;
  if (value[0] != floor(value[0]) || value[1] != floor(value[1])) {
    unit = "e-9";
    for (int side = 0; side < 2; side++) value[side] = floor(value[side] * 1e9 + 0.5);
  }
  return fr__fail(reason, FR_CONFIG, "%s of %s is %d%s, of %s %d%s", name, first, (fr_int)value[0], unit, second,
                  (fr_int)value[1], unit);
}

// -- workspace
// Rows of the vocabulary product at a time: at most 4 MB of logits, and never fewer than 16 rows. A function of V alone,
// because the sum over rows in the head's gradient follows it.
static fr_int fr__chunk_rows(fr_int V) { return fr__max(16, fr__min(512, ((fr_int)1 << 20) / V / 16 * 16)); }

enum { FR__READ = 16 };  // rows that the host reads at a time

// The floats, which only the CPU needs
FR__SELDOM void fr__work_floats(fr__arena *arena, const fr_config *c, const fr_limits *limits, struct fr__body *b)
{
  const fr_int F4 = (fr_int)sizeof(float), integer = (fr_int)sizeof(fr_int), tasks = limits->tasks;
  const fr_int rows = fr__max(limits->rows, limits->grad_rows), half = c->head_dim / 2, HD = c->heads * c->head_dim;
  const fr_int widest = fr__max(fr__max(fr__qkv(c), 2 * c->ffn), fr__max(c->dim, fr__max(HD, c->vocab)));
  const fr_int products = fr__pack_floats(widest, fr__max(widest, rows)) + fr__max(c->dim, c->vocab);
  const fr_int attention = fr__attention_layout(c->head_dim, limits->depth, c->heads / c->kv_heads, NULL, NULL);
  fr_int plain = 0, trained = 0, floats = 0;
  fr__layer a;
  fr__shared r;
  b->cosine = (float *)fr__take(arena, limits->depth, half * F4);
  b->sine = (float *)fr__take(arena, limits->depth, half * F4);
  if (!fr__mul(limits->rows, fr__activations(c, NULL, 1, 0, 0, &a, &r), &plain) ||
      !fr__mul(limits->grad_rows, fr__activations(c, NULL, 1, 0, 1, &a, &r), &trained))
    arena->overflow = 1;
  b->activations = (float *)fr__take(arena, fr__max(plain, trained), F4);
  b->chunk = fr__min(fr__chunk_rows(c->vocab), fr__max(1, fr__max(limits->targets, limits->leaves)));
  b->logits = (float *)fr__take(arena, b->chunk, fr__stride(c->vocab) * F4);
  b->hidden = (float *)fr__take(arena, b->chunk, c->dim * F4);
  b->dhidden = (float *)fr__take(arena, b->chunk, c->dim * F4);
  b->hidden_inverse = (float *)fr__take(arena, b->chunk, F4);
  b->scratch_floats = fr__round_up(fr__max(fr__max(products, attention), c->vocab + limits->depth), FR__ALIGN);
  b->scratch = (float *)fr__take(arena, tasks, b->scratch_floats * F4);
  b->order = (fr_int *)fr__take(arena, limits->leaves ? tasks : 0, c->vocab * integer);
  if (!fr__mul(limits->cache_rows, 2 * c->kv_heads * c->head_dim, &floats) || !fr__mul(floats, F4, &floats)) arena->overflow = 1;
  b->cache = (float *)fr__take(arena, c->layers, floats);
}

// The tables, and what the host reads and writes of every backend's work
FR__SELDOM void fr__work_layout(fr__arena *arena, const fr_config *c, const fr_limits *limits, struct fr__body *b)
{
  const fr_int integer = (fr_int)sizeof(fr_int), spans = limits->spans, targets = limits->targets, leaves = limits->leaves;
  const fr_int rows = fr__max(limits->rows, limits->grad_rows), blocks = spans + rows / FR__QUERIES + 1;  // at most
  fr_int **const of_spans[] = { &b->span_row, &b->span_count, &b->span_parent, &b->span_depth, &b->span_root, &b->root_first };
  fr_int **const of_leaves[] = { &b->leaf_active, &b->leaf_row, &b->match };
  for (int i = 0; i < 6; i++) *of_spans[i] = (fr_int *)fr__take(arena, spans, integer);
  for (int i = 0; i < 3; i++) *of_leaves[i] = (fr_int *)fr__take(arena, leaves, integer);
  b->span_print = (uint64_t *)fr__take(arena, spans, (fr_int)sizeof(uint64_t));
  b->token = (fr_token *)fr__take(arena, rows, (fr_int)sizeof(fr_token));
  b->position = (fr_int *)fr__take(arena, rows, integer);
  b->blocks = (fr__block *)fr__take(arena, blocks, (fr_int)sizeof(fr__block));
  b->root_next = (fr_int *)fr__take(arena, blocks, integer);
  b->goals = (fr__goal *)fr__take(arena, targets, (fr_int)sizeof(fr__goal));
  b->goal_source = (fr_int *)fr__take(arena, targets, integer);
  b->head_rows = (fr__head_row *)fr__take(arena, targets, (fr_int)sizeof(fr__head_row));
  b->row_fill = (fr_int *)fr__take(arena, rows + 1, integer);
  b->cache_row = (fr_int *)fr__take(arena, limits->cache_rows ? rows : 0, integer);
  b->path_rows = (fr_int *)fr__take(arena, limits->tasks, limits->depth * integer);
  b->leaf_random = (fr_random *)fr__take(arena, leaves, (fr_int)sizeof(fr_random));
  b->leaf_draw = (float *)fr__take(arena, leaves, (fr_int)sizeof(float));
  b->leaf_token = (fr_token *)fr__take(arena, leaves, (fr_int)sizeof(fr_token));
  b->leaf_logp = (double *)fr__take(arena, leaves, (fr_int)sizeof(double));
  b->spans = (fr_span *)fr__take(arena, spans, (fr_int)sizeof(fr_span));
  b->targets = (fr_target *)fr__take(arena, targets, (fr_int)sizeof(fr_target));
  b->sums = (fr_sum *)fr__take(arena, leaves, (fr_int)sizeof(fr_sum));
  b->cost = (double *)fr__take(arena, leaves, (fr_int)sizeof(double));
  if (fr_assign(NULL, 0, 0, leaves, leaves, NULL, NULL, NULL, 0, &b->assign_bytes)) arena->overflow = 1;
  b->assign = (char *)fr__take(arena, b->assign_bytes, 1);
  b->read = (float *)fr__take(arena, FR__READ, c->dim * (fr_int)sizeof(float));
  if (!limits->backend) fr__work_floats(arena, c, limits, b);
}

static const fr_backend *fr__cpu(void);  // behind >>optim, where its table is complete

FR_DEF fr_status fr_work_place(fr_work *work, const fr_config *config, const fr_limits *limits, void *memory, fr_int bytes,
                               fr_int *needed)
{
  fr_config resolved;
  fr_limits checked;
  fr__arena arena = { NULL, 0, 0 };
  struct fr__body measured, *b = &measured;
  fr_reason *reason = work ? &work->reason : NULL;
  const fr_int most = FR__INT_MAX / 4096;  // the small sums of limits stay far from overflow; products are checked
  fr_int row = 0;
  fr_work before;
  fr_status status;
  if (memory && !work) return FR_INVALID;
  status = fr_config_check(config, &resolved, reason);
  if (status) return status;
  if (!limits) return fr__fail(reason, FR_INVALID, "the limits are NULL");
  checked = *limits;
  checked.tasks = fr__max(checked.tasks, 1);
  if (limits->rows < 0 || limits->grad_rows < 0 || limits->spans < 0 || limits->targets < 0 || limits->leaves < 0 ||
      limits->depth < 0 || limits->tasks < 0 || limits->cache_rows < 0)
    return fr__fail(reason, FR_INVALID, "a limit is negative");
  if (limits->rows > most || limits->grad_rows > most || limits->spans > most || limits->targets > most ||
      limits->leaves > most || limits->depth > most || limits->tasks > most || limits->cache_rows > most)
    return fr__fail(reason, FR_OVERFLOW, "a limit does not fit this machine's address space");
  fr__take(&arena, 1, (fr_int)sizeof *b);
  fr__work_layout(&arena, &resolved, &checked, b);
  status = fr__arena_open(&arena, memory, bytes, needed, reason);
  if (status || !memory) return status;
  b = (struct fr__body *)fr__take(&arena, 1, (fr_int)sizeof *b);
  memset(b, 0, sizeof *b);
  fr__work_layout(&arena, &resolved, &checked, b);
  if (b->cosine) fr__rope_tables(&resolved, checked.depth, b->cosine, b->sine);
  while (!fr__kernel_row(row)->available()) row++;
  before = *work;
  memset(work, 0, sizeof *work);
  work->config = resolved;
  work->limits = checked;
  work->kernels = fr__kernel_row(row);
  work->kernel = work->kernels->name;
  work->body = b;
  work->backend = checked.backend ? checked.backend : fr__cpu();
  if (checked.backend) status = work->backend->place(work->backend->self, work);
  if (!status) return FR_OK;
  before.reason = work->reason;
  if (before.body == b) before.body = NULL;  // its memory has been laid out anew
  *work = before;
  return status;
}

FR_DEF fr_status fr_work_select(fr_work *work, const char *kernel)
{
  const fr__kernels *row;
  if (!work) return FR_INVALID;
  for (fr_int i = 0; kernel && (row = fr__kernel_row(i)) != NULL; i++)
    if (strcmp(row->name, kernel) == 0 && row->available()) {
      work->kernels = row;
      work->kernel = row->name;
      return fr__fine(&work->reason);
    }
  return fr__fail(&work->reason, FR_UNSUPPORTED, "kernel row '%s' is not to be had here", kernel ? kernel : "NULL");
}

// -- threads: a task is a fixed share of rows, channels or blocks; which thread runs it does not matter
static void fr__parallel(fr_work *work, void (*task)(void *, fr_int), void *arg)
{
  const fr_int tasks = work->limits.tasks;
  fr_int index;
  if (work->run && tasks > 1) {
    work->run(work->pool, tasks, task, arg);
    return;
  }
#if defined(FR_OPENMP) && defined(_OPENMP)
#pragma omp parallel for schedule(static)
#endif
  for (index = 0; index < tasks; index++) task(arg, index);
}

static void fr__portion(fr_int count, fr_int tasks, fr_int index, fr_int *begin, fr_int *end)
{
  const fr_int each = count / tasks, more = count % tasks;
  *begin = index * each + fr__min(index, more);
  *end = *begin + each + (index < more);
}

// The same in whole groups of 16, for shares of channels: a lane's place in its vector must not depend on the share, for the
// vector part and the leftover of a row round differently.
static void fr__portion_lanes(fr_int count, fr_int tasks, fr_int index, fr_int *begin, fr_int *end)
{
  fr__portion((count + 15) / 16, tasks, index, begin, end);
  *begin = fr__min(*begin * 16, count);
  *end = fr__min(*end * 16, count);
}

// -- one pass over the layers: steps
// A part of a step: rows begin .. end-1 (or every by-th block, or root and key/value head), and columns, or key/value heads,
// col .. col_end-1.
typedef struct fr__part { fr_int task, begin, end, by, col, col_end; int step; } fr__part;
static fr__part fr__part_of(fr_int task, fr_int end)  // all columns of the first rows
{
  const fr__part t = { task, 0, end, 1, 0, FR__INT_MAX, 0 };
  return t;
}

static float *fr__scratch(const fr__pass *s, fr_int index)
{
  return s->work->body->scratch + index * s->work->body->scratch_floats;
}

// Y (rows, out) = X W' for the part's rows and columns;  `add`: Y += X W'.  ldy, ldx: floats from row to row. W stands in
// `pieces` views one below the other; what lies as it stands is one product. Decoding has few rows and all the weights to
// read, so it streams them: always, whatever the number of rows, so that a leaf's bits do not depend on the others.
static void fr__linear(const fr__pass *s, const fr__part *t, float *y, fr_int ldy, const float *x, fr_int ldx, const fr_view *w,
                       int pieces, fr_int in, int add)
{
  const fr__kernels *kernels = s->work->kernels;
  const fr_int rows = t->end - t->begin;
  fr_int first = 0;
  y += t->begin * ldy;
  x += t->begin * ldx;
  for (int i = 0; i < pieces;) {
    fr_view v = w[i++];
    fr_int col, end;
    while (i < pieces && fr__follows(&v, &w[i])) v.rows += w[i++].rows;
    col = fr__max(t->col - first, 0);
    end = fr__min(t->col_end - first, v.rows);
    if (col < end) {
      const char *at = (const char *)v.at + col * v.step;
      float *out = y + first + col;
      if (s->decodes) kernels->stream(out, ldy, x, ldx, at, v.step, (int)v.type, rows, end - col, in, add);
      else fr__product(kernels, fr__scratch(s, t->task), out, ldy, x, ldx, 1, at, 1, v.step / fr__type_bytes(v.type), (int)v.type,
                       rows, end - col, in, add);
    }
    first += v.rows;
  }
}
// dX (rows, in) = dY W for the part's rows (sets)
static void fr__linear_back(const fr__pass *s, const fr__part *t, float *dx, fr_int ldx, const float *dy, fr_int ldy,
                            const fr_view *w, int pieces, fr_int in)
{
  int add = 0;
  dx += t->begin * ldx;
  dy += t->begin * ldy;
  for (int i = 0; i < pieces;) {
    fr_view v = w[i++];
    while (i < pieces && fr__follows(&v, &w[i])) v.rows += w[i++].rows;
    if (!v.rows) continue;
    fr__product(s->work->kernels, fr__scratch(s, t->task), dx, ldx, dy, ldy, 1, v.at, v.step / fr__type_bytes(v.type), 1,
                (int)v.type, t->end - t->begin, in, v.rows, add);
    dy += v.rows;
    add = 1;
  }
}
// dW (out, in) += dY' X, this task's portion of the longer side of W: the other side is packed by every task. NULL: frozen
static void fr__linear_sums(const fr__pass *s, fr_int index, float *dw, const float *dy, fr_int ldy, const float *x, fr_int ldx,
                            fr_int in, fr_int out, fr_int N)
{
  fr_int row = 0, col = 0, rows = out, cols = in;
  if (!dw) return;
  if (out >= in) fr__portion(out, s->work->limits.tasks, index, &row, &rows);
  else fr__portion(in, s->work->limits.tasks, index, &col, &cols);
  fr__product(s->work->kernels, fr__scratch(s, index), dw + row * in + col, in, dy + row, 1, ldy, x + col, ldx, 1, FR_FLOAT32,
              rows - row, cols - col, N, 1);
}

// h = rmsnorm(x), before attention and before the MLP: two steps with one formula.
typedef struct fr__normed { const float *x, *gain; float *inverse, *dgain; } fr__normed;
static fr__normed fr__normed_by(const fr__pass *s, int step)
{
  const fr__normed att = { s->a.x, s->p.norm_att, s->a.inverse_att, s->d.norm_att };
  const fr__normed mlp = { s->a.x_mid, s->p.norm_mlp, s->a.inverse_mlp, s->d.norm_mlp };
  return step == FR__NORM_ATT ? att : mlp;
}

static void fr__step_norm(const fr__pass *s, const fr__part *t)
{
  const fr__normed m = fr__normed_by(s, t->step);
  const fr_int C = s->c->dim;
  fr__rmsnorm(s->work->kernels, s->r.h + t->begin * C, s->gradient ? m.inverse + t->begin : NULL, m.x + t->begin * C, m.gain,
              s->c->norm_eps, t->end - t->begin, C);
}
// h once more, for the sums of the step that read it
static void fr__norm_again(const fr__pass *s, const fr__part *t, int step)
{
  const fr__normed m = fr__normed_by(s, step);
  const fr_int C = s->c->dim;
  for (fr_int n = t->begin; n < t->end; n++) s->work->kernels->mul(s->r.h + n * C, m.inverse[n], m.x + n * C, m.gain, C);
}
// dx through the norm: x also feeds the residual stream, so this adds
static void fr__norm_back(const fr__pass *s, const fr__part *t)
{
  const fr__normed m = fr__normed_by(s, t->step);
  const fr_int C = s->c->dim, at = t->begin * C;
  fr__rmsnorm_back(s->work->kernels, s->r.dx + at, s->r.dh + at, m.x + at, m.gain, m.inverse + t->begin, t->end - t->begin, C,
                   fr__scratch(s, t->task));
}
static void fr__norm_sums(const fr__pass *s, const fr__part *t)
{
  const fr__normed m = fr__normed_by(s, t->step);
  fr_int begin, end;
  if (!m.dgain) return;
  fr__portion_lanes(s->c->dim, s->work->limits.tasks, t->task, &begin, &end);
  fr__rmsnorm_back_gain(s->work->kernels, m.dgain, s->r.dh, m.x, m.inverse, s->N, s->c->dim, begin, end);
}

// The products of a layer, Y (N,out) = X (N,in) W', are four steps with one formula:
//   q, k, v = h W'      x_mid = x + att W'      gate, up = h W'      x_next = x_mid + act W'
typedef struct fr__matrix {
  float *x, *dx;          // (N,in), rows ldx floats apart
  float *from, *y, *dy;   // (N,out), rows ldy apart; from: the residual stream, which the product is added to, or NULL
  fr_int in, ldx, out, ldy;
  float *dw;              // (out,in)
  int pieces;             // W (out,in) stands in so many views
  fr_view w[3];
} fr__matrix;
FR__APART fr__matrix fr__matrix_of(const fr__pass *s, int step)
{
  const fr__layer *a = &s->a;
  const fr__shared *r = &s->r;
  const fr__params *d = &s->d;
  const fr_layer_views *w = &s->w;
  const fr_int C = s->c->dim, HD = s->c->heads * s->c->head_dim, W = fr__qkv(s->c), F = s->c->ffn, pair = 2 * fr__stride(F);
  //            x       dx       from      y           dy           in, ldx, out, ldy, dw, pieces, w
  const fr__matrix
    qkv     = { r->h,   r->dh,   NULL,     a->qkv,     r->dqkv,     C, C, W, W, d->w_qkv, 3, { w->q, w->k, w->v } },
    out     = { a->att, r->datt, a->x,     a->x_mid,   r->dx,       HD, HD, C, C, d->w_out, 1, { w->out } },
    gate_up = { r->h,   r->dh,   NULL,     a->gate_up, r->dgate_up, C, C, 2 * F, pair, d->w_gate_up, 2, { w->gate, w->up } },
    down    = { r->act, r->dact, a->x_mid, a->x_next,  r->dx,       F, r->act_stride, C, C, d->w_down, 1, { w->down } };
  return step == FR__QKV ? qkv : step == FR__OUT ? out : step == FR__GATE_UP ? gate_up : down;
}

// When decoding, gate and up are shared out by the columns of F: each is one of gate and one of up.
static void fr__step_matrix(const fr__pass *s, const fr__part *t)
{
  const fr__matrix m = fr__matrix_of(s, t->step);
  const fr_int at = t->begin * m.ldy;
  const int together = s->decodes && t->step == FR__GATE_UP ? 1 : m.pieces;
  if (m.from && s->gradient) memcpy(m.y + at, m.from + at, (size_t)(t->end * m.ldy - at) * sizeof(float));
  for (int i = 0; i < m.pieces; i += together)
    fr__linear(s, t, m.y + i * s->c->ffn, m.ldy, m.x, m.ldx, m.w + i, together, m.in, m.from != NULL);
}
// dX = dY W, and where X is h, that once more for the sums
static void fr__matrix_back(const fr__pass *s, const fr__part *t)
{
  const fr__matrix m = fr__matrix_of(s, t->step);
  fr__linear_back(s, t, m.dx, m.ldx, m.dy, m.ldy, m.w, m.pieces, m.in);
  if (m.x == s->r.h) fr__norm_again(s, t, t->step == FR__QKV ? FR__NORM_ATT : FR__NORM_MLP);
}
// dW += dY' X
static void fr__matrix_sums(const fr__pass *s, const fr__part *t)
{
  const fr__matrix m = fr__matrix_of(s, t->step);
  fr__linear_sums(s, t->task, m.dw, m.dy, m.ldy, m.x, m.ldx, m.in, m.out, s->N);
}

// What follows works on a row's q of the query heads of one key/value head, and on its k and v.
typedef struct fr__head_part { float *q, *k, *v; fr_int group, q_at, k_at; } fr__head_part;  // _at: floats from the row's begin
static fr__head_part fr__head_of(const fr_config *c, float *row, fr_int kv)
{
  const fr_int D = c->head_dim, group = c->heads / c->kv_heads, q = kv * group * D, k = (c->heads + kv) * D;
  const fr__head_part h = { row + q, row + k, row + k + c->kv_heads * D, group, q, k };
  return h;
}

// q, k, v + b
static void fr__step_bias(const fr__pass *s, const fr__part *t)
{
  const fr_int D = s->c->head_dim, W = fr__qkv(s->c);
  for (fr_int n = t->begin; n < t->end; n++)
    for (fr_int kv = t->col; kv < fr__min(t->col_end, s->c->kv_heads); kv++) {
      const fr__head_part h = fr__head_of(s->c, s->a.qkv + n * W, kv), b = fr__head_of(s->c, s->p.b_qkv, kv);
      s->work->kernels->axpy(h.q, 1.0f, b.q, h.group * D);
      s->work->kernels->axpy(h.k, 1.0f, b.k, D);
      s->work->kernels->axpy(h.v, 1.0f, b.v, D);
    }
}
// db += sum_n dqkv, threads share out the columns
static void fr__bias_sums(const fr__pass *s, const fr__part *t)
{
  const fr_int W = fr__qkv(s->c);
  fr_int begin, end;
  fr__portion_lanes(W, s->work->limits.tasks, t->task, &begin, &end);
  for (fr_int n = 0; s->d.b_qkv && n < s->N; n++)
    s->work->kernels->axpy(s->d.b_qkv + begin, 1.0f, s->r.dqkv + n * W + begin, end - begin);
}

// q and k normed a head (Qwen3); with gradient they are kept as they were
static void fr__step_head_norm(const fr__pass *s, const fr__part *t)
{
  const fr_config *c = s->c;
  const fr_int D = c->head_dim, H = c->heads, K = c->kv_heads;
  for (fr_int n = t->begin; n < t->end; n++)
    for (fr_int kv = t->col; kv < fr__min(t->col_end, K); kv++) {
      const fr__head_part h = fr__head_of(c, s->a.qkv + n * fr__qkv(c), kv);
      float *inverse = s->gradient ? s->a.raw_inverse + n * (H + K) : NULL;
      if (inverse) memcpy(s->a.raw + n * (H + K) * D + h.q_at, h.q, (size_t)(h.group * D) * sizeof(float));
      if (inverse) memcpy(s->a.raw + n * (H + K) * D + h.k_at, h.k, (size_t)D * sizeof(float));
      fr__rmsnorm(s->work->kernels, h.q, inverse ? inverse + kv * h.group : NULL, h.q, s->p.norm_q, c->norm_eps, h.group, D);
      fr__rmsnorm(s->work->kernels, h.k, inverse ? inverse + H + kv : NULL, h.k, s->p.norm_k, c->norm_eps, 1, D);
    }
}
static void fr__head_norm_back(const fr__pass *s, const fr__part *t)
{
  const fr_config *c = s->c;
  const fr_int D = c->head_dim, H = c->heads, K = c->kv_heads, W = fr__qkv(c);
  float *scratch = fr__scratch(s, t->task), *out = scratch + D;
  for (fr_int n = t->begin; n < t->end; n++)
    for (fr_int h = 0; h < H + K; h++) {
      float *d = s->r.dqkv + n * W + h * D;
      memset(out, 0, (size_t)D * sizeof(float));
      fr__rmsnorm_back(s->work->kernels, out, d, s->a.raw + (n * (H + K) + h) * D, h < H ? s->p.norm_q : s->p.norm_k,
                       s->a.raw_inverse + n * (H + K) + h, 1, D, scratch);
      memcpy(d, out, (size_t)D * sizeof(float));
    }
}
// The gains of q and k are summed over all rows and heads, so threads share out the channels; this needs dqkv as it was
// before the norm.
static void fr__head_norm_sums(const fr__pass *s, const fr__part *t)
{
  const fr_int D = s->c->head_dim, H = s->c->heads, K = s->c->kv_heads, W = fr__qkv(s->c);
  fr_int begin, end;
  fr__portion_lanes(D, s->work->limits.tasks, t->task, &begin, &end);
  for (fr_int n = 0; n < s->N; n++)
    for (fr_int h = 0; h < H + K; h++) {
      float *gain = h < H ? s->d.norm_q : s->d.norm_k;
      if (gain)
        s->work->kernels->mul_add(gain + begin, s->a.raw_inverse[n * (H + K) + h], s->r.dqkv + n * W + h * D + begin,
                                  s->a.raw + (n * (H + K) + h) * D + begin, end - begin);
    }
}

// q and k rotated by their position;  k and v into the cache
static void fr__step_rotate(const fr__pass *s, const fr__part *t)
{
  const struct fr__body *b = s->work->body;
  const fr_config *c = s->c;
  const fr_int D = c->head_dim, K = c->kv_heads, half = D / 2;
  for (fr_int n = t->begin; n < t->end; n++)
    for (fr_int kv = t->col; kv < fr__min(t->col_end, K); kv++) {
      const fr__head_part h = fr__head_of(c, s->a.qkv + n * fr__qkv(c), kv);
      const float *cosine = b->cosine + b->position[n] * half, *sine = b->sine + b->position[n] * half;
      fr__rope(s->work->kernels, h.q, cosine, sine, 1.0f / sqrtf((float)D), h.group, D);
      fr__rope(s->work->kernels, h.k, cosine, sine, 1.0f, 1, D);
      if (s->cached) {
        const fr_int rows = s->work->limits.cache_rows, at = s->layer * 2 * K + kv;
        memcpy(b->cache + (at * rows + b->cache_row[n]) * D, h.k, (size_t)D * sizeof(float));
        memcpy(b->cache + ((at + K) * rows + b->cache_row[n]) * D, h.v, (size_t)D * sizeof(float));
      }
    }
}
static void fr__rotate_back(const fr__pass *s, const fr__part *t)
{
  const struct fr__body *b = s->work->body;
  const fr_int D = s->c->head_dim, H = s->c->heads, half = D / 2;
  for (fr_int n = t->begin; n < t->end; n++) {
    float *dq = s->r.dqkv + n * fr__qkv(s->c);
    const float *cosine = b->cosine + b->position[n] * half, *sine = b->sine + b->position[n] * half;
    fr__rope_back(s->work->kernels, dq, cosine, sine, 1.0f / sqrtf((float)D), H, D);
    fr__rope_back(s->work->kernels, dq + H * D, cosine, sine, 1.0f, s->c->kv_heads, D);
  }
}

// The attention of one block: keys and values lie in qkv, or in the cache.
FR__APART fr__attention fr__attention_of(const fr__pass *s, fr_int index, const fr__block *block)
{
  const struct fr__body *b = s->work->body;
  const fr_int D = s->c->head_dim, H = s->c->heads, K = s->c->kv_heads, W = fr__qkv(s->c);
  const fr_int kv_stride = s->cached ? D : W, kv_head = s->cached ? s->work->limits.cache_rows * D : D;
  const float *k = s->cached ? b->cache + s->layer * 2 * K * kv_head : s->a.qkv + H * D;
  fr_int *key_rows = b->path_rows + index * s->work->limits.depth;
  const fr__attention t = {  // in the order of the struct
    s->work->kernels, s->a.att, s->gradient ? s->a.lse : NULL, s->a.qkv, k, k + K * kv_head,
    W, kv_stride, H * D, kv_head, H / K, D, H, key_rows, block->row, block->count, block->before, fr__scratch(s, index)
  };
  fr__path(b, block->span, block->before + block->count, key_rows);
  return t;
}

// The part's blocks; when decoding a block is one row
static void fr__step_attend(const fr__pass *s, const fr__part *t)
{
  for (fr_int i = t->begin; i < t->end; i += t->by) {
    const fr__attention attention = fr__attention_of(s, t->task, &s->work->body->blocks[i]);
    for (fr_int kv = t->col; kv < fr__min(t->col_end, s->c->kv_heads); kv++) fr__attend(&attention, kv);
  }
}
// A unit is a root and a key/value head: ancestors collect the gradients of their descendants in one order.
static void fr__attend_back_roots(const fr__pass *s, const fr__part *t)
{
  const struct fr__body *b = s->work->body;
  const fr_int K = s->c->kv_heads, D = s->c->head_dim, H = s->c->heads, W = fr__qkv(s->c);
  for (fr_int i = t->begin; i < t->end; i += t->by) {
    for (fr_int block = b->root_first[i / K]; block >= 0; block = b->root_next[block])
      for (fr_int n = b->blocks[block].row; n < b->blocks[block].row + b->blocks[block].count; n++) {
        const fr__head_part d = fr__head_of(s->c, s->r.dqkv + n * W, i % K);
        memset(d.q, 0, (size_t)(d.group * D) * sizeof(float));
        memset(d.k, 0, (size_t)D * sizeof(float));
        memset(d.v, 0, (size_t)D * sizeof(float));
      }
    for (fr_int block = b->root_first[i / K]; block >= 0; block = b->root_next[block]) {
      const fr__attention attention = fr__attention_of(s, t->task, &b->blocks[block]);
      fr__attend_back(&attention, i % K, s->r.dqkv, s->r.dqkv + H * D, s->r.dqkv + (H + K) * D, s->r.datt);
    }
  }
}

// act = swiglu(gate, up)
static void fr__step_swiglu(const fr__pass *s, const fr__part *t)
{
  const fr_int F = s->c->ffn, pair = 2 * fr__stride(F), end = fr__min(t->col_end, F);
  for (fr_int n = t->begin; n < t->end; n++) {
    const float *gate = s->a.gate_up + n * pair;
    s->work->kernels->swiglu(s->r.act + n * s->r.act_stride + t->col, gate + t->col, gate + F + t->col, end - t->col);
  }
}
// dgate_up from dact; act again, for the sums of `down`
static void fr__swiglu_back(const fr__pass *s, const fr__part *t)
{
  const fr_int F = s->c->ffn, apart = fr__stride(F);
  for (fr_int n = t->begin; n < t->end; n++) {
    float *d = s->r.dgate_up + n * 2 * apart;
    const float *gate = s->a.gate_up + n * 2 * apart;
    s->work->kernels->swiglu_back(d, d + F, s->r.act + n * apart, s->r.dact + n * apart, gate, gate + F, F);
  }
}

// -- the list, and the two schedules that run it
// How a step may be shared out. Training cuts rows, and runs neighbours that are cut alike inside one task; decoding cuts
// columns in groups of 16, or takes a row and a key/value head, and leaves the norms on the calling thread.
enum { FR__ALONE, FR__BY_ROWS, FR__BY_BLOCKS, FR__BY_ROOTS, FR__BY_COLUMNS, FR__BY_HEADS, FR__BY_ITSELF };
typedef struct fr__step {
  void (*run[3])(const fr__pass *, const fr__part *);  // FR__FORWARD, FR__BACKWARD, FR__SUMS; sums share themselves out
  int trains_by, back_by, decodes_by;
} fr__step;

static const fr__step fr__step_table[] = {
  { { fr__step_norm, fr__norm_back, fr__norm_sums },                FR__BY_ROWS,   FR__BY_ROWS,  FR__ALONE },       // NORM_ATT
  { { fr__step_matrix, fr__matrix_back, fr__matrix_sums },          FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_COLUMNS },  // QKV
  { { fr__step_bias, NULL, fr__bias_sums },                         FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_HEADS },    // BIAS
  { { fr__step_head_norm, fr__head_norm_back, fr__head_norm_sums }, FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_HEADS },    // HEAD_NORM
  { { fr__step_rotate, fr__rotate_back, NULL },                     FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_HEADS },    // ROTATE
  { { fr__step_attend, fr__attend_back_roots, NULL },               FR__BY_BLOCKS, FR__BY_ROOTS, FR__BY_HEADS },    // ATTEND
  { { fr__step_matrix, fr__matrix_back, fr__matrix_sums },          FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_COLUMNS },  // OUT
  { { fr__step_norm, fr__norm_back, fr__norm_sums },                FR__BY_ROWS,   FR__BY_ROWS,  FR__ALONE },       // NORM_MLP
  { { fr__step_matrix, fr__matrix_back, fr__matrix_sums },          FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_COLUMNS },  // GATE_UP
  { { fr__step_swiglu, fr__swiglu_back, NULL },                     FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_COLUMNS },  // SWIGLU
  { { fr__step_matrix, fr__matrix_back, fr__matrix_sums },          FR__BY_ROWS,   FR__BY_ROWS,  FR__BY_COLUMNS }   // DOWN
};
typedef char fr__every_step_has_a_row[sizeof fr__step_table / sizeof fr__step_table[0] == FR__STEPS ? 1 : -1];
static fr_int fr__columns(const fr_config *c, int step)
{
  return step == FR__QKV ? fr__qkv(c) : step == FR__OUT || step == FR__DOWN ? c->dim : c->ffn;
}

// Forward runs the steps in order. Backward is a list of its own, not that order reversed: the sums of `down` need the act that
// swiglu's backward makes again, and a norm's gradient overwrites the dx that others still read. dh is GATE_UP's until NORM_MLP's
// backward has read it, then free until QKV's backward writes it; h is a norm's until the matrices behind it have read it.
static const fr__act fr__backward_list[] = {
  { FR__DOWN, FR__BACKWARD }, { FR__SWIGLU, FR__BACKWARD }, { FR__GATE_UP, FR__BACKWARD },
  { FR__DOWN, FR__SUMS }, { FR__GATE_UP, FR__SUMS }, { FR__NORM_MLP, FR__SUMS },
  { FR__NORM_MLP, FR__BACKWARD }, { FR__OUT, FR__BACKWARD },
  { FR__ATTEND, FR__BACKWARD }, { FR__ROTATE, FR__BACKWARD }, { FR__HEAD_NORM, FR__SUMS },
  { FR__HEAD_NORM, FR__BACKWARD }, { FR__QKV, FR__BACKWARD },
  { FR__OUT, FR__SUMS }, { FR__QKV, FR__SUMS }, { FR__BIAS, FR__SUMS }, { FR__NORM_ATT, FR__SUMS },
  { FR__NORM_ATT, FR__BACKWARD }
};
enum { FR__ACTS = sizeof fr__backward_list / sizeof fr__backward_list[0] };

// The list that this model needs; returns its length.
static fr_int fr__layer_list(const fr_config *c, int backward, fr__act list[FR__ACTS])
{
  fr_int length = 0;
  for (int i = 0; i < (backward ? (int)FR__ACTS : (int)FR__STEPS); i++) {
    const fr__act forward = { (unsigned char)i, FR__FORWARD }, act = backward ? fr__backward_list[i] : forward;
    if ((act.step != FR__BIAS || c->qkv_bias) && (act.step != FR__HEAD_NORM || c->qk_norm)) list[length++] = act;
  }
  return length;
}

// Neighbours of the list that are shared out alike.
typedef struct fr__segment { const fr__pass *pass; const fr__act *list; fr_int count; int by; fr_int columns; } fr__segment;

static fr__segment fr__segment_of(const fr__pass *s, const fr__act *list)
{
  const fr__step *step = &fr__step_table[list->step];
  const int by = list->way == FR__SUMS ? FR__BY_ITSELF : list->way == FR__BACKWARD ? step->back_by
               : s->decodes ? step->decodes_by : step->trains_by;
  const fr__segment g = { s, list, 1, by, by == FR__BY_COLUMNS ? fr__columns(s->c, list->step) : 0 };
  return g;
}

static void fr__segment_run(const fr__segment *g, fr__part *t)
{
  for (fr_int i = 0; i < g->count; i++) {
    t->step = g->list[i].step;
    fr__step_table[t->step].run[g->list[i].way](g->pass, t);
  }
}

static void fr__task_segment(void *arg, fr_int index)
{
  const fr__segment *g = (const fr__segment *)arg;
  const fr_int tasks = g->pass->work->limits.tasks, K = g->pass->c->kv_heads, N = g->pass->N;
  fr__part t = fr__part_of(index, N);
  if (g->by == FR__BY_HEADS) {
    for (fr_int unit = index; unit < N * K; unit += tasks) {
      t.begin = unit / K;
      t.end = t.begin + 1;
      t.col = unit % K;
      t.col_end = t.col + 1;
      fr__segment_run(g, &t);
    }
    return;
  }
  if (g->by == FR__BY_ROWS) fr__portion(N, tasks, index, &t.begin, &t.end);
  if (g->by == FR__BY_COLUMNS) fr__portion_lanes(g->columns, tasks, index, &t.col, &t.col_end);
  if (g->by == FR__BY_BLOCKS || g->by == FR__BY_ROOTS) {
    t.begin = index;
    t.end = g->by == FR__BY_BLOCKS ? g->pass->work->body->block_count : g->pass->work->body->root_count * K;
    t.by = tasks;
  }
  if (t.begin < t.end && t.col < t.col_end) fr__segment_run(g, &t);
}

// The pass's view of its layer.
static void fr__enter(fr__pass *s)
{
  const fr_config *c = s->c;
  const fr_int C = c->dim, HD = c->heads * c->head_dim, KD = c->kv_heads * c->head_dim, F = c->ffn;
#define FR__LAYER_AT(name, copies, rows, cols, start, decay)                                                    \
  s->p.name = s->all_p.name ? s->all_p.name + ((copies) > 1 ? s->layer : 0) * (rows) * (cols) : NULL;           \
  s->d.name = s->all_d.name ? s->all_d.name + ((copies) > 1 ? s->layer : 0) * (rows) * (cols) : NULL;
  FR__PARAMS(FR__LAYER_AT)
#undef FR__LAYER_AT
  fr__activations(c, s->work->body->activations, s->N, s->layer, s->gradient, &s->a, &s->r);
  if (s->layer == c->layers - 1) s->work->body->final_x = s->a.x_next;
  s->entered = s->layer;
  if (s->model->views && s->model->views->layers) {
    s->w = s->model->views->layers[s->layer];
    return;
  }
  s->w.q = fr__floats_view(s->p.w_qkv, HD, C);
  s->w.k = fr__floats_view(s->p.w_qkv + HD * C, KD, C);
  s->w.v = fr__floats_view(s->p.w_qkv + (HD + KD) * C, KD, C);
  s->w.out = fr__floats_view(s->p.w_out, C, HD);
  s->w.gate = fr__floats_view(s->p.w_gate_up, F, C);
  s->w.up = fr__floats_view(s->p.w_gate_up + F * C, F, C);
  s->w.down = fr__floats_view(s->p.w_down, C, F);
}

static fr_status fr__cpu_step(void *self, fr__pass *s, const fr__act *list, fr_int count, fr_int *done)
{
  fr__segment g = fr__segment_of(s, list);
  (void)self;
  if (s->entered != s->layer) fr__enter(s);
  for (; g.count < count; g.count++) {
    const fr__segment next = fr__segment_of(s, list + g.count);
    if (next.by != g.by || next.columns != g.columns) break;
  }
  if (g.by == FR__ALONE) {
    fr__part all = fr__part_of(0, s->N);
    fr__segment_run(&g, &all);
  } else fr__parallel(s->work, fr__task_segment, &g);
  *done = g.count;
  return FR_OK;
}

// -- the embedding, and the head: only rows with targets reach the vocabulary, a chunk at a time
static void fr__task_embed(void *arg, fr_int index)
{
  const fr__pass *s = (const fr__pass *)arg;
  const fr_token *token = s->work->body->token;
  const fr_int C = s->c->dim;
  fr_view piece[2];
  const fr_int held = fr__table(s->model, &s->all_p, 0, piece);
  fr_int begin, end;
  fr__portion(s->N, s->work->limits.tasks, index, &begin, &end);
  for (fr_int n = begin; n < end; n++)
    fr__embed(s->work->kernels, s->a.x + n * C, &piece[token[n] >= held], token[n] >= held ? token[n] - held : token[n],
              s->c->embed_scale, C, fr__scratch(s, index));
}
static void fr__task_embed_back(void *arg, fr_int index)
{
  const fr__pass *s = (const fr__pass *)arg;
  fr_view piece[2];
  const fr_int held = fr__table(s->model, &s->all_p, 0, piece);
  fr_int begin, end;
  fr__portion_lanes(s->c->dim, s->work->limits.tasks, index, &begin, &end);
  fr__embed_back(s->work->kernels, s->all_d.tok_emb, s->r.dx, s->work->body->token, held, s->c->embed_scale, s->N, s->c->dim,
                 begin, end);
}
static fr_status fr__cpu_embed(void *self, fr__pass *s, int way)
{
  (void)self;
  s->layer = 0;
  if (way == FR__FORWARD) fr__enter(s);
  if (way == FR__FORWARD) fr__parallel(s->work, fr__task_embed, s);
  else if (s->all_d.tok_emb) fr__parallel(s->work, fr__task_embed_back, s);
  return FR_OK;
}

static fr_int fr__head_row_at(const fr__pass *s, fr_int i)
{
  return s->head_list ? s->head_list[s->head_first + i] : s->work->body->head_rows[s->head_first + i].row;
}

// hidden = rmsnorm(x[row])
static void fr__hidden(const fr__pass *s, fr_int begin, fr_int end)
{
  const struct fr__body *b = s->work->body;
  const fr_int C = s->c->dim;
  for (fr_int i = begin; i < end; i++)
    fr__rmsnorm(s->work->kernels, b->hidden + i * C, b->hidden_inverse + i, b->final_x + fr__head_row_at(s, i) * C,
                s->all_p.norm_final, s->c->norm_eps, 1, C);
}

// logits = hidden W',   then the loss of each target and, with gradient, dlogits, dhidden and dx
static void fr__task_head(void *arg, fr_int index)
{
  const fr__pass *s = (const fr__pass *)arg;
  struct fr__body *b = s->work->body;
  const fr_int C = s->c->dim, V = s->c->vocab, apart = fr__stride(V);
  fr__part t = fr__part_of(index, 0);
  fr_view w[2];
  fr__table(s->model, &s->all_p, 1, w);
  fr__portion(s->head_count, s->work->limits.tasks, index, &t.begin, &t.end);
  if (t.begin >= t.end) return;
  fr__hidden(s, t.begin, t.end);
  fr__linear(s, &t, b->logits, apart, b->hidden, C, w, 2, C, 0);
  for (fr_int i = t.begin; i < t.end; i++) {
    const fr__head_row *row = &b->head_rows[s->head_first + i];
    fr__cross_entropy(s->work->kernels, b->logits + i * apart, V, b->goals + row->first, row->count, fr__scratch(s, index),
                      s->grads != NULL);
  }
  if (!s->grads) return;
  fr__linear_back(s, &t, b->dhidden, C, b->logits, apart, w, 2, C);
  for (fr_int i = t.begin; i < t.end; i++) {
    const fr_int row = fr__head_row_at(s, i);
    fr__rmsnorm_back(s->work->kernels, s->r.dx + row * C, b->dhidden + i * C, b->final_x + row * C, s->all_p.norm_final,
                     b->hidden_inverse + i, 1, C, fr__scratch(s, index));
  }
}
static void fr__task_head_sums(void *arg, fr_int index)
{
  const fr__pass *s = (const fr__pass *)arg;
  struct fr__body *b = s->work->body;
  const fr_int C = s->c->dim, V = s->c->vocab;
  fr_view w[2];
  const fr_int held = fr__table(s->model, &s->all_p, 1, w);
  fr_int begin, end;
  fr__linear_sums(s, index, s->c->tied ? s->all_d.tok_emb : s->all_d.head, b->logits + held, fr__stride(V), b->hidden, C, C,
                  V - held, s->head_count);
  fr__portion_lanes(C, s->work->limits.tasks, index, &begin, &end);
  for (fr_int i = 0; s->all_d.norm_final && i < s->head_count; i++)
    s->work->kernels->mul_add(s->all_d.norm_final + begin, b->hidden_inverse[i], b->dhidden + i * C + begin,
                              b->final_x + fr__head_row_at(s, i) * C + begin, end - begin);
}
static fr_status fr__cpu_head(void *self, fr__pass *s)
{
  struct fr__body *b = s->work->body;
  (void)self;
  if (s->grads) memset(s->r.dx, 0, (size_t)(s->N * s->c->dim) * sizeof(float));
  for (s->head_first = 0; s->head_first < b->head_row_count; s->head_first += b->chunk) {
    s->head_count = fr__min(b->chunk, b->head_row_count - s->head_first);
    fr__parallel(s->work, fr__task_head, s);
    if (s->grads) fr__parallel(s->work, fr__task_head_sums, s);
  }
  return FR_OK;
}

// Logits of rows without a loss: of few rows when decoding, so that tasks share out the vocabulary.
static void fr__task_logits(void *arg, fr_int index)
{
  const fr__pass *s = (const fr__pass *)arg;
  struct fr__body *b = s->work->body;
  fr__part t = fr__part_of(index, s->head_count);
  fr_view w[2];
  fr__table(s->model, &s->all_p, 1, w);
  fr__portion_lanes(s->c->vocab, s->work->limits.tasks, index, &t.col, &t.col_end);
  fr__linear(s, &t, b->logits, fr__stride(s->c->vocab), b->hidden, s->c->dim, w, 2, s->c->dim, 0);
}
// Rows list[first ..] into the chunk: normed activations, and their logits if `vocabulary`
static void fr__read_chunk(fr__pass *s, const fr_int *list, fr_int first, fr_int count, int vocabulary)
{
  s->head_list = list;
  s->head_first = first;
  s->head_count = count;
  s->decodes = 1;
  fr__hidden(s, 0, count);
  if (vocabulary) fr__parallel(s->work, fr__task_logits, s);
}
static fr_status fr__cpu_rows(void *self, fr__pass *s, const fr_int *list, fr_int count, int vocabulary, float *out)
{
  const struct fr__body *b = s->work->body;
  const fr_int width = vocabulary ? s->c->vocab : s->c->dim, apart = vocabulary ? fr__stride(width) : width;
  (void)self;
  for (fr_int first = 0; first < count; first += b->chunk) {
    const fr_int rows = fr__min(b->chunk, count - first);
    fr__read_chunk(s, list, first, rows, vocabulary);
    for (fr_int i = 0; i < rows; i++)
      memcpy(out + (first + i) * width, (vocabulary ? b->logits : b->hidden) + i * apart, (size_t)width * sizeof(float));
  }
  return FR_OK;
}

typedef struct fr__sampler {
  const fr__pass *pass; const fr_sampling *sampling; const float *draw; fr_token *token; double *logp;
} fr__sampler;

static void fr__task_sample(void *arg, fr_int index)
{
  const fr__sampler *d = (const fr__sampler *)arg;
  const fr__pass *s = d->pass;
  const struct fr__body *b = s->work->body;
  const fr_int V = s->c->vocab;
  float *odds = fr__scratch(s, index), *raw = odds + V, penalty = d->sampling->repeat_penalty;
  fr_int begin, end, *path = b->path_rows + index * s->work->limits.depth;
  fr__portion(s->head_count, s->work->limits.tasks, index, &begin, &end);
  for (fr_int i = begin; i < end; i++) {
    float *logits = b->logits + i * fr__stride(V), peak = s->work->kernels->peak(logits, V);
    const fr_int at = s->head_first + i, count = fr__penalises(d->sampling) ? fr__path_tokens(s, at, path) : 0;
    for (fr_int t = 0; t < count; t++) raw[t] = logits[path[t]];  // all first: a token may come twice
    for (fr_int t = 0; t < count; t++) logits[path[t]] = raw[t] < 0.0f ? raw[t] * penalty : raw[t] / penalty;
    d->token[at] = fr__draw(s->work->kernels, logits, V, d->sampling, d->draw[at], odds, b->order + index * V);
    for (fr_int t = 0; t < count; t++) logits[path[t]] = raw[t];
    d->logp[at] = (double)logits[d->token[at]] - (double)peak - log(s->work->kernels->exp_sum(odds, logits, peak, V));
  }
}
static fr_status fr__cpu_sample(void *self, fr__pass *s, const fr_int *list, fr_int count, const fr_sampling *sampling,
                                const float *draw, fr_token *token, double *logp)
{
  fr__sampler d = { s, sampling, draw, token, logp };
  (void)self;
  for (fr_int first = 0; first < count; first += s->work->body->chunk) {
    fr__read_chunk(s, list, first, fr__min(s->work->body->chunk, count - first), 1);
    fr__parallel(s->work, fr__task_sample, &d);
  }
  return FR_OK;
}

// -- running a tree, on whatever backend
static void fr__sums(const struct fr__body *b, const fr_tree *tree, fr_sum *sums, fr_int group_count)
{
  if (group_count) memset(sums, 0, (size_t)group_count * sizeof *sums);
  for (fr_int i = 0; i < tree->target_count; i++) {
    const fr__goal *goal = &b->goals[i];
    const fr_int group = tree->targets[b->goal_source[i]].group;
    if (group < 0) continue;
    sums[group].nll += goal->nll;
    sums[group].weighted += (double)goal->weight * goal->nll;
    sums[group].weight += (double)goal->weight;
    sums[group].count++;
  }
}

static fr__pass fr__pass_of(const fr_model *model, fr_work *work, float *grads, int gradient)
{
  fr__pass s;
  memset(&s, 0, sizeof s);
  s.work = work;
  s.model = model;
  s.c = &work->config;
  s.all_p = fr__bind(model, model->params, 0);
  s.all_d = fr__bind(model, grads, model->frozen);
  s.grads = grads;
  s.N = work->body->row_count;
  s.gradient = gradient;
  s.entered = -1;
  fr__fine(&work->reason);  // what a backend leaves there is this run's
  if (work->body->activations) fr__activations(s.c, work->body->activations, s.N, 0, gradient, &s.a, &s.r);
  return s;
}

// The workspace was laid out for one config; a model of another shape would run over it.
static fr_status fr__pair(const fr_model *model, fr_work *work)
{
  if (!work || !work->body) return FR_INVALID;
  if (!model || !model->params) return fr__fail(&work->reason, FR_INVALID, "the model is NULL or was not placed");
  if (fr__config_same(&work->reason, "the model", &model->config, "the one this workspace is for", &work->config))
    return FR_CONFIG;
  if (model->stale && !work->limits.backend)
    return fr__fail(&work->reason, FR_INVALID, "a backend holds newer parameters of this model; fr_work_download brings them");
  return FR_OK;
}

// All layers, forward or backward.
FR__APART fr_status fr__layers(fr__pass *s, int way)
{
  const fr_backend *backend = s->work->backend;
  fr__act list[FR__ACTS];
  const fr_int count = fr__layer_list(s->c, way == FR__BACKWARD, list), L = s->c->layers;
  fr_status status = way == FR__FORWARD ? backend->embed(backend->self, s, way) : FR_OK;
  for (fr_int l = 0; l < L; l++) {
    s->layer = way == FR__FORWARD ? l : L - 1 - l;
    for (fr_int at = 0, done = 1; !status && at < count; at += done)
      status = backend->step(backend->self, s, list + at, count - at, &done);
  }
  if (!status && way == FR__BACKWARD) status = backend->embed(backend->self, s, way);
  return status;
}

// What is done with a tree. FR__BACK goes back over the tree that FR__KEEP ran last on this workspace: the same spans and
// targets, whose weights may have been set in between, from what the forward pass gave.
typedef enum fr__phase {
  FR__PLAIN,  // forward, activations of one layer only
  FR__KEEP,   // forward, activations of all layers are kept
  FR__BACK,   // backward of what was kept
  FR__TRAIN   // both
} fr__phase;

FR__APART fr_status fr__run_tree(const fr_model *model, fr_work *work, const fr_tree *tree, float *grads, fr_sum *sums,
                                 fr_int group_count, fr__phase phase)
{
  const int gradient = phase >= FR__KEEP;
  fr__pass s;
  fr_status status = fr__pair(model, work);
  if (status) return status;
  if (group_count < 0 || (group_count && !sums))
    return fr__fail(&work->reason, FR_INVALID, "%d groups, and sums is NULL", group_count);
  status = fr__tree_compile(work, tree, gradient, group_count, FR__NO_CACHE);
  if (status) return status;
  s = fr__pass_of(model, work, grads, gradient);
  if (phase != FR__BACK) status = fr__layers(&s, FR__FORWARD);
  else s.layer = s.entered = -1;
  if (!status) status = work->backend->head(work->backend->self, &s);  // the CPU's: fr__cpu_head
  if (!status && grads) status = fr__layers(&s, FR__BACKWARD);
  if (status) return status;
  fr__sums(work->body, tree, sums, group_count);
  work->body->ready = 1;
  return FR_OK;
}

FR_DEF fr_status fr_forward(const fr_model *model, fr_work *work, const fr_tree *tree, fr_sum *sums, fr_int group_count)
{
  return fr__run_tree(model, work, tree, NULL, sums, group_count, FR__PLAIN);
}

FR_DEF fr_status fr_backward(const fr_model *model, fr_work *work, const fr_tree *tree, float *grads, fr_sum *sums,
                             fr_int group_count)
{
  if (!grads && work) return fr__fail(&work->reason, FR_INVALID, "grads is NULL");
  return fr__run_tree(model, work, tree, grads, sums, group_count, FR__TRAIN);
}

FR_DEF fr_status fr_logits(const fr_model *model, fr_work *work, const fr_int *rows, fr_int count, float *logits, float *hidden)
{
  fr__pass s;
  fr_status status = fr__pair(model, work);
  if (status) return status;
  if (!work->body->ready) return fr__fail(&work->reason, FR_INVALID, "no tree was run on this workspace");
  if (count < 0 || (count && (!rows || (!logits && !hidden))))
    return fr__fail(&work->reason, FR_INVALID, "%d rows at no address", count);
  for (fr_int i = 0; i < count; i++)
    if (rows[i] < 0 || rows[i] >= work->body->row_count)
      return fr__fail(&work->reason, FR_RANGE, "entry %d: row %d of %d", i, rows[i], work->body->row_count);
  s = fr__pass_of(model, work, NULL, 0);
  if (logits) status = work->backend->rows(work->backend->self, &s, rows, count, 1, logits);
  if (hidden && !status) status = work->backend->rows(work->backend->self, &s, rows, count, 0, hidden);
  return status;
}

// ---- >>optim ------------------------------------------------------------------------------------------
//   g = clipped gradient      p *= 1 - lr decay
//   m += (1 - beta1) (g - m)      v += (1 - beta2) (g^2 - v)
//   p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

// Floats of the gradient: those of all tensors that are not frozen.
static fr_int fr__trained(const fr_model *model)
{
  return model->frozen ? fr__param_count(&model->config, model->views, model->frozen) : model->count;
}

FR__SELDOM fr_adamw fr__adamw_layout(fr__arena *arena, fr_int count)
{
  fr_adamw a = { 0.9f, 0.98f, 1e-8f, 0.01f, 1.0f, count, NULL, NULL, NULL, 0, 0, NULL };  // beta1, beta2, eps, decay, clip
  a.grads = (float *)fr__take(arena, count, (fr_int)sizeof(float));
  a.m = (float *)fr__take(arena, count, (fr_int)sizeof(float));
  a.v = (float *)fr__take(arena, count, (fr_int)sizeof(float));
  return a;
}

FR_DEF fr_status fr_adamw_place(fr_adamw *adamw, const fr_model *model, void *memory, fr_int bytes, fr_int *needed)
{
  fr__arena arena = { NULL, 0, 0 };
  fr_int size;
  fr_status status;
  if (!model || !model->params || (memory && !adamw)) return FR_INVALID;
  fr__adamw_layout(&arena, fr__trained(model));
  size = arena.used;
  status = fr__arena_open(&arena, memory, bytes, needed, NULL);
  if (status || !memory) return status;
  memset(arena.base, 0, (size_t)size);
  *adamw = fr__adamw_layout(&arena, fr__trained(model));
  return FR_OK;
}

enum { FR__NORM_PARTS = 64 };  // the norm is summed in this many parts, whatever the number of tasks

typedef struct fr__update {
  fr_work *work;
  const fr_adamw *adamw;
  const fr_model *model;
  const fr__adamw_factors *factors;
  float keep_decayed;
  double part[FR__NORM_PARTS];
} fr__update;

static void fr__task_norm(void *arg, fr_int index)
{
  fr__update *u = (fr__update *)arg;
  for (fr_int i = index; i < FR__NORM_PARTS; i += u->work->limits.tasks) {
    const float *g = u->adamw->grads;
    double s[4] = { 0.0, 0.0, 0.0, 0.0 };  // four chains, since one would wait for each addition
    fr_int at, end;
    fr__portion(u->adamw->count, FR__NORM_PARTS, i, &at, &end);
    for (; at + 4 <= end; at += 4)
      FR__UNROLL(4) for (int j = 0; j < 4; j++) s[j] += (double)g[at + j] * (double)g[at + j];
    for (; at < end; at++) s[0] += (double)g[at] * (double)g[at];
    u->part[i] = (s[0] + s[1]) + (s[2] + s[3]);
  }
}

static void fr__task_adamw(void *arg, fr_int index)
{
  const fr__update *u = (const fr__update *)arg;
  const fr_adamw *a = u->adamw;
  fr__tensor_row rows[FR__TENSORS];
  fr_int p = 0, g = 0;  // of the tensor, in parameters and in gradients
  fr__tensor_rows(rows, &u->model->config, u->model->views);
  for (int i = 0; i < FR__TENSORS; p += fr__floats(&rows[i]), i++) {
    fr__adamw_factors factors = *u->factors;
    fr_int at, end;
    if (u->model->frozen >> i & 1) continue;
    fr__portion_lanes(fr__floats(&rows[i]), u->work->limits.tasks, index, &at, &end);
    if (rows[i].decay) factors.keep = u->keep_decayed;
    u->work->kernels->adamw(u->model->params + p + at, a->grads + g + at, a->m + g + at, a->v + g + at, end - at, &factors);
    g += fr__floats(&rows[i]);
  }
}

static fr_status fr__cpu_norm(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw, double *norm)
{
  fr__update u = { work, adamw, model, NULL, 0.0f, { 0.0 } };
  (void)self;
  fr__parallel(work, fr__task_norm, &u);
  *norm = 0.0;
  for (int i = 0; i < FR__NORM_PARTS; i++) *norm += u.part[i];
  *norm = sqrt(*norm);
  return FR_OK;
}

static fr_status fr__cpu_adamw(void *self, fr_work *work, fr_model *model, fr_adamw *adamw, const fr__adamw_factors *factors,
                               float keep_decayed)
{
  fr__update u = { work, adamw, model, factors, keep_decayed, { 0.0 } };
  (void)self;
  fr__parallel(work, fr__task_adamw, &u);
  return FR_OK;
}

static fr_status fr__cpu_zero(void *self, fr_work *work, const fr_model *model, fr_adamw *adamw)
{
  (void)self; (void)work; (void)model;
  memset(adamw->grads, 0, (size_t)adamw->count * sizeof(float));
  return FR_OK;
}

static const fr_backend *fr__cpu(void)
{
  static const fr_backend cpu = { NULL, "cpu", NULL, NULL, NULL, fr__cpu_embed, fr__cpu_step, fr__cpu_head, fr__cpu_rows,
                                  fr__cpu_sample, fr__cpu_norm, fr__cpu_adamw, fr__cpu_zero };
  return &cpu;
}

// Finite and not negative
static int fr__weight(float x) { return x >= 0.0f && fr__finite((double)x); }

static int fr__adamw_fits(const fr_adamw *a, fr_int count) { return a && a->grads && a->m && a->v && a->count == count; }

FR__SELDOM fr_status fr__adamw_check(const fr_adamw *a, fr_int count, fr_work *work, float lr)
{
  const char *wrong = !fr__adamw_fits(a, count) ? "the optimiser was placed for another model"
        : !fr__weight(lr) ? "the learning rate is negative or not finite"
        : !fr__weight(a->beta1) || !fr__weight(a->beta2) || a->beta1 >= 1.0f || a->beta2 >= 1.0f
          ? "beta1 and beta2 must be at least 0 and below 1"
        : !fr__weight(lr / (1.0f - a->beta1)) ? "the learning rate is too large"
        : !fr__weight(a->eps) || a->eps == 0.0f || !fr__weight(a->decay) || !fr__weight(a->clip)
          ? "eps must be above 0, decay and clip not negative, and all finite" : NULL;
  return wrong ? fr__fail(&work->reason, FR_INVALID, "%s", wrong) : FR_OK;
}

// The same for a model: all gains 0 is what fr_model_new leaves, and then no gradient ever moves a thing.
FR__SELDOM fr_status fr__trains(const fr_model *model, const fr_adamw *a, fr_work *work, float lr)
{
  const float *gains = fr__bind(model, model->params, 0).norm_final;
  const fr_status status = fr__adamw_check(a, fr__trained(model), work, lr);
  if (status) return status;
  for (fr_int i = 0; i < model->config.dim; i++) if (gains[i] != 0.0f) return FR_OK;
  return fr__fail(&work->reason, FR_INVALID, "all gains of the model are 0: it was neither initialised (fr_model_init) nor loaded");
}

// Whether the next step is taken at all, then its factors.
static fr_status fr__adamw_begin(fr_work *work, fr_adamw *a, double norm, double loss, float lr, fr__adamw_factors *factors)
{
  const double t = (double)(a->step + 1), c1 = 1.0 - pow((double)a->beta1, t), c2 = 1.0 - pow((double)a->beta2, t);
  const double scale = a->clip > 0.0f ? (double)a->clip / (norm + 1e-6) : 1.0;
  if (!fr__finite(loss) || !fr__finite(norm)) {
    a->skipped++;
    return fr__fail(&work->reason, FR_NONFINITE, "step %d was skipped: the %s is not finite", (fr_int)a->step + 1,
                    fr__finite(loss) ? "gradient" : "loss");
  }
  factors->scale = scale < 1.0 ? (float)scale : 1.0f;
  factors->keep = 1.0f;
  factors->rate = (float)((double)lr / c1);
  factors->beta1 = a->beta1;
  factors->beta2 = a->beta2;
  factors->unbias2 = (float)(1.0 / sqrt(c2));
  factors->eps = a->eps;
  return fr__fine(&work->reason);
}

FR_DEF fr_status fr_adamw_step(fr_adamw *adamw, fr_model *model, fr_work *work, double loss, float lr, double *norm)
{
  const fr_backend *backend;
  fr__adamw_factors factors;
  double sum = 0.0;
  fr_status status = fr__pair(model, work), zeroed;
  if (!status) status = fr__trains(model, adamw, work, lr);
  if (status) return status;
  backend = work->backend;
  status = backend->norm(backend->self, work, model, adamw, &sum);
  if (status) return status;
  if (norm) *norm = sum;
  status = fr__adamw_begin(work, adamw, sum, loss, lr, &factors);
  if (!status) status = backend->adamw(backend->self, work, model, adamw, &factors, 1.0f - lr * adamw->decay);
  if (!status) {
    adamw->step++;
    model->stale = work->limits.backend != NULL;
  }
  zeroed = backend->zero(backend->self, work, model, adamw);
  return status ? status : zeroed;
}

// Up to 1 in `warmup` steps, 1 until step `from`, and down to `floor` at the last step, in half a cosine or a line.
static float fr__schedule(int64_t step, int64_t warmup, int64_t from, int64_t total, double floor, int cosine)
{
  double t;  // of the way down
  step = step < 0 || total < 1 ? 0 : step < total ? step : total - 1;
  if (step < warmup) return (float)((double)(step + 1) / (double)(warmup + 1));
  if (step < from || total <= 1 || total - 1 <= from) return 1.0f;
  t = (double)(step - from) / (double)(total - 1 - from);
  return (float)(cosine ? floor + (1.0 - floor) * 0.5 * (1.0 + cos(3.14159265358979324 * t)) : 1.0 + t * (floor - 1.0));
}

FR_DEF float fr_schedule_cosine(int64_t step, int64_t warmup, int64_t total, float floor)
{
  return fr__schedule(step, warmup, warmup, total, (double)floor, 1);
}

FR_DEF float fr_schedule_stable(int64_t step, int64_t warmup, int64_t stable, int64_t total, float floor)
{
  return fr__schedule(step, warmup, stable, total, (double)floor, 0);
}

// ---- >>assign -----------------------------------------------------------------------------------------
// Rows enter one by one. A shortest augmenting path from the new row to a free column is found by Dijkstra's method on the
// reduced costs  cost(r,c) - u_r - v_c >= 0;  the potentials u, v are then moved so that reduced costs stay non-negative and
// are 0 on the matching, which is what makes the matching optimal (complementary slackness).
typedef struct fr__assign_space {
  double *u, *v, *shortest;
  fr_int *before, *row_of_col, *col_of_row;
  fr_int *columns;  // those that the search has not reached, then those it has
} fr__assign_space;

static void fr__assign_layout(fr__arena *arena, fr_int rows, fr_int cols, fr__assign_space *s)
{
  const fr_int D = (fr_int)sizeof(double), integer = (fr_int)sizeof(fr_int);
  s->u = (double *)fr__take(arena, rows, D);
  s->v = (double *)fr__take(arena, cols, D);
  s->shortest = (double *)fr__take(arena, cols, D);
  s->before = (fr_int *)fr__take(arena, cols, integer);
  s->row_of_col = (fr_int *)fr__take(arena, cols, integer);
  s->col_of_row = (fr_int *)fr__take(arena, rows, integer);
  s->columns = (fr_int *)fr__take(arena, cols, integer);
}

// Of two columns at the same distance: a free one comes first, then the lower one.
static int fr__sooner(const fr_int *row_of_col, fr_int a, fr_int b)
{
  return (row_of_col[a] < 0) != (row_of_col[b] < 0) ? row_of_col[a] < 0 : a < b;
}

FR_DEF fr_status fr_assign(const double *cost, fr_int row_stride, fr_int col_stride, fr_int rows, fr_int cols,
                           fr_int *col_of_row, double *total, void *memory, fr_int bytes, fr_int *needed)
{
  const int swapped = rows > cols;  // the shorter side enters
  const fr_int n = swapped ? cols : rows, m = swapped ? rows : cols, rs = swapped ? col_stride : row_stride,
               cs = swapped ? row_stride : col_stride;
  fr__arena arena = { NULL, 0, 0 };
  fr__assign_space s;
  double sum = 0.0;
  fr_status status;
  if (rows < 0 || cols < 0) return FR_INVALID;
  fr__assign_layout(&arena, n, m, &s);
  status = fr__arena_open(&arena, memory, bytes, needed, NULL);
  if (status || !memory) return status;
  if (rows && (!col_of_row || (cols && !cost))) return FR_INVALID;
  for (fr_int r = 0; r < rows; r++)
    for (fr_int c = 0; c < cols; c++)  // a path adds and subtracts up to 2n costs, a potential as many
      if (!fr__finite(8.0 * (double)(n + 1) * cost[r * row_stride + c * col_stride])) return FR_NONFINITE;
  fr__assign_layout(&arena, n, m, &s);
  for (fr_int r = 0; r < n; r++) { s.u[r] = 0.0; s.col_of_row[r] = -1; }
  for (fr_int c = 0; c < m; c++) { s.v[c] = 0.0; s.row_of_col[c] = -1; }
  for (fr_int enter = 0; enter < n; enter++) {
    fr_int row = enter, sink = -1, open = m;
    double reach = 0.0;
    for (fr_int c = 0; c < m; c++) { s.shortest[c] = HUGE_VAL; s.columns[c] = c; }
    while (sink < 0) {
      const double *costs = cost + row * rs, *v = s.v, base = reach - s.u[row];
      double *shortest = s.shortest, lowest = HUGE_VAL;
      const fr_int *columns = s.columns, *row_of_col = s.row_of_col;
      fr_int *before = s.before, best = 0, column;
      for (fr_int i = 0; i < open; i++) {
        const fr_int c = columns[i];
        const double length = base + costs[c * cs] - v[c];
        double known = shortest[c];
        if (length < known) { shortest[c] = known = length; before[c] = row; }
        if (known > lowest) continue;
        if (known < lowest || fr__sooner(row_of_col, c, columns[best])) {
          lowest = known;
          best = i;
        }
      }
      column = columns[best];
      reach = lowest;
      s.columns[best] = columns[--open];
      s.columns[open] = column;
      if (s.row_of_col[column] < 0) sink = column;
      else row = s.row_of_col[column];
    }
    s.u[enter] += reach;
    for (fr_int i = open; i < m; i++) {
      const fr_int c = s.columns[i];
      s.v[c] -= reach - s.shortest[c];
      if (c != sink) s.u[s.row_of_col[c]] += reach - s.shortest[c];
    }
    for (;;) {  // flip the path
      const fr_int r = s.before[sink], next = s.col_of_row[r];
      s.row_of_col[sink] = r;
      s.col_of_row[r] = sink;
      if (r == enter) break;
      sink = next;
    }
  }
  for (fr_int r = 0; r < rows; r++) {
    col_of_row[r] = swapped ? s.row_of_col[r] : s.col_of_row[r];
    if (col_of_row[r] >= 0) sum += cost[r * row_stride + col_of_row[r] * col_stride];
  }
  if (total) *total = sum;
  return FR_OK;
}

// ---- >>ssft -------------------------------------------------------------------------------------------
// The paper's set loss in this file's symbols; each tag stands here and at the line that computes it.
//   x question    r_1 .. r_M its traces, the end token included    g_1 .. g_N forks, N >= M    p the model
//   Q questions of the batch, R their traces, T the tokens of these: fr_ssft_total
//
//   eq:prefix         L_j = min(L, |r_j|); |r_j| if L is 0
//   eq:cost           c_ij = -1/L_j sum_{t <= L_j} log p(r_j[t] | x, g_i, r_j[<t])            without gradient
//   eq:match          sigma = argmin over injective maps {1..M} -> {1..N} of  sum_j c_{sigma(j) j}
//   eq:random-match   sigma = any injective map, all equally likely: the baseline
//   eq:reduction      w_j = 1/T (FR_MEAN_TOKENS)  or  1/(|r_j| R) (FR_MEAN_TRACES)
//   eq:fork-term      F = a/(Q |K|) sum_{i in K} -log p(g_i | x),  a = fork_weight,  K: all forks, or those that sigma takes
//   eq:set-loss       S = sum_x [ sum_j w_j sum_t -log p(r_j[t] | x, g_sigma(j), r_j[<t])  +  F ]
//   eq:set-gradient   dS = sum_x [ sum_j w_j sum_t -d log p(r_j[t] | ...)  +  dF ],  sigma held fixed: where no other map is
//                     as good, it does not change nearby, so that this is the whole gradient

// -- one builder for all trees that the method runs: costs, loss, policy, GRPO, writing
// Question by question: the prompt, a fork, what stands under it, the next fork. The last token of a trace is a target and
// never an input, so its span has one token less. With work NULL the same code only counts; limits, the check that a question
// fits, and the tree itself are three runs of one builder and cannot disagree.
typedef struct fr__node { fr_int span, first, last, depth; } fr__node;  // a span, its first row, the row that predicts what
                                                                        // follows, the tokens down to there
static const fr__node fr__ground = { -1, -1, -1, 0 };                   // what prompts grow on

typedef struct fr__forest {
  fr_work *work;         // NULL: only measures
  fr_int times, alike;   // 1; to measure many at once: so many like this question, with so many like each trace or rollout
  fr_int rows, spans, depth, targets, groups;
  fr_int leaves, room;   // to be decoded under it, and the tokens that these may have
} fr__forest;
static const fr__forest fr__empty = { NULL, 1, 1, 0, 0, 0, 0, 0, 0, 0 };

enum { FR__ROWS = 1, FR__GRAD_ROWS = 2 };  // the limits that bound the rows of a forest

// A kind of forest: its builder, which adds a question, and what that reads.
struct fr__plan;
typedef void (*fr__builder)(fr__forest *f, const struct fr__plan *plan, const fr_question *question, fr_int number);
typedef struct fr__plan {
  fr__builder build;
  int    bound;                   // FR__ROWS, FR__GRAD_ROWS or both
  fr_int unknown;                 // -1, or to measure before traces have their forks: all are used, and this is the longest
  const fr_ssft_options *ssft;
  fr_ssft_total total;
  const fr_gfpo_options *gfpo;    // the last three: see >>choose
  fr_rollouts *rollouts;
  int    texts;
} fr__plan;

// Sizes stop at one that no limit can have, far from where sums of a few would wrap.
static const fr_int fr__most = FR__INT_MAX / 8;
static void fr__more(fr_int *size, fr_int more, fr_int times)
{
  if (!fr__mul(more, times, &more) || !fr__add(*size, more, size) || *size > fr__most) *size = fr__most;
}

// A span; without tokens none, and what follows grows on the parent.
static fr__node fr__grow(fr__forest *f, fr__node parent, const fr_token *ids, fr_int count)
{
  const fr_span span = { parent.span, { ids, count } };
  fr__node node = { f->spans, f->rows, -1, parent.depth };
  if (count < 1) return parent;
  if (f->work) f->work->body->spans[f->spans] = span;
  fr__more(&f->spans, 1, f->times);
  fr__more(&f->rows, count, f->times);
  fr__more(&node.depth, count, 1);
  node.last = f->rows - 1;
  f->depth = fr__max(f->depth, node.depth);
  return node;
}

// Targets: the first token after node `before`, the others after the rows of `node`, which begins with them.
static void fr__aim(fr__forest *f, fr__node before, fr__node node, const fr_token *ids, fr_int count, float weight, fr_int group)
{
  for (fr_int t = 0; f->work && t < count; t++) {
    const fr_target target = { t ? node.first + t - 1 : before.last, ids[t], weight, group };
    f->work->body->targets[f->targets + t] = target;
  }
  fr__more(&f->targets, count, f->times);
}

// With its last token a target only; opens its group, if it is in one.
static void fr__grow_trace(fr__forest *f, fr__node fork, const fr_token *ids, fr_int count, float weight, fr_int group)
{
  const fr_int times = f->times;
  fr__node trace;
  f->times = 0;
  fr__more(&f->times, times, f->alike);
  trace = fr__grow(f, fork, ids, count - 1);
  fr__aim(f, fork, trace, ids, count, weight, group);
  fr__more(&f->groups, group >= 0, f->times);
  f->times = times;
}

static fr_limits fr__forest_limits(const fr__forest *f, int bound)
{
  const fr_int rows = bound & FR__ROWS ? fr__max(f->rows, f->leaves) : 0, grad_rows = bound & FR__GRAD_ROWS ? f->rows : 0;
  const fr_int spans = f->spans + f->leaves, leaves = fr__max(f->groups, f->leaves);
  const fr_int tasks = 0, cache_rows = f->leaves ? f->rows + f->room : 0;
  const fr_limits need = { rows, grad_rows, spans, f->targets, leaves, f->depth, tasks, cache_rows, NULL };
  return need;
}

// Is what question n needs, or with n -1 the work, within the limits?
FR__SELDOM fr_status fr__within(fr_work *work, const fr_limits *need, fr_int n)
{
  static const char *const names[] = { "rows", "grad_rows", "spans", "targets", "leaves", "depth", "cache_rows" };
  const fr_limits *has = &work->limits;
  const fr_int needs[] = { need->rows, need->grad_rows, need->spans, need->targets, need->leaves, need->depth, need->cache_rows };
  const fr_int limit[] = { has->rows, has->grad_rows, has->spans, has->targets, has->leaves, has->depth, has->cache_rows };
  for (int i = 0; i < 7; i++) {
    if (needs[i] <= limit[i]) continue;
    if (n < 0) return fr__limit(&work->reason, names[i], needs[i], limit[i]);
    return fr__fail(&work->reason, FR_LIMIT, "question %d: limit '%s' is %d, it needs %d", n, names[i], limit[i], needs[i]);
  }
  return FR_OK;
}

// Does question n fit beside what is there?
FR__APART fr_status fr__fits(const fr__forest *f, fr_work *work, const fr__plan *plan, const fr_question *question, fr_int n)
{
  fr__forest measured = *f;
  fr_limits need;
  measured.work = NULL;
  plan->build(&measured, plan, question, n);
  need = fr__forest_limits(&measured, plan->bound);
  return fr__within(work, &need, n);
}

// Each question alone must fit, which is found out before anything is run.
FR__APART fr_status fr__each_fits(fr_work *work, const fr__plan *plan, const fr_question *questions, fr_int count)
{
  fr_status status = FR_OK;
  for (fr_int n = 0; !status && n < count; n++) status = fr__fits(&fr__empty, work, plan, &questions[n], n);
  return status;
}

// Builds as many questions as fit together, from *next on, which fits alone, and moves *next behind them.
FR__APART fr__forest fr__fill(fr_work *work, const fr__plan *plan, const fr_question *questions, fr_int count, fr_int *next)
{
  fr__forest f = fr__empty;
  f.work = work;
  do plan->build(&f, plan, &questions[*next], *next);
  while (++*next < count && fr__fits(&f, work, plan, &questions[*next], *next) == FR_OK);
  return f;
}

FR__APART fr_status fr__run_forest(const fr__forest *f, const fr_model *model, float *grads, fr__phase phase)
{
  const fr_tree tree = { f->work->body->spans, f->spans, f->work->body->targets, f->targets };
  return f->spans ? fr__run_tree(model, f->work, &tree, grads, f->work->body->sums, f->groups, phase) : FR_OK;
}

// Hands out limits that were measured, unless a size stopped.
FR__APART fr_status fr__give_limits(const fr_limits *need, fr_limits *limits)
{
  if (fr__max(fr__max(need->rows, need->targets), fr__max(need->depth, need->cache_rows)) >= fr__most) return FR_OVERFLOW;
  *limits = *need;
  return FR_OK;
}

static fr_int fr__longest(const fr_tokens *forks, fr_int count)
{
  fr_int longest = 0;
  for (fr_int i = 1; i < count; i++) if (forks[i].count > forks[longest].count) longest = i;
  return longest;
}

// -- the two passes
static int fr__costed(const fr_ssft_options *o, const fr_question *q) { return o->method == FR_SSFT || q->cost; }

// Every fork with every trace, cut to its first L_j tokens; group  base + i*M + j
FR__APART void fr__build_costs(fr__forest *f, const fr__plan *plan, const fr_question *q, fr_int number)
{
  const fr_ssft_options *o = plan->ssft;
  fr__node prompt, fork;
  (void)number;
  if (!fr__costed(o, q)) return;
  prompt = fr__grow(f, fr__ground, q->prompt.ids, q->prompt.count);
  for (fr_int i = 0; i < o->fork_count; i++) {
    fork = fr__grow(f, prompt, o->forks[i].ids, o->forks[i].count);
    for (fr_int j = 0; j < q->trace_count; j++) {
      const fr_int all = q->traces[j].count, L = o->prefix ? fr__min(o->prefix, all) : all;  // eq:prefix
      fr__grow_trace(f, fork, q->traces[j].ids, L, 1.0f, f->groups);
    }
  }
}

// The forks with the traces matched to them; group  base + j, and base + M for the fork term. An unused fork is there for its
// targets alone, without its last token.
FR__APART void fr__build_loss(fr__forest *f, const fr__plan *plan, const fr_question *q, fr_int number)
{
  const fr_ssft_options *o = plan->ssft;
  const fr_int N = o->fork_count, M = q->trace_count, group = f->groups;
  const fr_int taken = o->method == FR_SFT_MIXED ? 1 : M, targeted = o->fork_target == FR_FORK_UNIFORM ? N : taken;
  const double fork_weight = targeted ? (double)o->fork_weight / ((double)targeted * plan->total.questions) : 0.0;
  const fr__node prompt = fr__grow(f, fr__ground, q->prompt.ids, q->prompt.count);
  (void)number;
  for (fr_int i = 0; i < N; i++) {
    const fr_tokens *ids = &o->forks[i];
    int used = plan->unknown >= 0, aimed;
    fr__node fork;
    for (fr_int j = 0; !used && j < M; j++) used = q->fork[j] == i;
    aimed = o->fork_weight > 0.0f && (used || targeted == N);
    fork = fr__grow(f, prompt, ids->ids, used ? ids->count : aimed ? ids->count - 1 : 0);
    if (aimed) fr__aim(f, prompt, fork, ids->ids, ids->count, (float)fork_weight, group + M);  // eq:fork-term
    for (fr_int j = 0; used && j < M; j++) {
      const fr_tokens *trace = &q->traces[j];
      const double each = o->reduction == FR_MEAN_TOKENS ? 1.0 : (double)trace->count;
      if ((plan->unknown >= 0 ? plan->unknown : q->fork[j]) != i) continue;
      fr__grow_trace(f, fork, trace->ids, trace->count, (float)(1.0 / (each * plan->total.traces)), group + j);  // eq:reduction
    }
  }
  fr__more(&f->groups, 1, f->times);
}

static fr__plan fr__ssft_plan(const fr_ssft_options *o, fr__builder build, int bound)
{
  const fr__plan plan = { build, bound, -1, o, { 1.0, 1.0 }, NULL, NULL, 0 };
  return plan;
}

FR_DEF fr_status fr_ssft_limits(const fr_ssft_options *options, fr_int prompt, fr_int trace, fr_int traces,
                                fr_int questions, fr_limits *limits)
{
  const fr_tokens text = { NULL, trace };
  const fr_question question = { { NULL, prompt }, &text, 1, 0, NULL, NULL, NULL };
  fr_limits need = fr__forest_limits(&fr__empty, 0);
  fr_ssft_options o;
  if (!options || !options->forks || !limits || prompt < 1 || trace < 1 || traces < 1 || questions < 1 ||
      options->fork_count < 1 || options->prefix < 0)
    return FR_INVALID;
  for (fr_int i = 0; i < options->fork_count; i++) if (options->forks[i].count < 1) return FR_INVALID;
  o = *options;  // whatever the method and the fork term become
  o.method = FR_SSFT;
  o.fork_weight = 1.0f;
  o.fork_target = FR_FORK_UNIFORM;
  for (int pass = 0; pass < 2; pass++) {
    fr__plan plan = fr__ssft_plan(&o, pass ? fr__build_loss : fr__build_costs, pass ? FR__ROWS | FR__GRAD_ROWS : FR__ROWS);
    fr__forest f = fr__empty;
    f.times = questions;
    f.alike = traces;
    plan.unknown = fr__longest(o.forks, o.fork_count);
    plan.build(&f, &plan, &question, 0);
    need = fr_limits_max(need, fr__forest_limits(&f, plan.bound));
  }
  return fr__give_limits(&need, limits);
}

// -- checks
FR__APART fr_status fr__tokens_check(fr_work *work, const fr_tokens *tokens, const char *what, fr_int at,
                                  const char *inside, fr_int number)
{
  if (tokens->count < 1 || !tokens->ids)
    return fr__fail(&work->reason, FR_INVALID, "%s %d: %s %d has no tokens", what, at, inside, number);
  for (fr_int t = 0; t < tokens->count; t++)
    if (tokens->ids[t] < 0 || tokens->ids[t] >= work->config.vocab)
      return fr__fail(&work->reason, FR_RANGE, "%s %d: %s %d, token %d: id %d is not below the vocabulary of %d", what,
                      at, inside, number, t, (fr_int)tokens->ids[t], work->config.vocab);
  return FR_OK;
}

FR__SELDOM fr_status fr__forks_check(fr_work *work, const fr_tokens *forks, fr_int count)
{
  if (!forks || count < 1) return fr__fail(&work->reason, FR_INVALID, "the options name no fork");
  for (fr_int i = 0; i < count; i++) {
    const fr_status status = fr__tokens_check(work, &forks[i], "options", 0, "fork", i);
    if (status) return status;
    for (fr_int k = 0; k < i; k++)
      if (forks[i].count == forks[k].count && memcmp(forks[i].ids, forks[k].ids, (size_t)forks[i].count * sizeof(fr_token)) == 0)
        return fr__fail(&work->reason, FR_INVALID, "forks %d and %d are the same tokens", k, i);
  }
  return FR_OK;
}

// Everything that can be wrong is found here, before anything is run.
FR__SELDOM fr_status fr__ssft_check(const fr_model *model, fr_work *work, const fr__plan *plan, const fr_question *questions,
                                    fr_int count)
{
  const fr_ssft_options *o = plan->ssft;
  const int matched = plan->build == fr__build_loss;
  const char *wrong;
  fr_status status = fr__pair(model, work);
  if (status) return status;
  wrong = !o ? "the options are NULL"
        : count < 0 || (count && !questions) ? "there are less than 0 questions, or some at no address"
        : !fr__among((int)o->method, FR_SFT_MIXED) ? "method is none of fr_method"
        : !fr__among((int)o->reduction, FR_MEAN_TRACES) ? "reduction is none of fr_reduction"
        : !fr__among((int)o->fork_target, FR_FORK_MATCHED) ? "fork_target is none of fr_fork_target"
        : !fr__weight(o->fork_weight) ? "fork_weight is negative or not finite"
        : o->prefix < 0 ? "prefix is negative" : NULL;
  if (wrong) return fr__fail(&work->reason, FR_INVALID, "%s", wrong);
  status = fr__forks_check(work, o->forks, o->fork_count);
  if (status) return status;
  for (fr_int n = 0; n < count; n++) {
    const fr_question *q = &questions[n];
    status = fr__tokens_check(work, &q->prompt, "question", n, "prompt", 0);
    if (status) return status;
    if (q->trace_count < 1 || !q->traces) return fr__fail(&work->reason, FR_INVALID, "question %d has no trace", n);
    if (q->trace_count > o->fork_count && o->method != FR_SFT_MIXED)
      return fr__fail(&work->reason, FR_INVALID, "question %d has %d traces for %d forks", n, q->trace_count, o->fork_count);
    if (!q->fork) return fr__fail(&work->reason, FR_INVALID, "question %d: fork is NULL", n);
    for (fr_int j = 0; !status && j < q->trace_count; j++)
      status = fr__tokens_check(work, &q->traces[j], "question", n, "trace", j);
    if (status) return status;
    for (fr_int j = 0; matched && j < q->trace_count; j++) {
      if (q->fork[j] < 0 || q->fork[j] >= o->fork_count)
        return fr__fail(&work->reason, FR_RANGE, "question %d: trace %d has fork %d of %d; match first", n, j,
                        q->fork[j], o->fork_count);
      for (fr_int k = 0; k < j && o->method != FR_SFT_MIXED; k++)
        if (q->fork[k] == q->fork[j])
          return fr__fail(&work->reason, FR_INVALID, "question %d: traces %d and %d both have fork %d", n, k, j, q->fork[j]);
    }
  }
  return fr__each_fits(work, plan, questions, count);
}

// Matching by the costs, or without them; sets q->fork.
FR__APART fr_status fr__match_one(fr_work *work, const fr_ssft_options *o, fr_question *q, fr_int number)
{
  struct fr__body *b = work->body;
  const fr_int M = q->trace_count, N = o->fork_count;
  if (o->method == FR_SSFT) {  // rows are traces, columns are forks
    const fr_status status = fr_assign(b->cost, 1, M, M, N, b->match, NULL, b->assign, b->assign_bytes, NULL);  // eq:match
    if (status) return fr__fail(&work->reason, status, "question %d: a cost is not finite", number);
    memcpy(q->fork, b->match, (size_t)M * sizeof(fr_int));
  } else if (o->method == FR_SSFT_RANDOM) {
    fr_random random = fr_random_stream(o->seed, q->key, o->draw);
    for (fr_int j = 0; j < M; j++) {  // trace j takes the k-th of the forks that are still free
      fr_int k = fr_random_below(&random, N - j), fork = -1;  // eq:random-match
      do {
        fr_int taken = 0;
        fork++;
        for (fr_int t = 0; t < j; t++) taken |= q->fork[t] == fork;
        k -= !taken;
      } while (k >= 0);
      q->fork[j] = fork;
    }
  } else for (fr_int j = 0; j < M; j++) q->fork[j] = o->method == FR_SFT_MIXED ? 0 : j;
  return FR_OK;
}

// This and fr__loss_all take what was checked, in as many passes as the limits ask for.
FR__APART fr_status fr__match_all(const fr_model *model, fr_work *work, const fr__plan *p, fr_question *questions, fr_int count)
{
  const fr_ssft_options *o = p->ssft;
  double *cost = work->body->cost;
  fr_status status = FR_OK;
  for (fr_int n = 0, next = 0; !status && n < count;) {
    const fr_sum *sums = work->body->sums;
    const fr__forest f = fr__fill(work, p, questions, count, &next);
    status = fr__run_forest(&f, model, NULL, FR__PLAIN);
    for (; !status && n < next; n++) {
      fr_question *q = &questions[n];
      const fr_int cells = o->fork_count * q->trace_count;
      for (fr_int i = 0; fr__costed(o, q) && i < cells; i++, sums++) cost[i] = sums->nll / (double)sums->count;  // eq:cost
      status = fr__match_one(work, o, q, n);
      if (!status && q->cost) memcpy(q->cost, cost, (size_t)cells * sizeof(double));
    }
  }
  return status;
}

FR__APART fr_status fr__loss_all(const fr_model *model, fr_work *work, const fr__plan *plan, const fr_question *questions,
                              fr_int count, float *grads, fr_ssft_report *report)
{
  fr_ssft_report r;
  fr_status status = FR_OK;
  memset(&r, 0, sizeof r);
  for (fr_int n = 0, next = 0; !status && n < count;) {
    const fr_sum *sums = work->body->sums;
    const fr__forest f = fr__fill(work, plan, questions, count, &next);
    status = fr__run_forest(&f, model, grads, grads ? FR__TRAIN : FR__PLAIN);  // eq:set-gradient
    r.rows += f.rows;
    for (; !status && n < next; n++) {
      const fr_question *q = &questions[n];
      for (fr_int j = 0; j <= q->trace_count; j++) r.loss += sums[j].weighted;  // eq:set-loss
      for (fr_int j = 0; j < q->trace_count; j++, sums++) {
        r.nll += sums->nll;
        r.tokens += sums->count;
        if (q->nll) q->nll[j] = sums->nll;
      }
      if (sums->weight > 0.0) r.fork_nll += sums->weighted * plan->total.questions / (double)plan->ssft->fork_weight;
      sums++;
      r.traces += q->trace_count;
      r.questions++;
    }
  }
  if (!status && report) *report = r;
  return status;
}

FR_DEF fr_status fr_ssft_match(const fr_model *model, fr_work *work, const fr_ssft_options *options,
                               fr_question *questions, fr_int count)
{
  const fr__plan plan = fr__ssft_plan(options, fr__build_costs, FR__ROWS);
  fr_status status = fr__ssft_check(model, work, &plan, questions, count);
  if (!status) status = fr__match_all(model, work, &plan, questions, count);
  return status ? status : fr__fine(&work->reason);
}

FR_DEF fr_status fr_ssft_count(const fr_ssft_options *options, const fr_question *questions, fr_int count, fr_ssft_total *total)
{
  fr_ssft_total sum = { 0.0, (double)count };
  if (!options || !total || count < 0 || (count && !questions)) return FR_INVALID;
  for (fr_int n = 0; n < count; n++) {
    if (questions[n].trace_count < 0 || (questions[n].trace_count && !questions[n].traces)) return FR_INVALID;
    for (fr_int j = 0; j < questions[n].trace_count; j++)
      sum.traces += options->reduction == FR_MEAN_TOKENS ? (double)questions[n].traces[j].count : 1.0;
  }
  *total = sum;
  return FR_OK;
}

FR_DEF fr_status fr_ssft_backward(const fr_model *model, fr_work *work, const fr_ssft_options *o, const fr_question *questions,
                                  fr_int count, fr_ssft_total total, float *grads, fr_ssft_report *report)
{
  fr__plan plan = fr__ssft_plan(o, fr__build_loss, grads ? FR__GRAD_ROWS : FR__ROWS);
  fr_status status = fr__ssft_check(model, work, &plan, questions, count);
  if (status) return status;
  if (!(total.traces > 0.0) || !(total.questions > 0.0) || !fr__finite(total.traces) || !fr__finite(total.questions))
    return fr__fail(&work->reason, FR_INVALID, "the total is not positive and finite; fr_ssft_count gives it");
  plan.total = total;
  status = fr__loss_all(model, work, &plan, questions, count, grads, report);
  return status ? status : fr__fine(&work->reason);
}

FR_DEF fr_status fr_ssft_step(fr_model *model, fr_work *work, fr_adamw *adamw, const fr_ssft_options *options,
                              fr_question *questions, fr_int count, float lr, fr_ssft_report *report)
{
  fr__plan costs = fr__ssft_plan(options, fr__build_costs, FR__ROWS), loss = fr__ssft_plan(options, fr__build_loss, FR__GRAD_ROWS);
  fr_ssft_report r;
  fr_status status = fr__pair(model, work);
  if (!status && count < 1) status = fr__fail(&work->reason, FR_INVALID, "a step needs at least one question");
  if (!status) status = fr__trains(model, adamw, work, lr);
  if (!status) status = fr__ssft_check(model, work, &costs, questions, count);
  if (!status) status = fr_ssft_count(options, questions, count, &loss.total);
  if (status) return status;
  loss.unknown = fr__longest(options->forks, options->fork_count);
  status = fr__each_fits(work, &loss, questions, count);
  loss.unknown = -1;
  memset(&r, 0, sizeof r);
  if (!status) status = fr__match_all(model, work, &costs, questions, count);
  if (!status) status = fr__loss_all(model, work, &loss, questions, count, adamw->grads, &r);
  if (status == FR_NONFINITE) {  // the model itself has gone bad: skipped like any other such step
    r.loss = r.nll = r.norm = HUGE_VAL - HUGE_VAL;
    r.skipped = 1;
    adamw->skipped++;
    status = work->backend->zero(work->backend->self, work, model, adamw);
  } else {
    if (!status) status = fr_adamw_step(adamw, model, work, r.loss, lr, &r.norm);
    r.skipped = status == FR_NONFINITE;
    if (r.skipped) status = FR_OK;
  }
  if (!status && report) *report = r;
  return status;  // where it is FR_OK, work->reason says why a step was skipped
}

// ---- >>generate ---------------------------------------------------------------------------------------
FR_DEF fr_token fr_sample(const float *logits, fr_int vocab, const fr_sampling *sampling, fr_random *random, fr_int *scratch)
{
  fr_int row = 0;
  if (!logits || !sampling || vocab < 1 || (sampling->temperature > 0.0f && (!random || !scratch))) return -1;
  while (!fr__kernel_row(row)->available()) row++;
  return fr__draw(fr__kernel_row(row), logits, vocab, sampling, sampling->temperature > 0.0f ? fr_random_uniform(random) : 0.0f,
                  (float *)(void *)(scratch ? scratch + vocab : NULL), scratch);
}

FR_DEF fr_status fr_generate_limits(const fr_tree *tree, const fr_sampling *sampling, fr_int leaf_count, fr_limits *limits)
{
  fr_limits need;
  fr_int cache;
  const fr_status status = fr_tree_limits(tree, &need);
  if (status) return status;
  if (!sampling || !limits || leaf_count < 0 || sampling->max_tokens < 0) return FR_INVALID;
  if (!fr__mul(leaf_count, sampling->max_tokens, &cache) || !fr__add(cache, need.rows, &need.cache_rows) ||
      !fr__add(need.depth, sampling->max_tokens, &need.depth) || !fr__add(need.spans, leaf_count, &need.spans))
    return FR_OVERFLOW;
  need.rows = fr__max(need.rows, leaf_count);
  need.leaves = leaf_count;
  need.grad_rows = need.targets = 0;
  *limits = need;
  return FR_OK;
}

// The spans whose last row was run by an earlier call: its activations, which a leaf begins with, are gone.
static fr_int fr__old_spans(const struct fr__body *b, const fr_sampling *o)
{
  return o->max_tokens ? fr__min(o->cached_spans, b->span_count_used) : 0;
}

// Everything that can be wrong with a call, before anything is run.
FR__SELDOM fr_status fr__generate_check(const fr_model *model, fr_work *work, const fr_tree *tree, const fr_sampling *o,
                                        const fr_leaf *leaves, fr_int leaf_count)
{
  const struct fr__body *b = work->body;
  const fr_int left = b->cached_params == model->params ? b->cached_spans : 0;
  const char *wrong;
  fr_int rows;
  fr_limits need;
  fr_status status;
  if (!tree || !o || leaf_count < 0 || (leaf_count && !leaves))
    return fr__fail(&work->reason, FR_INVALID, "tree, sampling or leaves are NULL");
  wrong = o->max_tokens < 0 ? "max_tokens is negative"
        : o->stop_count < 0 || (o->stop_count && !o->stops) ? "stop_count is negative, or stops is NULL"
        : o->top_k < 0 ? "top_k is negative"
        : !fr__weight(o->temperature) ? "temperature is negative or not finite"
        : !(o->top_p >= 0.0f && o->top_p <= 1.0f) ? "top_p is not in 0 to 1"
        : !(o->min_p >= 0.0f && o->min_p <= 1.0f) ? "min_p is not in 0 to 1"
        : !fr__weight(o->repeat_penalty) ? "repeat_penalty is negative or not finite" : NULL;
  if (wrong) return fr__fail(&work->reason, FR_INVALID, "sampling: %s", wrong);
  status = fr_generate_limits(tree, o, leaf_count, &need);
  if (status) return fr__fail(&work->reason, status, "the tree's spans are not in order, or its size does not fit");
  if (o->cached_spans < 0 || o->cached_spans > left || o->cached_spans > tree->span_count)
    return fr__fail(&work->reason, FR_INVALID, "sampling: cached_spans is %d of %d; of this model there are %d", o->cached_spans,
                    tree->span_count, left);
  rows = fr_tree_row(tree, tree->span_count);
  for (fr_int s = 0; s < o->cached_spans; s++) {
    const fr_span *span = &tree->spans[s];
    if (span->parent != b->span_parent[s] || span->tokens.count != b->span_count[s] || (span->tokens.count && !span->tokens.ids) ||
        fr__print(span->tokens.ids, span->tokens.count) != b->span_print[s])
      return fr__fail(&work->reason, FR_INVALID, "span %d is not the one that the last call left", s);
    need.cache_rows -= span->tokens.count;
    rows -= fr__there(b, span, s);
  }
  need.rows = fr__max(rows, leaf_count);
  if (!fr__add(need.cache_rows, fr__cache_end(b, o->cached_spans), &need.cache_rows))
    return fr__fail(&work->reason, FR_OVERFLOW, "the cache does not fit this machine's address space");
  status = fr__within(work, &need, -1);
  if (status) return status;
  for (fr_int i = 0; i < leaf_count; i++) {
    fr_int span = leaves[i].span;
    if (span < 0 || span >= tree->span_count)
      return fr__fail(&work->reason, FR_RANGE, "leaf %d: span %d of %d", i, span, tree->span_count);
    if (!leaves[i].tokens && o->max_tokens) return fr__fail(&work->reason, FR_INVALID, "leaf %d: tokens is NULL", i);
    while (span >= 0 && tree->spans[span].tokens.count == 0) span = tree->spans[span].parent;
    if (span < 0) return fr__fail(&work->reason, FR_INVALID, "leaf %d has no token before it to continue", i);
    rows += span < fr__old_spans(b, o);  // which it needs once more
  }
  need.rows = rows;
  return fr__within(work, &need, -1);
}

// One more row for a pass that decodes: token number `at` of a path that ends in `span`.
static fr_int fr__decode_row(struct fr__body *b, fr_int span, fr_token token, fr_int at, fr_int cache_row)
{
  const fr_int row = b->row_count++;
  const fr__block block = { span, row, at, 1 };
  b->blocks[b->block_count++] = block;
  b->position[row] = at;
  b->token[row] = token;
  b->cache_row[row] = cache_row;
  return row;
}

// One token for each of the first `active` leaves, from the rows b->leaf_row; *active: how many go on.
FR__APART fr_status fr__decode_token(fr__pass *s, const fr_sampling *o, fr_leaf *leaves, fr_int *active)
{
  const fr_backend *backend = s->work->backend;
  struct fr__body *b = s->work->body;
  fr_int next = 0;
  int told = FR_GO_ON;
  fr_status status;
  for (fr_int i = 0; i < *active; i++)
    b->leaf_draw[i] = o->temperature > 0.0f ? fr_random_uniform(&b->leaf_random[b->leaf_active[i]]) : 0.0f;
  status = backend->sample(backend->self, s, b->leaf_row, *active, o, b->leaf_draw, b->leaf_token, b->leaf_logp);
  if (status) return status;
  for (fr_int i = 0; i < *active; i++) {
    const fr_int number = b->leaf_active[i];
    fr_leaf *leaf = &leaves[number];
    if (told == FR_STOP_ALL) { leaf->stop = FR_STOPPED; continue; }
    leaf->logp += b->leaf_logp[i];
    for (fr_int k = 0; k < o->stop_count; k++) if (o->stops[k] == b->leaf_token[i]) leaf->stop = b->leaf_token[i];
    if (leaf->stop < 0) leaf->tokens[leaf->count++] = b->leaf_token[i];
    if (o->token) told = o->token(o->user, number, leaf);
    if (told != FR_GO_ON && leaf->stop < 0) leaf->stop = FR_STOPPED;
    if (leaf->stop == -1 && leaf->count < o->max_tokens) b->leaf_active[next++] = number;
  }
  for (fr_int i = 0; told == FR_STOP_ALL && i < next; i++) leaves[b->leaf_active[i]].stop = FR_STOPPED;
  *active = told == FR_STOP_ALL ? 0 : next;
  return FR_OK;
}

FR_DEF fr_status fr_generate(const fr_model *model, fr_work *work, const fr_tree *tree, const fr_sampling *sampling,
                             fr_leaf *leaves, fr_int leaf_count)
{
  struct fr__body *b;
  fr_tree prefix = { NULL, 0, NULL, 0 };
  fr_int active, spans, end, old;
  fr_status status = fr__pair(model, work);
  if (!status) status = fr__generate_check(model, work, tree, sampling, leaves, leaf_count);
  if (status) return status;
  b = work->body;
  prefix.spans = tree->spans;
  prefix.span_count = tree->span_count;
  old = fr__old_spans(b, sampling);
  status = fr__tree_compile(work, &prefix, 0, 0, sampling->cached_spans);
  if (status) return status;
  spans = tree->span_count;
  end = fr__cache_end(b, spans);
  for (fr_int i = 0; i < leaf_count; i++) {  // a leaf is one more span, whose rows of the cache fill up as it grows
    fr_leaf *leaf = &leaves[i];
    fr_int span = leaf->span, last;
    b->span_parent[spans + i] = span;
    b->span_depth[spans + i] = b->span_depth[span] + b->span_count[span];
    b->span_row[spans + i] = end + i * sampling->max_tokens;
    b->span_count[spans + i] = 0;
    while (b->span_count[span] == 0) span = b->span_parent[span];
    last = b->span_count[span] - 1;
    b->leaf_row[i] = 0;
    if (span < old)  // this row was run by an earlier call: once more, and what is cached of it lies where the leaf's first will
      b->leaf_row[i] = fr__decode_row(b, span, tree->spans[span].tokens.ids[last], b->span_depth[span] + last,
                                      b->span_row[spans + i]);
    else while (b->cache_row[b->leaf_row[i]] != b->span_row[span] + last) b->leaf_row[i]++;
    b->leaf_active[i] = i;
    b->leaf_random[i] = fr_random_stream(sampling->seed, leaf->question, leaf->leaf);
    leaf->count = 0;
    leaf->stop = -1;
    leaf->logp = 0.0;
  }
  active = sampling->max_tokens ? leaf_count : 0;
  for (int decodes = 0; active || !decodes; decodes = 1) {  // the tree first, then a token of each leaf at a time
    fr__pass s = fr__pass_of(model, work, NULL, 0);
    s.cached = 1;
    s.decodes = decodes;
    s.tree = tree;
    s.leaves = leaves;
    status = fr__layers(&s, FR__FORWARD);
    if (!status && active) status = fr__decode_token(&s, sampling, leaves, &active);
    if (status) return status;
    b->row_count = b->block_count = 0;
    for (fr_int a = 0; a < active; a++) {
      const fr_leaf *leaf = &leaves[b->leaf_active[a]];
      const fr_int span = spans + b->leaf_active[a], at = b->span_count[span]++;
      b->leaf_row[a] = fr__decode_row(b, span, leaf->tokens[leaf->count - 1], b->span_depth[span] + at, b->span_row[span] + at);
    }
  }
  for (fr_int i = 0; i < leaf_count; i++) {
    b->span_count[spans + i] = leaves[i].count;
    b->span_print[spans + i] = fr__print(leaves[i].tokens, leaves[i].count);
  }
  b->cached_spans = spans + leaf_count;
  b->cached_params = model->params;
  return fr__fine(&work->reason);
}

// ---- >>choose -----------------------------------------------------------------------------------------
// GFPO and GRPO in this file's symbols; each tag stands here and at the line that computes it.
//   x question    g_1 .. g_N forks    pi the policy, old: that of the rollouts, start: what it came from
//   G rollouts a question: fork i_g, text y_g of |y_g| tokens with the stop, reward R_g    B questions
//
//   eq:score             s_i = sum_t log p(g_i[t] | x, g_i[<t])
//   eq:chooser-score     s_i = b_i + sum_p W_pi . f_p,   f_p = 1/T sum of the activations h_t in slot p
//   eq:policy            log pi_i = s_i - log sum_k exp(s_k);  FR_OVER_VOCABULARY: s_i
//   eq:advantage         A_g = (R_g - mean R) / (std R + eps)
//   eq:ratio             rho = pi(i_g) / old(i_g);  FR_GRPO also  p(y_g[t] | ...) / old(y_g[t] | ...)
//   eq:clip              l = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A)
//   eq:slope             dl/dlog pi = -rho A, or 0 where the clipped one is the smaller
//   eq:term-weight       c_g = 1/(B G);  FR_GRPO: 1/(B sum_k (|y_k| + fork_weight))  or  1/(B G (|y_g| + fork_weight))
//   eq:gfpo              L = sum_x [ sum_g c_g l_g + (sum_g c_g) (kl KL - entropy H) ],  c_g times fork_weight
//   eq:entropy           H = -sum_i pi_i log pi_i                        dH/dlog pi_i = -pi_i (log pi_i + 1)
//   eq:kl                KL = sum_i pi_i (log pi_i - log start_i)        dKL/dlog pi_i = pi_i (log pi_i - log start_i + 1)
//   eq:choice-gradient   dL/ds_i = d_i - pi_i sum_k d_k,  d_i = dL/dlog pi_i;  FR_OVER_VOCABULARY: d_i
//   eq:grpo              L of a token = c_g (l + kl (exp(d) - d - 1)),  d = log start(y_g[t]) - log p(y_g[t])
//
// The choice-gradient sums to 0 over the forks, so the vocabulary's own softmax drops out of dlogits = (sum w) p - sum w onehot,
// w = -dL/ds, at the row that predicts them all. Each question is run forward for its scores; they give every target its
// weight, and the weighted targets are the gradient, for which the same rows go back.

// The options with defaults filled in; a chooser has no vocabulary.
FR__SELDOM fr_gfpo_options fr__gfpo_resolved(const fr_gfpo_options *options, const fr_policy *policy)
{
  fr_gfpo_options o = *options;
  if (o.eps == 0.0f) o.eps = 1e-6f;
  if (o.clip_low == 0.0f) o.clip_low = 0.2f;
  if (o.clip_high == 0.0f) o.clip_high = 0.2f;
  if (o.fork_weight == 0.0f || o.credit == FR_GFPO) o.fork_weight = 1.0f;
  if (o.updates == 0) o.updates = 1;
  if (policy && policy->chooser) o.softmax = FR_OVER_FORKS;
  return o;
}

// Targets of a rollout: its tokens, and the stop that ended it.
static fr_int fr__scored(const fr_leaf *leaf) { return leaf->count + (leaf->stop >= 0); }

enum { FR__NO_TEXTS, FR__WRITTEN, FR__TRAINED };  // under the forks stand: nothing, leaves to decode, rollouts to learn from

// Has rollout `at` its place under fork i? Those yet to come are measured under the longest; nothing is learned from some.
static int fr__under(const fr__plan *p, fr_int i, fr_int at)
{
  const fr_rollouts *r = p->rollouts;
  if (p->unknown >= 0) return p->unknown == i;
  if (r->fork[at] != i) return 0;
  return p->texts == FR__WRITTEN || (fr__scored(&r->leaves[at]) && (r->advantage[at] != 0.0 || p->gfpo->kl > 0.0f));
}

// A leaf that fr_generate will write under the fork
static void fr__grow_leaf(fr__forest *f, fr__node fork, fr_int tokens, fr_leaf *leaf)
{
  fr_int leaves = 0;
  if (f->work) leaf->span = fork.span;
  fr__more(&leaves, f->times, f->alike);
  fr__more(&f->leaves, leaves, 1);
  fr__more(&f->room, tokens, leaves);
  fr__more(&fork.depth, tokens, 1);
  f->depth = fr__max(f->depth, fork.depth);
}

// The forks, and what stands under them. To be scored: group  base + i: -s_i, and the last token of a fork with nothing under
// it is no input, so that a fork of one token needs no row. Targets of rollouts are in no group.
FR__APART void fr__build_choice(fr__forest *f, const fr__plan *p, const fr_question *q, fr_int n)
{
  const fr_gfpo_options *o = p->gfpo;
  const fr_int T = o->sampling.max_tokens, first = n * o->group, end = p->texts ? first + o->group : first;
  const int scored = p->texts != FR__WRITTEN;
  const fr__node prompt = fr__grow(f, fr__ground, q->prompt.ids, q->prompt.count);
  for (fr_int i = 0; i < o->fork_count; i++) {
    const fr_tokens *ids = &o->forks[i];
    int used = p->unknown >= 0;
    fr__node fork;
    for (fr_int at = first; !used && at < end; at++) used = fr__under(p, i, at);
    fork = fr__grow(f, prompt, ids->ids, used ? ids->count : scored ? ids->count - 1 : 0);
    if (scored) {
      fr__aim(f, prompt, fork, ids->ids, ids->count, 0.0f, f->groups);
      fr__more(&f->groups, 1, f->times);
    }
    for (fr_int at = first; used && at < end; at++) {
      fr_leaf *leaf = p->rollouts ? &p->rollouts->leaves[at] : NULL;
      if (!fr__under(p, i, at)) continue;
      if (!scored) fr__grow_leaf(f, fork, T, leaf);
      else if (!leaf) fr__grow_trace(f, fork, NULL, T, 0.0f, -1);
      else {
        const fr__node text = fr__grow(f, fork, leaf->tokens, fr__scored(leaf) - 1);
        fr__aim(f, fork, text, leaf->tokens, leaf->count, 0.0f, -1);
        fr__aim(f, text, text, &leaf->stop, leaf->stop >= 0, 0.0f, -1);
      }
    }
  }
}

// Without rollouts: those yet to come.
static fr__plan fr__choice_plan(const fr_gfpo_options *o, fr_rollouts *rollouts, int texts, int bound)
{
  fr__plan plan = { fr__build_choice, bound, -1, NULL, { 1.0, 1.0 }, o, rollouts, texts };
  if (texts && !rollouts) plan.unknown = fr__longest(o->forks, o->fork_count);
  return plan;
}

// -- the linear chooser
// features (P,C) = 1/T sum of the normed activations of each slot, for the question whose prompt is a span of T rows (sets)
FR__APART fr_status fr__chooser_features(const fr_chooser *c, const fr_model *model, fr_work *work, fr_int span)
{
  struct fr__body *b = work->body;
  const fr_int row = b->span_row[span], T = b->span_count[span];
  memset(c->features, 0, (size_t)(c->positions * c->dim) * sizeof(float));
  for (fr_int t = 0; t < T; t++) b->row_fill[t] = row + t;
  for (fr_int first = 0; first < T; first += FR__READ) {
    const fr_int count = fr__min(FR__READ, T - first);
    const fr_status status = fr_logits(model, work, b->row_fill + first, count, NULL, b->read);
    if (status) return status;
    for (fr_int i = 0; i < count; i++)
      work->kernels->axpy(c->features + fr__min(T - 1 - first - i, c->positions - 1) * c->dim, 1.0f / (float)T,
                          b->read + i * c->dim, c->dim);
  }
  return FR_OK;
}
static void fr__chooser_scores(const fr_chooser *c, double *s)
{
  const float *bias = c->params + c->positions * c->forks * c->dim;
  for (fr_int i = 0; i < c->forks; i++) {
    s[i] = (double)bias[i];
    for (fr_int p = 0; p < c->positions; p++)
      for (fr_int k = 0; k < c->dim; k++)
        s[i] += (double)c->params[(p * c->forks + i) * c->dim + k] * (double)c->features[p * c->dim + k];  // eq:chooser-score
  }
}
// dW_pi += ds_i features_p      db_i += ds_i
static void fr__chooser_back(const fr_chooser *c, const fr_work *work, const double *ds)
{
  float *d = c->adamw.grads;
  for (fr_int p = 0; p < c->positions; p++)
    for (fr_int i = 0; i < c->forks; i++, d += c->dim) work->kernels->axpy(d, (float)ds[i], c->features + p * c->dim, c->dim);
  for (fr_int i = 0; i < c->forks; i++) d[i] += (float)ds[i];
}

FR__SELDOM fr_status fr__chooser_layout(fr__arena *arena, fr_chooser *c)
{
  fr_int width, count;
  if (!fr__mul(c->positions, c->dim, &width) || !fr__add(width, 1, &count) || !fr__mul(count, c->forks, &count) ||
      count > FR__INT_MAX / 64)
    return FR_OVERFLOW;
  c->params = (float *)fr__take(arena, count, (fr_int)sizeof(float));
  c->features = (float *)fr__take(arena, width, (fr_int)sizeof(float));
  c->adamw = fr__adamw_layout(arena, count);
  return FR_OK;
}

FR_DEF fr_status fr_chooser_place(fr_chooser *chooser, const fr_model *model, fr_int forks, fr_int positions, void *memory,
                                  fr_int bytes, fr_int *needed)
{
  fr__arena arena = { NULL, 0, 0 };
  fr_chooser c;
  fr_int size;
  fr_status status;
  if (!model || !model->params || forks < 1 || positions < 1 || (memory && !chooser)) return FR_INVALID;
  memset(&c, 0, sizeof c);
  c.forks = forks;
  c.positions = positions;
  c.dim = model->config.dim;
  status = fr__chooser_layout(&arena, &c);
  size = arena.used;
  if (!status) status = fr__arena_open(&arena, memory, bytes, needed, NULL);
  if (status || !memory) return status;
  memset(arena.base, 0, (size_t)size);
  status = fr__chooser_layout(&arena, &c);
  *chooser = c;
  return status;
}

static fr_status fr__chooser_check(const fr_chooser *c, fr_work *work, float lr)
{
  if (!c || !c->params || !c->features || c->forks < 1 || c->positions < 1)
    return fr__fail(&work->reason, FR_INVALID, "the chooser is NULL or was not placed");
  return fr__adamw_check(&c->adamw, (c->positions * c->dim + 1) * c->forks, work, lr);
}

FR_DEF fr_status fr_chooser_step(fr_chooser *chooser, fr_work *work, double loss, float lr, double *norm)
{
  fr__adamw_factors factors;
  double sum = 0.0;
  fr_adamw *a;
  fr_status status;
  if (!work || !work->body) return FR_INVALID;
  status = fr__chooser_check(chooser, work, lr);
  if (status) return status;
  a = &chooser->adamw;
  fr__cpu_norm(NULL, work, NULL, a, &sum);
  if (norm) *norm = sum;
  status = fr__adamw_begin(work, a, sum, loss, lr, &factors);
  if (!status) {
    const fr_int b = a->count - chooser->forks;  // where the biases begin, which do not decay
    work->kernels->adamw(chooser->params + b, a->grads + b, a->m + b, a->v + b, chooser->forks, &factors);
    factors.keep = 1.0f - lr * a->decay;
    work->kernels->adamw(chooser->params, a->grads, a->m, a->v, b, &factors);
    a->step++;
  }
  memset(a->grads, 0, (size_t)a->count * sizeof(float));
  return status;
}

// -- checks
// What a call works on, once it was checked, with the options' defaults filled in
typedef struct fr__choosing {
  const fr_policy *policy;       // NULL: forks one after the other
  fr_work *work;
  const fr_question *questions;
  fr_int count;
  fr_rollouts *rollouts;
  fr_gfpo_options o;
} fr__choosing;

static fr_status fr__policy_check(const fr_policy *policy, fr_work *work, const fr_gfpo_options *o)
{
  fr_status status = fr__pair(policy->model, work);
  if (!status && policy->chooser) status = fr__chooser_check(policy->chooser, work, 0.0f);
  if (status || !policy->chooser) return status;
  if (policy->chooser->forks != o->fork_count || policy->chooser->dim != work->config.dim)
    return fr__fail(&work->reason, FR_INVALID, "the chooser is for %d forks and dim %d, not %d and %d",
                    policy->chooser->forks, policy->chooser->dim, o->fork_count, work->config.dim);
  if (o->credit == FR_GRPO)
    return fr__fail(&work->reason, FR_INVALID, "a chooser has no tokens to train; FR_GRPO needs a model as the policy");
  return FR_OK;
}

static fr_status fr__trainable(const fr__choosing *c, float lr)
{
  const fr_policy *policy = c->policy;
  fr_status status = policy->chooser ? fr__chooser_check(policy->chooser, c->work, lr)
                                     : fr__trains(policy->model, policy->adamw, c->work, lr);
  if (status || !(c->o.kl > 0.0f)) return status;
  if (!policy->start) return fr__fail(&c->work->reason, FR_INVALID, "kl is set, but the policy has no start");
  return fr__pair(policy->start, c->work);
}

// -- rollouts
FR__SELDOM fr_status fr__rollouts_layout(fr__arena *arena, fr_rollouts *r, int tokens)
{
  const fr_int Q = r->questions, integer = (fr_int)sizeof(fr_int), D = (fr_int)sizeof(double);
  fr_int rollouts, cells, texts, targets;
  if (!fr__mul(Q, r->group, &rollouts) || !fr__mul(Q, r->forks, &cells) || !fr__mul(rollouts, r->max_tokens, &texts) ||
      !fr__mul(Q, r->fork_tokens, &targets) || !fr__add(targets, texts, &targets))
    return FR_OVERFLOW;
  r->leaves = (fr_leaf *)fr__take(arena, rollouts, (fr_int)sizeof(fr_leaf));
  r->fork = (fr_int *)fr__take(arena, rollouts, integer);
  r->reward = (double *)fr__take(arena, rollouts, D);
  r->advantage = (double *)fr__take(arena, rollouts, D);
  r->logp = (double *)fr__take(arena, cells, D);
  r->logp_old = (double *)fr__take(arena, rollouts, D);
  r->logp_start = (double *)fr__take(arena, cells, D);
  r->fork_count = (fr_int *)fr__take(arena, r->forks, integer);
  r->fork_reward = (double *)fr__take(arena, r->forks, D);
  r->weight = (double *)fr__take(arena, rollouts, D);
  r->slope = (double *)fr__take(arena, r->forks, D);
  r->tokens = (fr_token *)fr__take(arena, texts, (fr_int)sizeof(fr_token));
  if (!tokens) return FR_OK;
  r->token_logp = (double *)fr__take(arena, texts, D);
  r->token_now = (double *)fr__take(arena, targets, D);
  r->token_start = (double *)fr__take(arena, targets, D);
  return FR_OK;
}

FR__SELDOM fr_status fr__rollouts_prepare(fr_rollouts *r, const fr_gfpo_options *o, fr_int questions)
{
  memset(r, 0, sizeof *r);
  if (!o || !o->forks || o->fork_count < 1 || o->group < 1 || o->sampling.max_tokens < 1 || questions < 1) return FR_INVALID;
  r->questions = questions;
  r->group = o->group;
  r->forks = o->fork_count;
  r->max_tokens = o->sampling.max_tokens;
  for (fr_int i = 0; i < o->fork_count; i++) {
    if (o->forks[i].count < 1) return FR_INVALID;
    if (!fr__add(r->fork_tokens, o->forks[i].count, &r->fork_tokens)) return FR_OVERFLOW;
  }
  return FR_OK;
}

FR__SELDOM fr_status fr__rollouts_check(const fr_rollouts *r, fr_work *work, const fr_gfpo_options *o, fr_int count)
{
  fr_rollouts want;
  if (!r || !r->leaves || !r->tokens) return fr__fail(&work->reason, FR_INVALID, "the rollouts are NULL or not placed");
  if (count > r->questions) return fr__fail(&work->reason, FR_LIMIT, "%d questions, and room for %d", count, r->questions);
  if (fr__rollouts_prepare(&want, o, count) || want.group != r->group || want.forks != r->forks || want.max_tokens != r->max_tokens)
    return fr__fail(&work->reason, FR_INVALID, "group %d, %d forks, max_tokens %d; the rollouts were placed for %d, %d, %d",
                    o->group, o->fork_count, o->sampling.max_tokens, r->group, r->forks, r->max_tokens);
  if (o->credit == FR_GRPO && (!r->token_logp || want.fork_tokens > r->fork_tokens))
    return fr__fail(&work->reason, FR_INVALID, "the rollouts were not placed for FR_GRPO with these forks");
  return FR_OK;
}

// Checks what the public calls have in common. `asked`: whether there must be a policy, and rollouts.
enum { FR__ASKS_POLICY = 1, FR__ASKS_ROLLOUTS = 2 };
FR__SELDOM fr_status fr__choosing_begin(fr__choosing *c, int asked, const fr_policy *policy, fr_work *work,
                                        const fr_gfpo_options *o, const fr_question *questions, fr_int count,
                                        fr_rollouts *rollouts)
{
  const char *wrong;
  fr_status status;
  if (!work || !work->body) return FR_INVALID;
  wrong = !o ? "the options are NULL"
        : !fr__among((int)o->credit, FR_GRPO) ? "credit is none of fr_credit"
        : !fr__among((int)o->softmax, FR_OVER_VOCABULARY) ? "softmax is none of fr_fork_softmax"
        : !fr__among((int)o->deviation, FR_STD_NONE) ? "deviation is none of fr_deviation"
        : !fr__among((int)o->reduction, FR_MEAN_TRACES) ? "reduction is none of fr_reduction"
        : !fr__weight(o->eps) || !fr__weight(o->entropy) || !fr__weight(o->kl) || !fr__weight(o->fork_weight) ||
          !fr__weight(o->clip_low) || !fr__weight(o->clip_high)
          ? "eps, clip_low, clip_high, entropy, kl and fork_weight must be finite and not negative"
        : o->updates < 0 ? "updates is negative" : NULL;
  if (wrong) return fr__fail(&work->reason, FR_INVALID, "%s", wrong);
  status = fr__forks_check(work, o->forks, o->fork_count);
  if (status) return status;
  if (count < 1 || !questions) return fr__fail(&work->reason, FR_INVALID, "%d questions, or at no address", count);
  if (asked & FR__ASKS_POLICY && !policy) return fr__fail(&work->reason, FR_INVALID, "the policy is NULL");
  for (fr_int n = 0; !status && n < count; n++) status = fr__tokens_check(work, &questions[n].prompt, "question", n, "prompt", 0);
  if (!status && policy) status = fr__policy_check(policy, work, o);
  if (!status && asked & FR__ASKS_ROLLOUTS) status = fr__rollouts_check(rollouts, work, o, count);
  if (!status) {
    const fr__choosing checked = { policy, work, questions, count, rollouts, fr__gfpo_resolved(o, policy) };
    *c = checked;
  }
  return status;
}

FR_DEF fr_status fr_rollouts_place(fr_rollouts *rollouts, const fr_gfpo_options *options, fr_int questions, void *memory,
                                   fr_int bytes, fr_int *needed)
{
  fr__arena arena = { NULL, 0, 0 };
  fr_rollouts r;
  fr_int size;
  fr_status status = fr__rollouts_prepare(&r, options, questions);
  if (!status && memory && !rollouts) status = FR_INVALID;
  if (!status) status = fr__rollouts_layout(&arena, &r, options->credit == FR_GRPO);
  size = arena.used;
  if (!status) status = fr__arena_open(&arena, memory, bytes, needed, NULL);
  if (status || !memory) return status;
  memset(arena.base, 0, (size_t)size);
  status = fr__rollouts_layout(&arena, &r, options->credit == FR_GRPO);
  *rollouts = r;
  return status;
}

FR_DEF fr_status fr_gfpo_limits(const fr_gfpo_options *options, fr_int prompt, fr_int questions, fr_limits *limits)
{
  const fr_question question = { { NULL, prompt }, NULL, 0, 0, NULL, NULL, NULL };
  fr_limits need = fr__forest_limits(&fr__empty, 0);
  fr_rollouts r;
  fr_gfpo_options o;
  fr_status status = fr__rollouts_prepare(&r, options, questions);
  if (!status && (prompt < 1 || !limits)) status = FR_INVALID;
  if (status) return status;
  o = fr__gfpo_resolved(options, NULL);
  o.group = 1;
  for (int texts = FR__NO_TEXTS; texts <= (o.credit == FR_GRPO ? FR__TRAINED : FR__WRITTEN); texts++) {
    const fr__plan plan = fr__choice_plan(&o, NULL, texts, texts == FR__WRITTEN ? FR__ROWS : FR__ROWS | FR__GRAD_ROWS);
    fr__forest f = fr__empty;
    f.times = texts == FR__TRAINED ? 1 : questions;  // one question with its whole group
    f.alike = r.group;
    fr__build_choice(&f, &plan, &question, 0);
    need = fr_limits_max(need, fr__forest_limits(&f, plan.bound));
  }
  return fr__give_limits(&need, limits);
}

FR_DEF fr_status fr_advantages(const double *reward, fr_int count, fr_deviation deviation, double eps, double *advantage,
                               double *std)
{
  double mean = 0.0, sum = 0.0, scale = 1.0;
  int equal = 1;
  if (!reward || !advantage || count < 1 || !fr__among((int)deviation, FR_STD_NONE) || !(eps >= 0.0))
    return FR_INVALID;
  for (fr_int g = 0; g < count; g++) {
    mean += reward[g] / (double)count;
    if (reward[g] != reward[0]) equal = 0;  // the mean of equal rewards may round to another number
  }
  for (fr_int g = 0; g < count && !equal; g++) sum += (reward[g] - mean) * (reward[g] - mean);
  if (!fr__finite(sum) || !fr__finite(mean)) return FR_NONFINITE;
  sum = equal || deviation == FR_STD_NONE ? 0.0 : sqrt(sum / (double)(count - (deviation == FR_STD_SAMPLE)));
  if (deviation != FR_STD_NONE && !equal) scale = 1.0 / (sum + eps);
  if (!fr__finite(scale)) return FR_NONFINITE;
  for (fr_int g = 0; g < count; g++) advantage[g] = equal ? 0.0 : (reward[g] - mean) * scale;  // eq:advantage
  if (std) *std = sum;
  return FR_OK;
}

FR_DEF fr_int fr_policy_pick(const double *logp, fr_int count, fr_random *random)
{
  fr_int best = 0, last = 0;
  double mass = 0.0, draw;
  if (!logp || count < 1) return -1;
  for (fr_int i = 0; i < count; i++) {
    if (logp[i] != logp[i]) return -1;
    if (logp[i] > logp[best]) best = i;
  }
  if (!fr__finite(logp[best])) return -1;
  if (!random) return best;
  for (fr_int i = 0; i < count; i++) mass += exp(logp[i] - logp[best]);
  draw = (double)fr_random_uniform(random) * mass;
  for (fr_int i = 0; i < count; i++) {
    const double odds = exp(logp[i] - logp[best]);
    if (odds > 0.0) last = i;  // rounding must not lead past the last possible fork
    if ((draw -= odds) < 0.0) return i;
  }
  return last;
}

// What the policy runs; if it is trained on FR_GRPO's credit, with the rollouts under the forks.
static fr__plan fr__policy_plan(const fr__choosing *c, fr_rollouts *rollouts, int trained)
{
  const int texts = trained && c->o.credit == FR_GRPO ? FR__TRAINED : FR__NO_TEXTS;
  return fr__choice_plan(&c->o, rollouts, texts, trained && !c->policy->chooser ? FR__ROWS | FR__GRAD_ROWS : FR__ROWS);
}

// Runs a forest of the questions first .. next-1 and sets their log pi: by the chooser, or from the sums of the forks' targets.
FR__APART fr_status fr__score(const fr__choosing *c, const fr__forest *f, const fr_model *model, const fr_chooser *chooser,
                              fr__phase phase, fr_int first, fr_int next, double *logp)
{
  const fr_sum *sums = c->work->body->sums;
  const fr_int N = c->o.fork_count, spans = f->spans / (next - first);
  fr_status status = fr__run_forest(f, model, NULL, phase);
  if (status) return status;
  for (fr_int n = first; n < next; n++, logp += N) {
    double peak = -HUGE_VAL, sum = 0.0;
    if (chooser) {  // no texts stand under the forks, so that questions have equally many spans
      status = fr__chooser_features(chooser, model, c->work, (n - first) * spans);
      if (status) return status;
      fr__chooser_scores(chooser, logp);
    } else for (fr_int i = 0; i < N; i++, sums++) logp[i] = -sums->nll;  // eq:score
    for (fr_int i = 0; i < N; i++) if (logp[i] > peak) peak = logp[i];
    for (fr_int i = 0; i < N; i++) sum += exp(logp[i] - peak);
    for (fr_int i = 0; i < N; i++)
      if (!fr__finite(logp[i]))
        return fr__fail(&c->work->reason, FR_NONFINITE, "question %d: the log-probability of fork %d is not finite", n, i);
    for (fr_int i = 0; c->o.softmax == FR_OVER_FORKS && i < N; i++) logp[i] -= peak + log(sum);  // eq:policy
  }
  return FR_OK;
}

static fr_status fr__policy_logp(const fr__choosing *c, double *logp)
{
  const fr__plan plan = fr__policy_plan(c, NULL, 0);
  const fr_policy *p = c->policy;
  fr_status status = fr__each_fits(c->work, &plan, c->questions, c->count);
  for (fr_int n = 0, next = 0; !status && n < c->count; n = next) {
    const fr__forest f = fr__fill(c->work, &plan, c->questions, c->count, &next);
    status = fr__score(c, &f, p->model, p->chooser, FR__PLAIN, n, next, logp + n * c->o.fork_count);
  }
  return status;
}

FR_DEF fr_status fr_policy_logp(const fr_policy *policy, fr_work *work, const fr_gfpo_options *options,
                                const fr_question *questions, fr_int count, double *logp)
{
  fr__choosing c;
  fr_status status = fr__choosing_begin(&c, FR__ASKS_POLICY, policy, work, options, questions, count, NULL);
  if (!status && !logp) status = fr__fail(&work->reason, FR_INVALID, "logp is NULL");
  if (!status) status = fr__policy_logp(&c, logp);
  return status ? status : fr__fine(&work->reason);
}

static double fr__entropy(const double *logp, fr_int count)
{
  double sum = 0.0;
  for (fr_int i = 0; i < count; i++) sum -= exp(logp[i]) * logp[i];  // eq:entropy
  return sum;
}

// Draws forks, lets the writer finish them, and judges the texts. What is run must fit: the policy, with gradient if it is
// `trained`, and the writing of the longest texts.
FR__APART fr_status fr__rollout(const fr__choosing *c, const fr_model *writer, int trained, fr_gfpo_report *report)
{
  const fr_policy *policy = c->policy;
  const fr_gfpo_options *o = &c->o;
  const fr_int N = o->fork_count, G = o->group, count = c->count;
  fr_work *work = c->work;
  fr_rollouts *r = c->rollouts;
  const fr__plan choice = fr__policy_plan(c, NULL, trained), longest = fr__choice_plan(o, NULL, FR__WRITTEN, FR__ROWS),
                 drawn = fr__choice_plan(o, r, FR__WRITTEN, FR__ROWS);
  fr_gfpo_report sum;
  fr_int moved = 0;  // questions with an advantage
  fr_status status = FR_OK;
  if (!o->reward) return fr__fail(&work->reason, FR_INVALID, "the options have no reward");
  if (policy) status = fr__each_fits(work, &choice, c->questions, count);
  if (!status) status = fr__each_fits(work, &longest, c->questions, count);
  if (status) return status;
  r->count = r->passes = 0;
  memset(&sum, 0, sizeof sum);
  for (fr_int i = 0; i < count * N; i++) r->logp[i] = -log((double)N);
  if (policy) status = fr__policy_logp(c, r->logp);
  for (fr_int n = 0; !status && n < count; n++) {
    const uint64_t stream = o->draw * (uint64_t)(G + 1);
    fr_random random = fr_random_stream(o->sampling.seed, c->questions[n].key, stream);
    for (fr_int g = 0; g < G; g++) {
      const fr_int at = n * G + g, fork = policy ? fr_policy_pick(r->logp + n * N, N, &random) : g % N;
      r->fork[at] = fork;
      r->logp_old[at] = r->logp[n * N + fork];
      r->leaves[at].question = c->questions[n].key;
      r->leaves[at].leaf = stream + 1 + (uint64_t)g;
      r->leaves[at].tokens = r->tokens + at * r->max_tokens;
    }
  }
  for (fr_int n = 0, next = 0; !status && n < count; n = next) {  // as many questions at a time as the limits allow
    const fr__forest f = fr__fill(work, &drawn, c->questions, count, &next);
    const fr_tree tree = { work->body->spans, f.spans, NULL, 0 };
    status = fr_generate(writer, work, &tree, &o->sampling, r->leaves + n * G, (next - n) * G);
  }
  if (status) return status;
  for (fr_int i = 0; i < N; i++) { r->fork_count[i] = 0; r->fork_reward[i] = 0.0; }
  for (fr_int n = 0; n < count; n++) {
    for (fr_int g = 0; g < G; g++) {
      const fr_int at = n * G + g;
      const fr_leaf *leaf = &r->leaves[at];
      const int written = fr__finite(leaf->logp);
      if (written) r->fork_reward[r->fork[at]] += r->reward[at] = o->reward(o->user, n, r->fork[at], leaf);
      if (!written || !fr__finite(r->fork_reward[r->fork[at]]))
        return fr__fail(&work->reason, FR_NONFINITE, "question %d, rollout %d: the %s is not finite", n, g,
                        !written ? "writer's log-probability" : fr__finite(r->reward[at]) ? "fork's sum of rewards" : "reward");
      r->fork_count[r->fork[at]]++;
      sum.reward += r->reward[at] / (double)(count * G);
      sum.tokens += fr__scored(leaf);
      sum.unfinished += leaf->stop < 0;
    }
    if (fr_advantages(r->reward + n * G, G, o->deviation, (double)o->eps, r->advantage + n * G, NULL))
      return fr__fail(&work->reason, FR_NONFINITE, "question %d: the rewards are too far apart to be normalised", n);
    sum.entropy += fr__entropy(r->logp + n * N, N) / (double)count;
    for (fr_int g = 0; g < G; g++) if (r->advantage[n * G + g] != 0.0) { moved++; break; }
  }
  for (fr_int i = 0; i < N; i++) if (r->fork_count[i]) r->fork_reward[i] /= (double)r->fork_count[i];
  r->count = sum.questions = count;
  sum.rollouts = count * G;
  sum.frac_zero_std = (double)(count - moved) / (double)count;
  if (report) *report = sum;
  return fr__fine(&work->reason);
}

FR_DEF fr_status fr_gfpo_rollout(const fr_policy *policy, const fr_model *writer, fr_work *work, const fr_gfpo_options *options,
                                 const fr_question *questions, fr_int count, fr_rollouts *rollouts, fr_gfpo_report *report)
{
  fr__choosing c;
  fr_status status = fr__pair(writer, work);
  if (!status) status = fr__choosing_begin(&c, FR__ASKS_ROLLOUTS, policy, work, options, questions, count, rollouts);
  return status ? status : fr__rollout(&c, writer, 0, report);
}

// -- the loss
typedef struct fr__tally { double loss, entropy, kl; fr_int terms, clipped; } fr__tally;

// exp(d) of a difference of log-probabilities, d <= 20: one token that the model has all but lost would make the gradient, its
// square in AdamW, or the loss infinite, and every step would be skipped. e^20 already outweighs all other tokens.
static double fr__ratio(double d) { return exp(d > 20.0 ? 20.0 : d); }

// A term of a fork or of a token, and *slope, its derivative by `now`
static double fr__clipped(const fr_gfpo_options *o, double now, double old, double advantage, fr__tally *tally, double *slope)
{
  const double bound = advantage > 0.0 ? 1.0 + (double)o->clip_high : 1.0 - (double)o->clip_low;
  const double ratio = fr__ratio(now - old);  // eq:ratio
  const int cut = advantage > 0.0 ? ratio > bound : ratio < bound;
  *slope = 0.0;
  if (advantage == 0.0) return 0.0;  // whatever the ratio, an infinite one included
  tally->terms++;
  tally->clipped += cut;
  if (!cut) *slope = -ratio * advantage;  // eq:slope
  return -advantage * (cut ? bound : ratio);  // eq:clip
}

// The forks' part of the loss of question n, added to the tally, and r->slope[N] = dL/ds, from logp[N] = log pi
FR__APART void fr__choice_loss(const fr_gfpo_options *o, fr_rollouts *r, fr_int n, const double *logp, fr__tally *tally)
{
  const fr_int N = o->fork_count, first = n * o->group;
  const double entropy = fr__entropy(logp, N), *start = o->kl > 0.0f ? r->logp_start + n * N : NULL;
  double *ds = r->slope, all = 0.0, sum = 0.0, kl = 0.0;
  for (fr_int i = 0; i < N; i++) ds[i] = 0.0;
  if (N < 2) return;  // nothing to choose
  for (fr_int at = first; at < first + o->group; at++) {
    const double c = r->weight[at] * (double)o->fork_weight;
    const fr_int i = r->fork[at];
    double slope;
    all += c;
    tally->loss += c * fr__clipped(o, logp[i], r->logp_old[at], r->advantage[at], tally, &slope);
    ds[i] += c * slope;
  }
  for (fr_int i = 0; i < N; i++) {
    const double pi = exp(logp[i]), above = start ? logp[i] - start[i] : 0.0;
    kl += pi * above;  // eq:kl
    ds[i] += all * pi * (double)o->entropy * (logp[i] + 1.0);
    if (start) ds[i] += all * pi * (double)o->kl * (above + 1.0);
    sum += ds[i];
  }
  for (fr_int i = 0; o->softmax == FR_OVER_FORKS && i < N; i++) ds[i] -= exp(logp[i]) * sum;  // eq:choice-gradient
  tally->loss += all * ((double)o->kl * kl - (double)o->entropy * entropy);  // eq:gfpo
  tally->entropy += entropy;
  tally->kl += all * kl;
}

// What each of a rollout's terms weighs, so that all terms of all questions weigh 1 together.
FR__SELDOM void fr__term_weights(const fr_gfpo_options *o, fr_rollouts *r)
{
  const fr_int G = o->group;
  const double choice = o->fork_count > 1 ? (double)o->fork_weight : 0.0;
  for (fr_int first = 0; first < r->count * G; first += G) {
    double terms = 0.0;
    for (fr_int at = first; at < first + G; at++) terms += (double)fr__scored(&r->leaves[at]) + choice;
    for (fr_int at = first; at < first + G; at++) {
      const double own = (double)fr__scored(&r->leaves[at]) + choice;
      const double among = o->credit == FR_GFPO ? (double)G : o->reduction == FR_MEAN_TOKENS ? terms : (double)G * own;
      r->weight[at] = 1.0 / (among * (double)r->count);  // eq:term-weight
    }
  }
}

// log p of every target of the forest that was just run, in the order in which they were listed
static void fr__target_logp(const struct fr__body *b, fr_int count, double *logp)
{
  for (fr_int i = 0; i < count; i++) logp[b->goal_source[i]] = -b->goals[i].nll;
}

// The weights -dL/dlog p of one question's targets, from target `at` on, as fr__build_choice listed them; returns the next.
FR__APART fr_int fr__target_weights(fr_target *targets, const fr__plan *plan, fr_int n, fr_int at, fr__tally *tally)
{
  const fr_gfpo_options *o = plan->gfpo;
  const fr_rollouts *r = plan->rollouts;
  for (fr_int i = 0; i < o->fork_count; i++) {
    for (fr_int t = 0; t < o->forks[i].count; t++) targets[at++].weight = (float)-r->slope[i];
    for (fr_int k = n * o->group; plan->texts && k < (n + 1) * o->group; k++) {
      double *old = r->token_logp + k * r->max_tokens, slope;
      if (!fr__under(plan, i, k)) continue;
      for (fr_int t = 0; t < fr__scored(&r->leaves[k]); t++, at++) {
        const double now = r->token_now[at], weight = r->weight[k];
        double loss;
        if (r->passes == 0) old[t] = now;
        loss = fr__clipped(o, now, old[t], r->advantage[k], tally, &slope);
        if (o->kl > 0.0f) {
          const double d = r->token_start[at] - now, kl = fr__ratio(d) - d - 1.0;
          tally->kl += weight * kl;
          loss += (double)o->kl * kl;  // eq:grpo
          slope += (double)o->kl * (1.0 - fr__ratio(d));
        }
        tally->loss += weight * loss;
        targets[at].weight = (float)(-weight * slope);
      }
    }
  }
  return at;
}

FR__APART fr_status fr__gfpo_gradient(const fr__choosing *c, fr_gfpo_report *report)
{
  const fr_policy *policy = c->policy;
  fr_rollouts *r = c->rollouts;
  const fr__plan plan = fr__policy_plan(c, r, 1);
  fr_work *work = c->work;
  struct fr__body *b = work->body;
  const fr_int N = c->o.fork_count;
  fr__tally tally;
  fr_int rows = 0;
  fr_status status = fr__each_fits(work, &plan, c->questions, r->count);
  if (status) return status;
  memset(&tally, 0, sizeof tally);
  fr__term_weights(&c->o, r);
  for (fr_int n = 0, next = 0; n < r->count; n = next) {
    const fr__forest f = fr__fill(work, &plan, c->questions, r->count, &next);
    fr_int at = 0;
    if (c->o.kl > 0.0f) {
      status = fr__score(c, &f, policy->start, NULL, FR__PLAIN, n, next, r->logp_start + n * N);
      if (!status && plan.texts) fr__target_logp(b, f.targets, r->token_start);
    }
    if (!status)
      status = fr__score(c, &f, policy->model, policy->chooser, policy->chooser ? FR__PLAIN : FR__KEEP, n, next, b->cost);
    if (status) return status;
    if (plan.texts) fr__target_logp(b, f.targets, r->token_now);
    for (fr_int q = n; q < next; q++) {
      fr__choice_loss(&c->o, r, q, b->cost + (q - n) * N, &tally);
      if (!policy->chooser) at = fr__target_weights(b->targets, &plan, q, at, &tally);
      else {
        status = fr__chooser_features(policy->chooser, policy->model, work, (q - n) * (f.spans / (next - n)));
        if (status) return status;
        fr__chooser_back(policy->chooser, work, r->slope);
      }
    }
    if (policy->chooser) continue;
    status = fr__run_forest(&f, policy->model, policy->adamw->grads, FR__BACK);
    if (status) return status;
    rows += f.rows;
  }
  r->passes++;
  if (report) {
    report->loss = tally.loss;
    report->entropy = tally.entropy / (double)r->count;
    report->kl = tally.kl;
    report->clip_fraction = tally.terms ? (double)tally.clipped / (double)tally.terms : 0.0;
    report->rows = rows;
  }
  return fr__fine(&work->reason);
}

FR_DEF fr_status fr_gfpo_backward(const fr_policy *policy, fr_work *work, const fr_gfpo_options *o, const fr_question *questions,
                                  fr_rollouts *rollouts, fr_gfpo_report *report)
{
  fr__choosing c;
  fr_status status;
  if (!work || !work->body) return FR_INVALID;
  if (!rollouts || rollouts->count < 1) return fr__fail(&work->reason, FR_INVALID, "there are no rollouts to learn from");
  status = fr__choosing_begin(&c, FR__ASKS_POLICY | FR__ASKS_ROLLOUTS, policy, work, o, questions, rollouts->count, rollouts);
  if (!status) status = fr__trainable(&c, 0.0f);
  return status ? status : fr__gfpo_gradient(&c, report);
}

FR_DEF fr_status fr_gfpo_step(const fr_policy *policy, const fr_model *writer, fr_work *work, const fr_gfpo_options *options,
                              const fr_question *questions, fr_int count, fr_rollouts *rollouts, float lr, fr_gfpo_report *report)
{
  fr__choosing c;
  fr_gfpo_report sum;
  fr_int rows = 0;
  fr_status status = fr__pair(writer, work);
  if (!status) status = fr__choosing_begin(&c, FR__ASKS_POLICY, policy, work, options, questions, count, rollouts);
  if (!status) status = fr__trainable(&c, lr);
  if (status) return status;
  if (c.o.group < 2) return fr__fail(&work->reason, FR_INVALID, "a group of %d has no advantage to learn from", c.o.group);
  if (c.o.credit == FR_GFPO && c.o.fork_count < 2)
    return fr__fail(&work->reason, FR_INVALID, "one fork leaves FR_GFPO nothing to choose");
  status = fr__rollouts_check(rollouts, work, options, count);
  if (!status) status = fr__rollout(&c, writer, 1, &sum);
  if (status) return status;
  if (!(c.o.kl > 0.0f) && !(c.o.entropy > 0.0f && c.o.fork_count > 1) && sum.frac_zero_std >= 1.0) c.o.updates = 0;
  for (fr_int u = 0; u < c.o.updates; u++) {
    status = fr__gfpo_gradient(&c, &sum);
    if (status) {
      if (policy->chooser) fr__cpu_zero(NULL, work, NULL, &policy->chooser->adamw);
      else work->backend->zero(work->backend->self, work, policy->model, policy->adamw);
      return status;
    }
    rows += sum.rows;
    status = policy->chooser ? fr_chooser_step(policy->chooser, work, sum.loss, lr, &sum.norm)
                             : fr_adamw_step(policy->adamw, policy->model, work, sum.loss, lr, &sum.norm);
    if (status == FR_NONFINITE) { sum.skipped = 1; break; }
    if (status) return status;
  }
  sum.rows = rows;
  if (report) *report = sum;
  return FR_OK;  // work->reason says why an update was skipped
}

// ==== That is the method. What follows is built around it, reads and writes files, or makes it fast. ====

// ---- >>weights ---------------------------------------------------------------------------------------
// Weights that lie elsewhere, rows for forks, and copies on a backend.
FR__SELDOM fr_status fr__view_check(const fr_view *view, const char *name, fr_int layer, fr_int rows, fr_int cols,
                                    fr_reason *reason)
{
  const int known = view->type == FR_FLOAT32 || view->type == FR_BFLOAT16;
  const fr_int size = known ? fr__type_bytes(view->type) : 1;
  fr_int bytes;
  if (!view->at) return fr__fail(reason, FR_INVALID, "layer %d: view '%s' has no address", layer, name);
  if (!known) return fr__fail(reason, FR_UNSUPPORTED, "layer %d: view '%s' has type %d", layer, name, (fr_int)view->type);
  if (view->rows != rows) return fr__fail(reason, FR_INVALID, "layer %d: view '%s' has %d rows, not %d", layer, name, view->rows, rows);
  if (view->step < cols * size || view->step % size || (uintptr_t)view->at % (uintptr_t)size || !fr__mul(rows, view->step, &bytes))
    return fr__fail(reason, FR_INVALID, "layer %d: view '%s' is not aligned, or its step of %d bytes does not suit a row of %d", layer,
                    name, view->step, cols);
  return FR_OK;
}

FR__SELDOM fr_status fr__views_check(const fr_views *v, const fr_config *c, fr_reason *reason)
{
  const fr_int C = c->dim, HD = c->heads * c->head_dim, KD = c->kv_heads * c->head_dim, F = c->ffn;
  fr_status status = FR_OK;
  if (v->embedding.rows < 0 || v->embedding.rows > c->vocab || v->head.rows < 0 || v->head.rows > c->vocab || (c->tied && v->head.at))
    return fr__fail(reason, FR_INVALID, "embedding or head: more rows than the vocabulary of %d, or a head where it is tied", c->vocab);
  if (v->embedding.at || v->embedding.rows) status = fr__view_check(&v->embedding, "embedding", 0, v->embedding.rows, C, reason);
  if (!status && (v->head.at || v->head.rows)) status = fr__view_check(&v->head, "head", 0, v->head.rows, C, reason);
  for (fr_int l = 0; !status && v->layers && l < c->layers; l++) {
    const fr_layer_views *w = &v->layers[l];
    const fr_view *const views[] = { &w->q, &w->k, &w->v, &w->out, &w->gate, &w->up, &w->down };
    const char *const names[] = { "q", "k", "v", "out", "gate", "up", "down" };
    const fr_int rows[] = { HD, KD, KD, C, F, F, C }, cols[] = { C, C, C, HD, C, C, F };
    for (int i = 0; !status && i < 7; i++) status = fr__view_check(views[i], names[i], l, rows[i], cols[i], reason);
  }
  return status;
}

FR_DEF fr_status fr_model_place_views(fr_model *model, const fr_config *config, const fr_views *views, void *memory,
                                      fr_int bytes, fr_int *needed, fr_reason *reason)
{
  fr_config resolved;
  fr_status status = fr_config_check(config, &resolved, reason);
  if (!status && views) status = fr__views_check(views, &resolved, reason);
  return status ? status : fr__model_place(model, &resolved, views, memory, bytes, needed, reason);
}

static float fr__element(const fr_view *view, fr_int row, fr_int col)
{
  const char *at = (const char *)view->at + row * view->step;
  float x;
  if (view->type == FR_FLOAT32) return ((const float *)(const void *)at)[col];
  fr__widen_scalar(&x, (const uint16_t *)(const void *)at + col, 1);
  return x;
}

FR_DEF fr_status fr_model_set_rows(fr_model *model, fr_int first, fr_int count, int around_mean, float std, uint64_t seed)
{
  const fr_config *c;
  fr__params p;
  fr_view piece[2];
  if (!model || !model->params || model->stale) return FR_INVALID;
  c = &model->config;
  p = fr__bind(model, model->params, 0);
  if (first < 0 || count < 0 || first > c->vocab || count > c->vocab - first) return FR_RANGE;
  if (!(std >= 0.0f) || !fr__finite((double)std)) return FR_INVALID;
  for (int which = 0; count && which < (c->tied ? 1 : 2); which++)  // rows of a view are only looked at
    if (first < fr__table(model, &p, which, piece)) return FR_UNSUPPORTED;
  for (int which = 0; count && which < (c->tied ? 1 : 2); which++) {
    const fr_int held = fr__table(model, &p, which, piece);
    float *rows = (which ? p.head : p.tok_emb) + (first - held) * c->dim;
    fr_random random = fr_random_stream(seed, (uint64_t)which, 0);
    for (fr_int j = 0; j < c->dim; j++) {
      double sum = 0.0;  // over all rows but these
      for (fr_int v = 0; around_mean && v < c->vocab; v++)
        if (v < first || v >= first + count) sum += (double)fr__element(&piece[v >= held], v < held ? v : v - held, j);
      for (fr_int v = 0; v < count; v++)
        rows[v * c->dim + j] = c->vocab > count ? (float)(sum / (double)(c->vocab - count)) : 0.0f;
    }
    for (fr_int i = 0; i < count * c->dim; i++) rows[i] += std * fr_random_normal(&random);
  }
  return FR_OK;
}

// The pieces, one below the other, of one copy of a tensor, wherever they lie; returns how many.
FR__SELDOM int fr__pieces(const fr_model *model, const fr__params *p, int tensor, fr_int layer, fr_view piece[3])
{
  const fr_layer_views *w = model->views ? model->views->layers : NULL;
  fr_tensor own;
  if (tensor == FR__AT_tok_emb || tensor == FR__AT_head) {
    fr__table(model, p, tensor == FR__AT_head, piece);
    return 2;
  }
  if (w && tensor == FR__AT_w_qkv) { piece[0] = w[layer].q; piece[1] = w[layer].k; piece[2] = w[layer].v; return 3; }
  if (w && tensor == FR__AT_w_out) { piece[0] = w[layer].out; return 1; }
  if (w && tensor == FR__AT_w_gate_up) { piece[0] = w[layer].gate; piece[1] = w[layer].up; return 2; }
  if (w && tensor == FR__AT_w_down) { piece[0] = w[layer].down; return 1; }
  if (fr_model_tensor(model, tensor, &own)) return 0;
  piece[0] = fr__floats_view(model->params + own.offset + layer * own.rows * own.cols, own.rows, own.cols);
  return 1;
}

FR_DEF fr_status fr_model_append_rows(fr_model *to, const fr_model *from)
{
  fr__tensor_row rows[FR__TENSORS];
  fr__params p;
  float *x;
  double vocab[2];
  const char *differs;
  if (!to || !from || !to->params || !from->params || to->params == from->params || to->stale || from->stale) return FR_INVALID;
  differs = fr__config_differs(&to->config, &from->config, vocab);
  if (differs && (strcmp(differs, "vocab") || vocab[0] < vocab[1])) return FR_CONFIG;
  if (to->views) return FR_UNSUPPORTED;
  fr__tensor_rows(rows, &to->config, NULL);
  p = fr__bind(from, from->params, 0);
  x = to->params;
  for (int i = 0; i < FR__TENSORS; x += fr__floats(&rows[i]), i++)
    for (fr_int copy = 0, row = 0; copy < rows[i].copies; copy++, row = 0) {
      fr_view piece[3];
      const int pieces = fr__pieces(from, &p, i, copy, piece);
      for (int k = 0; k < pieces; k++)
        for (fr_int r = 0; r < piece[k].rows; r++, row++)
          for (fr_int j = 0; j < rows[i].cols; j++)
            x[(copy * rows[i].rows + row) * rows[i].cols + j] = fr__element(&piece[k], r, j);
    }
  return fr_model_set_rows(to, from->config.vocab, to->config.vocab - from->config.vocab, 1, 0.0f, 0);
}

FR_DEF fr_status fr_work_attach(fr_work *work, const fr_model *model, const fr_adamw *adamw)
{
  const fr_status status = fr__pair(model, work);
  if (status || !work->limits.backend) return status;
  if (model->stale)  // the device's copy would be made anew from older values
    return fr__fail(&work->reason, FR_INVALID, "a backend holds newer parameters of this model; fr_work_download brings them");
  if (adamw && !fr__adamw_fits(adamw, fr__trained(model)))
    return fr__fail(&work->reason, FR_INVALID, "the optimiser was placed for another model");
  return work->backend->attach(work->backend->self, work, model, adamw);
}

FR_DEF fr_status fr_work_download(fr_work *work, fr_model *model, fr_adamw *adamw)
{
  fr_status status = fr__pair(model, work);
  if (status || !work->limits.backend) return status;
  if (adamw && !fr__adamw_fits(adamw, fr__trained(model)))
    return fr__fail(&work->reason, FR_INVALID, "the optimiser was placed for another model");
  status = work->backend->download(work->backend->self, work, model, adamw);
  if (!status) model->stale = 0;
  return status;
}

// ---- >>vote -------------------------------------------------------------------------------------------
FR__SELDOM fr_status fr__weight_check(double weight, fr_int answer, fr_reason *reason)
{
  if (!fr__finite(weight)) return fr__fail(reason, FR_NONFINITE, "the weight of answer %d is not finite", answer);
  if (weight < 0.0) return fr__fail(reason, FR_INVALID, "the weight of answer %d is negative", answer);
  return FR_OK;
}

// Without weights each answer counts 1, and the sums are exact.
FR_DEF fr_status fr_vote(fr_int count, fr_same same, void *user, const double *weight, fr_vote_result *result, fr_reason *reason)
{
  fr_vote_result r = { -1, 0, 0, 0, 0.0 };
  if (count < 0 || !same || !result) {  // a plain constant, for compilers that ask whether *result was set
    fr__fail(reason, FR_INVALID, "count is negative, or same or result is NULL");
    return FR_INVALID;
  }
  for (fr_int a = 0; weight && a < count; a++) {
    const fr_status status = fr__weight_check(weight[a], a, reason);
    if (status) return status;
  }
  for (fr_int a = 0; a < count; a++) {
    fr_int votes = 0, first = 0;
    double sum = 0.0;
    if (!same(user, a, a)) continue;
    r.valid++;
    while (first < a && !(same(user, first, first) && same(user, first, a))) first++;
    if (first < a) continue;  // counted with the first of its class
    for (fr_int b = a; b < count; b++) {
      if (b > a && !(same(user, b, b) && same(user, a, b))) continue;
      votes++;
      sum += weight ? weight[b] : 1.0;
    }
    if (!fr__finite(sum)) {
      fr__fail(reason, FR_NONFINITE, "the weights that agree with answer %d add up to infinity", a);
      return FR_NONFINITE;
    }
    r.distinct++;
    if (r.winner < 0 || sum > r.weight) { r.winner = a; r.votes = votes; r.weight = sum; }
  }
  *result = r;
  return fr__fine(reason);
}

FR_DEF double fr_leaf_confidence(const fr_leaf *leaf)
{
  const fr_int tokens = leaf ? leaf->count + (leaf->stop >= 0) : 0;
  if (tokens < 1) return 0.0;
  return leaf->logp > 0.0 ? 1.0 : exp(leaf->logp / (double)tokens);  // above 0 by rounding only
}

FR_DEF fr_status fr_poll_add(fr_poll *poll, fr_same same, void *user, double weight, fr_reason *reason)
{
  fr_vote_result r;
  fr_vote_class c = { 0, 0, 0.0 };
  fr_int at = 0;
  fr_status status;
  if (!poll || !same || poll->room < 0 || (poll->room && !poll->classes))
    return fr__fail(reason, FR_INVALID, "poll, same or the classes are NULL, or their room is negative");
  status = fr__weight_check(weight, poll->count, reason);
  if (status) return status;
  r = poll->result;
  if (r.distinct == 0) r.winner = -1;  // a poll begins zeroed
  if (same(user, poll->count, poll->count)) {
    while (at < r.distinct && !same(user, poll->classes[at].first, poll->count)) at++;
    if (at == poll->room)
      return fr__fail(reason, FR_LIMIT, "answer %d begins one class more than the %d there is room for", poll->count, at);
    if (at < r.distinct) c = poll->classes[at];
    else { c.first = poll->count; r.distinct++; }
    c.votes++;
    c.weight += weight;
    if (!fr__finite(c.weight))
      return fr__fail(reason, FR_NONFINITE, "the weights up to answer %d add up to infinity", poll->count);
    poll->classes[at] = c;
    r.valid++;
    if (r.winner < 0 || c.weight > r.weight || (c.weight == r.weight && c.first <= r.winner)) {
      r.winner = c.first; r.votes = c.votes; r.weight = c.weight;
    }
  }
  poll->result = r;
  poll->count++;
  return fr__fine(reason);
}

// The strongest rival gets all that is to come, at full weight: a class there is, or a new one, which loses a tie. Adding one by
// one rounds as the poll itself would, and rounding is monotone, so no other completion takes a rival further.
FR_DEF int fr_poll_decided(const fr_poll *poll, fr_int to_come, double most)
{
  if (!poll || (to_come > 0 && (poll->result.distinct == 0 || !(most >= 0.0)))) return 0;
  for (fr_int i = 0; i <= poll->result.distinct && to_come > 0; i++) {
    const int is_new = i == poll->result.distinct;
    const fr_int first = is_new ? poll->count : poll->classes[i].first;
    double sum = is_new ? 0.0 : poll->classes[i].weight;
    if (first == poll->result.winner) continue;
    for (fr_int n = 0; n < to_come && sum <= poll->result.weight && sum + most > sum; n++) sum += most;
    if (sum > poll->result.weight || (sum == poll->result.weight && first < poll->result.winner)) return 0;
  }
  return 1;
}

// 1 - C(n-c,k)/C(n,k) = 1 - prod_{i=n-c+1..n} (1 - k/i), without a factorial.
FR_DEF double fr_pass_at_k(fr_int n, fr_int c, fr_int k)
{
  double none = 1.0;
  if (n < 1 || c < 0 || c > n || k < 1 || k > n) return HUGE_VAL - HUGE_VAL;  // NaN
  if (n - c < k) return 1.0;
  for (fr_int i = n - c + 1; i <= n; i++) none *= 1.0 - (double)k / (double)i;
  return 1.0 - none;
}

// k < N by selection sampling: of N - f forks still ahead, `wanted` are to be taken, so each with chance wanted / (N - f).
FR_DEF fr_status fr_fork_spread(fr_int k, fr_int fork_count, fr_random *random, fr_int *fork)
{
  fr_int taken = 0;
  if (k < 0 || fork_count < 1 || (k && !fork) || (k && k < fork_count && !random)) return FR_INVALID;
  for (fr_int j = 0; k >= fork_count && j < k; j++) fork[j] = j % fork_count;
  for (fr_int f = 0; k < fork_count && taken < k; f++)
    if (fr_random_below(random, fork_count - f) < k - taken) fork[taken++] = f;
  return FR_OK;
}

// ---- >>answer -----------------------------------------------------------------------------------------
static int fr__is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static int fr__is_digit(char c) { return c >= '0' && c <= '9'; }
static int fr__is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static const char *fr__skip_blanks(const char *at, const char *end)
{
  while (at < end && fr__is_blank(*at)) at++;
  return at;
}

FR__SELDOM int fr__begins(const char *at, const char *end, const char *word)
{
  while (*word && at < end && *at == *word) { at++; word++; }
  return !*word;
}

// Which of these words stands at `at`, the first that does; -1 for none.
FR__SELDOM int fr__which(const char *at, const char *end, const char *const *words, int count)
{
  for (int i = 0; i < count; i++) if (fr__begins(at, end, words[i])) return i;
  return -1;
}

// Past white space and what TeX and Unicode have for it.
FR__SELDOM const char *fr__skip_spaces(const char *at, const char *end)
{
  static const char *const forms[9] = { "~", "\\,", "\\!", "\\;", "\\:", "\\ ", "\xE2\x80\x89", "\xE2\x80\xAF", "\xC2\xA0" };
  for (int form = 0; form >= 0;) {
    at = fr__skip_blanks(at, end);
    form = fr__which(at, end, forms, 9);
    if (form >= 0) at += strlen(forms[form]);
  }
  return at;
}

// How many bytes of a minus sign stand there: of ASCII or of typesetting (hyphen, en dash, minus, small, full width).
FR__SELDOM fr_int fr__minus(const char *at, const char *end)
{
  static const char *const forms[6] = { "-", "\xE2\x80\x90", "\xE2\x80\x93", "\xE2\x88\x92", "\xEF\xB9\xA3", "\xEF\xBC\x8D" };
  const int form = fr__which(at, end, forms, 6);
  return form < 0 ? 0 : form ? 3 : 1;
}

// The part of a text from `at` to `end`, without white space at its ends; no answer if nothing is left.
FR__SELDOM fr_text fr__answer_part(const char *at, const char *end)
{
  fr_text part = { NULL, 0 };
  at = fr__skip_blanks(at, end);
  while (at < end && fr__is_blank(end[-1])) end--;
  if (at < end) { part.bytes = at; part.count = end - at; }
  return part;
}

// A number is a fraction of two digit strings, most significant digit first, no leading zeros: so 0 has no digits. A string counts
// more digits than it holds if they did not fit.
typedef struct fr__digits {
  fr_int count;
  unsigned char digit[FR_ANSWER_DIGITS];
} fr__digits;
typedef struct fr__number {
  int negative;
  fr__digits top, bottom;
} fr__number;

static void fr__digit_push(fr__digits *d, int digit)
{
  if (d->count == 0 && digit == 0) return;
  if (d->count < FR_ANSWER_DIGITS) d->digit[d->count] = (unsigned char)digit;
  d->count++;
}

// Digit k of a product, k = 0 the units, before its carry: sum_{i+j=k} a_i b_j.
static fr_int fr__digit_product(const fr__digits *a, const fr__digits *b, fr_int k)
{
  fr_int sum = 0;
  for (fr_int i = fr__max(0, k - b->count + 1); i <= k && i < a->count; i++)
    sum += a->digit[a->count - 1 - i] * b->digit[b->count - 1 - (k - i)];
  return sum;
}

// The readers below return where the thing that begins at `at` ends, or NULL if there is none; a sign may be missing.
FR__SELDOM const char *fr__read_sign(const char *at, const char *end, int *negative)
{
  const fr_int minus = fr__minus(at, end);
  if (minus) *negative = !*negative;
  return at + (minus ? minus : fr__begins(at, end, "+"));
}

// What stands between groups of three digits: a comma, as TeX spells it too, or a thin or unbreakable space.
FR__SELDOM const char *fr__read_separator(const char *at, const char *end)
{
  static const char *const forms[7] = { ",\\!", ",", "{,}", "\\,", "\xE2\x80\x89", "\xE2\x80\xAF", "\xC2\xA0" };
  const int form = fr__which(at, end, forms, 7);
  if (form < 0) return NULL;
  at += strlen(forms[form]);
  return form ? at : fr__skip_blanks(at, end);
}

// 1234, 1,234 or 1\,234: groups of three digits behind one to three that do not begin with 0.
FR__SELDOM const char *fr__read_whole(const char *at, const char *end, fr__digits *d)
{
  const char *start = at;
  d->count = 0;
  while (at < end && fr__is_digit(*at)) fr__digit_push(d, *at++ - '0');
  if (at == start) return NULL;
  if (at - start > 3 || *start == '0') return at;
  for (;;) {
    const char *group = fr__read_separator(at, end), *next = group;
    while (group && next < end && fr__is_digit(*next)) next++;
    if (!group || next - group != 3) return at;
    for (; group < next; group++) fr__digit_push(d, *group - '0');
    at = next;
  }
}

// 12, 12.5 or .5
static const char *fr__read_decimal(const char *at, const char *end, fr__number *n)
{
  const char *whole = fr__read_whole(at, end, &n->top);
  n->negative = 0;
  n->bottom.count = 0;
  fr__digit_push(&n->bottom, 1);
  if (whole) at = whole;
  if (end - at < 2 || *at != '.' || !fr__is_digit(at[1])) return whole;
  for (at++; at < end && fr__is_digit(*at); at++) {
    fr__digit_push(&n->top, *at - '0');
    fr__digit_push(&n->bottom, 0);
  }
  return at;
}

// 3/4, 3 / 4, \frac{3}{4} (the parts may have signs) or \frac34.
FR__SELDOM const char *fr__read_fraction(const char *at, const char *end, fr__number *n)
{
  static const char *const names[4] = { "\\frac", "\\dfrac", "\\tfrac", "\\cfrac" };
  const int name = fr__which(at, end, names, 4);
  n->negative = 0;
  if (name >= 0) {
    at += strlen(names[name]);
    for (int part = 0; part < 2; part++) {
      fr__digits *d = part ? &n->bottom : &n->top;
      at = fr__skip_blanks(at, end);
      if (at < end && fr__is_digit(*at)) { d->count = 0; fr__digit_push(d, *at++ - '0'); continue; }
      if (!fr__begins(at, end, "{")) return NULL;
      at = fr__read_sign(fr__skip_blanks(at + 1, end), end, &n->negative);
      at = fr__read_whole(at, end, d);
      if (at) at = fr__skip_blanks(at, end);
      if (!at || !fr__begins(at, end, "}")) return NULL;
      at++;
    }
  } else {
    at = fr__read_whole(at, end, &n->top);
    if (at) at += fr__begins(at, end, " ");
    if (!at || !fr__begins(at, end, "/")) return NULL;
    at++;
    at = fr__read_whole(at + fr__begins(at, end, " "), end, &n->bottom);
  }
  return at && n->bottom.count ? at : NULL;
}

// W P/Q = (W Q + P) / Q
FR__SELDOM void fr__number_mix(const fr__digits *whole, fr__number *n)
{
  unsigned char sum[FR_ANSWER_DIGITS + 2];  // room for leading zeros
  const fr_int digits = fr__max(whole->count + n->bottom.count, n->top.count) + 1;
  fr_int carry = 0;
  if (whole->count > FR_ANSWER_DIGITS || n->top.count > FR_ANSWER_DIGITS || digits > FR_ANSWER_DIGITS + 2) {
    n->top.count = FR_ANSWER_DIGITS + 1;
    return;
  }
  for (fr_int k = 0; k < digits; k++) {
    carry += fr__digit_product(whole, &n->bottom, k) + (k < n->top.count ? n->top.digit[n->top.count - 1 - k] : 0);
    sum[digits - 1 - k] = (unsigned char)(carry % 10);
    carry /= 10;
  }
  n->top.count = 0;
  for (fr_int k = 0; k < digits; k++) fr__digit_push(&n->top, sum[k]);
}

// Sign and dollar in any order, then a fraction, a whole number with a fraction, or a decimal.
FR__SELDOM const char *fr__read_number(const char *at, const char *end, fr__number *n)
{
  int negative = 0;
  fr__digits whole;
  const char *const start = at, *next;
  at = fr__read_sign(at, end, &negative);
  next = at + (fr__begins(at, end, "\\$") ? 2 : fr__begins(at, end, "$"));
  at = at == start ? fr__read_sign(next, end, &negative) : next;
  next = fr__read_fraction(at, end, n);
  if (!next) {
    next = fr__read_whole(at, end, &whole);
    next = next ? fr__read_fraction(next + fr__begins(next, end, " "), end, n) : NULL;
    if (next && !n->negative) fr__number_mix(&whole, n);
    else next = fr__read_decimal(at, end, n);
  }
  n->negative ^= negative;
  return next;
}

// Behind the '}' that closes a group whose inside begins at `at`; NULL if none does. Backslashes escape.
FR__SELDOM const char *fr__read_group(const char *at, const char *end)
{
  for (fr_int depth = 1; at < end; at++) {
    if (*at == '\\') at += at + 1 < end;
    else if ((depth += (*at == '{') - (*at == '}')) == 0) return at + 1;
  }
  return NULL;
}

// Does a formula whose beginning ends at `at` go on there? So 2 is not the answer of 2^3, nor \pi that of \pi r.
FR__SELDOM int fr__goes_on(const char *at, const char *end)
{
  static const char *const ends[] = { "\\text", "\\mathrm", "\\mbox", "\\quad", "\\qquad", "\\end", "\\square", "\\blacksquare",
                                      "^\\circ", "^{\\circ}" };
  const char *next = fr__skip_blanks(at, end);
  const char c = next < end ? *next : '.', d = next + 1 < end ? next[1] : '.';
  for (int i = 0; i < (int)(sizeof ends / sizeof *ends); i++) if (fr__begins(next, end, ends[i])) return 0;
  if (c == '\\') return fr__is_letter(d);
  if (strchr("^_+-*/=([{|<>", c) || fr__minus(next, end) || fr__begins(next, end, "\xE2\x88\x9A")) return c != 0;  // a root sign
  if (next > at) return c >= 'b' && c <= 'z' && !fr__is_letter(d);
  return fr__is_letter(c) || c == '\xCE' || c == '\xCF' || ((fr__is_digit(c) || c == ',' || c == ':') && fr__is_digit(d));  // Greek
}

// What a box without braces holds: TeX takes one character or command; people mean a whole number, or a command with what belongs
// to it, \text{yes}, \sqrt2. What is only the beginning of something is no answer.
FR__SELDOM fr_text fr__bare_argument(const char *at, const char *end)
{
  fr__number n;
  const char *next = fr__read_number(at, end, &n);
  if (!next && at < end && (fr__is_letter(*at) || *at & 0x80)) {
    for (next = at + 1; next < end && (*next & 0xC0) == 0x80;) next++;  // the rest of a character of UTF-8
  } else if (!next && at + 1 < end && *at == '\\' && fr__is_letter(at[1])) {
    for (next = at + 2; next < end && fr__is_letter(*next);) next++;
    if (next < end && fr__is_digit(*next)) next++;
    while (next && next < end && *next == '{') next = fr__read_group(next + 1, end);
  }
  return fr__answer_part(at, next && !fr__goes_on(next, end) ? next : at);
}

// From the end on, a '{' is closed if more '}' are behind it than are closed already. So the last closed box, then its end, is
// found in linear time, however many stay open. Backslashes escape in pairs: a brace behind an odd number of them does not count.
FR__SELDOM fr_text fr__find_boxed(const char *t, fr_int count)
{
  const char *const end = t + count;
  fr_int closers = 0;
  for (fr_int i = count; i-- > 0;) {
    const char *name = t + i, *inside;
    while (name > t && name[-1] == '\\') name--;
    if (t[i] == '\\') {
      const char *behind = t + i + (fr__begins(t + i, end, "\\boxed") ? 6 : fr__begins(t + i, end, "\\fbox") ? 5 : 0);
      if (behind == t + i || (behind < end && fr__is_letter(*behind))) continue;
      inside = fr__skip_blanks(behind, end);
      if (inside < end && *inside != '{') {
        const fr_text part = fr__bare_argument(inside, end);
        if (part.bytes || !strchr("}$.,;:!?)'\"`", *inside)) return part;  // one that cannot be read, and not an earlier one
      }
      continue;
    }
    if ((t[i] != '{' && t[i] != '}') || ((t + i - name) & 1)) continue;
    if (t[i] == '}') { closers++; continue; }
    if (closers == 0) continue;
    closers--;
    inside = t + i + 1;
    for (name = t + i; name > t && fr__is_blank(name[-1]);) name--;
    if ((name - t >= 6 && !memcmp(name - 6, "\\boxed", 6)) || (name - t >= 5 && !memcmp(name - 5, "\\fbox", 5)))
      return fr__answer_part(inside, fr__read_group(inside, end) - 1);
  }
  return fr__answer_part(t, t);
}

// A sign is one if it does not stand behind an operand; a point begins a number if it does not go on with one.
FR__SELDOM fr_text fr__find_number(const char *begin, const char *end)
{
  fr_text last = fr__answer_part(begin, begin);
  for (const char *at = begin, *next; at < end; at = next ? next : at + 1) {
    const char before = at > begin ? at[-1] : ' ';
    const int operand = fr__is_digit(before) || fr__is_letter(before) || before == ')' || before == ']' || before == '}';
    int negative = 0;
    fr__number number;
    next = operand && (*at == '.' || fr__read_sign(at, end, &negative) > at) ? NULL : fr__read_number(at, end, &number);
    if (next) last = fr__answer_part(at, next);
  }
  return last;
}

FR_DEF fr_text fr_answer_find(fr_answer_form form, fr_text text)
{
  const char *const begin = text.bytes ? text.bytes : "", *const end = begin + (text.bytes ? fr__max(text.count, 0) : 0);
  const char *const mark = form == FR_ANSWER_HASH ? "#" : form == FR_ANSWER_GSM8K ? "####" : NULL;
  if (form == FR_ANSWER_BOXED) return fr__find_boxed(begin, end - begin);
  if (form == FR_ANSWER_NUMBER) return fr__find_number(begin, end);
  for (fr_int i = mark ? end - begin : 0; i-- > 0;) {
    const char *line = begin + i;
    if (!fr__begins(line, end, mark)) continue;
    while (line < end && (form == FR_ANSWER_HASH || (*line != '\n' && *line != '\r'))) line++;
    return fr__answer_part(begin + i + strlen(mark), line);
  }
  return fr__answer_part(begin, begin);
}

// Behind what names the unit of a number and does not count, if there is any.
FR__SELDOM const char *fr__skip_unit(const char *at, const char *end)
{
  static const char *const units[17] = { "%", "\\%", "percent", "^\\circ", "^{\\circ}", "^\\degree", "\\degree", "\xC2\xB0",
    "degrees", "degree", "dollars", "dollar", "square units", "cubic units", "units", "unit", "\\circ" };
  const char *const start = at;
  const int in_text = fr__begins(at = fr__skip_spaces(at, end), end, "\\text{");
  int unit;
  at = fr__skip_spaces(at + (in_text ? 6 : 0), end);
  unit = fr__which(at, end, units, 17);
  if (unit < 0) return start;
  at += strlen(units[unit]);
  if (!in_text) return at;
  at = fr__skip_spaces(at, end);
  return fr__begins(at, end, "}") ? at + 1 : start;
}

FR__SELDOM int fr__answer_is_number(fr_text text, fr__number *n)
{
  const char *end = text.bytes + text.count, *at = fr__read_number(text.bytes, end, n);
  if (!at) return 0;
  at = fr__skip_unit(at, end);
  if (fr__begins(at, end, ".")) at++;
  return at == end && n->top.count <= FR_ANSWER_DIGITS && n->bottom.count <= FR_ANSWER_DIGITS;
}

// Without what stands around an answer and does not count: $ $, \( \), \[ \], { }, \text{ } and its like, ( ) around one letter,
// and a letter with its equals sign, unless another follows.
FR__SELDOM fr_text fr__answer_bare(fr_text text)
{
  static const char *const open[8] = { "$", "\\(", "\\[", "{", "\\text{", "\\textbf{", "\\mathrm{", "\\mbox{" };
  static const char *const close[8] = { "$", "\\)", "\\]", "}", "}", "}", "}", "}" };
  fr_text bare = fr__answer_part(text.bytes, text.bytes ? text.bytes + fr__max(text.count, 0) : NULL), inside = bare;
  for (; inside.bytes; bare = inside) {
    const char *at = inside.bytes, *end = at + inside.count, *equals;
    const int form = fr__which(at, end, open, 8);
    const fr_int before = form < 0 ? 0 : (fr_int)strlen(open[form]), behind = form < 0 ? 0 : (fr_int)strlen(close[form]);
    if (form >= 0 && inside.count >= before + behind && fr__begins(end - behind, end, close[form]) &&
        (form < 3 || fr__read_group(at + before, end) == end)) {
      bare = inside = fr__answer_part(at + before, end - behind);
      continue;
    }
    if (!fr__is_letter(at[*at == '(' && inside.count == 3 && at[2] == ')'])) break;
    if (*at == '(') return fr__answer_part(at + 1, at + 2);
    equals = fr__skip_spaces(at + 1, end);
    if (equals == end || *equals != '=' || memchr(equals + 1, '=', (size_t)(end - equals - 1))) break;
    inside = fr__answer_part(equals + 1, end);
    if (!inside.bytes) break;
  }
  return bare;
}

// Reads an answer that is no number as it is compared: white space only where it parts two words, one kind of minus sign and of
// \frac, without \left, \right and the braces of \text{} and around one character.
typedef struct fr__spelling {
  const char *at, *end, *close;  // close: a brace that does not count
  int last, command, literal;    // the last byte; 1: inside a command's name; 1: behind a backslash
  int blank, brace;              // 1: left out before what comes next
} fr__spelling;

static int fr__is_word(int c) { return c >= 0x80 || fr__is_digit((char)c) || fr__is_letter((char)c); }

// The next byte, or -1.
FR__SELDOM int fr__spell(fr__spelling *r)
{
  static const char *const groups[5] = { "\\text{", "\\textbf{", "\\mathrm{", "\\mbox{", "{" };
  static const char *const sides[2] = { "\\left", "\\right" }, *const fractions[3] = { "\\dfrac", "\\tfrac", "\\cfrac" };
  const char *const end = r->end;
  for (;;) {
    const char *at = r->literal ? r->at : fr__skip_spaces(r->at, end), *inside, *close;
    const int group = fr__which(at, end, groups, 5), side = fr__which(at, end, sides, 2);
    int c;
    r->blank |= at > r->at;
    r->at = at;
    if (at == end) return -1;
    inside = close = at + (group < 0 ? 0 : (fr_int)strlen(groups[group]));
    while (group >= 0 && close < end && *close != '{' && *close != '}' && *close != '\\') close++;
    c = (unsigned char)*at++;
    if (!r->literal) {
      if (at - 1 == r->close) { r->at = at; r->close = NULL; r->brace = 1; continue; }
      if (inside < close && close < end && *close == '}' &&
          (group < 4 || (close == inside + 1 && fr__is_word((unsigned char)*inside)))) {
        r->at = inside;
        r->close = close;
        r->brace = 1;
        continue;
      }
      if (side >= 0 && !(end - at > 4 + side && fr__is_letter(at[4 + side]))) { r->at = at + 4 + side; continue; }
      if (fr__minus(at - 1, end)) { at += fr__minus(at - 1, end) - 1; c = '-'; }
      if (fr__is_word(c) && (r->command ? (r->blank || r->brace) && fr__is_letter((char)c) : r->blank && fr__is_word(r->last))) {
        r->blank = r->brace = r->command = 0;
        return r->last = ' ';
      }
      if (fr__which(at - 1, end, fractions, 3) >= 0) at++;
    }
    r->command = !r->literal && (c == '\\' ? at < end && fr__is_letter(*at) : r->command && fr__is_letter((char)c));
    r->literal = !r->literal && c == '\\' && !r->command;
    r->blank = r->brace = 0;
    r->at = at;
    return r->last = c;
  }
}

FR__SELDOM int fr__spelled_same(fr_text a, fr_text b)
{
  fr__spelling x, y;
  int c;
  memset(&x, 0, sizeof x);
  x.last = -1;
  x.at = a.bytes;
  x.end = a.bytes + a.count;
  y = x;
  y.at = b.bytes;
  y.end = b.bytes + b.count;
  for (c = 0; c >= 0;) {
    c = fr__spell(&x);
    if (c != fr__spell(&y)) return 0;
  }
  return x.last >= 0;  // what leaves nothing is no answer
}

// a/b = c/d if a d - c b = 0, digit by digit from the units on.
FR_DEF int fr_answer_same(fr_text a, fr_text b)
{
  fr__number x, y;
  fr_int digits, difference = 0;
  int is_number;
  a = fr__answer_bare(a);
  b = fr__answer_bare(b);
  if (!a.bytes || !b.bytes) return 0;
  is_number = fr__answer_is_number(a, &x);
  if (fr__answer_is_number(b, &y) != is_number) return 0;
  if (!is_number) return fr__spelled_same(a, b);
  if (x.negative != y.negative && (x.top.count || y.top.count)) return 0;
  digits = fr__max(x.top.count + y.bottom.count, y.top.count + x.bottom.count);
  for (fr_int k = 0; k < digits; k++) {
    difference += fr__digit_product(&x.top, &y.bottom, k) - fr__digit_product(&y.top, &x.bottom, k);
    if (difference % 10) return 0;
    difference /= 10;
  }
  return difference == 0;
}

FR_DEF int fr_answer_agree(void *user, fr_int a, fr_int b)
{
  const fr_text *answers = (const fr_text *)user;
  return answers && fr_answer_same(answers[a], answers[b]);
}

// ---- >>diagnose ---------------------------------------------------------------------------------------
FR__APART double fr__table_sum(const fr_int *count, fr_int cells, fr_int stride)
{
  double sum = 0.0;
  for (fr_int i = 0; i < cells; i++) sum += (double)count[i * stride];
  return sum;
}

// What n of `all` add to the entropy, -p log p.
FR__APART double fr__entropy_part(double n, double all) { return n > 0.0 ? -n / all * log(n / all) : 0.0; }

// The mean of (n/T) log(nT / ab) over the n of one cell, when T traces with row sum a and column sum b are dealt at random:
// hypergeometric, P(n+1) / P(n) = (a-n)(b-n) / ((n+1)(T-a-b+n+1)). Summed from the mode outwards until nothing is added, with
// P(mode) as the unit, so that no factorial is needed and nothing underflows.
FR__SELDOM double fr__information_by_chance(double a, double b, double T)
{
  const double low = a + b > T ? a + b - T : 0.0, high = a < b ? a : b;
  double mode = floor((a + 1.0) * (b + 1.0) / (T + 2.0)), mass = 0.0, sum = 0.0;
  if (mode < low) mode = low;
  if (mode > high) mode = high;
  for (int up = 0; up < 2; up++) {
    double p = 1.0;
    for (double n = mode; n >= low && n <= high && mass + p > mass; n += up ? 1.0 : -1.0) {
      if (n != mode || !up) {
        mass += p;
        if (n > 0.0) sum += p * n / T * log(n * T / (a * b));
      }
      p *= up ? (a - n) * (b - n) / ((n + 1.0) * (T - a - b + n + 1.0)) : n * (T - a - b + n) / ((a - n + 1.0) * (b - n + 1.0));
    }
  }
  return sum / mass;
}

FR_DEF fr_status fr_information_of(const fr_int *count, fr_int rows, fr_int cols, fr_information *information)
{
  fr_information sum = { 0.0, 0.0, 0.0 };
  double of_rows = 0.0, of_cols = 0.0, T;
  fr_int cells;
  if (!information || !fr__mul(rows, cols, &cells) || (cells && !count)) return FR_INVALID;
  for (fr_int i = 0; i < cells; i++) if (count[i] < 0) return FR_INVALID;
  T = fr__table_sum(count, cells, 1);
  for (fr_int i = 0; T > 0.0 && i < rows; i++) {
    const double a = fr__table_sum(count + i * cols, cols, 1);
    of_rows += fr__entropy_part(a, T);
    for (fr_int j = 0; j < cols; j++) {
      const double b = fr__table_sum(count + j, rows, cols), n = (double)count[i * cols + j];
      if (i == 0) of_cols += fr__entropy_part(b, T);
      if (n > 0.0) sum.value += n / T * log(n * T / (a * b));
      if (a > 0.0 && b > 0.0) sum.chance += fr__information_by_chance(a, b, T);
    }
  }
  sum.maximum = of_rows < of_cols ? of_rows : of_cols;
  if (sum.value < 0.0) sum.value = 0.0;  // rounding
  *information = sum;
  return FR_OK;
}

// The second best differs from the best in one of its pairs at least: the best is solved again with each of its pairs made too
// dear to be taken, and the cheapest of these is the second best.
FR_DEF fr_status fr_assign_margin(const double *cost, fr_int row_stride, fr_int col_stride, fr_int rows, fr_int cols,
                                  double *margin, void *memory, fr_int bytes, fr_int *needed)
{
  fr__arena arena = { NULL, 0, 0 };
  double *c = NULL, least, total, second = HUGE_VAL, low = HUGE_VAL, high = -HUGE_VAL, dear;
  fr_int *best = NULL, *other = NULL, cells, scratch_bytes;
  void *scratch = NULL;
  fr_status status = fr_assign(NULL, 0, 0, rows, cols, NULL, NULL, NULL, 0, &scratch_bytes);
  if (status) return status;
  if (!fr__mul(rows, cols, &cells)) return FR_OVERFLOW;
  for (int placing = 0; placing < 2; placing++) {
    c = (double *)fr__take(&arena, cells, (fr_int)sizeof(double));
    best = (fr_int *)fr__take(&arena, rows, (fr_int)sizeof(fr_int));
    other = (fr_int *)fr__take(&arena, rows, (fr_int)sizeof(fr_int));
    scratch = fr__take(&arena, scratch_bytes, 1);
    if (!placing) status = fr__arena_open(&arena, memory, bytes, needed, NULL);
    if (status || !memory) return status;
  }
  if (!margin || (cells && !cost)) return FR_INVALID;
  if (cells == 0) { *margin = HUGE_VAL; return FR_OK; }
  for (fr_int i = 0; i < cells; i++) {
    c[i] = cost[i / cols * row_stride + i % cols * col_stride];
    if (c[i] < low) low = c[i];
    if (c[i] > high) high = c[i];
  }
  status = fr_assign(c, cols, 1, rows, cols, best, &least, scratch, scratch_bytes, NULL);
  if (status) return status;
  dear = high + fabs(high) + (double)fr__min(rows, cols) * (high - low) + 1.0;  // dearer than all others together can save
  if (!fr__finite(dear) || !fr__finite(least)) return FR_NONFINITE;
  for (fr_int r = 0; r < rows && cells > 1; r++) {
    if (best[r] < 0) continue;
    c[r * cols + best[r]] = dear;
    status = fr_assign(c, cols, 1, rows, cols, other, &total, scratch, scratch_bytes, NULL);
    if (status) return status;
    c[r * cols + best[r]] = cost[r * row_stride + best[r] * col_stride];
    if (total < second) second = total;
  }
  *margin = second > least ? second - least : 0.0;  // below by rounding only
  return FR_OK;
}

FR_DEF fr_status fr_diagnosis_place(fr_diagnosis *d, const fr_diagnosis_options *options, void *memory, fr_int bytes,
                                    fr_int *needed, fr_reason *reason)
{
  const fr_int integer = (fr_int)sizeof(fr_int);
  fr__arena arena = { NULL, 0, 0 };
  fr_diagnosis at;
  fr_diagnosis_options o;
  fr_int sources, bins, maps;
  fr_status status;
  if (!options) return fr__fail(reason, FR_INVALID, "options is NULL");
  memset(&at, 0, sizeof at);
  o = *options;
  if (o.forks < 1) return fr__fail(reason, FR_INVALID, "forks is %d, not at least 1", o.forks);
  if (o.sources < 1) return fr__fail(reason, FR_INVALID, "sources is %d, not at least 1", o.sources);
  if (o.maps < 0 || o.bins < 0 || o.bin_width < 0) return fr__fail(reason, FR_INVALID, "maps, bins or bin_width is negative");
  if (memory && !d) return fr__fail(reason, FR_INVALID, "d is NULL");
  if (!o.maps) o.maps = 256;
  if (!o.bins) o.bins = 32;
  if (!o.bin_width) o.bin_width = 64;
  status = fr_assign_margin(NULL, 0, 0, o.forks, o.forks, NULL, NULL, 0, &at.scratch_bytes);
  if (status || !fr__mul(o.forks, o.sources, &sources) || !fr__mul(o.forks, o.bins, &bins) || !fr__mul(o.maps, o.forks, &maps))
    return fr__fail(reason, FR_OVERFLOW, "the counts of %d forks do not fit the address space", o.forks);
  at.options = o;
  for (int placing = 0; placing < 2; placing++) {
    at.coverage = (fr_int *)fr__take(&arena, o.forks, integer);  // the counts stand side by side, up to map
    at.matrix = (fr_int *)fr__take(&arena, sources, integer);
    at.length = (fr_int *)fr__take(&arena, bins, integer);
    at.tokens = (double *)fr__take(&arena, o.forks, (fr_int)sizeof(double));
    at.map = (fr_int *)fr__take(&arena, maps, integer);
    at.map_questions = (fr_int *)fr__take(&arena, o.maps, integer);
    at.row = (fr_int *)fr__take(&arena, o.forks, integer);
    at.scratch = fr__take(&arena, at.scratch_bytes, 1);
    if (!placing) status = fr__arena_open(&arena, memory, bytes, needed, reason);
    if (status || !memory) return status;
  }
  *d = at;
  fr_diagnosis_clear(d);
  return FR_OK;
}

FR_DEF void fr_diagnosis_clear(fr_diagnosis *d)
{
  if (!d || !d->coverage) return;
  d->questions = d->traces = d->largest = d->map_count = d->other_questions = d->margins = 0;
  d->compared = d->agreeing = d->unlabelled = 0;
  d->margin_sum = d->margin_least = d->regret = 0.0;
  memset(d->coverage, 0, (size_t)((char *)d->map - (char *)d->coverage));
}

FR__APART fr_status fr__diagnosis_check(const fr_diagnosis *d, fr_int fork, fr_int source, fr_int tokens, fr_reason *reason)
{
  if (!d || !d->coverage) return fr__fail(reason, FR_INVALID, "d is NULL or not placed");
  if (fork < 0 || fork >= d->options.forks)
    return fr__fail(reason, FR_RANGE, "there is no fork %d among %d", fork, d->options.forks);
  if (source < -1 || source >= d->options.sources)
    return fr__fail(reason, FR_RANGE, "there is no source %d among %d", source, d->options.sources);
  if (tokens < 0) return fr__fail(reason, FR_INVALID, "a trace of %d tokens", tokens);
  return FR_OK;
}

FR_DEF fr_status fr_diagnosis_note(fr_diagnosis *d, fr_int fork, fr_int source, fr_int tokens, fr_reason *reason)
{
  const fr_status status = fr__diagnosis_check(d, fork, source, tokens, reason);
  if (status) return status;
  d->traces++;
  d->coverage[fork]++;
  ++*(source < 0 ? &d->unlabelled : &d->matrix[fork * d->options.sources + source]);
  d->length[fork * d->options.bins + fr__min(tokens / d->options.bin_width, d->options.bins - 1)]++;
  d->tokens[fork] += (double)tokens;
  return fr__fine(reason);
}

// Counts the matching d->row. A row whose count has grown moves before all rows of lower counts.
FR__SELDOM void fr__diagnosis_map(fr_diagnosis *d)
{
  const fr_int N = d->options.forks;
  const size_t bytes = (size_t)N * sizeof(fr_int);
  fr_int at = 0, count;
  while (at < d->map_count && memcmp(d->map + at * N, d->row, bytes)) at++;
  if (at == d->options.maps) { d->other_questions++; return; }
  if (at == d->map_count) { d->map_count++; d->map_questions[at] = 0; }
  count = d->map_questions[at] + 1;
  for (; at > 0 && d->map_questions[at - 1] < count; at--) {
    memcpy(d->map + at * N, d->map + (at - 1) * N, bytes);
    d->map_questions[at] = d->map_questions[at - 1];
  }
  memcpy(d->map + at * N, d->row, bytes);
  d->map_questions[at] = count;
}

FR_DEF fr_status fr_diagnosis_add(fr_diagnosis *d, const fr_question *question, const fr_int *source, fr_reason *reason)
{
  fr_int M;
  double margin = HUGE_VAL;
  if (!d || !d->coverage) return fr__fail(reason, FR_INVALID, "d is NULL or not placed");
  if (!question || !question->fork || !question->traces)
    return fr__fail(reason, FR_INVALID, "question, its forks or traces are NULL");
  M = question->trace_count;
  if (M < 1 || M > d->options.forks)
    return fr__fail(reason, FR_INVALID, "%d traces cannot be matched to %d forks", M, d->options.forks);
  for (fr_int i = 0; i < d->options.forks; i++) d->row[i] = -1;
  for (fr_int j = 0; j < M; j++) {
    const fr_int fork = question->fork[j], label = source ? source[j] : j;
    const fr_status status = fr__diagnosis_check(d, fork, label, question->traces[j].count, reason);
    if (status) return status;
    if (d->row[fork] != -1) return fr__fail(reason, FR_INVALID, "trace %d is in fork %d, as an earlier one is", j, fork);
    d->row[fork] = label < 0 ? -2 : label;
  }
  if (question->cost && fr_assign_margin(question->cost, 1, M, M, d->options.forks, &margin, d->scratch, d->scratch_bytes, NULL))
    return fr__fail(reason, FR_NONFINITE, "a cost is not finite, or too large");
  if (fr__finite(margin) && !fr__finite(d->margin_sum + margin))
    return fr__fail(reason, FR_NONFINITE, "the sum of the margins overflows");
  for (fr_int j = 0; j < M; j++) fr_diagnosis_note(d, question->fork[j], source ? source[j] : j, question->traces[j].count, NULL);
  fr__diagnosis_map(d);
  d->questions++;
  d->largest = fr__max(d->largest, M);
  if (fr__finite(margin)) {
    if (d->margins == 0 || margin < d->margin_least) d->margin_least = margin;
    d->margin_sum += margin;
    d->margins++;
  }
  return fr__fine(reason);
}

FR_DEF fr_status fr_diagnosis_compare(fr_diagnosis *d, const fr_question *full, const fr_int *fork, fr_reason *reason)
{
  double regret = 0.0;
  fr_int M, agreeing = 0;
  if (!d || !d->coverage) return fr__fail(reason, FR_INVALID, "d is NULL or not placed");
  if (!full || !full->fork || !fork) return fr__fail(reason, FR_INVALID, "full, its forks or fork is NULL");
  M = full->trace_count;
  if (M < 1) return fr__fail(reason, FR_INVALID, "%d traces", M);
  for (fr_int j = 0; j < M; j++) {
    fr_status status = fr__diagnosis_check(d, fork[j], 0, 0, reason);
    if (!status) status = fr__diagnosis_check(d, full->fork[j], 0, 0, reason);
    if (status) return status;
    agreeing += fork[j] == full->fork[j];
    if (full->cost) regret += full->cost[fork[j] * M + j] - full->cost[full->fork[j] * M + j];
  }
  if (!fr__finite(d->regret + regret)) return fr__fail(reason, FR_NONFINITE, "a cost is not finite, or too large");
  d->compared += M;
  d->agreeing += agreeing;
  d->regret += regret;
  return fr__fine(reason);
}

FR_DEF fr_status fr_diagnosis_read(const fr_diagnosis *d, fr_diagnosis_reading *reading)
{
  fr_diagnosis_reading r;
  fr_status status;
  fr_int four = 0, most = 0;
  if (!d || !d->coverage || !reading) return FR_INVALID;
  memset(&r, 0, sizeof r);
  status = fr_information_of(d->matrix, d->options.forks, d->options.sources, &r.source);
  if (status) return status;
  if (d->questions > 0) {
    const double all = (double)d->questions;
    r.entropy = fr__entropy_part((double)d->other_questions, all);
    for (fr_int m = 0; m < d->map_count; m++) {
      r.entropy += fr__entropy_part((double)d->map_questions[m], all);
      if (m < 4) four += d->map_questions[m];
    }
    r.share = (double)d->map_questions[0] / all;
    r.share_of_four = (double)four / all;
    for (fr_int j = 0; j < d->largest; j++) r.entropy_most += log((double)(d->options.forks - j));
    if (r.entropy_most > log(all)) r.entropy_most = log(all);
  }
  if (d->margins) r.margin = d->margin_sum / (double)d->margins;
  if (d->compared) r.agreement = (double)d->agreeing / (double)d->compared;
  r.widest = -1;
  for (fr_int i = 0; i < d->options.forks; i++) {
    r.dead += d->coverage[i] == 0;
    r.starved += d->coverage[i] == 0 || 10.0 * (double)d->coverage[i] * (double)d->options.forks < (double)d->traces;
    if (d->coverage[i] > most) most = d->coverage[r.widest = i];
  }
  *reading = r;
  return FR_OK;
}

// ---- >>bytes ------------------------------------------------------------------------------------------
// What files are made of: a hash, little-endian numbers, and streams.

static uint64_t fr__get_int(const unsigned char **p, int bytes)
{
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)*(*p)++ << (8 * i);
  return value;
}

// Not a secret and not used to find anything, only to order and to name: eight bytes a step, each step invertible, so that two
// texts of one length that differ in one word never have the same hash.
FR__APART uint64_t fr__hash(uint64_t hash, const void *bytes, fr_int count)
{
  const unsigned char *p = (const unsigned char *)bytes;
  for (; count > 0; count -= 8) {
    hash = (hash ^ fr__get_int(&p, (int)fr__min(8, count))) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

// Where bytes go to or come from: a file, a block of memory, or neither; then they are only counted. They pass through a small
// buffer and into the hash.
enum { FR__STREAM_BUFFER = 4096 };  // a multiple of 8, so that the hash sees whole words until the last

typedef struct fr__stream {
  void          *file;    // FILE *, or NULL
  unsigned char *memory;
  fr_int         bytes, done;  // of the block of memory; moved between it, or the file, and the buffer
  fr_int         filled, used;
  int            failed;  // 1: a write did, and all later ones with it; 2: a number was too large for its type
  uint64_t       hash;
  unsigned char  buffer[FR__STREAM_BUFFER];
} fr__stream;

static void fr__stream_memory(fr__stream *s, void *memory, fr_int bytes)
{
  memset(s, 0, sizeof *s);
  s->memory = (unsigned char *)memory;
  s->bytes = bytes;
}

static void fr__flush(fr__stream *s)
{
  const fr_int count = s->filled;
  s->filled = 0;
  s->hash = fr__hash(s->hash, s->buffer, count);
#ifndef FR_NO_STDIO
  if (s->file && !s->failed && fwrite(s->buffer, 1, (size_t)count, (FILE *)s->file) != (size_t)count) s->failed = 1;
#endif
  if (s->memory && s->bytes - s->done < count) s->failed = 1;
  else if (s->memory) memcpy(s->memory + s->done, s->buffer, (size_t)count);
  if (!s->failed && !fr__add(s->done, count, &s->done)) s->failed = 1;
}

FR__APART void fr__put(fr__stream *s, const void *bytes, fr_int count)
{
  const unsigned char *p = (const unsigned char *)bytes;
  while (count > 0) {
    const fr_int part = fr__min(count, FR__STREAM_BUFFER - s->filled);
    memcpy(s->buffer + s->filled, p, (size_t)part);
    s->filled += part;
    p += part;
    count -= part;
    if (s->filled == FR__STREAM_BUFFER) fr__flush(s);
  }
}

FR__APART void fr__put_int(fr__stream *s, uint64_t value, int bytes)
{
  unsigned char out[8];
  for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
  fr__put(s, out, bytes);
}

static void fr__put_floats(fr__stream *s, const float *x, fr_int count)
{
  for (fr_int i = 0; i < count && !s->failed; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, 4);
    fr__put_int(s, bits, 4);
  }
}

static fr_text fr__text_of(const char *text)
{
  fr_text t = { text, (fr_int)strlen(text) };
  return t;
}

// As much of a text as can be shown; how much.
FR__SELDOM fr_int fr__show(char shown[48], const char *text, fr_int bytes)
{
  fr_int count = 0;
  for (; count < 47 && count < bytes && text[count] >= 32 && text[count] <= 126; count++) shown[count] = text[count];
  shown[count] = 0;
  return count;
}

FR__APART void fr__put_text(fr__stream *s, const char *text) { fr__put(s, text, (fr_int)strlen(text)); }

// Text as it stands inside of JSON's quotes.
FR__SELDOM void fr__put_escaped(fr__stream *s, const char *text, fr_int count)
{
  for (fr_int i = 0; i < count; i++) {
    const unsigned char c = (unsigned char)text[i];
    const char code[6] = { '\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15] };
    if (c == '"' || c == '\\') fr__put(s, "\\", 1);
    fr__put(s, c < 0x20 ? code : text + i, c < 0x20 ? 6 : 1);
  }
}

// A positive number in as few digits as give the same float again.
FR__SELDOM void fr__put_real(fr__stream *s, float x)
{
  int exponent = (int)floor(log((double)x) / 2.302585092994046) + 1;
  double digits = 0.0;
  fr_reason text;
  for (int places = 0; places < 10; places++, exponent--) {
    const double size = pow(10.0, fabs((double)exponent));
    digits = floor((exponent < 0 ? (double)x * size : (double)x / size) + 0.5);
    if ((float)(exponent < 0 ? digits / size : digits * size) == x) break;
  }
  fr__fail(&text, FR_OK, exponent ? "%de%d" : "%d.0", (fr_int)digits, (fr_int)exponent);
  fr__put_text(s, text.text);
}

// Text with %d of an fr_int, %s, %q: the same in quotes of JSON, %t: an fr_text in them, %r: a positive number.
FR__SELDOM void fr__put_format(fr__stream *s, const char *format, ...)
{
  fr_reason number;
  fr_text text = { NULL, 0 };
  va_list list;
  va_start(list, format);
  for (; *format; format++) {
    const char kind = *format == '%' ? *++format : 0;
    if (!kind) fr__put(s, format, 1);
    else if (kind == 'r') fr__put_real(s, (float)va_arg(list, double));
    else if (kind == 't') text = *va_arg(list, const fr_text *);
    else if (kind == 'd') fr__fail(&number, FR_OK, "%d", va_arg(list, fr_int));
    else text.bytes = va_arg(list, const char *);
    if (kind == 'd') text.bytes = number.text;
    if (kind == 'd' || kind == 's') fr__put_text(s, text.bytes);
    if (kind != 'q' && kind != 't') continue;
    fr__put_text(s, "\"");
    fr__put_escaped(s, text.bytes, kind == 't' ? text.count : (fr_int)strlen(text.bytes));
    fr__put_text(s, "\"");
  }
  va_end(list);
}

static const char fr__too_large[] = "a weight is too large for float16, which ends at 65504";

// Puts it to memory, whole or not at all; memory NULL measures.
FR__SELDOM fr_status fr__write(void (*put)(fr__stream *s, const void *what), const void *what, void *memory, fr_int capacity,
                               fr_int *bytes, fr_reason *reason)
{
  fr__stream s;
  if (!bytes) return fr__fail(reason, FR_INVALID, "bytes is NULL");
  for (int pass = 0; pass < (memory ? 2 : 1); pass++) {
    fr__stream_memory(&s, pass ? memory : NULL, capacity);
    put(&s, what);
    if (s.failed == 2) return fr__fail(reason, FR_RANGE, fr__too_large);
    if (s.failed) return fr__fail(reason, FR_OVERFLOW, "it does not fit the address space");
    *bytes = s.done;
    if (memory && capacity < s.done) return fr__fail(reason, FR_MEMORY, "%d bytes are needed, %d were given", s.done, capacity);
  }
  return fr__fine(reason);
}

// The last 8 bytes of a file are the hash of all before.
static void fr__put_hash(fr__stream *s)
{
  fr__flush(s);
  fr__put_int(s, s->hash, 8);
  fr__flush(s);
}

#ifndef FR_NO_STDIO
FR__SELDOM fr_status fr__file_fail(fr_reason *reason, const char *path, const char *what)
{
  return fr__fail(reason, FR_IO, "%s cannot be %s%s%s", path, what, errno ? ": " : "", errno ? strerror(errno) : "");
}

FR__SELDOM fr_status fr__open(FILE **file, const char *path, fr_reason *reason)
{
  if (!path || !*path) return fr__fail(reason, FR_INVALID, "path is NULL or empty");
  errno = 0;
  *file = fopen(path, "rb");
  return *file ? FR_OK : fr__file_fail(reason, path, "opened");
}

#ifdef _WIN32
#ifdef __cplusplus
extern "C"
#endif
__declspec(dllimport) int __stdcall MoveFileExA(const char *from, const char *to, unsigned long flags);  // as windows.h has it
#endif

// Puts the file `temporary` in the place of `path`; 0: it cannot, and what was there is there. Where rename replaces nothing, the
// old file is PATH.old meanwhile: at every moment it or the new one is whole. Only a file that can be read steps aside, no folder.
FR__SELDOM int fr__replace(const char *temporary, const char *path)
{
  char old[1005];
  const size_t length = strlen(path);
  FILE *file;
  int is_file;
  if (rename(temporary, path) == 0) return 1;
#ifdef _WIN32
  if (MoveFileExA(temporary, path, 1)) return 1;  // 1: replaces, at once
#endif
  if (length + 5 > sizeof old || !(file = fopen(path, "rb"))) return 0;
  is_file = getc(file) != EOF || !ferror(file);
  fclose(file);
  memcpy(old, path, length);
  memcpy(old + length, ".old", 5);
  if (!is_file || (rename(path, old) != 0 && (remove(old) != 0 || rename(path, old) != 0))) return 0;
  is_file = rename(temporary, path) == 0;
  if (is_file) remove(old);
  else rename(old, path);
  return is_file;
}

// A pipe or a device is written as it is: to rename over /dev/null would be the end of it.
static int fr__is_device(const char *path)
{
#ifdef S_ISREG
  struct stat found;
  return stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
#else
  (void)path;
  return 0;
#endif
}

// Writes PATH.tmp by way of `put`, and puts it in the place of PATH when all is there.
FR__SELDOM fr_status fr__save(const char *path, void (*put)(fr__stream *s, const void *what), const void *what, fr_reason *reason)
{
  enum { PATH = 1000 };
  char temporary[PATH + 5];
  const size_t length = path ? strlen(path) : 0;
  const char *wrong = NULL;
  fr__stream s;
  int device;
  if (!length) return fr__fail(reason, FR_INVALID, "path is NULL or empty");
  if (length >= PATH) return fr__fail(reason, FR_LIMIT, "the path is longer than %d bytes", (fr_int)(PATH - 1));
  memcpy(temporary, path, length);
  device = fr__is_device(path);
  memcpy(temporary + length, device ? "" : ".tmp", device ? 1 : 5);
  fr__stream_memory(&s, NULL, 0);
  errno = 0;
  s.file = fopen(temporary, "wb");
  if (!s.file) return fr__file_fail(reason, temporary, "opened for writing");
  put(&s, what);
  if (fclose((FILE *)s.file) != 0 || s.failed) wrong = "written";
  if (!wrong && !device && !fr__replace(temporary, path)) wrong = "renamed to its place";
  if (!wrong) return fr__fine(reason);
  fr__file_fail(reason, temporary, wrong);
  if (!device) remove(temporary);
  return s.failed == 2 ? fr__fail(reason, FR_RANGE, fr__too_large) : FR_IO;
}

#ifndef FR_NO_MALLOC
// A whole file in memory of FR_MALLOC. An empty one has one byte of it, so that bytes is not NULL.
FR__SELDOM fr_status fr__read_file(const char *path, fr_text *text, fr_reason *reason)
{
  FILE *file;
  char *bytes = NULL;
  long end = -1;
  int whole;
  const fr_status status = fr__open(&file, path, reason);
  if (status) return status;
  // The first byte before the length: a directory can be opened and has a length on some systems, but cannot be read.
  if ((getc(file) != EOF || !ferror(file)) && fseek(file, 0, SEEK_END) == 0) end = ftell(file);
  if (end >= 0) bytes = (char *)FR_MALLOC((size_t)end + 1);
  whole = bytes && fseek(file, 0, SEEK_SET) == 0 && fread(bytes, 1, (size_t)end, file) == (size_t)end;
  fclose(file);
  if (bytes && !whole) FR_FREE(bytes);
  if (end >= 0 && !bytes) return fr__fail(reason, FR_MEMORY, "no memory to read %s, %d bytes", path, (fr_int)end);
  if (!whole && errno == ESPIPE) return fr__fail(reason, FR_IO, "%s is a pipe or a device; a file is needed", path);
  if (!whole) return fr__file_fail(reason, path, "read");
  text->bytes = bytes;
  text->count = (fr_int)end;
  return FR_OK;
}
#endif
#endif  // FR_NO_STDIO

// ---- >>json -------------------------------------------------------------------------------------------
// A strict reader for JSON (RFC 8259) that hands out one event at a time: it allocates nothing, does not recurse, and works on
// text in memory. Names and strings are places in the text; fr__json_copy decodes them.
//
// A name may not occur twice in an object, also where the value is skipped. The names of all open objects are noted in scratch of
// the caller; when an object closes, its names are sorted and neighbours compared. A merge sort compares each string at the price
// of the shorter one once a round, so that no choice of names makes this slower than O(bytes log names); a hash table would be at
// the mercy of whoever chooses the names.
enum { FR__JSON_DEPTH = 64 };

typedef int (*fr__order)(const void *context, fr_int a, fr_int b);

// Sorts the list that starts at `head` (next[i] follows i, -1 ends it) and returns its new head. Equals keep their order.
// order(context, a, b) > 0 means that a comes after b. Bottom-up merges of runs of 1, 2, 4 ...
static fr_int fr__sort(fr_int head, fr_int *next, fr__order order, const void *context)
{
  for (fr_int width = 1;; width *= 2) {
    fr_int rest = head, tail = -1, runs = 0;
    while (rest >= 0) {
      fr_int a = rest, b = rest, a_left = 0, b_left = width;
      for (; a_left < width && b >= 0; a_left++) b = next[b];
      for (runs++; a_left > 0 || (b_left > 0 && b >= 0);) {
        fr_int taken;
        if (a_left > 0 && (b_left == 0 || b < 0 || order(context, a, b) <= 0)) { taken = a; a = next[a]; a_left--; }
        else { taken = b; b = next[b]; b_left--; }
        if (tail < 0) head = taken;
        else next[tail] = taken;
        tail = taken;
      }
      rest = b;
    }
    if (tail >= 0) next[tail] = -1;
    if (runs <= 1) return head;
  }
}

// Bytes of the valid UTF-8 character at p of which at most `left` bytes exist; 0 if it is cut, overlong, a surrogate or above
// U+10FFFF.
static fr_int fr__utf8(const char *p, fr_int left)
{
  const unsigned char *s = (const unsigned char *)p, lead = s[0];
  fr_int count;
  if (lead < 0x80) return 1;
  count = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (lead < 0xC2 || lead > 0xF4 || left < count) return 0;
  for (fr_int i = 1; i < count; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if ((lead == 0xE0 && s[1] < 0xA0) || (lead == 0xED && s[1] > 0x9F)) return 0;
  return (lead == 0xF0 && s[1] < 0x90) || (lead == 0xF4 && s[1] > 0x8F) ? 0 : count;
}

// The character at `at` and its bytes; a byte that is not part of valid UTF-8 is a character 0x110000 + byte.
static uint32_t fr__code(const char *text, fr_int at, fr_int end, fr_int *size)
{
  const unsigned char c = (unsigned char)text[at];
  const fr_int count = fr__utf8(text + at, end - at);
  uint32_t code = count < 2 ? c : c & (0x7Fu >> count);
  for (fr_int i = 1; i < count; i++) code = code << 6 | ((unsigned char)text[at + i] & 0x3Fu);
  *size = fr__max(count, 1);
  return count ? code : 0x110000u + c;
}

FR__APART fr_int fr__utf8_put(uint32_t code, char *out)
{
  const fr_int count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char lead[5] = { 0, 0, 0xC0, 0xE0, 0xF0 };
  for (fr_int i = count - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
  out[0] = (char)(lead[count] | code);
  return count;
}

typedef struct fr__json_token {
  char   kind;          // see fr__json_next
  fr_int start, count;  // of what is inside the quotes, or of the number; of the first character otherwise
} fr__json_token;

enum { FR__JSON_VALUE, FR__JSON_NAME, FR__JSON_MORE };  // more: a comma, or the end of what is open

typedef struct fr__json {
  const char *text;
  fr_int at, bytes, line;          // read so far; the text ends here; number of its first line
  fr_int *names;                   // [2 * name_limit]: where the names of open objects start, then links for sorting
  fr_int name_count, name_limit;
  fr_int first_name[FR__JSON_DEPTH];
  char   open[FR__JSON_DEPTH];     // what is open at each depth, { or [
  fr_int depth;
  int    want;                     // what comes next
  fr__json_token token;
  fr_status   status;              // the first error, with its place and words
  fr_int      wrong_at;
  const char *wrong;
} fr__json;

// Reads one value from text[start .. end-1], white space around it allowed.
FR__APART void fr__json_start(fr__json *json, const char *text, fr_int start, fr_int end, fr_int line, fr_int *names, fr_int most)
{
  memset(json, 0, sizeof *json);
  json->text = text;
  json->at = start;
  json->bytes = end;
  json->line = line;
  json->names = names;
  json->name_limit = most;
}

static char fr__json_wrong(fr__json *json, fr_status status, fr_int at, const char *wrong)
{
  if (!json->status) { json->status = status; json->wrong_at = at; json->wrong = wrong; }
  return json->token.kind = '!';
}

// The error of the reader in words. Columns count characters, from 1.
FR__APART fr_status fr__json_fail(const fr__json *json, fr_reason *reason)
{
  fr_int line = json->line, column = 1;
  for (fr_int i = 0; reason && i < json->wrong_at; i++) {
    if (json->text[i] == '\n') { line++; column = 1; }
    else if (((unsigned char)json->text[i] & 0xC0) != 0x80) column++;
  }
  return fr__fail(reason, json->status, "line %d, column %d: %s", line, column, json->wrong);
}

// The value of the four hexadecimal digits at p of which `left` bytes exist, -1 if they are none.
static int fr__json_hex(const char *p, fr_int left)
{
  static const char digits[] = "0123456789abcdefABCDEF";
  int code = 0;
  for (int i = 0; i < 4; i++) {
    const char *digit = i < left ? (const char *)memchr(digits, p[i], 22) : NULL;
    if (!digit) return -1;
    code = 16 * code + (int)(digit - digits) - (digit - digits < 16 ? 0 : 6);
  }
  return code;
}

// One character of a string or number at *at, as a code point; -1 at its end. Of one that may not be, *wrong tells why.
FR__APART int32_t fr__json_char(const char *text, fr_int *at, fr_int end, const char **wrong)
{
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char *p = text + *at, *found;
  const fr_int left = end - *at;
  if (left <= 0 || *p == '"') return -1;
  if (*p != '\\') {
    fr_int count;
    const uint32_t code = fr__code(text, *at, end, &count);
    if (code < 0x20) *wrong = "a control character inside of a string must be escaped";
    if (code > 0x10FFFF) *wrong = "the text is not valid UTF-8";
    *at += count;
    return (int32_t)code;
  }
  if (left > 1 && p[1] == 'u') {
    const int pair = left >= 8 && memcmp(p + 6, "\\u", 2) == 0;
    const int high = fr__json_hex(p + 2, left - 2), low = pair ? fr__json_hex(p + 8, left - 8) : -1;
    if (high < 0) *wrong = "\\u needs four hexadecimal digits";
    *at += 6;
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high >= 0xDC00 || low < 0xDC00 || low > 0xDFFF) *wrong = "half of a surrogate pair stands alone";
    *at += 6;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }
  found = left > 1 && p[1] ? strchr(from, p[1]) : NULL;
  if (!found) *wrong = "unknown escape";
  *at += 2;
  return found ? to[found - from] : -1;
}

// Whether it is ASCII and stands for itself, as most are.
static int fr__json_plain(char c) { return (signed char)c >= 0x20 && c != '"' && c != '\\'; }

FR__APART int32_t fr__json_code(const char *text, fr_int *at, fr_int end)  // where it is known to be right
{
  const char *wrong;
  return *at < end && fr__json_plain(text[*at]) ? text[(*at)++] : fr__json_char(text, at, end, &wrong);
}

// The string whose opening quote has been read.
static char fr__json_string(fr__json *json)
{
  const char *text = json->text, *wrong = NULL;
  fr_int at = json->at, end;
  int32_t code;
  do {
    while (at < json->bytes && fr__json_plain(text[at])) at++;
    end = at;
    code = fr__json_char(text, &at, json->bytes, &wrong);
    if (wrong) return fr__json_wrong(json, FR_SYNTAX, end, wrong);
  } while (code >= 0);
  if (end == json->bytes) return fr__json_wrong(json, FR_SYNTAX, json->at - 1, "this string is not closed");
  json->token.start = json->at;
  json->token.count = end - json->at;
  json->at = end + 1;
  return '"';
}

// Goes past one of these characters, if one of them is next.
static int fr__json_pass(fr__json *json, const char *characters)
{
  const char c = json->at < json->bytes ? json->text[json->at] : 0;
  const int passes = c != 0 && strchr(characters, c) != NULL;
  json->at += passes;
  return passes;
}

static int fr__json_digits(fr__json *json)
{
  const fr_int from = json->at;
  while (json->at < json->bytes && json->text[json->at] >= '0' && json->text[json->at] <= '9') json->at++;
  return json->at > from;
}

//   -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?       01 fails at the 1, which cannot follow a value
static char fr__json_number(fr__json *json)
{
  int good;
  json->token.start = json->at;
  fr__json_pass(json, "-");
  good = fr__json_pass(json, "0") || fr__json_digits(json);
  if (good && fr__json_pass(json, ".")) good = fr__json_digits(json);
  if (good && fr__json_pass(json, "eE")) {
    fr__json_pass(json, "+-");
    good = fr__json_digits(json);
  }
  if (!good) return fr__json_wrong(json, FR_SYNTAX, json->at, "a digit was expected");
  json->token.count = json->at - json->token.start;
  return '0';
}

// Compares two checked strings or numbers as the text that they stand for: "a" and "\u0061" are equal.
static int fr__json_order(const char *text, fr_int a, fr_int a_end, fr_int b, fr_int b_end)
{
  for (;;) {
    const int32_t x = fr__json_code(text, &a, a_end), y = fr__json_code(text, &b, b_end);
    if (x != y) return x < y ? -1 : 1;
    if (x < 0) return 0;
  }
}

static int fr__json_name_order(const void *context, fr_int a, fr_int b)
{
  const fr__json *json = (const fr__json *)context;
  return fr__json_order(json->text, json->names[a], json->bytes, json->names[b], json->bytes);
}

// Whether a name or string stands for these ASCII characters.
FR__APART int fr__json_is(const fr__json *json, fr__json_token token, const char *word)
{
  fr_int at = token.start;
  while (*word && fr__json_code(json->text, &at, token.start + token.count) == *word) word++;
  return !*word && fr__json_code(json->text, &at, token.start + token.count) < 0;
}

// The object or array at the top closes; the names of an object must differ.
static char fr__json_close(fr__json *json, char c)
{
  const fr_int first = json->first_name[--json->depth], count = json->name_count;
  fr_int *next = json->names + json->name_limit;
  json->name_count = first;
  for (fr_int i = first; i < count; i++) next[i] = i + 1 < count ? i + 1 : -1;
  for (fr_int i = first < count ? fr__sort(first, next, fr__json_name_order, json) : -1; i >= 0 && next[i] >= 0; i = next[i])
    if (fr__json_name_order(json, i, next[i]) == 0)
      return fr__json_wrong(json, FR_SYNTAX, json->names[next[i]] - 1, "this name is already in the object");
  json->want = FR__JSON_MORE;
  json->at++;
  return c;
}

FR__SELDOM char fr__json_value(fr__json *json, char c)
{
  const char *word = c == 't' ? "true" : c == 'f' ? "false" : c == 'n' ? "null" : "";
  const fr_int count = (fr_int)strlen(word);
  json->token.start = json->at;
  json->token.count = 1;
  if (c == '{' || c == '[') {
    if (json->depth == FR__JSON_DEPTH)
      return fr__json_wrong(json, FR_LIMIT, json->at, "more than 64 levels of arrays and objects");
    json->open[json->depth] = c;
    json->first_name[json->depth++] = json->name_count;
    json->want = c == '{' ? FR__JSON_NAME : FR__JSON_VALUE;
    json->at++;
    return c;
  }
  json->want = FR__JSON_MORE;
  if (c == '"') { json->at++; return fr__json_string(json); }
  if (c == '-' || (c >= '0' && c <= '9')) return fr__json_number(json);
  if (count == 0 || json->bytes - json->at < count || memcmp(json->text + json->at, word, (size_t)count) != 0)
    return fr__json_wrong(json, FR_SYNTAX, json->at, "a value was expected");
  json->at += count;
  return c;
}

// The next event, also in json->token.kind:
//   { } [ ]  begin and end     k  name     "  string     0  number     t f n  true, false, null     $  end     !  error
static char fr__json_next(fr__json *json)
{
  const char open = json->depth ? json->open[json->depth - 1] : 0, close = open == '{' ? '}' : ']';
  char c;
  if (json->status) return '!';
  for (;; json->at++) {
    while (fr__json_pass(json, " \t\r\n")) {}
    if (json->at == json->bytes && !open && json->want == FR__JSON_MORE) return json->token.kind = '$';
    if (json->at == json->bytes) return fr__json_wrong(json, FR_SYNTAX, json->at, "the text ends too early");
    c = json->text[json->at];
    if (json->want != FR__JSON_MORE) break;
    if (!open) return fr__json_wrong(json, FR_SYNTAX, json->at, "the text goes on after the value");
    if (c == close) return json->token.kind = fr__json_close(json, c);
    if (c != ',')
      return fr__json_wrong(json, FR_SYNTAX, json->at, open == '{' ? "',' or '}' was expected" : "',' or ']' was expected");
    json->want = open == '{' ? FR__JSON_NAME : FR__JSON_VALUE;
  }
  if (open && c == close && json->token.kind == open) return json->token.kind = fr__json_close(json, c);  // it is empty
  if (json->want == FR__JSON_VALUE) return json->token.kind = fr__json_value(json, c);
  if (c != '"') return fr__json_wrong(json, FR_SYNTAX, json->at, "a name in double quotes was expected");
  if (json->name_count == json->name_limit) return fr__json_wrong(json, FR_LIMIT, json->at, "too many names in open objects");
  json->at++;
  if (fr__json_string(json) == '!') return '!';
  json->names[json->name_count++] = json->token.start;
  while (fr__json_pass(json, " \t\r\n")) {}
  if (!fr__json_pass(json, ":")) return fr__json_wrong(json, FR_SYNTAX, json->at, "':' was expected");
  json->want = FR__JSON_VALUE;
  return json->token.kind = 'k';
}

// A whole number that is not negative, or -1; what is too large becomes the largest.
FR__APART fr_int fr__json_whole(const char *text, fr__json_token token)
{
  fr_int value = 0;
  if (token.kind != '0') return -1;
  for (fr_int i = 0; i < token.count; i++) {
    const char c = text[token.start + i];
    if (c < '0' || c > '9') return -1;
    value = value > (FR__INT_MAX - 9) / 10 ? FR__INT_MAX : value * 10 + (c - '0');
  }
  return value;
}

// Goes to the end of the value whose first event was the last one. 0 on error.
static int fr__json_skip(fr__json *json)
{
  const fr_int outside = json->depth - (json->token.kind == '{' || json->token.kind == '[');
  while (json->depth > outside && fr__json_next(json) != '!') {}
  return json->token.kind != '!';
}

// Decodes a string, or copies the digits of a number, to out (NULL: only counts). Never more bytes than in the text.
static fr_int fr__json_copy(const char *text, fr__json_token token, char *out)
{
  const fr_int end = token.start + token.count;
  fr_int count = 0;
  for (fr_int at = token.start; at < end;) {
    char four[4], *to = out ? out + count : four;
    const int escaped = text[at] == '\\';
    count += escaped ? fr__utf8_put((uint32_t)fr__json_code(text, &at, end), to) : 1;
    if (!escaped) *to = text[at++];
  }
  return count;
}

// ---- >>gguf -------------------------------------------------------------------------------------------
// GGUF, version 3, from ggml: "GGUF", version, counts of tensors and keys; keys with values; what each tensor is; data. All numbers are
// little-endian. And the types of weights, in blocks, that files have.
enum { FR__F32, FR__F16, FR__BF16, FR__Q8_0, FR__Q4_0, FR__Q4_1, FR__Q5_0, FR__Q5_1, FR__Q4_K, FR__Q5_K, FR__Q6_K, FR__TYPES };
typedef struct fr__type_row { const char *name; uint32_t id; fr_int weights, bytes; } fr__type_row;  // id: GGUF's; of a block
static const fr__type_row fr__types[FR__TYPES] = { { "F32", 0, 1, 4 }, { "F16", 1, 1, 2 }, { "BF16", 30, 1, 2 }, { "Q8_0", 8, 32, 34 },
  { "Q4_0", 2, 32, 18 }, { "Q4_1", 3, 32, 20 }, { "Q5_0", 6, 32, 22 }, { "Q5_1", 7, 32, 24 }, { "Q4_K", 12, 256, 144 },
  { "Q5_K", 13, 256, 176 }, { "Q6_K", 14, 256, 210 } };

static uint16_t fr__to_bfloat16(float x)  // to nearest, ties to even
{
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float fr__nearest(float x) { const float up = x + 12582912.0f; return up - 12582912.0f; }  // ties to even, up to 2^22

static uint16_t fr__to_float16(float x)  // the same; from 65520 on infinity
{
  const float size = fabsf(x);
  uint32_t bits, sign;
  memcpy(&sign, &x, 4);
  memcpy(&bits, &size, 4);
  sign = sign >> 16 & 0x8000;
  if (x != x) return (uint16_t)(sign | 0x7E00);
  if (size >= 65520.0f) return (uint16_t)(sign | 0x7C00);
  if (size < 6.103515625e-5f) return (uint16_t)(sign | (uint32_t)fr__nearest(size * 16777216.0f));  // subnormal: in units of 2^-24
  return (uint16_t)(sign | (bits - 0x38000000 + 0xFFF + (bits >> 13 & 1)) >> 13);
}

static float fr__from_float16(const unsigned char *at)
{
  const uint32_t half = at[0] | (uint32_t)at[1] << 8, exponent = half >> 10 & 31, fraction = half & 1023;
  const uint32_t bits = (half & 0x8000) << 16 | (exponent == 31 ? 0x7F800000 : (exponent + 112) << 23) | fraction << 13;
  const float least = (float)fraction * 5.9604644775390625e-8f;  // exponent 0: in units of 2^-24
  float x;
  memcpy(&x, &bits, 4);
  return exponent ? x : half & 0x8000 ? -least : least;
}

// Weights of a type, from whole blocks: w = d (q - shift) + m, where d and m are float16 of the block, in K types times 6-bit numbers
// of 32 weights (Q6_K: 8-bit ones of 16). The low nibbles are the first half of a run, the high ones the second; the bits above them
// stand apart. Each product is exact, so that a fused multiply-add gives the same bits.
FR__APART void fr__dequantize(int type, const unsigned char *at, fr_int count, float *out)
{
  const fr__type_row *of = &fr__types[type];
  for (fr_int i = 0; i < count; i++) {
    const int v = (int)(i % of->weights), second = v / 16, j = v / 32;  // in the block; in a run of 32; which run
    const unsigned char *block = at + i / of->weights * of->bytes, *scales = block + 4, *high;
    int five, shifted;
    uint32_t bits, q;
    float d, m = 0.0f;
    if (of->weights == 1) {
      if (type == FR__F16) { out[i] = fr__from_float16(block); continue; }
      bits = type == FR__F32 ? (uint32_t)fr__get_int(&block, 4) : (uint32_t)fr__get_int(&block, 2) << 16;
      memcpy(out + i, &bits, 4);
      continue;
    }
    d = fr__from_float16(block);
    switch (type) {
      case FR__Q8_0: out[i] = d * (float)((int)(block[2 + v] ^ 128) - 128); continue;
      case FR__Q4_0: case FR__Q4_1: case FR__Q5_0: case FR__Q5_1:
        five = type >= FR__Q5_0;
        shifted = type == FR__Q4_0 || type == FR__Q5_0;
        high = block + (shifted ? 2 : 4);
        q = high[4 * five + v % 16] >> 4 * second & 15u;
        if (five) q |= (high[v / 8] >> v % 8 & 1u) << 4;
        if (!shifted) m = fr__from_float16(block + 2);
        out[i] = shifted ? d * (float)((int)q - (five ? 16 : 8)) : d * (float)q + m;
        continue;
      case FR__Q6_K:
        q = block[v / 128 * 64 + v % 64] >> v % 128 / 64 * 4 & 15;
        q |= (block[128 + v / 128 * 32 + v % 32] >> v % 128 / 32 * 2 & 3u) << 4;
        out[i] = fr__from_float16(block + 208) * (float)((int)(block[192 + v / 16] ^ 128) - 128) * (float)((int)q - 32);
        continue;
      default:  // Q4_K, Q5_K
        bits = j < 4 ? scales[j] & 63u : (scales[j + 4] & 15u) | (uint32_t)scales[j - 4] >> 6 << 4;
        q = block[(type == FR__Q4_K ? 16 : 48) + j / 2 * 32 + v % 32] >> j % 2 * 4 & 15;
        if (type == FR__Q5_K) q |= (uint32_t)(block[16 + v % 32] >> j & 1) << 4;
        m = fr__from_float16(block + 2) * (float)(j < 4 ? scales[j + 4] & 63 : scales[j + 4] >> 4 | scales[j] >> 6 << 4);
        out[i] = d * (float)bits * (float)q - m;
    }
  }
}

// A file, and a place in it. What is wrong is told once, with its byte and the key or tensor; then nothing more is read.
typedef struct fr__gguf {
  const unsigned char *start, *at, *end, *data;
  const char *family;    // the architecture
  fr_reason   wanted;    // key,
  fr_text     name;      // and what is read now
  fr_int tensors, keys, alignment;
  fr_reason *reason;
  fr_status  status;
} fr__gguf;
enum { FR__GGUF_U32 = 4, FR__GGUF_I32, FR__GGUF_F32, FR__GGUF_BOOL, FR__GGUF_STRING, FR__GGUF_ARRAY, FR__GGUF_U64 };
typedef struct fr__gguf_value {  // of an array: of what, how many, and where they stand
  uint32_t type, of;
  fr_int   count;
  const unsigned char *at;
} fr__gguf_value;

FR__SELDOM void fr__gguf_wrong(fr__gguf *g, fr_status status, const char *wrong)
{
  char shown[48];
  const fr_int count = fr__show(shown, g->name.bytes, g->name.count);
  const char *const format = count ? "GGUF, byte %d, %s: %s" : "GGUF, byte %d%s: %s";
  if (!g->status) g->status = fr__fail(g->reason, status, format, (fr_int)(g->at - g->start), shown, wrong);
  g->at = g->end;
}

// The next number of so many bytes, at most `most`.
FR__APART uint64_t fr__gguf_int(fr__gguf *g, int bytes, uint64_t most)
{
  uint64_t value = 0;
  if (g->end - g->at < bytes) fr__gguf_wrong(g, FR_FORMAT, "the file ends too early");
  else value = fr__get_int(&g->at, bytes);
  if (value > most) { g->at -= bytes; fr__gguf_wrong(g, FR_FORMAT, "a number that the file is too short for"); }
  return g->status ? 0 : value;
}

static fr_text fr__gguf_text(fr__gguf *g)
{
  fr_text text;
  text.count = (fr_int)fr__gguf_int(g, 8, g->end - g->at < 8 ? 0 : (uint64_t)(g->end - g->at - 8));
  text.bytes = (const char *)g->at;
  g->at += text.count;
  return text;
}

FR__SELDOM fr__gguf_value fr__gguf_next(fr__gguf *g)
{
  static const unsigned char sizes[13] = { 1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8 };  // of a string and an array: at least
  fr__gguf_value v;
  fr_int left;
  v.type = v.of = (uint32_t)fr__gguf_int(g, 4, 12);
  v.count = 1;
  if (v.type == FR__GGUF_ARRAY) {
    v.of = (uint32_t)fr__gguf_int(g, 4, 12);
    if (v.of == FR__GGUF_ARRAY) fr__gguf_wrong(g, FR_UNSUPPORTED, "an array of arrays");
    left = g->end - g->at - 8;
    v.count = (fr_int)fr__gguf_int(g, 8, left < 0 ? 0 : (uint64_t)(left / sizes[v.of]));
  }
  v.at = g->at;
  left = g->end - g->at;
  if (v.of == FR__GGUF_STRING) for (fr_int i = 0; i < v.count && !g->status; i++) fr__gguf_text(g);
  else if (left / sizes[v.of] < v.count) fr__gguf_wrong(g, FR_FORMAT, "the file ends too early");
  else g->at += v.count * sizes[v.of];
  return v;
}

// Goes to the value of a key, which is the architecture's own where it begins with a dot; 0: it is not there.
FR__SELDOM int fr__gguf_find(fr__gguf *g, const char *key, fr__gguf_value *value)
{
  fr_text wanted;
  fr__fail(&g->wanted, FR_OK, "%s%s", *key == '.' ? g->family : "", key);
  wanted = fr__text_of(g->wanted.text);
  g->at = g->start + 24;
  for (fr_int i = 0; i < g->keys && !g->status; i++) {
    g->name = fr__gguf_text(g);
    *value = fr__gguf_next(g);
    if (g->name.count != wanted.count || memcmp(g->name.bytes, wanted.bytes, (size_t)wanted.count)) continue;
    g->at = value->at;
    return !g->status;
  }
  g->name = wanted;
  return 0;
}

static fr_text fr__gguf_string(fr__gguf *g, const char *key)
{
  const fr_text none = { NULL, 0 };
  fr__gguf_value v;
  if (!fr__gguf_find(g, key, &v)) return none;
  if (v.type != FR__GGUF_STRING) fr__gguf_wrong(g, FR_FORMAT, "a string was expected");
  return v.type == FR__GGUF_STRING ? fr__gguf_text(g) : none;
}

// A whole number below 2^31, as u32, i32 or u64; `otherwise` if there is none.
FR__SELDOM fr_int fr__gguf_size(fr__gguf *g, const char *key, fr_int otherwise)
{
  fr__gguf_value v;
  uint64_t x;
  if (!fr__gguf_find(g, key, &v)) return otherwise;
  x = v.type == FR__GGUF_U64 ? fr__get_int(&v.at, 8) :
      v.type == FR__GGUF_U32 || v.type == FR__GGUF_I32 ? fr__get_int(&v.at, 4) : UINT64_MAX;
  if (x <= 0x7fffffff) return (fr_int)x;
  fr__gguf_wrong(g, FR_FORMAT, "a whole number below 2^31 was expected");
  return otherwise;
}

// The same, above 0.
FR__SELDOM fr_int fr__gguf_above(fr__gguf *g, const char *key, fr_int otherwise)
{
  const fr_int value = fr__gguf_size(g, key, otherwise);
  if (value < 1) fr__gguf_wrong(g, FR_FORMAT, "it is not there, or no whole number above 0");
  return value;
}

FR__SELDOM float fr__gguf_real(fr__gguf *g, const char *key, float otherwise)
{
  fr__gguf_value v;
  const int there = fr__gguf_find(g, key, &v);
  if (there && v.type == FR__GGUF_F32) fr__dequantize(FR__F32, v.at, 1, &otherwise);
  if ((there && v.type != FR__GGUF_F32) || !fr__positive(otherwise))
    fr__gguf_wrong(g, FR_FORMAT, "it is not there, or no number above 0");
  return otherwise;
}

static int fr__is_gguf(fr_text file) { return file.count >= 4 && memcmp(file.bytes, "GGUF", 4) == 0; }

// Checks the head and goes over all keys, which must differ. `at` is then where the tensors begin.
FR__SELDOM fr_status fr__gguf_open(fr__gguf *g, fr_text file, fr_reason *reason)
{
  enum { KEYS = 256, NAME = 65535 };
  const unsigned char *names[KEYS];  // each with its length before it
  fr_int version;
  memset(g, 0, sizeof *g);
  g->start = g->at = (const unsigned char *)file.bytes;
  g->end = g->start + file.count;
  g->reason = reason;
  if (fr__gguf_int(g, 4, UINT32_MAX) != 0x46554747) fr__gguf_wrong(g, FR_FORMAT, "the file does not begin with GGUF");
  version = (fr_int)(fr__gguf_int(g, 4, UINT32_MAX) & 0x7fffffff);
  fr__fail(&g->wanted, FR_OK, version == 0x03000000 ? "a big-endian file is not supported" : "version %d is not supported, only 3 is",
           version);
  if (version != 3) fr__gguf_wrong(g, FR_UNSUPPORTED, g->wanted.text);
  g->tensors = (fr_int)fr__gguf_int(g, 8, (uint64_t)file.count / 24);
  g->keys = (fr_int)fr__gguf_int(g, 8, (uint64_t)file.count / 13);
  if (g->keys > KEYS) fr__gguf_wrong(g, FR_LIMIT, "more than 256 keys");
  for (fr_int i = 0; i < g->keys && !g->status; i++) {
    names[i] = g->at;
    g->name = fr__gguf_text(g);
    if (g->name.count > NAME) fr__gguf_wrong(g, FR_FORMAT, "a name of more than 65,535 bytes");
    for (fr_int k = 0; k < i && !g->status; k++)
      if (!memcmp(names[k], names[i], (size_t)g->name.count + 8)) fr__gguf_wrong(g, FR_FORMAT, "this key is there twice");
    fr__gguf_next(g);
  }
  g->data = g->at;
  g->alignment = fr__gguf_size(g, "general.alignment", 32);
  if (g->alignment < 8 || (g->alignment & (g->alignment - 1))) fr__gguf_wrong(g, FR_FORMAT, "it is no power of two from 8 on");
  if (!g->status) g->at = g->data;
  return g->status;
}

// ---- >>dataset ----------------------------------------------------------------------------------------
// One function goes over the text, first to measure and check, then to fill; after that nothing can fail. A row's values are
// noted first, since its names may come in any order, and its traces are read in a second look.

typedef struct fr__build {
  fr_dataset d;           // its arrays are NULL while measuring; d.sources has one for each trace that names one
  char   *strings;
  fr_int  string_bytes;
  fr_int *links, *number;  // scratch, see fr__number_texts
} fr__build;

// What a row, a trace or a message says, as places in its line; kind 0 where it says nothing. The text of a row is its completion.
enum { FR__QUESTION, FR__TRACES, FR__VERIFIED, FR__TEXT_OF, FR__ANSWER, FR__CORRECT, FR__SOURCE, FR__MESSAGES, FR__INSTRUCTION, FR__INPUT,
       FR__OUTPUT, FR__REASONING, FR__ROLE, FR__LINE_FIELDS };

typedef struct fr__line {
  fr__json_token at[FR__LINE_FIELDS];
  fr__json_token nearly;  // a name that is not known, but nearly
} fr__line;
typedef struct fr__field { const char *name, *kinds, *wrong; int field; } fr__field;  // the kinds of value it may have

FR__SELDOM fr_text fr__build_text(fr__build *build, const char *line, fr__json_token token)
{
  fr_text text = { NULL, 0 };
  if (token.kind == '"' || token.kind == '0') {
    char *out = build->strings ? build->strings + build->string_bytes : NULL;
    text.bytes = out;
    text.count = fr__json_copy(line, token, out);
    build->string_bytes += text.count;
  }
  return text;
}

FR__SELDOM void fr__build_byte(fr__build *build, int byte)
{
  if (build->strings) build->strings[build->string_bytes] = (char)byte;
  build->string_bytes++;
}

// Of two texts the first, a blank line and the second; one that is not there, or empty, is left out.
FR__SELDOM fr_text fr__build_both(fr__build *build, const char *line, fr__json_token first, fr__json_token second)
{
  fr_text text = fr__build_text(build, line, first);
  const fr_int start = build->string_bytes - text.count;
  if (text.count && second.count) { fr__build_byte(build, '\n'); fr__build_byte(build, '\n'); }
  if (second.count) fr__build_text(build, line, second);
  text.bytes = build->strings ? build->strings + start : NULL;
  text.count = build->string_bytes - start;
  return text;
}

FR__SELDOM int fr__json_blank(const char *line, fr__json_token text)  // there is only white space
{
  fr_int at = text.start;
  int32_t code = 0;
  while (code >= 0 && code <= 32) code = fr__json_code(line, &at, text.start + text.count);
  return code < 0;
}

// Do two answers of a line agree? Longer ones than any number need the same bytes.
FR__SELDOM int fr__json_agree(const char *line, fr__json_token a, fr__json_token b)
{
  char a_bytes[2 * FR_ANSWER_DIGITS], b_bytes[2 * FR_ANSWER_DIGITS];
  fr_text x = { a_bytes, 0 }, y = { b_bytes, 0 };
  if (fr__json_order(line, a.start, a.start + a.count, b.start, b.start + b.count) == 0) return 1;
  if (fr__max(a.count, b.count) > 2 * FR_ANSWER_DIGITS) return 0;
  x.count = fr__json_copy(line, a, a_bytes);
  y.count = fr__json_copy(line, b, b_bytes);
  return fr_answer_same(x, y);
}

FR__SELDOM void fr__build_trace(fr__build *build, const char *line, const fr__line *said, fr__json_token right)
{
  const fr__json_token text = said->at[FR__TEXT_OF], answer = said->at[FR__ANSWER], reasoning = said->at[FR__REASONING];
  fr_dataset *d = &build->d;
  char verdict = said->at[FR__CORRECT].kind;  // 't', 'f' or 0
  fr_trace trace;
  d->counts.traces++;
  if (!verdict && answer.kind && right.kind) verdict = fr__json_agree(line, answer, right) ? 't' : 'f';
  if (verdict == 'f') { d->counts.incorrect++; return; }
  if (fr__json_blank(line, text) && fr__json_blank(line, reasoning)) { d->counts.empty++; return; }
  trace.text = fr__build_both(build, line, reasoning, text);
  trace.answer = fr__build_text(build, line, answer);
  trace.problem = d->problem_count;
  trace.source = -1;
  if (said->at[FR__SOURCE].kind == '"') {
    const fr_text name = fr__build_text(build, line, said->at[FR__SOURCE]);
    if (d->sources) d->sources[d->source_count] = name;
    trace.source = d->source_count++;
  }
  if (d->traces) d->traces[d->trace_count] = trace;
  d->trace_count++;
}

// JSON, but not such a row: at this token, from its quote on. As fr__json_wrong, it leaves an earlier error as it is.
static int fr__line_wrong(fr__json *json, fr__json_token token, const char *wrong)
{
  fr__json_wrong(json, FR_FORMAT, token.start - (token.kind == '"' || token.kind == 'k'), wrong);
  return 0;
}

// Is a name but one letter, or a swap of two, away from this one, or the same in capitals?
FR__SELDOM int fr__json_near(const fr__json *json, fr__json_token name, const char *known)
{
  const char *at = json->text + name.start, *end = at + name.count, *known_end = known + strlen(known);
  while (at < end && known < known_end && (*at | 32) == *known) { at++; known++; }
  while (at < end && known < known_end && (end[-1] | 32) == known_end[-1]) { end--; known_end--; }
  if (end - at == 2 && known_end - known == 2) return at[0] == known[1] && at[1] == known[0];
  return end - at <= 1 && known_end - known <= 1;
}

// The fields of an object whose '{' has been read. Null reads as absent where the kinds have an n; other names are skipped.
FR__SELDOM int fr__line_object(fr__json *json, const fr__field *fields, fr__line *line)
{
  while (fr__json_next(json) == 'k') {
    const fr__json_token name = json->token;
    const fr__field *field = fields;
    fr__json_token found;
    while (field->name && !fr__json_is(json, name, field->name)) field++;
    for (const fr__field *f = fields; !field->name && f->name; f++) if (fr__json_near(json, name, f->name)) line->nearly = name;
    fr__json_next(json);
    found = json->token;
    if (field->name && !strchr(field->kinds, found.kind)) fr__line_wrong(json, found, field->wrong);
    else if (field->name && line->at[field->field].kind)
      fr__line_wrong(json, name, "this repeats under another name what the row already has");
    if (!fr__json_skip(json)) return 0;
    if (found.kind == '[') found.count = json->at - found.start;
    if (found.kind == 'n') found.kind = 0, found.count = 0;
    if (field->name) line->at[field->field] = found;
  }
  return json->token.kind != '!';
}

static int fr__line_lacks(fr__json *json, fr__json_token start, const fr__line *line, const char *wrong, const char *misspelt)
{
  return line->nearly.kind ? fr__line_wrong(json, line->nearly, misspelt) : fr__line_wrong(json, start, wrong);
}

FR__SELDOM int fr__line_traces(fr__build *build, fr__json *json, const fr__line *row, fr_int *names)
{
  static const fr__field fields[] = {
    { "text", "\"", "a trace's text must be a string", FR__TEXT_OF },
    { "answer", "\"0n", "an answer must be a string or a number", FR__ANSWER },
    { "source", "\"n", "a source must be a string", FR__SOURCE },
    { "correct", "tfn", "correct must be true or false", FR__CORRECT }, { NULL, NULL, NULL, 0 } };
  const fr__json_token traces = row->at[FR__TRACES], verdicts = row->at[FR__VERIFIED];
  fr__json list, verified;
  fr__json_start(&list, json->text, traces.start, traces.start + traces.count, json->line, names, FR_DATASET_NAMES);
  fr__json_start(&verified, json->text, verdicts.start, verdicts.start + verdicts.count, json->line, names, 0);
  fr__json_next(&list);
  if (verdicts.kind) fr__json_next(&verified);
  while (fr__json_next(&list) != ']') {
    const fr__json_token start = list.token;
    const char verdict = verdicts.kind ? fr__json_next(&verified) : 'n';
    fr__line trace;
    memset(&trace, 0, sizeof trace);
    if (start.kind == '"') trace.at[FR__TEXT_OF] = start;
    else if (start.kind != '{') fr__line_wrong(&list, start, "a trace must be a string or an object with a text");
    else if (fr__line_object(&list, fields, &trace) && !trace.at[FR__TEXT_OF].kind)
      fr__line_lacks(&list, start, &trace, "this trace has no text", "this trace has no text; is this name misspelt?");
    if (verdict == ']') fr__line_wrong(&list, verdicts, "this list is shorter than the list of traces");
    else if (!strchr("tfn", verdict)) fr__json_wrong(&list, FR_FORMAT, verified.token.start, "true or false was expected");
    else if (!trace.at[FR__CORRECT].kind && verdict != 'n') trace.at[FR__CORRECT].kind = verdict;
    if (list.status) break;
    fr__build_trace(build, json->text, &trace, row->at[FR__ANSWER]);
  }
  if (verdicts.kind && fr__json_next(&verified) != ']')
    fr__line_wrong(&list, verdicts, "this list is longer than the list of traces");
  if (list.status) fr__json_wrong(json, list.status, list.wrong_at, list.wrong);
  return !list.status;
}

// A list of messages: *asked, if it is not NULL, is the conversation of its turns, of which the last is the user's; with `answer`
// the last message is not one of them, but the assistant's, whose texts become the answer's.
FR__SELDOM int fr__line_messages(fr__build *build, fr__json *json, fr__json_token messages, fr_int *names, fr_text *asked, fr__line *answer)
{
  static const fr__field fields[] = {
    { "role", "\"", "a role must be a string", FR__ROLE }, { "content", "\"n", "a content must be a string", FR__TEXT_OF },
    { "reasoning_content", "\"n", "a reasoning_content must be a string", FR__REASONING }, { NULL, NULL, NULL, 0 } };
  static const char *const roles[] = { "system", "developer", "user", "assistant" };
  const fr_int start = build->string_bytes;
  fr_int turns = 0;
  fr__json list;
  fr__line one;
  char role = 0, last = 0;
  int ends = 0;
  fr__json_start(&list, json->text, messages.start, messages.start + messages.count, json->line, names, FR_DATASET_NAMES);
  fr__json_next(&list);
  memset(&one, 0, sizeof one);
  while (!ends && !list.status) {
    const char kind = fr__json_next(&list);
    const fr__json_token at = list.token;
    ends = kind == ']';
    if (role && !(ends && answer)) {  // the one before
      fr__build_byte(build, 0xFF);
      fr__build_byte(build, role);
      fr__build_text(build, json->text, one.at[FR__TEXT_OF]);
      last = role;
      turns++;
    }
    if (ends) break;
    memset(&one, 0, sizeof one);
    if (kind != '{') fr__line_wrong(&list, at, "a message must be an object");
    else if (fr__line_object(&list, fields, &one) && !one.at[FR__ROLE].kind)
      fr__line_lacks(&list, at, &one, "this message has no role", "this message has no role; is this name misspelt?");
    for (int i = role = 0; i < 4; i++) if (!list.status && fr__json_is(&list, one.at[FR__ROLE], roles[i])) role = "ssua"[i];
    if (!role) fr__line_wrong(&list, one.at[FR__ROLE], "a role must be system, developer, user or assistant");
    else if (!one.at[FR__TEXT_OF].count && !(role == 'a' && one.at[FR__REASONING].count))
      fr__line_wrong(&list, at, "this message has no content");
  }
  if (answer && role != 'a') fr__line_wrong(&list, messages, "the last message must be the assistant's");
  if (asked && last != 'u') fr__line_wrong(&list, messages, answer ? "the message before the last must be the user's" : "the last message must be the user's");
  if (!asked && turns) fr__line_wrong(&list, messages, "a completion must be one message");
  if (list.status) fr__json_wrong(json, list.status, list.wrong_at, list.wrong);
  if (answer) { answer->at[FR__TEXT_OF] = one.at[FR__TEXT_OF]; answer->at[FR__REASONING] = one.at[FR__REASONING]; }
  if (asked) {
    asked->count = build->string_bytes - start - (turns == 1 ? 2 : 0);
    asked->bytes = build->strings ? build->strings + build->string_bytes - asked->count : NULL;
  }
  return !list.status;
}

// Reads the object on one line.
FR__SELDOM int fr__build_line(fr__build *build, fr__json *json, fr_int *names)
{
  static const char asked[] = "the question must be a string", list[] = "the traces must be an array", any[] = "{[\"0tfn";
  static const fr__field fields[] = {
    { "question", "\"", asked, FR__QUESTION }, { "problem", "\"", asked, FR__QUESTION },
    { "prompt", "\"[", "the prompt must be a string or a list of messages", FR__QUESTION },
    { "traces", "[", list, FR__TRACES }, { "generations", "[", list, FR__TRACES },
    { "thinking_trajectories", "[", list, FR__TRACES },
    { "completion", "\"[", "the completion must be a string or a list of messages", FR__TEXT_OF },
    { "answer", "\"0n", "an answer must be a string or a number", FR__ANSWER },
    { "correctness_math_verify", "[n", "correctness_math_verify must be an array", FR__VERIFIED },
    // Beside what is told above these mean something else and may have any type.
    { "correct", any, "", FR__CORRECT }, { "source", any, "", FR__SOURCE }, { "messages", any, "", FR__MESSAGES },
    { "instruction", any, "", FR__INSTRUCTION }, { "input", any, "", FR__INPUT }, { "output", any, "", FR__OUTPUT }, { NULL, NULL, NULL, 0 } };
  fr_dataset *d = &build->d;
  fr__line row;
  fr__json_token *const at = row.at, *const correct = &at[FR__CORRECT], *const source = &at[FR__SOURCE];
  fr__json_token start, answer, none;
  fr_problem problem;
  int traces, completion, messages;
  memset(&row, 0, sizeof row);
  memset(&none, 0, sizeof none);
  memset(&problem, 0, sizeof problem);
  problem.line = json->line;
  if (fr__json_next(json) != '{')
    return fr__line_wrong(json, json->token, json->token.kind == '[' ? "each line must hold one object; of a list: jq -c '.[]' FILE > FILE.jsonl"
                                                                     : "each line must hold one object");
  start = json->token;
  if (!fr__line_object(json, fields, &row) || fr__json_next(json) == '!') return 0;
  traces = at[FR__TRACES].kind;
  messages = !at[FR__QUESTION].kind && !traces && !at[FR__TEXT_OF].kind && at[FR__MESSAGES].kind;
  if (messages && at[FR__MESSAGES].kind != '[') return fr__line_wrong(json, at[FR__MESSAGES], "messages must be a list");
  if (!at[FR__QUESTION].kind && !traces && !at[FR__TEXT_OF].kind && !messages && at[FR__INSTRUCTION].kind == '"') {
    at[FR__QUESTION] = at[FR__INSTRUCTION];
    at[FR__TEXT_OF] = at[FR__OUTPUT];
    if (at[FR__OUTPUT].kind != '"') return fr__line_wrong(json, at[FR__OUTPUT].kind ? at[FR__OUTPUT] : start, "the output must be a string");
    if (at[FR__INPUT].kind && at[FR__INPUT].kind != '"') return fr__line_wrong(json, at[FR__INPUT], "the input must be a string");
  } else {
    at[FR__INPUT] = none;
  }
  completion = at[FR__TEXT_OF].kind || messages;
  if (!at[FR__QUESTION].kind && !messages)
    return fr__line_lacks(json, start, &row, "this row has no question", "this row has no question; is this name misspelt?");
  if (!at[FR__QUESTION].count && !messages) return fr__line_wrong(json, at[FR__QUESTION], "the question is empty");
  if (!traces && !completion)
    return fr__line_lacks(json, start, &row, "this row has no traces", "this row has no traces; is this name misspelt?");
  if (traces && completion) return fr__line_wrong(json, start, "this row has both traces and a completion");
  if (completion && at[FR__VERIFIED].kind) return fr__line_wrong(json, at[FR__VERIFIED], "this list needs a list of traces");
  if (completion && correct->kind && !strchr("tf", correct->kind))
    fr__json_wrong(json, FR_FORMAT, correct->start, "correct must be true or false");
  else if (completion && source->kind && source->kind != '"') fr__line_wrong(json, *source, "a source must be a string");
  if (json->status || (traces && !fr__line_traces(build, json, &row, names))) return 0;
  answer = at[FR__ANSWER];
  at[FR__ANSWER].kind = 0;  // it is that of the question, not of a completion
  if (messages && !fr__line_messages(build, json, at[FR__MESSAGES], names, &problem.text, &row)) return 0;
  if (at[FR__QUESTION].kind == '[' && !fr__line_messages(build, json, at[FR__QUESTION], names, &problem.text, NULL)) return 0;
  if (at[FR__TEXT_OF].kind == '[' && !fr__line_messages(build, json, at[FR__TEXT_OF], names, NULL, &row)) return 0;
  if (completion) fr__build_trace(build, json->text, &row, answer);
  if (at[FR__QUESTION].kind == '"') problem.text = fr__build_both(build, json->text, at[FR__QUESTION], at[FR__INPUT]);
  problem.answer = fr__build_text(build, json->text, answer);
  if (d->problems) {
    problem.key = fr__hash((uint64_t)problem.text.count, problem.text.bytes, problem.text.count);
    d->problems[d->problem_count] = problem;
  }
  d->problem_count++;
  d->counts.rows++;
  return 1;
}

// By its byte order mark.
static int fr__is_utf16(const char *text, fr_int bytes)
{
  return bytes >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0);
}

FR__SELDOM fr_status fr__build_read(fr__build *build, const char *text, fr_int bytes, fr_reason *reason)
{
  fr_int names[2 * FR_DATASET_NAMES], at = 0;
  if (bytes < 0 || (bytes > 0 && !text)) return fr__fail(reason, FR_INVALID, "there is no text");
  build->d.problem_count = build->d.trace_count = build->d.source_count = build->string_bytes = 0;
  memset(&build->d.counts, 0, sizeof build->d.counts);
  if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) at = 3;
  if (fr__is_utf16(text, bytes)) return fr__fail(reason, FR_FORMAT, "the text is UTF-16; UTF-8 is expected");
  if (bytes >= 4 && memcmp(text, "PAR1", 4) == 0)
    return fr__fail(reason, FR_FORMAT, "this is Parquet: python -c \"import pandas; pandas.read_parquet('FILE').to_json('FILE.jsonl', "
                    "orient='records', lines=True)\" makes JSON lines of it");
  if (bytes >= 4 && (memcmp(text, "\x1F\x8B", 2) == 0 || memcmp(text, "\x28\xB5\x2F\xFD", 4) == 0))
    return fr__fail(reason, FR_FORMAT, "the text is compressed, by %s", text[0] == 0x1F ? "gzip" : "zstd");
  for (fr_int line = 1; at < bytes; line++) {
    const char *end = (const char *)memchr(text + at, '\n', (size_t)(bytes - at));
    const fr_int stop = end ? end - text : bytes;
    fr__json json;
    fr__json_start(&json, text + at, 0, stop - at, line, names, FR_DATASET_NAMES);
    while (fr__json_pass(&json, " \t\r")) {}
    if (json.at < json.bytes && !fr__build_line(build, &json, names)) {
      if (json.status == FR_SYNTAX && json.wrong_at == json.bytes) json.wrong = "the text ends too early: one object per line; of JSON over several lines: jq -c . FILE > FILE.jsonl";
      return fr__json_fail(&json, reason);
    }
    at = stop + 1;
  }
  return fr__fine(reason);
}

static void fr__build_layout(fr__arena *arena, fr__build *build)
{
  fr_dataset *d = &build->d;
  const fr_int most = fr__max(d->problem_count, d->trace_count);
  d->problems = (fr_problem *)fr__take(arena, d->problem_count, (fr_int)sizeof(fr_problem));
  d->traces = (fr_trace *)fr__take(arena, d->trace_count, (fr_int)sizeof(fr_trace));
  d->sources = (fr_text *)fr__take(arena, d->source_count, (fr_int)sizeof(fr_text));
  build->links = (fr_int *)fr__take(arena, most, (fr_int)sizeof(fr_int));
  build->number = (fr_int *)fr__take(arena, most, (fr_int)sizeof(fr_int));
  build->strings = (char *)fr__take(arena, build->string_bytes, 1);
}

static int fr__text_order(fr_text a, fr_text b)
{
  const fr_int shorter = fr__min(a.count, b.count);
  const int order = shorter ? memcmp(a.bytes, b.bytes, (size_t)shorter) : 0;
  return order ? order : (a.count > b.count) - (a.count < b.count);
}

static fr_int fr__sort_all(fr_int count, fr_int *links, fr__order order, const void *context)
{
  for (fr_int i = 0; i < count; i++) links[i] = i + 1 < count ? i + 1 : -1;
  return fr__sort(count ? 0 : -1, links, order, context);
}

typedef struct fr__records { const char *first; fr_int size; } fr__records;  // each begins with an fr_text

static int fr__record_order(const void *context, fr_int a, fr_int b)
{
  const fr__records *r = (const fr__records *)context;
  const void *x = r->first + a * r->size, *y = r->first + b * r->size;
  return fr__text_order(*(const fr_text *)x, *(const fr_text *)y);
}

// number[i] becomes the number of record i's text: equal texts have the same, counted from 0 in the order in which they first
// occur. Returns how many differ.
static fr_int fr__number_texts(fr__build *build, const void *records, fr_int count, size_t size)
{
  fr__records all = { (const char *)records, (fr_int)size };
  fr_int *number = build->number, first = -1, differ = 0;
  for (fr_int i = fr__sort_all(count, build->links, fr__record_order, &all); i >= 0; i = build->links[i]) {
    if (first < 0 || fr__record_order(&all, first, i) != 0) first = i;
    number[i] = first;  // the lowest index of such a text
  }
  for (fr_int i = 0; i < count; i++) number[i] = number[i] == i ? differ++ : number[number[i]];
  return differ;
}

// Merges rows of one question, brings the traces of a problem together, drops repeated ones, gives each source one number.
FR__SELDOM void fr__build_join(fr__build *build)
{
  fr_dataset *d = &build->d;
  fr_problem *problems = d->problems;
  fr_trace *traces = d->traces;
  fr_int *number = build->number, *place = build->links, count = 0;
  const fr_int rows = d->problem_count, trace_count = d->trace_count, source_count = d->source_count;
  fr__number_texts(build, problems, rows, sizeof *problems);
  for (fr_int i = 0; i < rows; i++) {
    const fr_problem row = problems[i];
    fr_problem *first = &problems[number[i]];
    if (number[i] == count) { problems[count++] = row; continue; }
    d->counts.merged++;
    if (!first->answer.bytes) first->answer = row.answer;
    else if (row.answer.bytes && fr__text_order(first->answer, row.answer) != 0 && !fr_answer_same(first->answer, row.answer))
      d->counts.conflicts++;
  }
  for (fr_int t = 0; t < trace_count; t++) {
    traces[t].problem = number[traces[t].problem];
    problems[traces[t].problem].count++;
  }
  for (fr_int i = 1; i < count; i++) problems[i].first = problems[i - 1].first + problems[i - 1].count;
  for (fr_int t = 0; t < trace_count; t++) place[t] = problems[traces[t].problem].first++;  // that becomes the end
  for (fr_int t = 0; t < trace_count; t++)
    while (place[t] != t) {  // each swap brings one to its place
      const fr_int to = place[t];
      const fr_trace swap = traces[to];
      traces[to] = traces[t];
      traces[t] = swap;
      place[t] = place[to];
      place[to] = to;
    }

  d->problem_count = d->trace_count = 0;
  for (fr_int p = 0; p < count; p++) {  // what is left moves to the front
    fr_problem problem = problems[p];
    const fr_int all_count = problem.count;
    const fr_trace *all = traces + (problem.first - all_count);
    fr__number_texts(build, all, all_count, sizeof *all);
    problem.first = d->trace_count;
    problem.count = 0;
    for (fr_int t = 0; t < all_count; t++) {
      if (number[t] < problem.count) { d->counts.repeated++; continue; }
      d->longest = fr__max(d->longest, all[t].text.count);
      traces[d->trace_count] = all[t];
      traces[d->trace_count++].problem = d->problem_count;
      problem.count++;
    }
    if (problem.count == 0) { d->counts.no_trace++; continue; }
    d->longest = fr__max(d->longest, problem.text.count);
    problems[d->problem_count++] = problem;
  }
  d->source_count = fr__number_texts(build, d->sources, source_count, sizeof *d->sources);
  for (fr_int i = 0; i < source_count; i++) d->sources[number[i]] = d->sources[i];
  for (fr_int t = 0; t < d->trace_count; t++)
    if (traces[t].source >= 0) traces[t].source = number[traces[t].source];
}

FR_DEF fr_status fr_dataset_place(fr_dataset *dataset, const char *text, fr_int text_bytes, void *memory, fr_int bytes,
                                  fr_int *needed, fr_reason *reason)
{
  fr__build build;
  fr__arena arena = { NULL, 0, 0 };
  fr_status status;
  if (memory && !dataset) return fr__fail(reason, FR_INVALID, "dataset is NULL");
  memset(&build, 0, sizeof build);
  status = fr__build_read(&build, text, text_bytes, reason);
  if (status) return status;
  fr__build_layout(&arena, &build);
  status = fr__arena_open(&arena, memory, bytes, needed, reason);
  if (status || !memory) return status;
  fr__build_layout(&arena, &build);
  status = fr__build_read(&build, text, text_bytes, reason);
  if (status) return status;
  fr__build_join(&build);
  *dataset = build.d;
  return FR_OK;
}

// ---- >>bpe --------------------------------------------------------------------------------------------
// Cutting text into pre-tokens, merging a pre-token, reading and writing files.
#define FR__NONE 0xFFFFFFFFu
// Kinds of tokens: found by its bytes; matched in raw text; also that, but only between those; while loading, a special of the
// vocabulary; a special that other programs show, as forks are (`special` false, user-defined); 0: hidden (llama2.c), or a hole.
enum { FR__ORDINARY = 1, FR__SPECIAL = 2, FR__LATE = 4, FR__LISTED = 8, FR__SHOWN = 16 };
typedef struct fr__piece { uint32_t start, count; } fr__piece;            // bytes of a token; count 0: a hole
typedef struct fr__merge { uint32_t left, right, rank, id; } fr__merge;   // rank FR__NONE: an empty slot

typedef struct fr__bpe {
  fr__piece     *pieces;    // [vocab]
  unsigned char *kinds;     // [vocab]
  uint32_t      *names;     // [name_slots] ordinary tokens by their bytes: id + 1, or 0
  fr__merge     *merges;    // [merge_slots] by (left, right)
  uint32_t      *order;     // [merges] places_of by rank
  uint32_t      *specials;  // [specials] ids, sorted by their bytes
  char          *bytes;
  fr_int   name_slots, merge_slots;
  uint64_t seed;            // of both tables
  uint32_t rank_count, byte_ids[256];
  int      crowded;         // 1: a search went too far, so what it looked for is missing
  unsigned char first[256]; // 1 if a special begins with this byte
  int late, lacks;          // some special is late; some byte has no token: its id is FR__NONE
} fr__bpe;

// Whoever writes a file chooses its names, and may not choose where they fall. So the seed of its tables is a hash of all of it
// that nobody can steer: Philox, keyed by 8 bytes and counting from the state xor 16 more, is added to what it counted from
// (Davies and Meyer). And no search goes further than FR__PROBES; fair tables, half full, need a tenth of that.
static uint64_t fr__seed(uint64_t seed, fr_text text)
{
  const unsigned char *p = (const unsigned char *)text.bytes;
  uint32_t state[4] = { (uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)text.count, (uint32_t)((uint64_t)text.count >> 32) };
  for (fr_int left = text.count; left > 0; left -= 24) {
    uint32_t words[6], out[4];
    for (int i = 0; i < 6; i++) words[i] = (uint32_t)fr__get_int(&p, (int)fr__max(0, fr__min(4, left - 4 * i)));
    for (int i = 0; i < 4; i++) state[i] ^= words[i];
    fr__philox(out, state, words + 4);
    for (int i = 0; i < 4; i++) state[i] ^= out[i];
  }
  return (uint64_t)state[1] << 32 | state[0];
}
#ifndef FR__PROBES
#define FR__PROBES 512
#endif
static const uint32_t fr__no_name = 0;  // where a search ends that went too far
static const fr__merge fr__no_merge = { FR__NONE, FR__NONE, FR__NONE, FR__NONE };

static uint64_t fr__mix(uint64_t x)
{
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ x >> 32;
}

// Slot 0 .. places_of-1 for a hash, without a division; the tables are open addressing with linear probing, half full at most.
static fr_int fr__slot(uint64_t hash, fr_int buckets) { return (fr_int)((uint64_t)(uint32_t)hash * (uint64_t)buckets >> 32); }

static uint64_t fr__name_hash(uint64_t seed, const char *bytes, fr_int count)
{
  uint64_t hash = seed + (uint64_t)count, word;
  for (; count > 8; count -= 8, bytes += 8) {
    memcpy(&word, bytes, 8);
    hash = fr__mix(hash ^ word);
  }
  word = 0;
  if (count > 0) memcpy(&word, bytes, (size_t)count);
  return fr__mix(hash ^ word);
}

static int fr__piece_is(const fr__bpe *b, uint32_t id, const char *bytes, fr_int count)
{
  return (fr_int)b->pieces[id].count == count && memcmp(b->bytes + b->pieces[id].start, bytes, (size_t)count) == 0;
}

// Where the ordinary token with these bytes is, or would go, or &fr__no_name.
static uint32_t *fr__name_at(const fr__bpe *b, const char *bytes, fr_int count)
{
  fr_int slot = fr__slot(fr__name_hash(b->seed, bytes, count), b->name_slots);
  for (int probe = 0; probe < FR__PROBES; probe++, slot = slot + 1 == b->name_slots ? 0 : slot + 1)
    if (!b->names[slot] || fr__piece_is(b, b->names[slot] - 1, bytes, count)) return b->names + slot;
  return (uint32_t *)(uintptr_t)&fr__no_name;
}

// Its id, or FR__NONE.
static uint32_t fr__name_id(const fr__bpe *b, const char *bytes, fr_int count) { return *fr__name_at(b, bytes, count) - 1; }

// A new token, whose bytes are in place; 0 if it is ordinary and there already, or (crowded) has no place.
static int fr__set_token(fr__bpe *b, fr_int id, fr_int start, fr_int count, int kind)
{
  const fr__piece piece = { (uint32_t)start, (uint32_t)count };
  uint32_t *name = kind & FR__ORDINARY ? fr__name_at(b, b->bytes + start, count) : NULL;
  if (name == &fr__no_name) b->crowded = 1;
  if (name && (*name || b->crowded)) return 0;
  if (name) *name = (uint32_t)id + 1;
  b->pieces[id] = piece;
  b->kinds[id] = (unsigned char)kind;
  return 1;
}

// The merge of two neighbours, or the empty slot where it would go, or &fr__no_merge.
static fr__merge *fr__merge_at(const fr__bpe *b, uint32_t left, uint32_t right)
{
  fr_int slot = fr__slot(fr__mix(((uint64_t)left << 32 | right) ^ b->seed), b->merge_slots);
  for (int probe = 0; probe < FR__PROBES; probe++, slot = slot + 1 == b->merge_slots ? 0 : slot + 1) {
    fr__merge *m = b->merges + slot;
    if (m->rank == FR__NONE || (m->left == left && m->right == right)) return m;
  }
  return (fr__merge *)(uintptr_t)&fr__no_merge;
}

// -- pre-tokens. Classes of characters (Unicode 16.0, made by tests/unicode_table.py): 0 other, 1 letter (L), 2 number (N),
// 3 white space (\s). From U+0080 on, a stretch of one class is 4 * length + class, in two digits of base 62; length 0 is all that
// is left. Every 16th stretch has its first code point in fr__class_starts.
enum { FR__OTHER, FR__LETTER, FR__NUMBER, FR__BLANK };
static const unsigned char fr__ascii[128] = {
  0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0,
  0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
  0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0
};
static const uint32_t fr__class_starts[111] = {
  128, 192, 886, 1015, 1632, 1808, 2070, 2250, 2449, 2530, 2610, 2703, 2790, 2877, 2961, 3025, 3166, 3252, 3345, 3461, 3648, 3762,
  3904, 4194, 4302, 4750, 4886, 5787, 6016, 6279, 6602, 6989, 7294, 7616, 8030, 8156, 8305, 8470, 8522, 11499, 11648, 11736,
  12353, 12784, 17152, 31488, 42509, 42891, 43056, 43302, 43520, 43701, 43785, 44032, 55292, 64280, 64434, 65339, 65575, 65932,
  66422, 66812, 66994, 67505, 67680, 67898, 68160, 68416, 68858, 69314, 69623, 69927, 70106, 70282, 70442, 70542, 70751, 71236,
  71488, 71984, 72193, 72698, 73009, 73459, 74863, 82784, 92160, 93008, 94027, 100344, 110580, 111356, 118010, 119973, 120086,
  120514, 120746, 123198, 124398, 125184, 126464, 126523, 126551, 126572, 126635, 137792, 153152, 168512, 179168, 191472, 203472
};
static const char fr__class_stretches[] =
  "@T@GAk@G@e@E@]@J@D@E@L@F@E@D@N@DA`@DBA@D^d@P@r@y@U@]@E@D@EHT@U@D@I@H@Q@D@E@X@E@D@M@D@E@DAS@DEW@DH~@aJn@DB^@H@E@XBjDeAp@P@QBy"
  "BrAV@k@P@I@DFY@D@E@}@I@]@I@k@M@H@EAB@E@DA|AwEp@m@E@y@kBI@e@I@P@E@TA[@P@E@e@E@L@EA_Ah@]@n@TAd@D@YAFBnCoC`@L@EAJ@E@]@j@P@k@DAC"
  "@P@b@H@I@HA[@D@^@D@E@L@Q@L@EAB@E@u@I@D@M@P@k@I@H@Z@H@E@a@Y@P@I@HA[@D@^@D@I@D@I@D@IB@@Q@D@E@]@k@H@MAB@f@D@M@DA[@D@^@D@I@D@U@L"
  "@EAJ@E@}@I@P@k@e@E@m@b@H@I@HA[@D@^@D@I@D@U@L@EA{@I@D@M@P@k@D@E@Z@m@E@D@Y@L@M@D@Q@L@I@D@E@D@I@L@I@L@M@L@rAZ@EAV@wAJ@b@D@M@DA`"
  "@DAC@L@EAk@M@H@E@H@I@P@k@a@_@D@E@P@b@D@M@DA`@D@j@D@U@L@EB@@I@D@I@P@k@D@IAF@f@D@M@DBj@H@EAB@E@T@M@D@_@M@PAP@D@Y@TAK@LAd@D@f@D"
  "@E@H@^B@@kAFCG@D@I@q@^@e@kBa@I@D@E@D@U@DAd@D@E@D@j@D@I@e@E@H@U@D@E@e@k@H@QBD@EB@AT@q@b@DBUAo@UGZBrAR@E@k@X@Y@P@Q@L@E@L@I@]@M"
  "@P@v@q@E@D@k@XB^@D@E@T@E@HBr@DU`@D@Q@H@^@D@E@D@Q@HBj@D@Q@HBI@D@Q@H@^@D@E@D@Q@H@~@DCl@D@Q@HDU@yAT@LACABEd@H@Y@LiA@HAG@GAl@TDv"
  "@L@N@b@]AK@uAO@yAK@y@v@D@M@}CWBP@E@P@E@L@k@X@kAZ@k@XEp@]@U@HBM@D@E@TDb@iBABa@kA|@H@U@mBv@PAl@X@oBXA`@eC[Bq@k@X@k@u@EF@CCAF@b"
  "@L@kBiA|@u@I@kBvAkBUAs@k@L@M@kBU@H@n@TBr@H@MBi@Q@D@Y@D@I@L@E@TLYDHQ|@H@Y@HB^@H@Y@H@b@D@E@D@E@D@E@DBA@HC[@D@^@D@E@L@M@D@^@L@Q"
  "@H@Y@P@v@T@M@D@^@L@pAw@K@T@GCB@GAB@F@E@H@Z@T@E@k@X@vFa@E@P@E@H@j@D@E@L@U@X@E@D@E@D@E@D@Q@D@n@H@Q@T@U@P@E@DCT@I@VouCyEBA]iiA}"
  "~{KFNr@X@Q@L@I@e@F@HB^@D@E@T@E@HCh@]@EABA`@e@^@D@^@D@^@D@^@D@^@D@^@D@^@D@^EJ@E^{@G@P@I@FAg@g@]@U@H@N@I@PEd@X@M@DEt@D@Q@TBr@D"
  "FE@L@R@iBECFACBD@kA{@c@DA@BD@kBaA@Ti~|~|~|~|~|~|vlDH~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|D~DTB~@HQW@LAC@k@IARCCABBA"
  "@HDb@kBa@f@HFj@HDU@H@I@D@E@D@bAVAC@D@M@D@Q@DA`@u@Z@iCW@yCOAs@kAc@Y@L@E@D@I@D@kAt@iA`AgAx@]CCAs@E@k@X@U@D@j@k@U@DBjA_@M@D@b@P"
  "@k@XA`@L@E@LCO@D@E@L@I@H@U@H@E@D@EAc@M@H@n@]@M@q@Y@H@Y@H@Y@e@^@D@^@DBr@D@z@XG[@u@k@X~|~|~|~|~|~|~|~|~|~|~|h`@qA`@PCK~{~{~{~{"
  "~{~{~{~{rsWh@HFvB]@^@q@U@T@E@D@j@D@v@D@U@D@E@D@I@D@I@DF~BHW[AJDI@HC`Be@rG_@U@DHnAN@k@]Al@XAl@mEp@L@Y@H@Y@H@Y@H@MBP@r@DAl@DAO"
  "@D@I@D@~@H@zBLG|@qB{@qCmAF@JOoAx@LCKABAq@PBE@R@eAS@F@b@F@TB^@iA|@HBU@P@b@D@VBmJM@H@k@XBU@PBU@PBf@aCW@q@n@D@~@D@^@D@I@D@n@D@~"
  "@D@^@D@I@LCW@qTE@eA[@i@bAc@Y@DBn@D@fD]@Y@H@E@DBv@D@I@L@E@HA`@H@cA`@H@_BA@a@gCFAO@D@I@T@VA[@Z@PAlDaCh@P@J@IAD@HC@@E@}@Q@D@M@D"
  "Ax@i@gA_Ax@J@DAx@NBD@b@DAt@X@VABC`@iA[@H@cAO@T@cAKA_@_EJDnCcCS@uCS@]@ZBU@q@k@X@kAt@eA`NDBB@DBn@X@IAB@MCsAx@k@E@aA[@m@RAoAKB}"
  "AW@_ARA`@qC[AkA}@D@I@H@E@uBzBDAh@]@k@eBU@}@k@P@E@H@E@aBQ@L@E@qCG@y@Q@m@k@E@D@E@PAT@mAK@DAhAN@IDD@^@D@E@D@Q@D@~@D@j@]CCAF@k@m"
  "@b@H@I@HA[@D@^@D@I@D@U@L@EAJ@E@q@UA{@j@D@E@H@E@DB^@D@EAg@E@D@EBuC[AJ@Q@T@k@T@MA{CGAR@I@D@E@a@kJmCCBi@QBTCGAR@E@m@kB]Br@u@E@]"
  "@k@XATAsApAV@s@P@^K{BvG_DIAP@q@b@H@E@H@b@D@I@DAd@}@E@D@E@y@kDa@b@HBbAB@E@D@EAs@E@iBf@]@EAV@E@mB~AN@EAJDnLuBI@}@k@X@f@DBYAF@E"
  "@}Ay@TA|GN@^@D@I@DB^AV@E@e@k@X@Y@D@I@DBE@y@E@]@kT@AO@}@E@D@v@DBMAs@kEc@E@}AXBq|`FeGLAFLj~{~{oLFQ@}~|GOAF@YAg~|~|~|~|JA@Tfh~{"
  "~{~{~{~{~{~{GsA|AJ@k~{r{en@]BA@D@k@XEG@D@k@XA|AJCGAB@Q@q@k@D@_@DAW@TAO[wBz@L@kLqDIAaFqDv@T@EDP@vDH@I@D@EAs~|~|~|~|~|~|XQ@a~|"
  "Q|Bi@j~{~{~{~{~{~{~{~{~{SB@Q@D@^@D@I@DRr@}@EAw@M@H@E@y@Q@aYd~{~{YBFz@T@v@L@f@]@j~{~{~{~{VD@k~{bZAT@qATF}AiHmE`@DDf@D@I@H@E@H"
  "@I@H@Q@D@r@D@E@D@^@DDM@D@Q@H@b@D@^@DAt@D@Q@D@U@D@E@L@^@DU|@HAh@DAh@DBA@DAh@DBA@DAh@DBA@DAh@DBA@DAh@D@b@HCP~{vkBA@X@YPuDAIZBz"
  "@i@^@H@k@P@ETmA|AJBv@P@k_TAt@P@kMsA|@H@E@k`R@^@D@Q@D@I@D@~@DLn@H@gCFDY@]@E@P@ktBCu@D@N@D@RDyB{@DA@La@Q@DAp@D@I@D@E@H@E@D@j@D"
  "@Q@D@E@D@E@X@E@P@E@D@E@D@E@D@M@D@I@D@E@H@E@D@E@D@E@D@E@D@E@D@I@D@E@H@Q@D@^@D@Q@D@Q@D@E@D@j@DAG@T@M@D@U@DAGfZ@w~{~{x{@k~{Da~|"
  "~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|~|_~BD~|~|~|~|TQ@XNU@H~|~|~|~|~|~|@I@y~|"
  "~|~|~|~|~|~|qf@}iI~{~{dNc~~{dN~|~|~|~|~|H~@T~|~|~|~|Vn@@";

// A number in base 62.
static uint32_t fr__base62(const char *p, int digits)
{
  uint32_t number = 0;
  for (; digits > 0; digits--, p++) number = 62 * number + (uint32_t)(*p - 64 - (*p > 92));
  return number;
}

// Class of the character at `at` and its bytes. A byte that is not part of valid UTF-8 is a character of class other.
static int fr__class(const char *text, fr_int at, fr_int end, fr_int *size)
{
  const unsigned char c = (unsigned char)text[at];
  const char *stretch;
  uint32_t code;
  int low = 0, high = (int)(sizeof fr__class_starts / sizeof *fr__class_starts);
  *size = 1;
  if (c < 128) return fr__ascii[c];
  code = fr__code(text, at, end, size);
  if (code > 0x10FFFF) return FR__OTHER;
  while (high - low > 1) {  // the last block that does not begin behind it
    const int middle = (low + high) / 2;
    if (fr__class_starts[middle] <= code) low = middle;
    else high = middle;
  }
  code -= fr__class_starts[low];
  for (stretch = fr__class_stretches + 32 * low;; stretch += 2) {
    const uint32_t number = fr__base62(stretch, 2);
    if (number < 4 || code < number >> 2) return (int)(number & 3);
    code -= number >> 2;
  }
}

// -- normal form C (Unicode's annex 15), with the tables of Hugging Face's library (made by tests/unicode_table.py), in base 62.
// Kinds: a stretch of characters begins at (3 digits), 57 * length + kind (2): 1 .. 54 marks in their order, 55 may join what is
// before, 56 is in no normal form; all others may stay. Runs of characters that fall in one or two: first (3), its entry (2).
// Entries: below FR__PAIRS one character; from there on 1792 * second + how far the first is, or itself. Seconds: character,
// lowest and highest character that it completes (3 each).
enum { FR__MARKS = 54, FR__PAIRS = 83968 };
static const char fr__nfc_kinds[] =
  "@LXTG@LnAo@LoDY@LsAo@LtAg@LuET@LzB`@L|DY@MAB`@MCJu@MNDg@MSDY@MWGO@M_At@M`Ar@MaAn@MbC_@MeCd@MhBd@MkCd@MnDY@MrAn@MsAo@MtBd@MvAn@"
  "MwAp@MxBl@MzAp@M{Bl@M}Ap@M~Lp@NPAt@NZAt@NdAt@RhEY@V~Ai@W@D_@WDAi@WECd@WHAj@WIAi@WJFT@WPFO@WVBi@WXAi@WYBi@W[Aj@W]Am@W^An@W_A@@W"
  "`AA@WaAB@WbAC@WcAD@WdAE@WeAF@WfAG@WgAH@WhBD@WjAJ@WkAK@WlAL@WnAM@WpAN@WqAO@WsAn@WtAi@WvAH@YBHJ@YJAT@YKAU@YLAV@Y~AQ@Z@AR@ZAAS@ZB"
  "AT@ZCAU@ZDAV@ZEAW@ZFAX@ZGBi@ZIBd@ZKEY@ZPAi@ZQBi@ZSAi@ZeAY@]NGO@]WD_@][Ai@]]An@]`Bi@]cAi@]dBi@]fAi@^KAZ@^kAn@^lAi@^mBi@^oAi@^pB"
  "i@^rC_@^uAn@^vBd@^xAn@^yAi@^zCd@^}Ai@^~An@_@Ai@_AAn@_BAi@_CAn@_DAi@_EBi@alGO@asAi@atAn@bXD_@b^IE@bhCd@blEY@c^C_@e]Mk@elAi@emBi"
  "@eoAi@epBi@erAi@esCd@evC_@eyAQ@ezAR@e{AS@e|Cd@f@Ai@fABi@fCBd@fEEY@gH@|@gY@~@g^An@g_Ai@g`Bi@geHP@iL@|@iNAs@i^@~@ihAs@imBo@ipAt@"
  "kGAt@kJAt@kP@|@kb@~@knCj@ksAt@mT@|@mf@~@oX@|@oZAs@oj@~@osBn@oyBo@q_As@qn@~@qxAs@sr@~@szA[@s{A]@ue@|@ukAs@uv@~@u~Bn@wkAs@wz@~@x"
  "EAs@y{@~@zAAs@zQAs@{mBX@{o@~@{}DO@}qBZ@~BDQA@TBdA@rAiA@tAiA@vAgAAAAtAAKAtAAPAtAAUAtAAZAtAAhAtAApAbAAqAcAArAtAAsAdAAtBoAAwAtAAy"
  "DSAB@AcABAAtABBBiABD@~ABFBiABSAtAB^AtABcAtABhAtABmAtABzAtACHAiADsAsAD|@|AD~AyAFUAiAIpTLAJyYmAQ|CdAbR@~Abs@~AeV@~AebAnAhtAmAkIA"
  "jAkJAnAkKAiAnnAnAnoAiAoy@~ApOHJApYAiAqLEYAqQFOAqWBiAqYAiAsT@|AsUAsAse@~AtMAnAtNAiAtOGOAuNAyAvL@|AvXAyAw`@|Ay}CdAzB@{AzCETAzHBi"
  "AzJDYAzNAnAzPF]Az[AiAzcAnAzgBiA}uBiA}wAiA}xGOA~@AiA~ABiA~CAqA~DAfA~EAiA~FAeA~GctA~rAnA~sApA~tAiA~uAnA~vAiBEtAtBEvAtBExAtBEzAtB"
  "E|AtBE~AtBFAAtBGAAtBGDAtBGOAtBGQAtBGYAtBGbAtBGjAtBGrAtBGuBoBHAAtBHCAtBHEAtBHHBoBK_BiBKaAvBKcD_BKgBqBKjBiBKpAnBKtAvBKvAnBKwAiBK"
  "xAnBKyAvBK{DYBL@AnBLwAtBL{BoBUKBoBu}AtB~bCdCAv@~CCZ_NCLwAhCLxAmCLyAoCLzAjCL{BfCNjAxKEMAnKERJ@KE}BiKGRBiKKq@~KNu@~KORQVKP`C_KQI"
  "@~KRl@|KRy@~KVqAnKVsBiKVuAiKVxBiKW@BiKWCAnKWy@~K[x@~PeH~ePfL~ePgP~ePhT~ePiXFZPiaAtPicAtPifJFPiqAtPisAtPivBoPi{~ePk@BoPkD~ePlHf"
  "kPmvAtPmwAPPmxAtPnDLvPnRE`PnXAtPnZBoPn^BoPnaIKPzRGOPzYGJPzaBiQKOAiQNyAiQQTEYQmbAiQmdAnQnNAnQnO@{QnPAiQnU@~QqAAnQqBAiRHN@~RII@~"
  "RJE@~RJF@|RKNCdRKvAsRLCAyRME@|RNT@~RN_@|RPM@~RPN@|RSG@|RSH@~RT]@|RT_AsRTn@~RTxAsRUHGORUREYRXk@~RXo@|RZ]AsRZgAsRZjAsRZo@~RZp@|R"
  "_dAsR_t@~R_u@|Rax@~Rcs@~Rct@|Rel@~Rzj@~XJeDgXKgGO^fu@{_~aGU_~hBb_~jBq_~pAl_~qER_~~HE`@IEY`@NBd`@oD_`AAFZ`CLCd`|{GO`}DP[`}WGO`}"
  "`Bi`}cEYacTGJaeLFTaeR@|sgD~eshH~esiL~esjP~eskT~eslX~esm]~esna~esoeMq@@@@@";
static const char fr__nfc_runs[] =
  "@CF@@@C`@W@Cg@]@DA@t@DZAL@DqAa@D}Aj@EMAu@EVA{@E_BB@EsBT@FmBl@F|Bn@G[Bp@GuCH@HDCS@HHCU@HoCz@HwC|@MZDK@NPDP@NZDQ@NbDR@OHD_@OiDf@"
  "OrDk@PaDm@PhDq@PmDr@PzDu@Q[Dv@QsDw@QzD{@R@D|@RZE@@ShEB@SwED@S}EH@TBEJ@TJEP@TREV@TaEc@YTEe@[wEj@]KEm@ftEn@f|Eo@g@Ep@geEq@i[Ey@i"
  "mE{@kGF@@kJFA@knFB@ksFE@oeFF@ohFG@oyFI@psFK@qkFL@smFO@uiFP@upFQ@wwFV@zLFYAAAF_AAKF`AAPFaAAUFbAAZFcAAhFdAArFeABAFkABSFlAB^FmABc"
  "FnABhFoABmFpABzFqADkFrAreFsArqF|As[F}AsaGAA~wGEBB]IfBD@KCBDXKYBDaK`BEJLGBERLMBFDL|BGGM}BG]NQBGyNlBHHNxBLwNzBL{N{BNoN}BODO@BOdO"
  "ABP]ODBPbOEBPeOFBP}OGBQ[OJBQ_OKBQbOLBQ{OOBRIORBRPOWBRTOYBR]O[BRaO^BReO`BSJObBT@OfBTJOjBUKOnBu}OpCMZOqCMtPICN@PNCNeP]CNoP^CN}P_"
  "COWPvCOcP{CPHQJCPKQKCPRQOPeHQPPiaUgPifUjPivUxPi{UzPkDWAPmvXnPnDXqRIeYWRIvYZRK}Y[RTlY^RZhY`R_oYd_~aYf`AAYmsgDYs~~~cc";
static const char fr__nfc_seconds[] =
  "@LX@CFBHB@LY@CGBGe@LZ@CHBCW@L[@CIBCx@L]@DHBGp@L_@DJBGo@L`@DRBBW@La@CJBBS@LbBB_BCv@Lc@CKBBU@Ld@EZ@T[@Le@DT@Hp@Lh@HP@R[@Lj@HR@Hh"
  "@LlBD@BGk@LmBDABGs@Lt@Fm@F}@L|A~{BCt@L}BAmBAn@L~A~wA~x@M@@Hi@Hl@MA@CMB@b@MB@DL@Gz@MGB@JBAr@MHB@cB@d@MJB@RBAp@MKA~}BBR@MRBNoBTM"
  "@M]BDFBG}@M`BFDBHD@Wc@@@@@@@Wf@@@@@@@Wg@@@@@@@Wh@@@@@@@Wk@@@@@@@Wn@@@@@@@Wp@@@@@@@Wq@@@@@@@ZG@YT@YT@ZH@YU@]K@ZI@YW@YW@gH@ft@g@"
  "@iL@@@@@@@iN@i[@i[@ih@i]@i]@kP@@@@@@@oX@@@@@@@oZ@oh@oh@os@oe@oe@ot@oi@oi@q_@qk@ql@qx@ps@qm@s{@sm@sm@uk@us@us@u~@ui@ut@v@@uq@uq"
  "@wk@ww@wx@xE@wy@wy@y{@zL@zO@zA@zN@zN@zQ@zP@zPAAq@@@@@@AAs@@@@@@AB@@@@@@@ABv@@@@@@ABx@@@@@@ADsADkADkAsUAreAsdCNjCMZCPRCNkCNACOp"
  "RJFRIeRIvRKvRK}RK~RT_RTlRTlRTxRTmRTmRZ]RZiRZiRZgRZhRZhRZjRZkRZkR_dR_oR_p_~h@@@@@@_~q@@@@@@_~r@@@@@@_~s@@@@@@_~t@@@@@@_~u@@@@@@"
  "@@@@@@@@@";
static const char fr__nfc_entries[][127] = {
  "UxYVVTVtOWRJYIrZEg@@@`k]Ux^VVXVtSYIuUx^VVXVtSYIu@@@WRKUx^VVXVtSWRNYIvUx_VVYVtTYIvVVXUxYVVTVtOWRJYIrZEg@@@`k]Ux^VVXVtSYIuUx^VVX",
  "VtSYIu@@@WRKUx^VVXVtSWRNYIvUx_VVYVtTYIvVVX@@@YIuWqCWpcXPAXN_aKWaIwVX[VVyVvUVtuXm|Xl_[C^[BB[C_[BCWrKWpqXPEXNmXm~XliaK[aJH[C`[BN",
  "VvYVuFXPGXNuXnAXlq`md`lVVvZVuMWTUWTvWrOWrpXPIXPjaK`aLAXnCVv]Vv}`mh`nI@@@VXeVYF`mi`nJ[Cg[DHVXgVYH`mk`nL[Ci[DJWrUWrvXPOXPpZepZfQ",
  "VXkVYL`mo`nP[Cm[DNVXlVYMVvfVwG`mp`nQ[Cn[DO`mq`nR[Co[DPWTbWUCWr[Wr|XPUXPvZG|ZH^ZevZfWaKlaLMVvjVwKVvlVwMYLMVXsVYTXnTXnu[Cu[DV^XK",
  "^Xl^XQ^Xr[C[[C|[Cd[DE[Cj[DK[Cp[DQWtgWuHVZyV[Z[E{[F]U}@U}a@@@WtNWtoWy{Wy|WtPWtq[Cb[DC[Cf[DGaKfaLGWn@Wn@[@K[M@[DFVX`VYAUzmU{NVZb",
  "V[CVZcV[DVZuV[V[aU[av[~O[~p[aY[az[~S[~t[a^[a~[~W[~x[ad[bE[~^[~~[ag[bH[~a]@B[aj[bK[~d]@E`Ov`PW`Ow`PX[Cc[DDXmzXn[`mb`nCWtaWuBWt`",
  "WuAXnIXnjWn@Wn@Wr`WsA@LX@LY@@@@LlVUN@KO@@|VZDVTE@B|VTCVTBVTA@@@VS|@@@VSxVSuVSTYG|YGqVTKVTHVTGVTFVStYG|YGqVT^VTXVTUVTQYGmUvAYGV",
  "@@@VT@YGlVTBUvKXKbXKxXKxUvrYHH@@@VTqYGlVTsUv|XLS[]N[]NXNhXNHX`oXN^Y[cYJSX`tXN_YGmYGmY[iYJWY[jYJXXB}WpnY[kYJ^Y[qYJYYGmYGmYJpYJP",
  "XCIWpoY[vYJ_ZudZdNY[zYJ_Y[~YJ_hdfiBaiB@i`]iB@iBO@@@iBfiBfi}Yi}Yi}Yi~^i~^i~^i~Yi~Ui~Ui~Mi~JjyPkWKj]Oj]O@@@j]DkuAkt}kvEkvEkvAkut",
  "mNnlpwmlllSvlSvnh]nJenJenhaoFVpBIpBIp`D@@@odRpBIp}@p}@qZ{qxp@@@rVlqxprthuJEuJEuJEuJEuJEtltsR_@@@spZtMR@@@tMStNauJEuJEuJEuJEuJE",
  "tltug~vEx@@@vEx@@@vEx@@@vEx@@@vExvExvEx@@@vExvEyvEy@@@vEx_qj_rKXm{Xn]^uw^vXcC@cCaVZdV[EXm}Xn_^uy^vZcCBcCc`ma`nBaiTaiuU}wU}xV[q",
  "V[raiUaivbeIbejXWwXWxXn@XnaWrMWrnXnBXnc^u}^v_YK{YL]`me`nFbGRbGsbeMbenVZlV[MVXdVYE^vA^vbcCIcCj^vB^vcWn@Wn@cCJcCkai]ai}VXfVYGXnG",
  "Xnh^vC^vdXnHXni^vD^vecCLcCmai_aj@VZrV[SYNMYNnU~sU~tV]mV]nVXiVYJXnJXnkXnLXnm^vH^viWn@Wn@cCPcCqXnMXnn^vI^vjXr]Xr^XrcXrdXiwXiwXnN",
  "Xno^vJ^vkcCRcCsaieajF_TE_TfbeYbezaifajGV^JV^KYPgYPhWTcWUD^vL^vmUzvU{WVXpVYQYLKYLlXnQXnr^vM^vnXnRXnsYLLYLmXnSXntVvmVwN^vP^vqcCX",
  "cCycCgYLiZH`ZHb@@@XsC^uv^vWYinYjOVZ_V[@U|eU}FYksYlTWVRWVsVrVVrVV[aV[bU}gU}hYluYlvWWTWWUXLNXLN^uz^v[YirYjSWTQWTrVZgV[HU|mU}NYk{",
  "Yl]WVZWV{VrXVrXYivYjW^u~^v`^vE^vfYi|Yj^VZqV[RU|wU}XYlFYlgWVeWWFVrVVrVV_DV_EVAJVAKYoXYoYWYwWYx^{a^{b^vK^vlYjCYjdV_SV_TVAYVAZYoh",
  "YoiWZGWZH^{p^{qUzxU{Y^vO^vpYjGYjhWTfWUG]kU^IOUvXUvXVTTVTTcyocyo]jt^HnUvXUvXVTTVTTcyocyo]kY^ISUvXUvXVTTVTT]jx^HrUvXUvXVTTVTT]k[",
  "^IUUvXUvXVTTVTTcyocyo]jz^HtUvXUvXVTTVTTcyocyo]k^^IWUvXUvXVTTVTTcyocyo]j|^HvUvXUvXVTTVTTcyocyo]kd^I^UvXUvXVTTVTT]kC^H|UvXUvXVTT",
  "VTT]kj^IdUvXUvXVTTVTTcyocyo@@@^IC@@@UvX@@@VTT@@@cyo]kn^IhUvXUvXVTTVTTcyocyo]kM^IGUvXUvXVTTVTTcyocyoVIl@OJVIp@OKVIr@OLVIt@OMVIz",
  "@OkVJA@OlVJE@OmdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYgdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdYVdXedXedXedXedXe",
  "dXedXedXedXedXedXedXedXedXedXedXeX_MXASdXgdjxdjs@@@dL~dWdX^lX@rVIK@NcdjW@@@@OWd@]dXsdj~dju@@@dMEdWdVIO@NeVIQ@Nfdj^UveVT`cyyX_U",
  "XA[VJF@NmdMGdMXX^tX@zVIS@Ng@@@UutVSocyIX_bXAhVJG@ON]kf^I`dMSdMYX_AXAGVI`@Nk^H~U|J@Nb@AcdY]dkQdkV@@@dMWdWdVIY@NiVId@Nldjp@ByBHJ",
  "BHK@OG@AM@CKc[yc[xc]Jc[lc[ic[lc[pc[pc[pc[p@@@c[pc[tc[pc[q@@@c[pc`t@@@c[pc]Pc`sc`uc[{c[{c[qc[qc[qc[qc[uc[uc[qc[qc[qc[qc[yc[tc[t",
  "c[sc^Vc^Vc^Cc^Cc]ic]ic]ic]iCLTCLUc[nvcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcrvcr@@@vcr@@@vcrvcrwAm",
  "@@@vcrwAm@@@vcrwAm@@@vcrwAm@@@vcrwAmveBvcrvcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcr@@@vcrvcr@@@vcr@@@vcr",
  "vcrwAm@@@vcrwAm@@@vcrwAm@@@vcrwAm@@@vcrwAmveBvcyvcyvcyvcyvcrIUNFvFI`eIWRGWdELwEeYJhBJhBE{rImEElIE{iFa_GwzH_bH{SIBZIGcIgxGCmGP`",
  "G`|GmZHsAIkZJOhENJEcfGGwGfIH{AJawFMRG]GHy^IIRFdxHiHIDCFSXFvjGQqGiqIhyERVE[YEaJFmDGGEGe}Gy|HabHzXH{qI]CJDRJUrJaRHAoHEjHVmHqIIrB",
  "Jc[IOPEy|FTTHQcHccGgRHBoIWLJCUEyuFI]GC~GSeGXdHTxHYIJ@dE`}HcpE]@E[oHHLHWLHqrJAOIR@Fd~GCmIOyEL~FG^FXkGlAGsyEbEHCbESQFV~ELQGONFo}",
  "HTkEdvEwwGzWHsMINcGJsIdRGNHFeoHm^FhVGsnENwEZIE[lF|`HSnHkdIOLImCEabEfyE|UFS{FqMG]ZHDRI}AJQeJctJdmE`EFuVGInIcBFR@F_uFaiFlXGXxGbp",
  "GpKHFwHXDHcSIbDHuwIfIIsJE]|E`MEhxG`kIFkINcFSWFXMFgpGJgHQ@GknEOoErGFG^FO@FXuGlmGojH_wHbiInkJCTJDiJH@ER[HFZIlgJBTF]AENNEWuFGeFHx",
  "Fp`GCmGdyGwRHvFIgeJgrFtVJ@FE_rFxQFzMGQGGVmGnGGsbHAMHTXJIHEZMFbXJAREUAFLYGSuIbHFV`F^gFzrGlAJAaE^OEfEFI`Fr^FwcF}HGOhGnDGuoH_UIFx",
  "IGKIm@JC@EbnGWLEfSGd{GpZHzLJA~JYbJc|FxnGSUHiXHKAHLXHRVGhsG_zIQVEOJHnqE^aE]lFRsFeCHS]FExGPcFuDIbYIDqJ@fIIzFSbEY_EmDEws@@@FtBE]B",
  "GjaGy_HDeHEHHEOHEzJDwHSDH`[@@@Hze@@@IOsIf_IijJK^JKkJLXJ`JIiJJBSES@EXCEYlE`tEaPEcAEl`EnLEoqEwXEyDFI_FIiFZqF_LF_sFaZFoSFqkFt`F|d",
  "GQ~GTgGXwGcVGfYGnaHAtHDgHDrHDqHDyHE@HEGHExHEyHHqHItHN}HXDHXYHYSH_NHafHi^HknHknHs[IG{IJFIO|IPvIW^IXTIdXIf_JCAJGfJHdFZQOG@HjJELk",
  "E[WEZHERPEYdEZaE`rEagEl`EkUEl[EmgEwsEyOE{eE{uFALFDXFSaFShFU|FWCF[wF^qF]iF_sF_DFaZFb_Fh{FjVFkNFoZFtBFvjFvnFwkGIpGJsGQGGWnGW^GXw",
  "G]{GcVG}CGfdGhbGjaGorGrLGsCGvlGvnGy_GypGzJG{cG{XHBqHJfHN}HQ~HUfHXDH^XHafHoNHqpIAWIHnIIuIJFINxIOsIOEIO|IOyIOhIPvIRJIXTIbVIgZIlK",
  "IooJAVJCAJDwJGAJGfJGrJHdJTRJhBMU@MTyNFjC}IDPiDQKPHYPtwSFSJffJgseQl@@@ep@hEWhcQghYhFTeo]fMVgIJgIKgILgIMgINgIOgIP@@@gIRgISgITgIU",
  "gIV@@@gIX@@@gIZgI[@@@gI^gI_@@@gIagIbgIcgIdgIefkUggEggOggXw_f@@@w_fw_kw|[w|[xZ]xxWytHyVO@@@zREzo{zo{{Mz{Mz{kn|Ii|gd}E_}cY{Mu{Mu",
  "{ko{ko|Ik|IkEMCEL}EMGJnTEQoES@ESMETVEVREVrEXCEWjC`PKDVEYlEYsEZDEZWJ~oC`lEZGEZnK@`EZxE[FEOVE[NE[WTV|E]YE]hCaSE^bE^mE_ZE_`CbKE`r",
  "E`tEaPEagEarEasEbEEbxEcAEcJEcdEcnEcpEcpEcpKTiG_PEd}EeSKYjEe`EefEe{EhXEfoEg@EgaEh]EisEjNEkSEkdElFElFEl[ElnElvEmFEreEnLErfEoYEo}",
  "E]lEzLEucEvJEvdEt^EwJEwIEyHLByEzPEzUEzeEzyE{BE|DLJLLKPE~RF@CF@OE}}FAPCisCjBFCwFDoFDoLWFFFxFGNFG^FGjL]aFGvFG}FUfFHZClKFIZFIiFJ}",
  "FJILiDFMELiFFMqFMnFN@FOhFOiCn~FPEFPqFQGFQtCosLxACpNFR}FSAFSDFSXUcBFTNL~|L~|HirFTsFTsCq[NBDQJkFUuFU~CqxFVoFWdFWnFXQFZ^CsRCrsFZq",
  "MN}F[fF^kF^oF^qF^oF__F_sF`XF`JF`UFaFFaZFa_FayFbEFcIFd`FeDFgDMaXFfpFemFg]FgxFi]MeEFj]Fh|Fh`CwNFkfFk{Fl[FktCxNFoSFoqMv@FqlFvJFsU",
  "C{AFt`CzoCzJEZsEZvFvRFtkHdSDaIFvjFvnFvtFwsFwhNFWC{rFzTFx[F{oF|dNIGF|mFzzF~wC}IG@gGBKGCTGFXNROGGMD@HGHUNZdGIJDA@GIiGJWGJsGJtNcY",
  "LedNeJGMLNlZGOAGOOGMfGPZGQDGQ~GQGGQpGR@GRMNn@GPyGT|GU}DDlGW^GWYNuAGTEGZFNwRNxDG[aG^WG]{G]xDFRG^iG_^G_WG`OJ~xGblODpGdFOJCGfVGfd",
  "Gg@OSsGgqGhGOXjO]PGksGlEDJqGl`DJ}DJ}GoGGo]GorGpGGqNDLdGrkOnTGsFOosGsyLx^Gv_O|[O|sP@DDPLDPXGzJPBxPBwPC`PCzGzuGzvGzvG{cDQKG|fDQX",
  "DRkPO|H@oHAoHBqDSzPXVHE@PZNPZzHEzHGYDUIHHqHH{HIAPgHPk|Pk|HKeDXcPpIHODHOGDYIPseHSXD[FHSoHSjHTHQADHUnD]jHWUHXRHYWD^_QK{QL[D_EQNr",
  "H_VQPZH_rHaZHafQWDQXOHcDQZXHcTNDpDaEHdXHelDa|HfiFBbQchQcvNEfNEoHirHiuId@Dc`HlGHlAHlSE`^HlhHljHltHm_QrZHm^HnWHo`HplHn^Hp|HqhHs[",
  "HoOHqJHqLHq]Qv]Q{[QyADffHuzHu|HvaRVoHwqRCkDgYDg^REtRJ_DghH{eH{qH{|H{~H}AH|_H~iH}{IAWI@DIAIIAeDiWICCICdDizIEFIEIRbbIGAIGHDjxIGe",
  "C`nRk{RnyDmFDmOINXIOhIRJIU[R|VIVtIWKIXhIZGSGrKKoI[^I[NI]DKOPI`oIbVSdLSdhIg}Ii^Ii~SisIjIInoIqSIqTIouIu~Iv[S}gI|^DxtI}KTDpDzHJB`",
  "FNwJDCTT^TWyD|TD|]JGFT`yD}ZTcJJGrJGrJHQTgsJKPE@`JLYJN[JNwJOuEC@T~ZJTRJYJJ]MEGHEGhJ^zUVgEGsUW`U[qU^xJdYEITJeYJe_JefJepJewJf^UmD"
};
#define FR__RECORD(table, size, code) fr__record(table, sizeof table / (size) - 1, size, code)  // not its last one
#define FR__ENTRY(at) fr__base62(fr__nfc_entries[(at) / 42] + 3 * ((at) % 42), 3)

// The last of `count` records of `size` digits that does not begin above `code`, or the first.
static const char *fr__record(const char *table, size_t count, size_t size, uint32_t code)
{
  size_t low = 0;
  while (count - low > 1) {
    const size_t middle = (low + count) / 2;
    if (fr__base62(table + size * middle, 3) <= code) low = middle;
    else count = middle;
  }
  return table + size * low;
}

static uint32_t fr__nfc_kind(uint32_t code)
{
  const char *s = FR__RECORD(fr__nfc_kinds, 5, code);
  const uint32_t number = fr__base62(s + 3, 2);
  return code - fr__base62(s, 3) < number / 57 ? number % 57 : 0;
}

// Two characters as one, or 0.
static uint32_t fr__compose(uint32_t first, uint32_t second)
{
  const char *s = FR__RECORD(fr__nfc_seconds, 9, second), *run;
  const uint32_t pairs = FR__PAIRS + 1792 * (uint32_t)((s - fr__nfc_seconds) / 9);
  const uint32_t least = fr__base62(s + 3, 3), most = fr__base62(s + 6, 3);
  if (first - 0x1100u < 19 && second - 0x1161u < 21) return 0xAC00 + 588 * (first - 0x1100) + 28 * (second - 0x1161);
  if (first - 0xAC00u < 11172 && (first - 0xAC00) % 28 == 0 && second - 0x11A8u < 27) return first + second - 0x11A7;
  if (fr__base62(s, 3) != second) return 0;
  for (run = FR__RECORD(fr__nfc_runs, 5, least); fr__base62(run, 3) <= most; run += 5)
    for (uint32_t at = fr__base62(run + 3, 2), code = fr__base62(run, 3); at < fr__base62(run + 8, 2); at++, code++) {
      const uint32_t part = code - first + 64 < 256 ? code - first + 64 : first + 256;
      if (code >= least && code <= most && part < 1792 && FR__ENTRY(at) == pairs + part) return code;
    }
  return 0;
}

// Appends what a character falls in, each with its kind above the 21 bits of a character if it is a mark.
static fr_int fr__decompose(uint32_t code, uint32_t *codes, fr_int count)
{
  const char *run = FR__RECORD(fr__nfc_runs, 5, code);
  const uint32_t hangul = code - 0xAC00u, tail = hangul % 28, at = fr__base62(run + 3, 2) + code - fr__base62(run, 3);
  const uint32_t entry = code < 0xC0 || at >= fr__base62(run + 8, 2) ? 0 : FR__ENTRY(at), pair = entry - FR__PAIRS;
  uint32_t first = entry < 0xA000 ? entry : entry + 0x16000, second = 0;
  if (hangul < 11172) {
    first = tail ? code - tail : 0x1100 + hangul / 588;
    second = tail ? 0x11A7 + tail : 0x1161 + hangul / 28 % 21;
  } else if (entry >= FR__PAIRS) {
    first = pair % 1792 < 256 ? code + 64 - pair % 1792 : pair % 1792 - 256;
    second = fr__base62(fr__nfc_seconds + 9 * (pair / 1792), 3);
  }
  if (first) count = fr__decompose(first, codes, count);
  else codes[count++] = fr__nfc_kind(code) > FR__MARKS ? code : fr__nfc_kind(code) << 21 | code;
  return second ? fr__decompose(second, codes, count) : count;
}

// Puts the normal form of a text to out, which has room for three times its bytes, and returns how many there are. codes: room for
// three numbers a byte.
static fr_int fr__nfc(fr_text text, uint32_t *codes, char *out)
{
  uint32_t *const sorted = codes + text.count / 2 * 3 + 2, *starter = NULL;
  uint32_t last = 0;
  fr_int count = 0, kept = 0, bytes = 0, size;
  for (fr_int at = 0; at < text.count; at += size) count = fr__decompose(fr__code(text.bytes, at, text.count, &size), codes, count);
  for (fr_int at = 0, end, n = 0; at < count; at = end + 1, n = 0) {  // marks in the order of their kinds
    for (end = at; end < count && codes[end] >> 21;) end++;
    for (uint32_t kind = 1; kind <= FR__MARKS && end - at > 1; kind++)
      for (fr_int i = at; i < end; i++) if (codes[i] >> 21 == kind) sorted[n++] = codes[i];
    memcpy(codes + at, sorted, (size_t)n * 4);
  }
  for (fr_int i = 0; i < count; i++) {  // joins the last that is no mark, unless a mark of its kind stays between them
    const uint32_t kind = codes[i] >> 21;
    const uint32_t joined = starter && (!last || last < kind) ? fr__compose(*starter, codes[i] & 0x1FFFFF) : 0;
    if (joined) { *starter = joined; continue; }
    if (!kind) starter = codes + kept;
    last = kind;
    codes[kept++] = codes[i];
  }
  for (fr_int i = 0; i < kept; i++)
    if ((codes[i] & 0x1FFFFF) > 0x10FFFF) out[bytes++] = (char)(codes[i] & 0xFF);
    else bytes += fr__utf8_put(codes[i] & 0x1FFFFF, out + bytes);
  return bytes;
}

// End of the stretch of characters of a class that goes on at `at`.
static fr_int fr__stretch_end(const char *text, fr_int at, fr_int end, int kind)
{
  fr_int size = 1;
  while (at < end) {
    const unsigned char c = (unsigned char)text[at];
    if (c < 128 ? fr__ascii[c] != kind : fr__class(text, at, end, &size) != kind) break;
    at += c < 128 ? 1 : size;
  }
  return at;
}

static int fr__is_break(char c) { return c == '\r' || c == '\n'; }

// Bytes of 's 't 're 've 'm 'll 'd after an apostrophe at p, or 0. any_case also takes U+017F, which folds to s.
static fr_int fr__contraction(const char *p, fr_int left, int any_case)
{
  const char fold = any_case ? 0x20 : 0;
  const char a = left > 1 ? (char)(p[1] | fold) : 0, b = left > 2 ? (char)(p[2] | fold) : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return any_case && left > 2 && memcmp(p + 1, "\xC5\xBF", 2) == 0 ? 3 : 0;
}

// End of the pre-token that begins at `at` < end. The regular expressions, alternatives in this order:
//   GPT-2    's|'t|'re|'ve|'m|'ll|'d | ?L+ | ?N+ | ?[^\sLN]+ |                 \s+(?!\S)|\s+
//   Llama 3  the same in any case    | [^\r\nLN]?L+ | N{1,3} | ?[^\sLN]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S)|\s+
//   Qwen     as Llama 3, but one N
//   SmolLM   first every N is cut out, and what is between two of them is cut as GPT-2 does: blanks before an N stay together
static fr_int fr__split_end(fr_split split, const char *text, fr_int at, fr_int end)
{
  const int smollm = split == FR_SPLIT_SMOLLM, gpt2 = split == FR_SPLIT_GPT2 || smollm;
  const char c = text[at];
  fr_int size, next, last = at, broken = -1;
  int kind, after = FR__BLANK;
  if (split == FR_SPLIT_NONE) return end;
  if (c == '\'' && (size = fr__contraction(text + at, end - at, !gpt2)) > 0) return at + size;
  kind = fr__class(text, at, end, &size);
  next = at + size;
  if (next < end && (c == ' ' || !gpt2)) after = fr__class(text, next, end, &size);
  if (gpt2) {
    if (smollm && kind == FR__NUMBER) return next;
    if (c == ' ' && after != FR__BLANK && !(smollm && after == FR__NUMBER)) return fr__stretch_end(text, next, end, after);
    if (kind != FR__BLANK) return fr__stretch_end(text, next, end, kind);
  } else {
    if (kind == FR__LETTER || (after == FR__LETTER && kind != FR__NUMBER && !fr__is_break(c)))
      return fr__stretch_end(text, next, end, FR__LETTER);
    if (kind == FR__NUMBER) {
      for (int i = 1; split == FR_SPLIT_LLAMA3 && i < 3 && next < end; i++, next += size)
        if (fr__class(text, next, end, &size) != FR__NUMBER) break;
      return next;
    }
    if (kind == FR__OTHER || (c == ' ' && after == FR__OTHER)) {
      for (at = fr__stretch_end(text, next, end, FR__OTHER); at < end && fr__is_break(text[at]);) at++;
      return at;
    }
  }
  for (next = at; next < end && (after = fr__class(text, next, end, &size)) == FR__BLANK; next += size) {
    last = next;
    if (fr__is_break(text[next])) broken = next + 1;
  }
  if (!gpt2 && broken >= 0) return broken;
  if (next == end || last == at || (smollm && after == FR__NUMBER)) return next;
  return last;  // the last blank goes to the word that follows
}

// The first of the specials low .. high-1, which agree in `depth` bytes, whose next byte is not below `byte`.
static fr_int fr__special_bound(const fr__bpe *b, fr_int low, fr_int high, fr_int depth, int byte)
{
  while (low < high) {
    const fr_int middle = (low + high) / 2;
    if ((unsigned char)b->bytes[(fr_int)b->pieces[b->specials[middle]].start + depth] < byte) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The longest special that begins at `at`, or FR__NONE: a walk down the sorted list, one byte a step. late: 0 or FR__LATE, all.
static uint32_t fr__special_at(const fr_tokenizer *t, const char *text, fr_int at, fr_int end, int late)
{
  const fr__bpe *b = t->body;
  fr_int low = 0, high = t->special_count;
  uint32_t found = FR__NONE;
  for (fr_int depth = 0; low < high; depth++) {
    const int byte = at + depth < end ? (unsigned char)text[at + depth] : 256;
    if ((fr_int)b->pieces[b->specials[low]].count == depth) {  // a prefix sorts first
      if ((b->kinds[b->specials[low]] & FR__LATE) <= late) found = b->specials[low];
      low++;
    }
    low = fr__special_bound(b, low, high, depth, byte);
    high = fr__special_bound(b, low, high, depth, byte + 1);
  }
  return found;
}

// -- merging. Short pre-tokens: look for the lowest rank again and again. Long ones: each node of a binary tree has the lowest
// rank below it, so that the way down to the first place of the lowest rank, and the way up after a change, take O(log n) steps.
enum { FR__SHORT = 64, FR__KEY = 15 };

// A remembered pre-token of up to 15 bytes: its bytes, zeros, in the last place how many; its ids, FR__NONE behind them.
typedef struct fr__memo { unsigned char key[16]; uint32_t ids[4]; } fr__memo;
typedef struct fr__symbol { uint32_t id, before, after; } fr__symbol;  // and the places of its neighbours

typedef struct fr__encoder {
  fr__memo   *memos;    // [memo_count], a power of two, or none
  fr__symbol *symbols;  // [longest + 1]
  char       *normal;   // [3 * room] a text in normal form C
  uint32_t   *lowest;   // [2 * leaves] below node i are 2 i and 2 i + 1; leaf `leaves` + k: the rank of symbol k and the next
  fr_int      memo_count, leaves, room;  // leaves: a power of two; as many as a text needs
} fr__encoder;

// cut, cut_count: behind the last special token, the place in the text and the ids so far.
typedef struct fr__output { fr_token *ids; fr_int capacity, count, cut, cut_count; } fr__output;
// Where in a text special tokens are recognised: from range[0] to range[1], from range[2] to range[3] .., ascending
typedef struct fr__trusted { const fr_int *range; fr_int count; } fr__trusted;

static void fr__emit(fr__output *out, uint32_t id)
{
  if (out->ids && out->count < out->capacity) out->ids[out->count] = (fr_token)id;
  out->count++;
}

// Merges in place and returns how many ids are left.
static fr_int fr__merge_short(const fr__bpe *b, uint32_t *ids, fr_int count)
{
  uint32_t rank[FR__SHORT], merged[FR__SHORT];
  fr_int from = 0, to = count - 1;  // the pairs to look up
  for (;;) {
    fr_int at = 0;
    for (fr_int i = from; i < to; i++) {
      const fr__merge *m = fr__merge_at(b, ids[i], ids[i + 1]);
      rank[i] = m->rank;
      merged[i] = m->id;
    }
    for (fr_int i = 1; i + 1 < count; i++) if (rank[i] < rank[at]) at = i;
    if (count < 2 || rank[at] == FR__NONE) return count;
    ids[at] = merged[at];
    count--;
    for (fr_int i = at + 1; i < count; i++) {
      ids[i] = ids[i + 1];
      rank[i] = rank[i + 1];
      merged[i] = merged[i + 1];
    }
    from = fr__max(0, at - 1);
    to = fr__min(at + 1, count - 1);
  }
}

// The symbol at `at` or its follower is another one: sets their rank, and the lowest ranks above it.
static void fr__rerank(const fr__bpe *b, fr__encoder *e, uint32_t at)
{
  const fr__symbol *s = e->symbols + at;
  uint32_t rank = s->after == FR__NONE ? FR__NONE : fr__merge_at(b, s->id, e->symbols[s->after].id)->rank;
  for (fr_int i = e->leaves + (fr_int)at; e->lowest[i] != rank; i >>= 1) {
    e->lowest[i] = rank;
    if (i == 1) break;
    if (e->lowest[i ^ 1] < rank) rank = e->lowest[i ^ 1];
  }
}

// The ids to begin with are in e->lowest.
static void fr__merge_long(const fr__bpe *b, fr__encoder *e, fr_int count, fr__output *out)
{
  for (fr_int i = 0; i < count; i++) {
    const fr__symbol s = { e->lowest[i], i > 0 ? (uint32_t)(i - 1) : FR__NONE, i + 1 < count ? (uint32_t)(i + 1) : FR__NONE };
    e->symbols[i] = s;
  }
  for (e->leaves = 1; e->leaves < count;) e->leaves *= 2;
  memset(e->lowest, 0xFF, (size_t)e->leaves * 8);  // FR__NONE everywhere
  for (fr_int i = 0; i < count; i++) fr__rerank(b, e, (uint32_t)i);
  while (e->lowest[1] != FR__NONE) {
    fr_int i = 1;
    uint32_t at, gone;
    while (i < e->leaves) i = 2 * i + (e->lowest[2 * i] != e->lowest[1]);  // the left one if both have it
    at = (uint32_t)(i - e->leaves);
    gone = e->symbols[at].after;
    e->symbols[at].id = fr__merge_at(b, e->symbols[at].id, e->symbols[gone].id)->id;
    e->symbols[at].after = e->symbols[gone].after;
    e->symbols[gone].after = FR__NONE;
    fr__rerank(b, e, gone);
    if (e->symbols[at].after != FR__NONE) e->symbols[e->symbols[at].after].before = at;
    if (e->symbols[at].before != FR__NONE) fr__rerank(b, e, e->symbols[at].before);
    fr__rerank(b, e, at);
  }
  for (uint32_t i = 0; i != FR__NONE; i = e->symbols[i].after) fr__emit(out, e->symbols[i].id);
}

// What merging begins with: a token for each byte. llama2.c: for each character, which is what follows a byte that is no
// continuation, up to 4 bytes; if it is not a token, its bytes are.
FR__SELDOM fr_int fr__first_ids(const fr_tokenizer *t, const char *text, fr_int bytes, int blank_first, uint32_t *ids)
{
  const fr__bpe *b = t->body;
  fr_int count = 0;
  for (; !t->sentencepiece && count < bytes; count++) ids[count] = b->byte_ids[(unsigned char)text[count]];
  if (blank_first) ids[count++] = fr__name_id(b, " ", 1);
  for (fr_int at = 0, size; t->sentencepiece && at < bytes; at += size) {
    uint32_t id;
    for (size = 1; size < 4 && at + size < bytes && ((unsigned char)text[at + size] & 0xC0) == 0x80;) size++;
    id = fr__name_id(b, text + at, size);
    if (id != FR__NONE) ids[count++] = id;
    else for (fr_int i = 0; i < size; i++) ids[count++] = b->byte_ids[(unsigned char)text[at + i]];
  }
  return count;
}

// Where a short pre-token is remembered or will be; sets its key. 16 bytes may be read where the text has them.
static fr__memo *fr__memo_at(const fr__encoder *e, const char *text, fr_int bytes, const char *end, uint64_t *key)
{
  static const unsigned char mask[32] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
  uint64_t take[2], hash;
  key[0] = key[1] = 0;
  if (end - text >= 16) {
    memcpy(key, text, 16);
    memcpy(take, mask + 16 - bytes, 16);
    key[0] &= take[0];
    key[1] &= take[1];
  } else {
    memcpy(key, text, (size_t)bytes);
  }
  ((unsigned char *)key)[FR__KEY] = (unsigned char)bytes;
  hash = (key[0] ^ key[1] * 0xD6E8FEB86659FD93u) * 0x9E3779B97F4A7C15u;
  return e->memos + (fr_int)((hash ^ hash >> 32) >> 8 & (uint64_t)(e->memo_count - 1));
}

static fr_status fr__encode_piece(fr_encoder *encoder, const char *text, fr_int bytes, const char *end, int blank_first,
                                  fr__output *out)
{
  const fr_tokenizer *t = encoder->tokenizer;
  const fr__bpe *b = t->body;
  fr__encoder *e = encoder->body;
  fr__memo *memo = NULL;
  uint64_t key[2];
  uint32_t ids[FR__SHORT];
  const int is_short = bytes + blank_first <= FR__SHORT;
  fr_int count = 0;
  if (bytes == 1 && !t->sentencepiece) { fr__emit(out, b->byte_ids[(unsigned char)*text]); return FR_OK; }
  if (bytes <= FR__KEY && e->memo_count && !t->sentencepiece) {
    memo = fr__memo_at(e, text, bytes, end, key);
    if (memcmp(memo->key, key, 16) == 0) {
      for (int i = 0; i < 4 && memo->ids[i] != FR__NONE; i++) fr__emit(out, memo->ids[i]);
      return FR_OK;
    }
  }
  if (t->ignore_merges) {
    ids[0] = fr__name_id(b, text, bytes);
    count = ids[0] != FR__NONE && !(b->kinds[ids[0]] & FR__SPECIAL);
  }
  if (count == 0 && !is_short && bytes > encoder->longest)
    return fr__fail(&encoder->reason, FR_LIMIT, "a pre-token has %d bytes; the encoder was made for %d", bytes, encoder->longest);
  if (count == 0 && is_short) count = fr__merge_short(b, ids, fr__first_ids(t, text, bytes, blank_first, ids));
  else if (count == 0) fr__merge_long(b, e, fr__first_ids(t, text, bytes, blank_first, e->lowest), out);
  for (fr_int i = 0; i < count; i++) fr__emit(out, ids[i]);
  if (memo && count <= 4) {
    memcpy(memo->key, key, 16);
    for (fr_int i = 0; i < 4; i++) memo->ids[i] = i < count ? ids[i] : FR__NONE;
  }
  return FR_OK;
}

// Normal form C of a text, which is that text if no character of it needs a look.
FR__APART fr_status fr__normalize(fr_encoder *encoder, fr_text *text)
{
  fr__encoder *e = encoder->body;
  fr_int at = 0, size = 1;
  for (; at < text->count; at += size)
    if ((text->bytes[at] & 0x80) && fr__nfc_kind(fr__code(text->bytes, at, text->count, &size))) break;
    else if (!(text->bytes[at] & 0x80)) size = 1;
  if (at == text->count) return FR_OK;
  if (text->count > e->room)
    return fr__fail(&encoder->reason, FR_LIMIT, "a text with marks has %d bytes; to normalise it the encoder must be made for them; "
                    "it was made for %d", text->count, encoder->longest);
  text->count = fr__nfc(*text, (uint32_t *)(void *)e->symbols, e->normal);
  text->bytes = e->normal;
  return FR_OK;
}

// Where the next special begins, or end.
static fr_int fr__next_special(const fr_tokenizer *t, const char *text, fr_int at, fr_int end, fr__trusted trusted,
                               int late, uint32_t *id)
{
  for (; trusted.count && trusted.range[0] < end; trusted.range += 2, trusted.count--) {
    const fr_int to = fr__min(trusted.range[1], end);
    for (fr_int from = fr__max(at, trusted.range[0]); from < to; from++)
      if (t->body->first[(unsigned char)text[from]] && (*id = fr__special_at(t, text, from, to, late)) != FR__NONE) return from;
  }
  *id = FR__NONE;
  return end;
}

// Appends the ids of text to out. begins: SentencePiece's blank goes before it. refuse: special tokens are errors.
FR__APART fr_status fr__encode(fr_encoder *encoder, const char *text, fr_int bytes, int begins, int refuse, fr__trusted trusted,
                               fr__output *out)
{
  const fr_tokenizer *t = encoder->tokenizer;
  fr_int edge = -1;  // where the next special begins that is not late
  uint32_t edge_id = FR__NONE;
  if ((uint64_t)bytes > 0x7FFFFFF0u)
    return fr__fail(&encoder->reason, FR_LIMIT, "a text has %d bytes, 2^31 - 16 is the most", bytes);
  out->cut = 0;
  out->cut_count = out->count;
  for (fr_int at = 0; at < bytes;) {
    uint32_t id;
    fr_int stop;
    fr_text part;
    fr_status status;
    part.bytes = text + at;
    for (; trusted.count && trusted.range[1] <= at; trusted.count--) trusted.range += 2;
    if (edge < at) {
      edge = fr__next_special(t, text, at, bytes, trusted, 0, &edge_id);
      part.count = edge - at;
      if (t->nfc && t->body->late) {
        status = fr__normalize(encoder, &part);
        if (!status && part.bytes != text + at)
          status = fr__fail(&encoder->reason, FR_UNSUPPORTED, "the text from byte %d on would be normalised, and special tokens too", at);
        if (status) return status;
      }
    }
    stop = t->body->late ? fr__next_special(t, text, at, edge, trusted, FR__LATE, &id) : edge;
    if (stop == edge) id = edge_id;
    if (id != FR__NONE && refuse)
      return fr__fail(&encoder->reason, FR_FORMAT, "the text has the special token %d at byte %d", (fr_int)id, stop);
    part.count = stop - at;
    status = t->nfc && !t->body->late ? fr__normalize(encoder, &part) : FR_OK;
    if (status) return status;
    for (fr_int i = 0; t->body->lacks && i < part.count; i++)
      if (t->body->byte_ids[(unsigned char)part.bytes[i]] == FR__NONE)
        return fr__fail(&encoder->reason, FR_FORMAT, "there is no token for byte %d, which is at byte %d of the text",
                        (fr_int)(unsigned char)part.bytes[i], at + i);
    for (fr_int here = 0, next; here < part.count; here = next) {
      next = t->sentencepiece ? part.count : fr__split_end(t->split, part.bytes, here, part.count);
      status = fr__encode_piece(encoder, part.bytes + here, next - here, part.bytes == text + at ? text + bytes : part.bytes + part.count,
                                t->sentencepiece && begins && at + here == 0, out);
      if (status) return status;
    }
    at = stop;
    if (id == FR__NONE) continue;
    fr__emit(out, id);
    out->cut = at = stop + (fr_int)t->body->pieces[id].count;
    out->cut_count = out->count;
  }
  return FR_OK;
}

FR_DEF fr_status fr_tokenizer_encode(fr_encoder *encoder, const char *text, fr_int bytes, fr_specials specials, fr_token *ids,
                                     fr_int capacity, fr_int *count)
{
  const fr_int all[2] = { 0, bytes };
  const fr__trusted trusted = { all, specials != FR_SPECIALS_TEXT };
  fr__output out = { ids, capacity, 0, 0, 0 };
  fr_status status;
  if (!encoder || !encoder->body) return FR_INVALID;
  if (!count || bytes < 0 || (bytes && !text) || (ids && capacity < 0) || (unsigned)specials > FR_SPECIALS_REFUSE)
    return fr__fail(&encoder->reason, FR_INVALID, "text, ids, specials or count is not usable");
  status = fr__encode(encoder, text, bytes, 1, specials == FR_SPECIALS_REFUSE, trusted, &out);
  if (status) return status;
  *count = out.count;
  if (ids && out.count > capacity)
    return fr__fail(&encoder->reason, FR_LIMIT, "the text has %d tokens, there is room for %d", out.count, capacity);
  return fr__fine(&encoder->reason);
}

// The first place where the ids of a whole are not those of its parts, one after the other; -1 if there is none.
static fr_int fr__parts_differ(const fr_token *whole, fr_int count, const fr_tokens *parts, int part_count)
{
  fr_int at = 0;
  for (int i = 0; i < part_count; i++)
    for (fr_int k = 0; k < parts[i].count; k++, at++)
      if (at >= count || whole[at] != parts[i].ids[k]) return at;
  return at < count ? at : -1;
}

// -- questions: texts in, checked ids out
static int fr__text_good(fr_text text) { return text.count >= 0 && (text.bytes || !text.count); }

static int fr__framing_good(const fr_framing *f)
{
  const fr_turns *t = f ? f->turns : NULL;
  int good = f && f->fork_count >= 0 && (f->forks || !f->fork_count) && fr__text_good(f->before) && fr__text_good(f->after);
  for (int i = 0; good && t && i < 3; i++)
    good = fr__text_good(t->before[i]) && fr__text_good(t->after[i]) && (i == 2 || fr__text_good(t->begin[i]));
  for (fr_int i = 0; good && i < f->fork_count; i++) good = f->forks[i].count > 0 && f->forks[i].bytes;
  return good;
}

static fr_status fr__encode_fork(fr_encoder *encoder, fr_text fork, fr__output *out)
{
  const fr_int all[2] = { 0, fork.count };
  const fr__trusted trusted = { all, 1 };
  return fr__encode(encoder, fork.bytes, fork.count, 0, 0, trusted, out);
}

FR_DEF fr_status fr_framing_forks(fr_encoder *encoder, const fr_framing *framing, fr_token *ids, fr_int capacity,
                                  fr_tokens *forks, fr_int *count)
{
  fr__output out = { ids, capacity, 0, 0, 0 };
  if (!encoder || !encoder->body) return FR_INVALID;
  if (!fr__framing_good(framing) || !count || (ids && (capacity < 0 || (framing->fork_count && !forks))))
    return fr__fail(&encoder->reason, FR_INVALID, "framing, ids, forks or count is not usable, or a fork is empty");
  for (int pass = 0; pass < (ids ? 2 : 1); pass++) {  // nothing is set before all is well
    out.count = 0;
    for (fr_int i = 0; i < framing->fork_count; i++) {
      const fr_int first = out.count;
      const fr_status status = fr__encode_fork(encoder, framing->forks[i], &out);
      if (status) return status;
      if (pass == 0) continue;
      forks[i].ids = ids + first;
      forks[i].count = out.count - first;
    }
    *count = out.count;
    if (ids && out.count > capacity)
      return fr__fail(&encoder->reason, FR_LIMIT, "the forks have %d ids, there is room for %d", out.count, capacity);
  }
  return fr__fine(&encoder->reason);
}

typedef struct fr__framed {
  fr_tokens *traces;         // [M]
  fr_int    *fork;           // [M]
  fr_token  *ids;            // prompt, then each trace with its end
  char      *text;           // scratch: one whole sequence,
  fr_int    *range;          //          what of the question is trusted
  fr_token  *whole, *part;   //          its ids, and those of the fork
  fr_int     ids_most, text_most, head, ranges;  // head: bytes of the framed question
} fr__framed;

// The end of a turn that begins at `at`, -1 where none begins; *role: 0 system, 1 user, 2 assistant.
FR__SELDOM fr_int fr__turn_end(fr_text text, fr_int at, int *role)
{
  const char *next, *known = "sua";
  if (at + 2 > text.count || text.bytes[at] != '\xFF') return -1;
  for (*role = 0; *role < 3 && known[*role] != text.bytes[at + 1]; ++*role) {}
  next = (const char *)memchr(text.bytes + at + 2, 0xFF, (size_t)(text.count - at - 2));
  return *role == 3 ? -1 : next ? next - text.bytes : text.count;
}

// Is a question a conversation? Its turns are sound, the last is the user's.
FR__SELDOM int fr__is_talk(fr_text text)
{
  fr_int at = 0;
  int role = 0;
  while (at >= 0 && at < text.count) at = fr__turn_end(text, at, &role);
  return at > 0 && role == 1;
}

FR__SELDOM int fr__frame(fr__framed *q, fr_text text, int trusted)  // 0: its size does not fit
{
  if (q->text && trusted) q->range[q->ranges] = q->head;
  if (q->text && text.count) memcpy(q->text + q->head, text.bytes, (size_t)text.count);
  q->ranges += 2 * trusted;
  if (!fr__add(q->head, text.count, &q->head)) return 0;
  if (q->text && trusted) q->range[q->ranges - 1] = q->head;
  return 1;
}

// The question in its framing: with q->text it is written, without only measured.
FR__SELDOM int fr__frame_question(fr__framed *q, const fr_framing *f, fr_text prompt)
{
  const fr_turns *t = f->turns;
  int fits = 1, role = 0;
  q->head = q->ranges = 0;
  if (!fr__is_talk(prompt)) return fr__frame(q, f->before, 1) && fr__frame(q, prompt, 0) && fr__frame(q, f->after, 1);
  for (fr_int at = 0, end; fits && t && at < prompt.count; at = end) {
    fr_text turn = { prompt.bytes + at + 2, 0 };
    end = fr__turn_end(prompt, at, &role);
    turn.count = end - at - 2;
    if (at == 0) fits = fr__frame(q, t->begin[role == 0], 1);
    fits = fits && fr__frame(q, t->before[role], 1) && fr__frame(q, turn, 0) &&
           fr__frame(q, end < prompt.count ? t->after[role] : f->after, 1);
  }
  return fits;
}

// A text of n bytes has at most `grows` * n ids, 3 where it is normalised, else 1; SentencePiece may put one before it.
FR__SELDOM fr_status fr__question_layout(fr__arena *arena, fr__framed *q, fr_int grows, const fr_framing *f, fr_text prompt,
                                         const fr_text *traces, fr_int trace_count)
{
  fr_int fork = 0, trace = 0;
  int fits;
  if (!fr__framing_good(f) || !fr__text_good(prompt) || trace_count < 0 || (trace_count && !traces)) return FR_INVALID;
  if (!f->turns && fr__is_talk(prompt)) return FR_UNSUPPORTED;
  q->text = NULL;
  fits = fr__frame_question(q, f, prompt) && fr__add(1, q->head, &q->ids_most);
  for (fr_int i = 0; i < f->fork_count; i++) fork = fr__max(fork, f->forks[i].count);
  for (fr_int j = 0; j < trace_count; j++) {
    if (!fr__text_good(traces[j])) return FR_INVALID;
    trace = fr__max(trace, traces[j].count);
    fits = fits && fr__add(q->ids_most, traces[j].count, &q->ids_most) && fr__add(q->ids_most, 1, &q->ids_most);
  }
  if (!fits || !fr__mul(grows, q->ids_most, &q->ids_most) || !fr__add(q->head, fork + 1, &q->text_most) ||
      !fr__add(q->text_most, trace, &q->text_most)) return FR_OVERFLOW;
  q->traces = (fr_tokens *)fr__take(arena, trace_count, (fr_int)sizeof *q->traces);
  q->fork = (fr_int *)fr__take(arena, trace_count, (fr_int)sizeof *q->fork);
  q->ids = (fr_token *)fr__take(arena, q->ids_most, (fr_int)sizeof *q->ids);
  q->range = (fr_int *)fr__take(arena, q->ranges, (fr_int)sizeof *q->range);
  q->text = (char *)fr__take(arena, q->text_most, 1);
  q->whole = (fr_token *)fr__take(arena, q->text_most, grows * (fr_int)sizeof *q->whole);
  q->part = (fr_token *)fr__take(arena, fork, grows * (fr_int)sizeof *q->part);
  return FR_OK;
}

FR__APART fr_int fr__append(char *text, fr_int at, fr_text more)
{
  if (more.count) memcpy(text + at, more.bytes, (size_t)more.count);
  return at + more.count;
}

FR_DEF fr_status fr_question_place(fr_question *question, fr_encoder *encoder, const fr_framing *framing, fr_text prompt,
                                   const fr_text *traces, fr_int trace_count, void *memory, fr_int bytes, fr_int *used)
{
  const fr__trusted nowhere = { NULL, 0 };
  fr__arena arena = { NULL, 0, 0 };
  fr__output out = { NULL, 0, 0, 0, 0 };
  fr__trusted trusted;
  fr__framed q;
  fr_tokens parts[3];
  fr_int head;
  fr_reason *reason = encoder ? &encoder->reason : NULL;
  const fr_int grows = encoder && encoder->body && !encoder->tokenizer->nfc ? 1 : 3;
  fr_status status = fr__question_layout(&arena, &q, grows, framing, prompt, traces, trace_count);
  if (!status && memory && (!question || !encoder || !encoder->body)) status = FR_INVALID;
  if (status) return fr__fail(reason, status, status == FR_UNSUPPORTED ? "the question is a conversation of several turns, and the framing has none"
                              : "question, encoder, framing or texts are not usable, a fork is empty, or all is too large");
  status = fr__arena_open(&arena, memory, bytes, memory ? NULL : used, reason);
  if (status || !memory) return status;
  if (!fr_tokenizer_token(encoder->tokenizer, framing->end).bytes)
    return fr__fail(reason, FR_RANGE, "the end, %d, is not a token", (fr_int)framing->end);
  fr__question_layout(&arena, &q, grows, framing, prompt, traces, trace_count);
  fr__frame_question(&q, framing, prompt);
  head = q.head;
  trusted.range = q.range;
  trusted.count = q.ranges / 2;
  out.ids = q.ids;
  out.capacity = q.ids_most;
  status = fr__encode(encoder, q.text, head, 1, 0, trusted, &out);
  if (status) return status;
  if (out.count == 0) return fr__fail(reason, FR_FORMAT, "the question has no token");
  parts[0].ids = q.ids;
  parts[0].count = out.count;
  for (fr_int j = 0; j < trace_count; j++) {
    q.traces[j].ids = q.ids + out.count;
    status = fr__encode(encoder, traces[j].bytes, traces[j].count, 0, 0, nowhere, &out);
    if (status) {
      const fr_reason why = *reason;
      return fr__fail(reason, status, "trace %d: %s", j, why.text);
    }
    fr__emit(&out, (uint32_t)framing->end);
    q.traces[j].count = q.ids + out.count - q.traces[j].ids;
  }

  for (fr_int i = 0; i < framing->fork_count; i++) {
    fr__output fork = { q.part, grows * q.text_most, 0, 0, 0 }, all = { q.whole, grows * q.text_most, 0, 0, 0 };
    fr_int cut = 0, cut_count = 0;
    const fr_int end = q.range[q.ranges - 1] = fr__append(q.text, head, framing->forks[i]);
    status = fr__encode_fork(encoder, framing->forks[i], &fork);
    if (status) return status;
    parts[1].ids = q.part;
    parts[1].count = fork.count;
    for (fr_int j = -1; j < trace_count && cut < end; j++) {  // first no trace; and nothing joins across a special token
      const fr_int stop = j < 0 ? end : fr__append(q.text, end, traces[j]);
      fr_int differ;
      fr_reason where;
      all.count = cut_count;
      status = fr__encode(encoder, q.text + cut, stop - cut, cut == 0, 0, j < 0 ? trusted : nowhere, &all);
      if (status) return status;
      if (j < 0) { cut = all.cut; cut_count = all.cut_count; }
      else { parts[2] = q.traces[j]; parts[2].count--; }
      differ = fr__parts_differ(q.whole, all.count, parts, j < 0 ? 2 : 3);
      if (differ < 0) continue;
      fr__fail(&where, FR_FORMAT, j < 0 ? "question and fork %d" : "fork %d and trace %d", i, j);
      return fr__fail(reason, FR_FORMAT, "%s: apart they have other ids than together, from the id at place %d on; "
                      "the boundary is at byte %d", where.text, differ, j < 0 ? head : end);
    }
  }
  memset(question, 0, sizeof *question);
  question->prompt = parts[0];
  question->traces = q.traces;
  question->trace_count = trace_count;
  question->key = fr__hash((uint64_t)prompt.count, prompt.bytes, prompt.count);
  question->fork = q.fork;
  for (fr_int j = 0; j < trace_count; j++) q.fork[j] = 0;
  if (used) *used = (fr_int)((char *)(q.ids + out.count) - (char *)memory);
  return fr__fine(reason);
}

FR__SELDOM fr_status fr__encoder_layout(fr__arena *arena, fr__encoder *e, const fr_tokenizer *t, fr_int longest, fr_int cache)
{
  fr_int n, leaves;
  if (!t || !t->body || longest < 0 || (uint64_t)longest > 0x7FFFFFF0u || cache < 0) return FR_INVALID;
  e->room = t->nfc ? fr__max(longest, FR__SHORT) : 0;
  n = longest < FR__SHORT && !t->nfc ? 0 : fr__max(longest, e->room) + 1;
  for (leaves = n > 0; leaves < n && fr__mul(2, leaves, &leaves);) {}  // where that fails, the symbols do not fit either
  for (e->memo_count = cache > 0; cache > 1 && e->memo_count <= cache / 2; e->memo_count *= 2) {}
  e->memos = (fr__memo *)fr__take(arena, e->memo_count, (fr_int)sizeof(fr__memo));
  e->symbols = (fr__symbol *)fr__take(arena, n, (fr_int)sizeof(fr__symbol));
  e->lowest = (uint32_t *)fr__take(arena, leaves, 8);
  e->normal = (char *)fr__take(arena, e->room, 3);
  return FR_OK;
}

FR_DEF fr_status fr_encoder_place(fr_encoder *encoder, const fr_tokenizer *tokenizer, fr_int longest, fr_int cache,
                                  void *memory, fr_int bytes, fr_int *needed)
{
  fr__arena arena = { NULL, 0, 0 };
  fr__encoder measured, *e = &measured;
  fr_status status;
  if (memory && !encoder) return FR_INVALID;
  fr__take(&arena, 1, (fr_int)sizeof *e);
  status = fr__encoder_layout(&arena, e, tokenizer, longest, cache);
  if (!status) status = fr__arena_open(&arena, memory, bytes, needed, NULL);
  if (status || !memory) return status;
  memset(encoder, 0, sizeof *encoder);
  encoder->tokenizer = tokenizer;
  encoder->longest = longest;
  encoder->body = e = (fr__encoder *)fr__take(&arena, 1, (fr_int)sizeof(fr__encoder));
  fr__encoder_layout(&arena, e, tokenizer, longest, cache);
  memset(e->memos, 0, (size_t)e->memo_count * sizeof *e->memos);  // no pre-token has 0 bytes, so an empty entry is never found
  return FR_OK;
}

// -- ids to text
FR_DEF fr_text fr_tokenizer_token(const fr_tokenizer *tokenizer, fr_token id)
{
  const fr_text none = { NULL, 0 };
  const fr__bpe *b = tokenizer && id >= 0 && id < tokenizer->vocab ? tokenizer->body : NULL;
  const fr_text text = { b ? b->bytes + b->pieces[id].start : NULL, b ? (fr_int)b->pieces[id].count : 0 };
  return text.count ? text : none;
}

FR_DEF fr_token fr_tokenizer_find(const fr_tokenizer *tokenizer, fr_text text)
{
  const fr__bpe *b = tokenizer ? tokenizer->body : NULL;
  uint32_t id;
  if (!b || !text.bytes || text.count < 1) return -1;
  id = fr__special_at(tokenizer, text.bytes, 0, text.count, FR__LATE);
  if (id == FR__NONE || (fr_int)b->pieces[id].count != text.count) id = fr__name_id(b, text.bytes, text.count);
  return id == FR__NONE ? -1 : (fr_token)id;
}

// What a token adds to the text. SentencePiece's blank before the text is taken away again.
static fr_text fr__token_text(const fr_tokenizer *t, fr_token id, int begun)
{
  fr_text text = fr_tokenizer_token(t, id);
  if (t->sentencepiece && !begun && text.count > 0 && text.bytes[0] == ' ') { text.bytes++; text.count--; }
  return text;
}

FR_DEF fr_status fr_tokenizer_decode(const fr_tokenizer *tokenizer, const fr_token *ids, fr_int count, char *text,
                                     fr_int capacity, fr_int *bytes, fr_reason *reason)
{
  fr_int total = 0;
  if (!tokenizer || !tokenizer->body || !bytes || count < 0 || (count && !ids) || (text && capacity < 0))
    return fr__fail(reason, FR_INVALID, "tokenizer, ids, text or bytes is not usable");
  for (fr_int i = 0; i < count; i++) {
    if (!fr_tokenizer_token(tokenizer, ids[i]).bytes)
      return fr__fail(reason, FR_RANGE, "id %d at place %d is not a token", (fr_int)ids[i], i);
    if (!fr__add(total, fr__token_text(tokenizer, ids[i], i > 0).count, &total))
      return fr__fail(reason, FR_OVERFLOW, "the text does not fit the address space");
  }
  if (text && total > capacity) return fr__fail(reason, FR_LIMIT, "the text has %d bytes, there is room for %d", total, capacity);
  *bytes = total;
  for (fr_int i = 0, at = 0; text && i < count; i++) at = fr__append(text, at, fr__token_text(tokenizer, ids[i], i > 0));
  return fr__fine(reason);
}

// How many of `left` bytes at p can be handed out: all but an end that may still become a character, which some bytes would
// complete; of its second byte, 0x80 or 0xBF is always good.
static fr_int fr__whole(const char *p, fr_int left)
{
  for (fr_int tail = 1; tail <= fr__min(3, left); tail++) {
    const unsigned char c = (unsigned char)p[left - tail];
    char low[4] = { '\x80', '\x80', '\x80', '\x80' }, high[4] = { '\xBF', '\xBF', '\xBF', '\xBF' };
    if (c < 0x80) break;
    if (c < 0xC0) continue;
    memcpy(low, p + left - tail, (size_t)tail);
    memcpy(high, p + left - tail, (size_t)tail);
    return fr__max(fr__utf8(low, 4), fr__utf8(high, 4)) > tail ? left - tail : left;
  }
  return left;
}

FR_DEF fr_status fr_tokenizer_stream(const fr_tokenizer *tokenizer, fr_decoder *decoder, fr_token id, char *text,
                                     fr_int capacity, fr_int *bytes)
{
  fr_text token = { NULL, 0 };
  fr_int held, total, whole;
  if (!tokenizer || !tokenizer->body || !decoder || !bytes || !text || decoder->held_count < 0 || decoder->held_count > 3)
    return FR_INVALID;
  held = decoder->held_count;
  if (id >= 0 && !fr_tokenizer_token(tokenizer, id).bytes) return FR_RANGE;
  if (id >= 0) token = fr__token_text(tokenizer, id, decoder->begun);
  total = held + token.count;
  if (total > capacity) return FR_LIMIT;
  if (held) memcpy(text, decoder->held, (size_t)held);
  if (token.count) memcpy(text + held, token.bytes, (size_t)token.count);
  whole = id < 0 ? total : fr__whole(text, total);
  decoder->begun = id >= 0;
  decoder->held_count = total - whole;
  if (total > whole) memcpy(decoder->held, text + whole, (size_t)(total - whole));
  *bytes = whole;
  return FR_OK;
}

// -- reading. Each loader goes over its file twice, to measure and check, then to fill, and puts all in by two functions.
enum { FR__FORM_HEAD = 56, FR__SPLIT_TOKEN = 512 };  // the latter: bytes of a token, where every way to split it has to be tried
static const unsigned char fr__form_magic[8] = { 0x89, 'F', 'R', 'T', '\r', '\n', 0x1A, '\n' };
#define FR__REGEX(number)                                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
    "\\s+(?!\\S)|\\s+"
static const char *const fr__regex[] = {  // of each fr_split
  NULL, NULL, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  FR__REGEX("\\p{N}{1,3}"), FR__REGEX("\\p{N}"), NULL
};

// The names that are read of tokenizer.json: of the file, then of its model.
enum { FR__ADDED, FR__NORMALIZER, FR__PRE, FR__DECODER, FR__MODEL, FR__POST, FR__PADDING, FR__TRUNCATION, FR__DROPOUT, FR__PREFIX,
       FR__SUFFIX, FR__FALLBACK, FR__VOCAB, FR__MERGES, FR__TYPE, FR__IGNORE, FR__FIELDS };
static const char *const fr__fields[FR__FIELDS] = { "added_tokens", "normalizer", "pre_tokenizer", "decoder", "model",
  "post_processor", "padding", "truncation", "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "vocab",
  "merges", "type", "ignore_merges" };

typedef struct fr__load {
  const fr_tokenizer_source *source;
  fr_reason   *reason;
  fr_tokenizer tokenizer;  // its body is NULL while measuring
  fr__bpe     *b;
  fr_int vocab, bytes, names, merges, specials;  // counted while measuring, then what has been filled in
  fr_int room_bytes, score_count;                // scratch: bytes of the longest text, scores of tokens
  char   *room;
  fr_int *links;
  float  *scores;
  fr__json_token field[FR__FIELDS];  // of tokenizer.json
  fr_int names_open[2 * FR_DATASET_NAMES];  // for its reader
} fr__load;

// The byte for a character of GPT-2's printable alphabet, or -1; and back. 68 bytes that are not printable stand in their
// order at U+0100 .. U+0143, the others for themselves.
static int fr__char_byte(int32_t code)
{
  if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xFF && code != 0xAD)) return (int)code;
  code -= 0x100;
  if (code < 0 || code > 67) return -1;
  return (int)(code <= 32 ? code : code == 33 ? 0x7F : code == 67 ? 0xAD : 0x80 + code - 34);
}

static uint32_t fr__byte_char(int byte)
{
  if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD)) return (uint32_t)byte;
  return 0x100u + (uint32_t)(byte <= 32 ? byte : byte == 0x7F ? 33 : byte == 0xAD ? 67 : byte - 0x80 + 34);
}

// The id that GPT-2 gives to a byte: those that stand for themselves first.
static uint32_t fr__gpt2_id(int byte)
{
  const uint32_t c = fr__byte_char(byte);
  if (c >= 0x100) return 188 + c - 0x100;
  return c - 0x21 - (c >= 0xA1 ? 0xA1 - 0x7F : 0) - (c > 0xAD);
}

// Turns characters up to a blank, or to `end`, into bytes; -1 if one does not stand for a byte. `plain`: no JSON escapes.
FR__APART fr_int fr__unmap(const char *text, fr_int *at, fr_int end, int plain, char *out)
{
  fr_int count = 0;
  while (*at < end && text[*at] != ' ') {
    int byte;
    if (plain && (text[*at] == '"' || text[*at] == '\\')) byte = text[(*at)++];
    else if (plain && fr__utf8(text + *at, end - *at) == 0) return -1;
    else byte = fr__char_byte(fr__json_code(text, at, end));
    if (byte < 0) return -1;
    out[count++] = (char)byte;
  }
  return count;
}

// Where the bytes of the next token go; NULL while measuring.
static char *fr__next_bytes(const fr__load *load) { return load->b ? load->b->bytes + load->bytes : NULL; }

// Bytes already in place need not be copied; none at all, of kind 0, are a hole. Returns what is wrong, or NULL.
FR__APART const char *fr__put_token(fr__load *load, fr_int id, const char *bytes, fr_int count, int kind)
{
  fr__bpe *b = load->b;
  if (count < 1 && kind) return "a token is empty";
  if (count >> 28) return "a token has 2^28 bytes or more";
  if (id < 0 || id >= fr__max(65536, fr__max(load->source->file.count, load->source->merges.count)))
    return "an id is larger than the file could need";
  if (!b) {
    load->vocab = fr__max(load->vocab, id + 1);
    load->names += (kind & FR__ORDINARY) != 0;
    load->specials += (kind & FR__SPECIAL) != 0;
    load->bytes += count;
    return NULL;
  }
  if (b->pieces[id].count) return "two tokens have the same id";
  if (bytes != b->bytes + load->bytes) memcpy(b->bytes + load->bytes, bytes, (size_t)count);
  if (!fr__set_token(b, id, load->bytes, count, kind)) return "a token is there twice";
  if (kind & FR__SPECIAL) b->specials[load->specials++] = (uint32_t)id;
  load->bytes += count;
  load->tokenizer.vocab = fr__max(load->tokenizer.vocab, id + 1);
  load->tokenizer.longest = fr__max(load->tokenizer.longest, count);
  return NULL;
}

FR__APART const char *fr__put_merge(fr__load *load, uint32_t left, uint32_t right, uint32_t id, uint32_t rank)
{
  const fr__merge made = { left, right, rank, id };
  fr__merge *m;
  if (left == FR__NONE || right == FR__NONE || id == FR__NONE) return "a merge is of tokens that are not there";
  m = fr__merge_at(load->b, left, right);
  if (m->rank != FR__NONE) return "a merge is there twice";
  if (m == &fr__no_merge) { load->b->crowded = 1; return "the table of merges is crowded"; }
  *m = made;
  load->b->order[load->merges++] = (uint32_t)(m - load->b->merges);
  load->b->rank_count = rank + 1;
  return NULL;
}

// The same for a merge as text: "left right" (b.kind 0) or two strings, in a line of merges.txt or in tokenizer.json. Lines alone
// make the tokens, too.
FR__SELDOM const char *fr__put_merge_text(fr__load *load, const char *text, fr__json_token a, fr__json_token b, int in_line,
                                          fr_int rank)
{
  const fr__bpe *bpe = load->b;
  const int alone = in_line && !load->source->file.bytes;
  const char *p = load->room, *wrong = NULL;
  fr_int at = a.start, end = a.start + a.count, left, right = 0;
  if (!bpe) {
    load->merges++;
    load->room_bytes = fr__max(load->room_bytes, a.count + b.count);
    return alone && fr__put_token(load, 256 + rank, NULL, a.count, FR__ORDINARY) ? "too many merges" : NULL;
  }
  left = fr__unmap(text, &at, end, in_line, load->room);
  if (b.kind && at < end) left = -1;
  at = b.kind ? b.start : at + 1;
  if (b.kind) end = at + b.count;
  if (left > 0 && at < end) right = fr__unmap(text, &at, end, in_line, load->room + left);
  if (left < 1 || right < 1 || at < end)
    return in_line ? "two tokens with a blank between them were expected" : "a merge must be of two tokens";
  if (alone) wrong = fr__put_token(load, 256 + rank, p, left + right, FR__ORDINARY);
  return wrong ? wrong : fr__put_merge(load, fr__name_id(bpe, p, left), fr__name_id(bpe, p + left, right),
                                       fr__name_id(bpe, p, left + right), (uint32_t)rank);
}

// Where a file has ranks of tokens and no merges: each way to split a token in two is a merge of its rank. They are listed by
// their left ids, which all differ, as Hugging Face's converter does.
FR__SELDOM void fr__put_splits(fr__load *load, uint32_t id)
{
  fr__bpe *b = load->b;
  const char *p = b->bytes + b->pieces[id].start;
  const fr_int count = (fr_int)b->pieces[id].count, first = load->merges;
  const uint32_t rank = b->rank_count;
  for (fr_int i = 1; i < count; i++) {
    const uint32_t left = fr__name_id(b, p, i);
    fr_int at = load->merges;
    uint32_t made;
    if (left == FR__NONE || fr__put_merge(load, left, fr__name_id(b, p + i, count - i), id, rank)) continue;
    for (made = b->order[at]; at > first && b->merges[b->order[at - 1]].left > left; at--) b->order[at] = b->order[at - 1];
    b->order[at] = made;
  }
}

// -- tokenizer.json
FR__APART fr_status fr__load_json_fail(fr__load *load, fr__json *json, fr_int at, const char *wrong)
{
  fr__json_wrong(json, FR_FORMAT, at, wrong);
  return fr__json_fail(json, load->reason);
}

// Begins to read the value at `at` and returns its first event.
static char fr__load_value(fr__load *load, fr__json *json, fr_int at)
{
  fr__json_start(json, load->source->file.bytes, at, load->source->file.count, 1, load->names_open, FR_DATASET_NAMES);
  return fr__json_next(json);
}

// Refuses what a token says, and shows the beginning of it.
FR__SELDOM fr_status fr__load_refuse(fr__load *load, fr__json_token token, const char *wrong)
{
  const fr_text file = load->source->file;
  char shown[48];
  fr_reason place;
  fr__json json;
  fr__json_start(&json, file.bytes, 0, file.count, 1, NULL, 0);
  fr__json_wrong(&json, FR_UNSUPPORTED, token.start, wrong);
  fr__json_fail(&json, &place);
  if (token.kind == 't' || token.kind == 'f' || token.kind == 'n') token.count = token.kind == 'f' ? 5 : 4;
  fr__show(shown, file.bytes + token.start, token.count);
  return fr__fail(load->reason, FR_UNSUPPORTED, *shown ? "%s: %s" : "%s", place.text, shown);
}

// The value of a name in a small object that has been checked; kind 0 if it is not there.
FR__APART fr__json_token fr__json_member(fr__load *load, fr__json_token object, const char *name)
{
  const fr__json_token none = { 0, 0, 0 };
  fr__json json;
  if (object.kind != '{') return none;
  fr__load_value(load, &json, object.start);
  while (fr__json_next(&json) == 'k') {
    const int here = fr__json_is(&json, json.token, name);
    if (fr__json_next(&json) != '!' && here) return json.token;
    if (!fr__json_skip(&json)) break;
  }
  return none;
}

static int fr__json_word(const fr__load *load, fr__json_token token, const char *word)
{
  fr__json json;
  json.text = load->source->file.bytes;
  return token.kind == '"' && fr__json_is(&json, token, word);
}

// A member of an object must be this word; else what it says is refused.
static fr_status fr__json_expect(fr__load *load, fr__json_token object, const char *name, const char *word, const char *wrong)
{
  const fr__json_token value = fr__json_member(load, object, name);
  return fr__json_word(load, value, word) ? FR_OK : fr__load_refuse(load, value.kind ? value : object, wrong);
}

// {"id": 1, "content": "...", "special": true ...}: every added token is matched in raw text, whatever `special` says, those that
// are `normalized` only between the others, as Hugging Face does. An error
// of the reader, here and below, leaves something missing, and what then fails tells the first error; so does the end.
FR__SELDOM fr_status fr__json_added(fr__load *load, fr__json *json)
{
  while (fr__json_next(json) != ']') {
    fr__json_token id = { 0, 0, 0 }, content = { 0, 0, 0 };
    const fr_int start = json->token.start;
    const char *wrong;
    int kind = FR__SPECIAL;
    if (json->token.kind != '{') return fr__load_json_fail(load, json, start, "an added token must be an object");
    while (fr__json_next(json) == 'k') {
      const fr__json_token name = json->token;
      fr__json_next(json);
      if (fr__json_is(json, name, "id")) id = json->token;
      else if (fr__json_is(json, name, "content")) content = json->token;
      else if (json->token.kind == 't' && fr__json_is(json, name, "normalized")) kind |= FR__LATE;
      else if (json->token.kind == 'f' && fr__json_is(json, name, "special")) kind |= FR__SHOWN;
      else if (json->token.kind == 't' && (fr__json_is(json, name, "lstrip") || fr__json_is(json, name, "rstrip") ||
                                           fr__json_is(json, name, "single_word")))
        return fr__load_refuse(load, name, "an added token has a property that is not supported");
      if (!fr__json_skip(json)) break;
    }
    if (fr__json_whole(json->text, id) < 0)
      return fr__load_json_fail(load, json, start, "an added token needs an id, a whole number");
    if (content.kind != '"') return fr__load_json_fail(load, json, start, "an added token needs a content");
    wrong = fr__put_token(load, fr__json_whole(json->text, id), fr__next_bytes(load),
                          fr__json_copy(json->text, content, fr__next_bytes(load)), kind);
    if (wrong) return fr__load_json_fail(load, json, start, wrong);
  }
  return FR_OK;
}

// {"token": id, ...} in characters that stand for bytes. Repeated names are found by the table of tokens, not by the reader.
FR__SELDOM fr_status fr__json_vocab(fr__load *load, fr__json *json)
{
  const char *text = json->text;
  fr__bpe *b = load->b;
  while (fr__json_next(json) == 'k') {
    const fr__json_token name = json->token;
    const char *wrong = NULL;
    fr_int id, at = name.start, count;
    json->name_count--;
    fr__json_next(json);
    id = fr__json_whole(text, json->token);
    if (id < 0) return fr__load_json_fail(load, json, json->token.start, "an id must be a whole number, 0 or more");
    if (!b) {
      load->room_bytes = fr__max(load->room_bytes, name.count);
      wrong = fr__put_token(load, id, NULL, name.count, FR__ORDINARY);
    } else if (b->pieces[id].count && (b->kinds[id] & 3) == FR__SPECIAL) {  // also an added token; it is stored as it is written
      b->kinds[id] |= FR__LISTED;
      if (!fr__piece_is(b, (uint32_t)id, load->room, fr__json_copy(text, name, load->room))) {
        wrong = "an added token has the id of another token";
      } else if (fr__piece_is(b, (uint32_t)id, load->room, fr__unmap(text, &at, name.start + name.count, 0, load->room))) {
        uint32_t *where = fr__name_at(b, load->room, (fr_int)b->pieces[id].count);
        if (*where) wrong = "a token is there twice";
        if (where == &fr__no_name) b->crowded = 1;
        else *where = (uint32_t)id + 1;
        b->kinds[id] |= FR__ORDINARY;
      }
    } else {
      char *out = b->bytes + load->bytes;
      count = fr__unmap(text, &at, name.start + name.count, 0, out);
      if (count < 0 || at < name.start + name.count)
        return fr__load_refuse(load, name, "a token is not written in the characters of ByteLevel");
      wrong = fr__put_token(load, id, out, count, FR__ORDINARY);
    }
    if (wrong) return fr__load_json_fail(load, json, name.start - 1, wrong);
  }
  return FR_OK;
}

// ["a b", ...] or [["a", "b"], ...], by rank.
FR__SELDOM fr_status fr__json_merges(fr__load *load, fr__json *json)
{
  for (fr_int rank = 0; fr__json_next(json) != ']'; rank++) {
    const char *wrong;
    fr__json_token a = json->token, b = { 0, 0, 0 };
    for (int i = 0, pair = a.kind == '['; pair && i < 3 && fr__json_next(json) != '!'; i++) {  // two strings and the end
      if (json->token.kind != (i < 2 ? '"' : ']'))
        return fr__load_json_fail(load, json, json->token.start, "a merge needs two strings");
      if (i == 0) a = json->token;
      if (i == 1) b = json->token;
    }
    if (a.kind != '"') return fr__load_json_fail(load, json, a.start, "a merge must be a string or a pair of strings");
    wrong = fr__put_merge_text(load, json->text, a, b, 0, rank);
    if (wrong) return fr__load_json_fail(load, json, a.start, wrong);
  }
  return FR_OK;
}

// {"type": "ByteLevel", ...}
FR__SELDOM fr_status fr__json_byte_level(fr__load *load, fr__json_token object, fr_split *split)
{
  const fr__json_token space = fr__json_member(load, object, "add_prefix_space");
  const fr_status status = fr__json_expect(load, object, "type", "ByteLevel", "this pre-tokenizer is not supported");
  if (status) return status;
  if (space.kind != 'f') return fr__load_refuse(load, space.kind ? space : object, "add_prefix_space must be false");
  *split = fr__json_member(load, object, "use_regex").kind == 'f' ? FR_SPLIT_NONE : FR_SPLIT_GPT2;
  return FR_OK;
}

// {"type": "Split", ...} with one of the expressions that are known.
FR__SELDOM fr_status fr__json_split(fr__load *load, fr__json_token object, fr_split *split)
{
  const fr__json_token regex = fr__json_member(load, fr__json_member(load, object, "pattern"), "Regex");
  fr_status status = fr__json_expect(load, object, "behavior", "Isolated", "the behaviour of Split must be Isolated");
  if (status) return status;
  if (fr__json_member(load, object, "invert").kind == 't') return fr__load_refuse(load, object, "invert is not supported");
  for (*split = FR_SPLIT_QWEN; *split >= FR_SPLIT_GPT2; *split = (fr_split)(*split - 1))
    if (fr__json_word(load, regex, fr__regex[*split])) return FR_OK;
  return fr__load_refuse(load, regex.kind ? regex : object, "this regular expression is not supported");
}

FR__SELDOM fr_status fr__json_pre_tokenizer(fr__load *load, fr__json_token pre, fr_split *split)
{
  fr__json_token list, part[3];
  fr_status status = FR_OK;
  fr_int parts = 0;
  int digits;
  fr__json json;
  if (!fr__json_word(load, fr__json_member(load, pre, "type"), "Sequence")) return fr__json_byte_level(load, pre, split);
  list = fr__json_member(load, pre, "pretokenizers");
  if (list.kind != '[') return fr__load_refuse(load, pre, "this pre-tokenizer is not supported");
  for (fr__load_value(load, &json, list.start); parts < 3 && fr__json_next(&json) != ']' && json.token.kind != '!'; parts++) {
    part[parts] = json.token;
    fr__json_skip(&json);
  }
  if (parts == 1) return fr__json_byte_level(load, part[0], split);
  if (parts != 2) return fr__load_refuse(load, list, "only Split or Digits, then ByteLevel, are supported in a sequence");
  digits = fr__json_word(load, fr__json_member(load, part[0], "type"), "Digits");
  if (!digits) status = fr__json_expect(load, part[0], "type", "Split", "this pre-tokenizer is not supported");
  if (!status) status = fr__json_byte_level(load, part[1], split);
  if (status) return status;
  if (*split != (digits ? FR_SPLIT_GPT2 : FR_SPLIT_NONE))
    return fr__load_refuse(load, part[1], digits ? "ByteLevel after Digits must have use_regex true" :
                                                   "ByteLevel after Split must have use_regex false");
  if (!digits) return fr__json_split(load, part[0], split);
  *split = FR_SPLIT_SMOLLM;
  if (fr__json_member(load, part[0], "individual_digits").kind == 't') return FR_OK;
  return fr__load_refuse(load, part[0], "Digits must have individual_digits true");
}

// What stands beside vocabulary and merges and changes ids. Padding to the longest of a batch does not change those of one text;
// padding to a fixed length or to a multiple does, and so does any truncation.
FR__SELDOM fr_status fr__json_settings(fr__load *load)
{
  const fr_text file = load->source->file;
  const fr__json_token *field = load->field, normalizer = field[FR__NORMALIZER], decoder = field[FR__DECODER];
  fr_status status = FR_OK;
  if (field[FR__TYPE].kind && !fr__json_word(load, field[FR__TYPE], "BPE"))
    return fr__load_refuse(load, field[FR__TYPE], "this type of model is not supported");
  for (int i = FR__PADDING; i < FR__VOCAB; i++) {
    const fr__json_token f = field[i], multiple = fr__json_member(load, f, "pad_to_multiple_of");
    fr_reason words;
    if (i == FR__PADDING && fr__json_word(load, fr__json_member(load, f, "strategy"), "BatchLongest") &&
        (!multiple.kind || multiple.kind == 'n')) continue;
    if (!f.kind || f.kind == 'n' || f.kind == 'f' || (f.kind == '"' && f.count == 0)) continue;
    if (f.kind == '0' && (fr__json_whole(file.bytes, f) == 0 || (f.count == 3 && !memcmp(file.bytes + f.start, "0.0", 3)))) continue;
    fr__fail(&words, FR_UNSUPPORTED, "%s is not supported", fr__fields[i]);
    return fr__load_refuse(load, f, words.text);
  }
  load->tokenizer.ignore_merges = field[FR__IGNORE].kind == 't';
  load->tokenizer.nfc = normalizer.kind && normalizer.kind != 'n';
  if (load->tokenizer.nfc) status = fr__json_expect(load, normalizer, "type", "NFC", "this normaliser is not supported");
  if (!status && decoder.kind && decoder.kind != 'n')
    status = fr__json_expect(load, decoder, "type", "ByteLevel", "this decoder is not supported");
  return status ? status : fr__json_pre_tokenizer(load, field[FR__PRE], &load->tokenizer.split);
}

// Goes over an object and notes its fields, numbers first .. end-1; what is big is counted on the way.
FR__SELDOM fr_status fr__json_fields(fr__load *load, fr__json *json, int first, int end)
{
  while (fr__json_next(json) == 'k') {
    fr_status status = FR_OK;
    char kind;
    int i = first;
    while (i < end && !fr__json_is(json, json->token, fr__fields[i])) i++;
    kind = fr__json_next(json);
    if (i == end) i = FR__FIELDS;  // not one of ours
    else load->field[i] = json->token;
    if (i == FR__ADDED && kind == '[') status = fr__json_added(load, json);
    else if (i == FR__MODEL && kind == '{') status = fr__json_fields(load, json, FR__DROPOUT, FR__FIELDS);
    else if (i == FR__VOCAB && kind == '{') status = fr__json_vocab(load, json);
    else if (i == FR__MERGES && kind == '[') status = fr__json_merges(load, json);
    else if (!fr__json_skip(json)) break;
    if (status) return status;
  }
  return json->token.kind == '!' ? fr__json_fail(json, load->reason) : FR_OK;
}

// The token that a vocabulary would have under this name, which is in the characters of ByteLevel, or FR__NONE.
FR__SELDOM uint32_t fr__listed_as(const fr__bpe *b, fr_text name)
{
  char out[FR__SPLIT_TOKEN];
  fr_int at = 0, bytes = name.count > FR__SPLIT_TOKEN ? 0 : fr__unmap(name.bytes, &at, name.count, 1, out);
  return bytes > 0 && at == name.count ? fr__name_id(b, out, bytes) : FR__NONE;
}

// Hugging Face gives an added token, in the order of the file, the id under which the vocabulary lists it, else the next one behind
// as many as the vocabulary has and those before, whatever the file says; and of one that is normalized it looks for the normal form.
FR__SELDOM fr_status fr__json_added_ids(fr__load *load)
{
  fr__bpe *b = load->b;
  fr_int last = -1;
  for (fr_int i = 0; i < load->specials; i++) {
    const fr_int id = (fr_int)b->specials[i];
    const fr_text text = { b->bytes + b->pieces[id].start, (fr_int)b->pieces[id].count };
    const uint32_t listed = fr__listed_as(b, text);
    fr_int given = last < 0 ? load->names : last + 1;
    if (listed != FR__NONE) given = (fr_int)listed;
    else if (b->kinds[id] & FR__LISTED) given = id;
    else last = id;
    if (given != id)
      return fr__fail(load->reason, FR_UNSUPPORTED, "added token %d: the id that Hugging Face's library gives it is %d", id, given);
    for (fr_int c = 0; load->tokenizer.nfc && (b->kinds[id] & FR__LATE) && c < text.count; c++)
      if (text.bytes[c] & 0x80) return fr__fail(load->reason, FR_UNSUPPORTED, "added token %d is normalized, and not ASCII", id);
    b->kinds[id] = (unsigned char)(b->kinds[id] & ~FR__LISTED);
  }
  return FR_OK;
}

// The token that post_processor, a TemplateProcessing or a sequence with one, puts before each text, or -1.
FR__SELDOM fr_token fr__json_begins(fr__load *load)
{
  fr__json_token post = load->field[FR__POST], id = fr__json_member(load, post, "processors");
  char name[FR__SPLIT_TOKEN];
  fr_text text = { name, 0 };
  fr__json json;
  if (id.kind == '[')
    for (fr__load_value(load, &json, id.start); fr__json_next(&json) != ']' && json.token.kind != '!'; fr__json_skip(&json))
      if (fr__json_word(load, fr__json_member(load, json.token, "type"), "TemplateProcessing")) post = json.token;
  id = fr__json_member(load, post, "single");
  if (id.kind != '[') return -1;
  fr__load_value(load, &json, id.start);
  fr__json_next(&json);
  id = fr__json_member(load, fr__json_member(load, json.token, "SpecialToken"), "id");
  if (id.kind != '"' || id.count > FR__SPLIT_TOKEN) return -1;
  text.count = fr__json_copy(json.text, id, name);
  return fr_tokenizer_find(&load->tokenizer, text);
}

static fr_status fr__json_fill(fr__load *load)
{
  const fr__json_token added = load->field[FR__ADDED], merges = load->field[FR__MERGES];  // whatever the file's order
  fr_status status = FR_OK;
  fr__json json;
  if (added.kind == '[' && fr__load_value(load, &json, added.start)) status = fr__json_added(load, &json);
  if (!status && fr__load_value(load, &json, load->field[FR__VOCAB].start)) status = fr__json_vocab(load, &json);
  if (!status) status = fr__json_added_ids(load);
  if (!status && merges.kind == '[' && fr__load_value(load, &json, merges.start)) status = fr__json_merges(load, &json);
  return status;
}

// tokenizer.json, or only a vocabulary.
FR__SELDOM fr_status fr__load_json(fr__load *load, int only_vocab)
{
  const fr__json_token *field = load->field;
  fr__json json;
  fr_status status;
  if (load->b) return fr__json_fill(load);
  if (fr__load_value(load, &json, 0) != '{')
    return fr__load_json_fail(load, &json, json.token.start, "the file must hold one object");
  if (only_vocab) load->field[FR__VOCAB] = json.token;
  status = only_vocab ? fr__json_vocab(load, &json) : fr__json_fields(load, &json, FR__ADDED, FR__DROPOUT);
  if (!status && fr__json_next(&json) == '!') status = fr__json_fail(&json, load->reason);
  if (status || only_vocab) return status;
  if (field[FR__MODEL].kind != '{')
    return fr__fail(load->reason, FR_FORMAT, "the file has no model; a vocab.json needs its merges beside it");
  if (field[FR__ADDED].kind && field[FR__ADDED].kind != '[' && field[FR__ADDED].kind != 'n')
    return fr__load_json_fail(load, &json, field[FR__ADDED].start, "added_tokens must be a list");
  status = fr__json_settings(load);
  if (status) return status;
  if (field[FR__VOCAB].kind != '{') return fr__fail(load->reason, FR_FORMAT, "the model has no vocab");
  return field[FR__MERGES].kind == '[' ? FR_OK : fr__fail(load->reason, FR_FORMAT, "the model has no merges");
}

// -- lines of text: merges.txt and *.tiktoken. The next line that is not empty, without its end; 0 after the last.
static int fr__next_line(fr_text text, fr_int *at, fr_int *line, fr_int *start, fr_int *end)
{
  while (*at < text.count) {
    const char *found = (const char *)memchr(text.bytes + *at, '\n', (size_t)(text.count - *at));
    *start = *at;
    *end = found ? found - text.bytes : text.count;
    *at = *end + 1;
    ++*line;
    if (*end > *start && text.bytes[*end - 1] == '\r') --*end;
    if (*end > *start) return 1;
  }
  return 0;
}

// merges.txt: a line "#version ...", then "left right" by rank. Without a vocab.json, merge k makes the token 256 + k.
FR__SELDOM fr_status fr__load_merges(fr__load *load)
{
  const fr_text text = load->source->merges;
  fr_int at = 0, line = 0, start, end, rank = 0;
  const fr_status status = load->source->file.bytes ? fr__load_json(load, 1) : FR_OK;
  if (status) return status;
  for (int byte = 0; byte < 256 && !load->source->file.bytes; byte++) {
    const char c = (char)byte;
    fr__put_token(load, (fr_int)fr__gpt2_id(byte), &c, 1, FR__ORDINARY);
  }
  for (; fr__next_line(text, &at, &line, &start, &end); rank++) {
    const fr__json_token whole = { '"', start, end - start }, none = { 0, 0, 0 };
    const char *wrong;
    if (line == 1 && whole.count >= 8 && memcmp(text.bytes + start, "#version", 8) == 0) { rank--; continue; }
    wrong = fr__put_merge_text(load, text.bytes, whole, none, 1, rank);
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "line %d of the merges: %s", line, wrong);
  }
  return FR_OK;
}

// Strict base64; out may be NULL. Bytes, or -1.
FR__SELDOM fr_int fr__base64(const char *p, fr_int count, char *out)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const fr_int padding = count > 1 && p[count - 1] == '=' ? p[count - 2] == '=' ? 2 : 1 : 0;
  fr_int done = 0;
  uint32_t bits = 0;
  if (count < 4 || count % 4) return -1;
  for (fr_int i = 0; i < count; i++) {
    const char *digit = i < count - padding ? strchr(digits, p[i]) : digits;
    if (!digit || !*digit) return -1;
    bits = bits << 6 | (uint32_t)(digit - digits);
    for (fr_int k = 0; i % 4 == 3 && k < 3 && done < count / 4 * 3 - padding; k++, done++)
      if (out) out[done] = (char)(bits >> (16 - 8 * k));
  }
  return done;
}

FR__SELDOM fr_status fr__load_tiktoken(fr__load *load)
{
  const fr_text text = load->source->file;
  fr_int at = 0, line = 0, start, end, last = text.count;
  while (last > 0 && fr__is_blank(text.bytes[last - 1])) last--;
  while (fr__next_line(text, &at, &line, &start, &end)) {
    const char *blank = (const char *)memchr(text.bytes + start, ' ', (size_t)(end - start)), *wrong = NULL;
    const fr_int stop = blank ? blank - text.bytes : end;
    const int hole = end >= last && stop == start + 1 && text.bytes[start] == '=';  // the last token may be empty
    const fr_int count = hole ? 0 : fr__base64(text.bytes + start, stop - start, fr__next_bytes(load));
    const fr__json_token rank = { '0', stop + 1, fr__max(0, end - stop - 1) };
    if (count < 0) wrong = "base64 was expected";
    else if (rank.count < 1 || fr__json_whole(text.bytes, rank) < 0) wrong = "a blank and a rank were expected";
    else if (count > FR__SPLIT_TOKEN) wrong = "a token has more than 512 bytes";
    else wrong = fr__put_token(load, fr__json_whole(text.bytes, rank), fr__next_bytes(load), count, hole ? 0 : FR__ORDINARY);
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "line %d: %s", line, wrong);
    if (!load->b && !hole) load->merges += count - 1;
  }
  for (fr_int id = 0; load->b && id < load->vocab; id++)
    if (load->b->pieces[id].count) fr__put_splits(load, (uint32_t)id);
  load->tokenizer.ignore_merges = 1;
  return FR_OK;
}

// -- GGUF: the tokens as text, their types, the merges by rank; `pre` names the split, and what else its family does. Padding, at the
// end, is no token, so that what is added comes into its place.
FR__SELDOM fr_status fr__load_gguf(fr__load *load)
{
  enum { NORMAL = 1, CONTROL = 3, OWN = 4, UNUSED = 5, LLAMA3 = 3, PRES = 6 };
  static const char *const known[PRES] = { "gpt2", "gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-r1-qwen" };  // model, pre ..
  static const fr_split splits[PRES] = { FR_SPLIT_NONE, FR_SPLIT_GPT2, FR_SPLIT_SMOLLM, FR_SPLIT_LLAMA3, FR_SPLIT_QWEN,
                                         FR_SPLIT_QWEN };
  static const char *const keys[2] = { "tokenizer.ggml.model", "tokenizer.ggml.pre" };
  const char *file = load->source->file.bytes, *wrong = NULL;
  fr__gguf g;
  fr__gguf_value tokens, types, merges, flag;
  int typed, is = 0;
  if (fr__gguf_open(&g, load->source->file, load->reason)) return g.status;
  for (int i = 0; i < 2; i++) {
    const fr_text text = fr__gguf_string(&g, keys[i]);
    char shown[48];
    const fr_int count = fr__show(shown, text.bytes, text.count);
    for (is = i; is < (i ? PRES : 1) && (count < text.count || strcmp(shown, known[is]));) is++;
    if (is == (i ? PRES : 1) && !g.status)
      return fr__fail(load->reason, FR_UNSUPPORTED, "GGUF: this %s is not supported: %s", keys[i], count ? shown : "none");
  }
  load->tokenizer.split = splits[is];
  load->tokenizer.ignore_merges = is == LLAMA3;
  load->tokenizer.nfc = is > LLAMA3;
  if (fr__gguf_find(&g, "tokenizer.ggml.add_bos_token", &flag) && flag.type == FR__GGUF_BOOL ? *flag.at : is == LLAMA3)
    load->tokenizer.begins = (fr_token)fr__gguf_size(&g, "tokenizer.ggml.bos_token_id", -1);
  typed = fr__gguf_find(&g, "tokenizer.ggml.token_type", &types);
  if (!fr__gguf_find(&g, "tokenizer.ggml.merges", &merges) || merges.type != FR__GGUF_ARRAY || merges.of != FR__GGUF_STRING ||
      !fr__gguf_find(&g, "tokenizer.ggml.tokens", &tokens) || tokens.type != FR__GGUF_ARRAY || tokens.of != FR__GGUF_STRING)
    fr__gguf_wrong(&g, FR_FORMAT, "there is no such list of strings");
  if (!g.status && typed && (types.type != FR__GGUF_ARRAY || types.of != FR__GGUF_I32 || types.count != tokens.count))
    return fr__fail(load->reason, FR_FORMAT, "GGUF: tokenizer.ggml.token_type is not a number for each token");
  if (g.status) return g.status;
  g.at = tokens.at;
  for (fr_int id = 0, at = 0; id < tokens.count; id++, at = 0) {
    const fr_text text = fr__gguf_text(&g);
    const int type = typed ? (int)fr__get_int(&types.at, 4) : NORMAL;
    char *out = fr__next_bytes(load);
    const fr_int count = type == NORMAL && out ? fr__unmap(text.bytes, &at, text.count, 1, out) : text.count;
    if (type == UNUSED) continue;
    if (type == CONTROL || type == OWN)
      wrong = fr__put_token(load, id, text.bytes, count, FR__SPECIAL | (type == OWN ? FR__SHOWN : 0));
    else if (type != NORMAL) wrong = "its type is not normal, control, user-defined or unused";
    else if (count < 0 || (out && at < text.count)) wrong = "it is not written in the characters of ByteLevel";
    else wrong = fr__put_token(load, id, out, count, FR__ORDINARY);
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "GGUF, token %d: %s", id, wrong);
  }
  g.at = merges.at;
  for (fr_int rank = 0; rank < merges.count && !wrong; rank++) {
    const fr_text text = fr__gguf_text(&g);
    const fr__json_token whole = { '"', text.bytes - file, text.count }, none = { 0, 0, 0 };
    wrong = fr__put_merge_text(load, file, whole, none, 1, rank);
    if (wrong) fr__fail(load->reason, FR_FORMAT, "GGUF, merge %d: %s", rank, wrong);
  }
  return wrong ? FR_FORMAT : FR_OK;
}

// -- tokenizer.bin of llama2.c: u32 longest, then for each id f32 score, u32 length, bytes. Ids 0, 1, 2 are control tokens and
// never come from text, 3 .. 258 stand for bytes. Of all pairs whose bytes are a token, the one of the highest score merges.
static int fr__score_order(const void *context, fr_int a, fr_int b)
{
  const float *s = (const float *)context;
  return (s[a] < s[b]) - (s[a] > s[b]);
}

FR__SELDOM fr_status fr__load_llama2(fr__load *load)
{
  const fr_text file = load->source->file;
  fr_int at = 4, id = 0;
  fr__bpe *b = load->b;
  for (; at < file.count; id++) {
    const unsigned char *p = (const unsigned char *)file.bytes + at;
    const char *wrong = NULL;
    const fr_int left = file.count - at - 8;  // behind the head
    const uint32_t bits = left < 0 ? 0 : (uint32_t)fr__get_int(&p, 4), count = left < 0 ? 0 : (uint32_t)fr__get_int(&p, 4);
    const int is_byte = id >= 3 && id < 259;
    const char byte = (char)(id - 3);
    char name[7] = "<0x00>";
    name[3] = "0123456789ABCDEF"[(unsigned char)byte / 16];
    name[4] = "0123456789ABCDEF"[(unsigned char)byte % 16];
    if (left < 0 || count >> 31 || (fr_int)count > left) wrong = "the file ends too early";
    else if (count < 1) wrong = "a token is empty";
    else if (is_byte && (count != 6 || memcmp(p, name, 6) != 0)) wrong = "ids 3 to 258 must be <0x00> to <0xFF>";
    else if (is_byte) wrong = fr__put_token(load, id, &byte, 1, 0);
    else if (count > FR__SPLIT_TOKEN) wrong = "a token has more than 512 bytes";
    else wrong = fr__put_token(load, id, (const char *)p, (fr_int)count, id < 3 ? 0 : FR__ORDINARY);
    if (!wrong && b) {
      memcpy(load->scores + id, &bits, 4);
      if (!(load->scores[id] - load->scores[id] == 0.0f)) wrong = "a score is not a number";
    }
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "token %d of tokenizer.bin: %s", id, wrong);
    if (!b && !is_byte) load->merges += (fr_int)count - 1;
    at += 8 + (fr_int)count;
  }
  if (id < 259) return fr__fail(load->reason, FR_FORMAT, "tokenizer.bin has %d tokens, fewer than 259", id);
  load->score_count = id;
  load->tokenizer.sentencepiece = 1;
  load->tokenizer.split = FR_SPLIT_NONE;
  if (!b) return FR_OK;
  if (fr__name_id(b, " ", 1) == FR__NONE) return fr__fail(load->reason, FR_FORMAT, "tokenizer.bin has no token for a blank");
  for (fr_int i = fr__sort_all(id, load->links, fr__score_order, load->scores), last = -1; i >= 0; i = load->links[i]) {
    const fr_int first = load->merges;
    if (!(b->kinds[i] & FR__ORDINARY) || load->scores[i] <= -1e10f) continue;  // run.c takes none below
    fr__put_splits(load, (uint32_t)i);
    if (load->merges == first) continue;
    if (last >= 0 && fr__score_order(load->scores, last, i) == 0) {  // equal scores are one rank
      for (fr_int k = first; k < load->merges; k++) b->merges[b->order[k]].rank--;
      b->rank_count--;
    }
    last = i;
  }
  return FR_OK;
}

// -- our own form, all numbers little-endian:
//   0    8 bytes  89 46 52 54 0D 0A 1A 0A         40   u64    bytes of all tokens
//   8    u32 x 2  version, 1; split               48   u64    1 + what begins texts; 0: nothing
//   16   u32      1 ignore_merges + 2 nfc         56   u32[]  of each id: length + 2^30 * kind, kind 0 hidden, 1 ordinary,
//                 + 4 sentencepiece                           2 special, 3 both; + 2^29 late + 2^28 shown; 0: hole
//   20   u32      vocab                                u32[]  of each merge: left + 2^31 if it has the rank of the one
//   24   u64      bytes of the whole file                     before it; right
//   32   u64      merges                               bytes of all tokens; u64 checksum (and head: 64 bytes)
static uint64_t fr__form_size(uint64_t vocab, uint64_t merges, uint64_t bytes) { return 64 + 4 * vocab + 8 * merges + bytes; }

FR__SELDOM fr_status fr__load_form(fr__load *load)
{
  const fr_text file = load->source->file;
  const unsigned char *p = (const unsigned char *)file.bytes + 8;
  uint64_t head[8];  // from the version on
  fr_int vocab, merges, next;
  const fr_int body = file.count - 8;
  if (file.count < 8 || memcmp(file.bytes, fr__form_magic, 8) != 0)
    return fr__fail(load->reason, FR_FORMAT, "the file's first bytes are damaged");
  if (body < FR__FORM_HEAD) return fr__fail(load->reason, FR_FORMAT, "the file is shorter than the head of a tokenizer");
  for (int i = 0; i < 8; i++) head[i] = fr__get_int(&p, i < 4 ? 4 : 8);
  if (head[0] != FR_TOKENIZER_VERSION)
    return fr__fail(load->reason, FR_UNSUPPORTED, "the tokenizer has version %d; this library reads version %d",
                    (fr_int)(head[0] & 0x7FFFFFFFu), (fr_int)FR_TOKENIZER_VERSION);
  if (head[1] < FR_SPLIT_NONE || head[1] > FR_SPLIT_SMOLLM || head[2] > 7 || head[3] > 0x7FFFFFF0u || head[7] > head[3])
    return fr__fail(load->reason, FR_FORMAT, "a field of the tokenizer's head is out of range");
  for (int i = 3; i < 7; i++)
    if (i == 4 ? head[i] != (uint64_t)file.count : head[i] > (uint64_t)file.count)
      return fr__fail(load->reason, FR_FORMAT, "the head does not tell %d bytes, the length of the file", file.count);
  if (fr__form_size(head[3], head[5], head[6]) != (uint64_t)file.count)
    return fr__fail(load->reason, FR_FORMAT, "the head implies another length of the file than %d bytes", file.count);
  p = (const unsigned char *)file.bytes + body;
  if (!load->b && fr__hash(0, file.bytes, body) != fr__get_int(&p, 8))
    return fr__fail(load->reason, FR_CHECKSUM, "%s", fr_status_text(FR_CHECKSUM));
  load->tokenizer.split = (fr_split)head[1];
  load->tokenizer.ignore_merges = (int)(head[2] & 1);
  load->tokenizer.nfc = (int)(head[2] >> 1 & 1);
  load->tokenizer.sentencepiece = (int)(head[2] >> 2);
  load->tokenizer.begins = (fr_token)head[7] - 1;
  vocab = (fr_int)head[3];
  merges = (fr_int)head[5];
  next = body - (fr_int)head[6];  // where the bytes of the next token are
  p = (const unsigned char *)file.bytes + FR__FORM_HEAD;
  for (fr_int id = 0; id < vocab; id++) {
    const uint32_t word = (uint32_t)fr__get_int(&p, 4);
    const fr_int count = (fr_int)(word & 0x0FFFFFFFu);
    const int kind = (int)(word >> 30) | (word & 1u << 29 ? FR__LATE : 0) | (word & 1u << 28 ? FR__SHOWN : 0);
    const char *wrong = "its bytes are not in the file";
    if (count <= body - next) wrong = fr__put_token(load, id, file.bytes + next, count, kind);
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "token %d: %s", id, wrong);
    next += count;
    load->room_bytes = fr__max(load->room_bytes, 2 * count);
  }
  if (!load->b) { load->merges = merges; return FR_OK; }
  for (fr_int i = 0; i < merges; i++) {
    const uint32_t word = (uint32_t)fr__get_int(&p, 4), right = (uint32_t)fr__get_int(&p, 4), left = word & 0x7FFFFFFFu;
    const fr_text l = fr_tokenizer_token(&load->tokenizer, (fr_token)left);
    const fr_text r = fr_tokenizer_token(&load->tokenizer, (fr_token)right);
    const char *wrong = "it is of ids that are not there";
    if (l.bytes && r.bytes) {
      const uint32_t id = fr__name_id(load->b, load->room, fr__append(load->room, fr__append(load->room, 0, l), r));
      wrong = fr__put_merge(load, left, right, id, load->b->rank_count - (i > 0 && word >> 31));
    }
    if (wrong) return fr__fail(load->reason, FR_FORMAT, "merge %d: %s", i, wrong);
  }
  return FR_OK;
}

// -- all forms
static int fr__special_order(const void *context, fr_int a, fr_int b)
{
  const fr_tokenizer *t = (const fr_tokenizer *)context;
  return fr__text_order(fr_tokenizer_token(t, (fr_token)t->body->specials[a]), fr_tokenizer_token(t, (fr_token)t->body->specials[b]));
}

// Sorts the specials, which must differ.
static fr_status fr__load_sort(fr__load *load)
{
  fr__bpe *b = load->b;
  uint32_t *sorted = (uint32_t *)(void *)(load->links + load->specials);
  fr_int count = 0, last = -1;
  for (fr_int i = fr__sort_all(load->specials, load->links, fr__special_order, &load->tokenizer); i >= 0; last = i, i = load->links[i]) {
    if (last >= 0 && fr__special_order(&load->tokenizer, last, i) == 0)
      return fr__fail(load->reason, FR_FORMAT, "the special tokens %d and %d are the same text", (fr_int)b->specials[last],
                      (fr_int)b->specials[i]);
    sorted[count++] = b->specials[i];
  }
  memcpy(b->specials, sorted, (size_t)count * 4);
  load->tokenizer.special_count = count;
  return FR_OK;
}

// Special number i of a caller: of its list, or behind it a fork, whose name is made here. FR_INVALID if it is not text.
static fr_status fr__caller_special(const fr_special *list, fr_int count, fr_int i, fr_reason *name, fr_special *special,
                                    fr_reason *reason)
{
  fr_int at = 0, size = 1;
  if (i < count) {
    *special = list[i];
  } else {
    fr__fail(name, FR_OK, "<think%d>", i - count + 1);
    special->id = -1;
    special->text.bytes = name->text;
    special->text.count = (fr_int)strlen(name->text);
  }
  for (; special->text.bytes && at < special->text.count && size > 0; at += size)
    size = fr__utf8(special->text.bytes + at, special->text.count - at);
  return at < 1 || size < 1 ? fr__fail(reason, FR_INVALID, "special %d is not text in UTF-8", i) : FR_OK;
}

// The specials and forks of the caller. One whose text is in the file already keeps its id.
FR__SELDOM fr_status fr__load_extras(fr__load *load)
{
  const fr_tokenizer_source *s = load->source;
  fr__bpe *b = load->b;
  fr_status status = b ? fr__load_sort(load) : FR_OK;
  for (fr_int i = 0; i < s->special_count + s->forks && !status; i++) {
    fr_reason name;
    fr_special special;
    const char *wrong = NULL;
    const int kind = FR__SPECIAL | (i < s->special_count ? 0 : FR__SHOWN);
    fr_token found;
    status = fr__caller_special(s->specials, s->special_count, i, &name, &special, load->reason);
    if (status) return status;
    found = b ? fr_tokenizer_find(&load->tokenizer, special.text) : -1;
    if (found < 0) {
      const fr_int next = b ? load->tokenizer.vocab : load->vocab;
      wrong = fr__put_token(load, special.id >= 0 ? special.id : next, special.text.bytes, special.text.count, kind);
    } else if (special.id >= 0 && special.id != found) {
      wrong = "the file has another id for it";
    } else if (!(b->kinds[found] & FR__SPECIAL)) {
      b->kinds[found] = (unsigned char)(b->kinds[found] | kind);
      b->specials[load->specials++] = (uint32_t)found;
    }
    if (wrong) return fr__fail(load->reason, FR_INVALID, "special %d: %s", i, wrong);
  }
  return status || !b ? status : fr__load_sort(load);
}

FR__SELDOM fr_status fr__load_read(fr__load *load)
{
  const fr_tokenizer_source *s = load->source;
  const fr_text file = s->file;
  fr_status status;
  fr_int at = 0;
  if (!load->b) load->tokenizer.split = s->split == FR_SPLIT_UNKNOWN ? FR_SPLIT_GPT2 : s->split;
  while (at < file.count && strchr(" \t\r\n", file.bytes[at]) && file.bytes[at]) at++;
  if (s->merges.bytes) status = fr__load_merges(load);
  else if (file.count < 4) status = fr__fail(load->reason, FR_FORMAT, "the file is empty or nearly so");
  else if (fr__is_utf16(file.bytes, file.count))
    status = fr__fail(load->reason, FR_FORMAT, "the file is UTF-16; UTF-8 is expected");
  else if (memcmp(file.bytes, fr__form_magic, 4) == 0) status = fr__load_form(load);
  else if (fr__is_gguf(file)) status = fr__load_gguf(load);
  else if (memchr(file.bytes, 0, 4)) status = fr__load_llama2(load);
  else if (at < file.count && file.bytes[at] == '{') status = fr__load_json(load, 0);
  else if (s->split != FR_SPLIT_UNKNOWN) status = fr__load_tiktoken(load);
  else status = fr__fail(load->reason, FR_FORMAT, "no tokenizer.json, vocab.json, tokenizer.bin or own form; "
                                                  "if it is *.tiktoken, set split");
  return status ? status : fr__load_extras(load);
}

FR__SELDOM void fr__load_layout(fr__arena *arena, fr__load *load)
{
  fr__bpe *b = (fr__bpe *)fr__take(arena, 1, (fr_int)sizeof(fr__bpe)), measured;
  fr_int total = 0;
  if (!b) b = &measured;
  if (!fr__mul(2, load->names + 1, &b->name_slots) || !fr__mul(2, load->merges + 1, &b->merge_slots) ||
      !fr__add(load->bytes, load->room_bytes, &total))
    arena->overflow = 1;
  b->pieces = (fr__piece *)fr__take(arena, load->vocab, (fr_int)sizeof(fr__piece));
  b->kinds = (unsigned char *)fr__take(arena, load->vocab, 1);
  b->names = (uint32_t *)fr__take(arena, b->name_slots, 4);
  b->specials = (uint32_t *)fr__take(arena, load->specials, 4);
  b->bytes = (char *)fr__take(arena, total, 1);
  load->links = (fr_int *)fr__take(arena, fr__max(load->score_count, 2 * load->specials), (fr_int)sizeof(fr_int));
  load->scores = (float *)fr__take(arena, load->score_count, 4);
  b->order = (uint32_t *)fr__take(arena, load->merges, 4);
  b->merges = (fr__merge *)fr__take(arena, b->merge_slots, (fr_int)sizeof(fr__merge));
  if (arena->base) {
    memset(b->pieces, 0, (size_t)load->vocab * sizeof *b->pieces);
    memset(b->kinds, 0, (size_t)load->vocab);
    memset(b->names, 0, (size_t)b->name_slots * 4);
    memset(b->merges, 0xFF, (size_t)b->merge_slots * sizeof *b->merges);  // FR__NONE everywhere
    memset(b->first, 0, sizeof b->first);
    b->rank_count = 0;
    b->late = b->lacks = 0;
    load->room = b->bytes + load->bytes;
    load->b = load->tokenizer.body = b;
    load->bytes = load->specials = load->merges = 0;
  }
}

static int fr__specials_good(const fr_special *specials, fr_int count, fr_int forks, fr_split split)
{
  return count >= 0 && count <= 1 << 24 && (specials || !count) && forks >= 0 && forks <= 65536 && (unsigned)split <= FR_SPLIT_SMOLLM;
}

FR_DEF fr_status fr_tokenizer_place(fr_tokenizer *tokenizer, const fr_tokenizer_source *source, void *memory, fr_int bytes,
                                    fr_int *needed, fr_reason *reason)
{
  const fr_text none = { NULL, 0 };
  fr_tokenizer_source copy;
  fr__arena arena = { NULL, 0, 0 };
  fr__load load;
  fr__bpe *b;
  fr_status status;
  if (memory && !tokenizer) return fr__fail(reason, FR_INVALID, "tokenizer is NULL");
  if (!source || !fr__text_good(source->file) || !fr__text_good(source->merges) ||
      !fr__specials_good(source->specials, source->special_count, source->forks, source->split))
    return fr__fail(reason, FR_INVALID, "source is NULL or a field of it is out of range");
  copy = *source;
  if (!copy.merges.bytes && fr__is_gguf(copy.file)) {  // its weights, which may be gigabytes, are not looked at
    fr__gguf g;
    if (fr__gguf_open(&g, copy.file, reason)) return g.status;
    copy.file.count = fr__max(24 * g.tensors, g.data - g.start);
  }
  if ((uint64_t)copy.file.count > 0x7FFFFF00u || (uint64_t)copy.merges.count > 0x7FFFFF00u)
    return fr__fail(reason, FR_LIMIT, "a file has more than 2^31 - 256 bytes");
  if (!copy.merges.bytes && copy.file.count >= 8 && memcmp(copy.file.bytes, "#version", 8) == 0) {  // also as the file
    copy.merges = copy.file;
    copy.file = none;
  }
  memset(&load, 0, sizeof load);
  load.reason = reason;
  load.source = &copy;
  load.tokenizer.begins = -1;
  status = fr__load_read(&load);
  if (status) return status;
  fr__load_layout(&arena, &load);
  status = fr__arena_open(&arena, memory, bytes, needed, reason);
  if (status || !memory) return status;
  fr__load_layout(&arena, &load);
  b = load.b;
  b->seed = fr__seed(fr__seed(0, copy.file), copy.merges);
  b->crowded = 0;
  status = fr__load_read(&load);
  if (b->crowded) return fr__fail(reason, FR_LIMIT, "over %d tokens or merges crowd in one place of a table", (fr_int)FR__PROBES);
  if (status) return status;
  load.tokenizer.merge_count = load.merges;
  if (load.field[FR__POST].kind) load.tokenizer.begins = fr__json_begins(&load);
  if (load.tokenizer.begins >= 0 && !fr_tokenizer_token(&load.tokenizer, load.tokenizer.begins).bytes)
    return fr__fail(reason, FR_FORMAT, "%d, which is put before each text, is no token", (fr_int)load.tokenizer.begins);
  for (int byte = 0; byte < 256; byte++) {
    const char c = (char)byte;
    b->byte_ids[byte] = load.tokenizer.sentencepiece ? 3 + (uint32_t)byte : fr__name_id(b, &c, 1);
    if (b->byte_ids[byte] < (uint32_t)load.tokenizer.vocab && b->pieces[b->byte_ids[byte]].count) continue;
    b->lacks = 1;
    if (load.tokenizer.sentencepiece || byte == '\n' || (byte >= ' ' && byte <= '~'))
      return fr__fail(reason, FR_UNSUPPORTED, "there is no token for byte %d, so some text could not be told", (fr_int)byte);
  }
  if (load.tokenizer.sentencepiece && fr__name_id(b, " ", 1) == FR__NONE)
    return fr__fail(reason, FR_FORMAT, "there is no token for a blank");
  for (fr_int i = 0; i < load.tokenizer.special_count; i++) {
    b->first[(unsigned char)b->bytes[b->pieces[b->specials[i]].start]] = 1;
    b->late |= b->kinds[b->specials[i]] & FR__LATE;
  }
  *tokenizer = load.tokenizer;
  return fr__fine(reason);
}

// -- writing
FR__SELDOM void fr__put_form(fr__stream *s, const void *tokenizer)
{
  const fr_tokenizer *t = (const fr_tokenizer *)tokenizer;
  const fr__bpe *b = t->body;
  const uint64_t flags = (uint64_t)(t->ignore_merges + 2 * t->nfc + 4 * t->sentencepiece);
  uint64_t head[8] = { FR_TOKENIZER_VERSION, (uint64_t)t->split, flags, (uint64_t)t->vocab, 0, (uint64_t)t->merge_count, 0,
                       (uint64_t)(t->begins + 1) };
  for (fr_int id = 0; id < t->vocab; id++) head[6] += b->pieces[id].count;
  head[4] = fr__form_size(head[3], head[5], head[6]);
  fr__put(s, fr__form_magic, 8);
  for (int i = 0; i < 8; i++) fr__put_int(s, head[i], i < 4 ? 4 : 8);
  for (fr_int id = 0; id < t->vocab; id++)
    fr__put_int(s, b->pieces[id].count | (b->kinds[id] & 3u) << 30 | (b->kinds[id] & FR__LATE ? 1u << 29 : 0) |
                   (b->kinds[id] & FR__SHOWN ? 1u << 28 : 0), 4);
  for (fr_int i = 0; i < t->merge_count; i++) {
    const fr__merge *m = b->merges + b->order[i];
    const int same = i > 0 && m->rank == b->merges[b->order[i - 1]].rank;
    fr__put_int(s, m->left | (same ? 0x80000000u : 0), 4);
    fr__put_int(s, m->right, 4);
  }
  for (fr_int id = 0; id < t->vocab; id++) fr__put(s, b->bytes + b->pieces[id].start, (fr_int)b->pieces[id].count);
  fr__put_hash(s);
}

// A token as files spell it: its own text (raw), or the characters that stand for its bytes. Puts it, where there is a stream, and
// returns its bytes.
FR__SELDOM fr_int fr__put_spelled(fr__stream *s, const fr__bpe *b, uint32_t id, int raw, int quoted)
{
  fr_int bytes = 0;
  for (uint32_t i = 0; i < b->pieces[id].count; i++) {
    char out[4] = { b->bytes[b->pieces[id].start + i], 0, 0, 0 };
    const fr_int count = raw ? 1 : fr__utf8_put(fr__byte_char((unsigned char)out[0]), out);
    if (s && quoted) fr__put_escaped(s, out, count);
    else if (s) fr__put(s, out, count);
    bytes += count;
  }
  return bytes;
}

// A special token stands in vocab too, unless the ids of all specials follow those of the vocabulary: the reader gives
// an added token the id that vocab has for its text, or the next free one.
FR__SELDOM void fr__put_json(fr__stream *s, const void *tokenizer)
{
  const fr_tokenizer *t = (const fr_tokenizer *)tokenizer;
  const fr__bpe *b = t->body;
  int any = 0, specials_follow = 1;
  for (fr_int id = 0, last = 0; id < t->vocab; id++) {
    if (b->pieces[id].count == 0 || (last && b->kinds[id] == FR__ORDINARY)) specials_follow = 0;
    if ((b->kinds[id] & 3) == FR__SPECIAL) last = 1;
  }
  fr__put_text(s, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":[");
  for (fr_int id = 0; id < t->vocab; id++) {
    if (!(b->kinds[id] & FR__SPECIAL)) continue;
    fr__put_format(s, "%s\n{\"id\":%d,\"content\":\"", any++ ? "," : "", id);
    fr__put_spelled(s, b, (uint32_t)id, 1, 1);
    fr__put_format(s, "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":%s,\"special\":%s}",
                   b->kinds[id] & FR__LATE ? "true" : "false", b->kinds[id] & FR__SHOWN ? "false" : "true");
  }
  fr__put_format(s, "],\n\"normalizer\":%s,\n\"pre_tokenizer\":%s", t->nfc ? "{\"type\":\"NFC\"}" : "null",
                 t->split > FR_SPLIT_GPT2 ? "{\"type\":\"Sequence\",\"pretokenizers\":[" : "");
  if (t->split == FR_SPLIT_SMOLLM) fr__put_text(s, "{\"type\":\"Digits\",\"individual_digits\":true},");
  else if (t->split > FR_SPLIT_GPT2)
    fr__put_format(s, "{\"type\":\"Split\",\"pattern\":{\"Regex\":%q},\"behavior\":\"Isolated\",\"invert\":false},",
                   fr__regex[t->split]);
  fr__put_format(s, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":%s}%s,\n\"post_processor\":",
                 t->split == FR_SPLIT_GPT2 || t->split == FR_SPLIT_SMOLLM ? "true" : "false", t->split > FR_SPLIT_GPT2 ? "]}" : "");
  if (t->begins < 0) fr__put_text(s, "null");
  else {
    const fr_text first = fr_tokenizer_token(t, t->begins);
    fr__put_format(s, "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":%t,\"type_id\":0}},"
                   "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"SpecialToken\":{\"id\":%t,\"type_id\":0}},"
                   "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":%t,\"type_id\":1}},"
                   "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{%t:{\"id\":%t,\"ids\":[%d],\"tokens\":[%t]}}}",
                   &first, &first, &first, &first, &first, (fr_int)t->begins, &first);
  }
  fr__put_format(s, ",\n\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
                 "\"use_regex\":true},\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
                 "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":%s,\n\"vocab\":{",
                 t->ignore_merges ? "true" : "false");
  any = 0;
  for (fr_int id = 0; id < t->vocab; id++) {
    const int ordinary = (b->kinds[id] & FR__ORDINARY) != 0;
    if (!b->kinds[id] || (!ordinary && specials_follow)) continue;
    fr__put_text(s, any++ ? ",\n\"" : "\n\"");
    fr__put_spelled(s, b, (uint32_t)id, !ordinary, 1);
    fr__put_format(s, "\":%d", id);
  }
  fr__put_text(s, "},\n\"merges\":[");
  for (fr_int i = 0; i < t->merge_count; i++) {
    const fr__merge *m = b->merges + b->order[i];
    fr__put_text(s, i ? ",\n\"" : "\n\"");
    fr__put_spelled(s, b, m->left, 0, 1);
    fr__put_text(s, " ");
    fr__put_spelled(s, b, m->right, 0, 1);
    fr__put_text(s, "\"");
  }
  fr__put_text(s, "]}}\n");
  fr__flush(s);
}

// Whether a tokenizer can be told in a form.
FR__SELDOM fr_status fr__tokenizer_can(const fr_tokenizer *t, fr_tokenizer_form form, fr_reason *reason)
{
  const fr__bpe *b = t ? t->body : NULL;
  if (!b || (unsigned)form > FR_TOKENIZER_JSON) return fr__fail(reason, FR_INVALID, "tokenizer or form is not usable");
  if (form == FR_TOKENIZER_OWN) return FR_OK;
  if (t->sentencepiece) return fr__fail(reason, FR_UNSUPPORTED, "a tokenizer of llama2.c cannot be written as tokenizer.json");
  for (fr_int id = 0; id < t->vocab; id++) {
    const fr_text text = fr_tokenizer_token(t, (fr_token)id);
    fr_int at = 0, size = 1;
    if ((b->kinds[id] & 3) != FR__SPECIAL) continue;
    for (; at < text.count && size > 0; at += size) size = fr__utf8(text.bytes + at, text.count - at);
    if (size == 0 || text.count > FR__SPLIT_TOKEN)
      return fr__fail(reason, FR_UNSUPPORTED, "special %d is not text or has more than 512 bytes", id);
    if (fr__listed_as(b, text) != FR__NONE)
      return fr__fail(reason, FR_UNSUPPORTED, "special %d is written as another token is", id);
  }
  return FR_OK;
}

FR_DEF fr_status fr_tokenizer_write(const fr_tokenizer *tokenizer, fr_tokenizer_form form, void *memory, fr_int capacity,
                                    fr_int *bytes, fr_reason *reason)
{
  const fr_status status = fr__tokenizer_can(tokenizer, form, reason);
  if (status) return status;
  return fr__write(form == FR_TOKENIZER_JSON ? fr__put_json : fr__put_form, tokenizer, memory, capacity, bytes, reason);
}

#ifndef FR_NO_STDIO
FR_DEF fr_status fr_tokenizer_save(const char *path, const fr_tokenizer *tokenizer, fr_tokenizer_form form, fr_reason *reason)
{
  const fr_status status = fr__tokenizer_can(tokenizer, form, reason);
  return status ? status : fr__save(path, form == FR_TOKENIZER_JSON ? fr__put_json : fr__put_form, tokenizer, reason);
}

#ifndef FR_NO_MALLOC
FR_DEF fr_status fr_tokenizer_load(fr_tokenizer *tokenizer, const char *path, const char *merges_path,
                                   const fr_tokenizer_source *source, fr_reason *reason)
{
  const fr_text none = { NULL, 0 };
  fr_tokenizer_source made;
  fr_status status = FR_OK;
  if (!tokenizer || (!path && !merges_path)) return fr__fail(reason, FR_INVALID, "tokenizer or path is NULL");
  memset(tokenizer, 0, sizeof *tokenizer);
  memset(&made, 0, sizeof made);
  if (source) made = *source;
  made.file = made.merges = none;
  if (path) status = fr__read_file(path, &made.file, reason);
  if (!status && merges_path) status = fr__read_file(merges_path, &made.merges, reason);
  if (!status) status = fr_tokenizer_new(tokenizer, &made, reason);
  if (made.file.bytes) FR_FREE((void *)(uintptr_t)made.file.bytes);
  if (made.merges.bytes) FR_FREE((void *)(uintptr_t)made.merges.bytes);
  return status;
}
#endif
#endif  // FR_NO_STDIO

// ---- >>bpe-train --------------------------------------------------------------------------------------
// First the distinct pre-tokens are counted: words grow from the low end of the block; their table, at the high end, is rebuilt
// when half full. Then all distinct words stand in one list of symbols; each place where a symbol has a follower is on the list of
// its pair. Merging a pair goes over its list in ascending order and touches only the pairs around each place. Pairs play a
// knock-out tournament. New ones enter after the merge; one whose count grows wins on at once, one whose count falls is told when
// it has won: so no count is above the known one, and a winner whose count is the known one is the most frequent of all.
typedef struct fr__word { const char *bytes; fr_int count; uint64_t weight; } fr__word;  // weight: how often it occurs

typedef struct fr__couple {
  uint32_t left, right;
  uint64_t count, known;   // now, and in the tournament; known 0: not there
  uint32_t first, last;    // places, ascending
} fr__couple;

typedef struct fr__place {
  uint32_t id, before, after;     // a symbol and its neighbours
  uint32_t pair, next, previous;  // the pair that begins here, and its neighbours on that pair's list
  uint32_t word;                  // it belongs to
} fr__place;

typedef struct fr__train {
  fr__arena   arena;
  fr_int      bytes;   // of the arena
  fr__word   *words;
  fr__place  *places;  // [symbols]
  fr__couple *pairs;   // [leaves]
  uint32_t   *winners; // [2 * leaves] of pairs 2 i and 2 i + 1, where pair k is number leaves + k; FR__NONE if nobody plays
  uint32_t   *buckets;
  fr_int      word_count, symbol_count, pair_count, leaves, slot_count, settled;  // pairs[settled ..] are new
  fr_tokenizer made;
  fr__bpe     b;       // tokens and merges so far; the bytes of a token are those of its first place
} fr__train;

// The word table: word + 1, or 0; NULL if it is crowded there.
static uint32_t *fr__word_at(fr__train *t, uint32_t *buckets, fr_int count, const char *bytes, fr_int length)
{
  fr_int slot = fr__slot(fr__name_hash(t->b.seed, bytes, length), count);
  for (int probe = 0; probe < FR__PROBES; probe++, slot = slot + 1 == count ? 0 : slot + 1) {
    const fr__word *w = buckets[slot] ? t->words + buckets[slot] - 1 : NULL;
    if (!w || (w->count == length && memcmp(w->bytes, bytes, (size_t)length) == 0)) return buckets + slot;
  }
  t->b.crowded = 1;
  return NULL;
}

// Returns 0 if the block is too small, or a table crowded.
static int fr__train_words(fr__train *t, const fr_text *texts, fr_int text_count)
{
  uint32_t *buckets = NULL;
  fr_int slot_count = 0;
  t->words = (fr__word *)t->arena.base;
  for (fr_int i = 0; i < text_count; i++) {
    for (fr_int at = 0, end; at < texts[i].count; at = end) {
      uint32_t *found;
      end = fr__split_end(t->made.split, texts[i].bytes, at, texts[i].count);
      if (2 * t->word_count >= slot_count) {  // twice as large, at the end of the block
        slot_count = slot_count ? 2 * slot_count : 512;
        if (slot_count > t->bytes / 8) return 0;
        buckets = (uint32_t *)(void *)(t->arena.base + t->bytes / 8 * 8) - slot_count;
        if ((char *)buckets < (char *)(t->words + t->word_count)) return 0;
        memset(buckets, 0, (size_t)slot_count * 4);
        for (fr_int w = 0; w < t->word_count; w++) {
          found = fr__word_at(t, buckets, slot_count, t->words[w].bytes, t->words[w].count);
          if (!found) return 0;
          *found = (uint32_t)w + 1;
        }
      }
      found = fr__word_at(t, buckets, slot_count, texts[i].bytes + at, end - at);
      if (!found) return 0;
      if (!*found) {
        const fr__word fresh = { texts[i].bytes + at, end - at, 0 };
        if ((char *)(t->words + t->word_count + 1) > (char *)buckets) return 0;
        t->words[t->word_count++] = fresh;
        *found = (uint32_t)t->word_count;
        t->symbol_count += end - at;
      }
      t->words[*found - 1].weight++;
    }
  }
  return 1;
}

FR__SELDOM void fr__train_layout(fr__train *t, fr_int vocab, fr_int longest_extras)
{
  fr__arena *a = &t->arena;
  const fr_int n = t->symbol_count;
  fr__take(a, t->word_count, (fr_int)sizeof(fr__word));  // stays where it is
  t->b.name_slots = 2 * vocab;
  t->b.bytes = (char *)fr__take(a, n + 256 + longest_extras, 1);
  t->b.pieces = (fr__piece *)fr__take(a, vocab, (fr_int)sizeof(fr__piece));
  t->b.kinds = (unsigned char *)fr__take(a, vocab, 1);
  t->b.names = (uint32_t *)fr__take(a, t->b.name_slots, 4);
  // Each merge makes a token or reuses one, and a pair merges once; there are no more merges than symbols.
  t->b.merges = (fr__merge *)fr__take(a, n, (fr_int)sizeof(fr__merge));
  t->b.order = (uint32_t *)fr__take(a, n, 4);
  t->places = (fr__place *)fr__take(a, n, (fr_int)sizeof(fr__place));
  if (!fr__mul(2, n, &t->leaves) || !fr__add(t->leaves, fr__min(n, 65536) + 1, &t->leaves) ||
      !fr__mul(2, t->leaves + 1, &t->slot_count))
    a->overflow = 1;
  t->pairs = (fr__couple *)fr__take(a, t->leaves, (fr_int)sizeof(fr__couple));
  t->winners = (uint32_t *)fr__take(a, t->leaves, 8);
  t->buckets = (uint32_t *)fr__take(a, t->slot_count, 4);
}

// Which of two pairs wins: the more frequent, else the smaller left id, else the smaller right id.
static uint32_t fr__winner(const fr__train *t, uint32_t one, uint32_t other)
{
  const fr__couple *a, *b;
  if (one == FR__NONE || other == FR__NONE) return one == FR__NONE ? other : one;
  a = t->pairs + one;
  b = t->pairs + other;
  if (a->known != b->known) return a->known > b->known ? one : other;
  if (a->left != b->left) return a->left < b->left ? one : other;
  return a->right <= b->right ? one : other;
}

static void fr__couple_up(fr__train *t, uint32_t pair)
{
  t->pairs[pair].known = t->pairs[pair].count;
  for (fr_int i = t->leaves + (fr_int)pair; i > 0 && fr__winner(t, pair, t->winners[i]) == pair; i >>= 1) t->winners[i] = pair;
}

// Takes the most frequent pair out of the tournament; FR__NONE if there is none.
static uint32_t fr__couple_top(fr__train *t)
{
  while (t->winners[1] != FR__NONE) {
    const uint32_t top = t->winners[1];
    fr__couple *p = t->pairs + top;
    const int right = p->known == p->count;
    fr_int i = t->leaves + (fr_int)top;
    p->known = right ? 0 : p->count;
    t->winners[i] = p->known ? top : FR__NONE;
    while ((i >>= 1) > 0) t->winners[i] = fr__winner(t, t->winners[2 * i], t->winners[2 * i + 1]);
    if (right) return top;
  }
  return FR__NONE;
}

// The symbol at `at` and its follower, if it has one, join the list of their pair.
static void fr__couple_join(fr__train *t, uint32_t at)
{
  fr__place *s = t->places + at;
  const uint32_t left = s->id, right = s->after == FR__NONE ? FR__NONE : t->places[s->after].id;
  fr_int slot = fr__slot(fr__mix(((uint64_t)left << 32 | right) ^ t->b.seed), t->slot_count);
  fr__couple *p;
  s->pair = FR__NONE;
  if (right == FR__NONE) return;
  for (int probe = 0; t->buckets[slot]; probe++, slot = slot + 1 == t->slot_count ? 0 : slot + 1) {
    p = t->pairs + t->buckets[slot] - 1;
    if (p->left == left && p->right == right) break;
    if (probe == FR__PROBES) { t->b.crowded = 1; return; }
  }
  if (!t->buckets[slot]) {
    const fr__couple fresh = { left, right, 0, 0, FR__NONE, FR__NONE };
    t->pairs[t->pair_count++] = fresh;
    t->buckets[slot] = (uint32_t)t->pair_count;
  }
  s->pair = t->buckets[slot] - 1;
  p = t->pairs + s->pair;
  // All places of a pair come up in one pass from left to right: that which made the later one of its two symbols.
  s->previous = p->last;
  s->next = FR__NONE;
  if (p->last == FR__NONE) p->first = at;
  else t->places[p->last].next = at;
  p->last = at;
  p->count += t->words[s->word].weight;
  if ((fr_int)s->pair < t->settled && p->count > p->known) fr__couple_up(t, s->pair);
}

static void fr__couple_leave(fr__train *t, uint32_t at)
{
  fr__place *s = t->places + at;
  fr__couple *p;
  if (s->pair == FR__NONE) return;
  p = t->pairs + s->pair;
  if (s->previous == FR__NONE) p->first = s->next;
  else t->places[s->previous].next = s->next;
  if (s->next == FR__NONE) p->last = s->previous;
  else t->places[s->next].previous = s->previous;
  p->count -= t->words[s->word].weight;
  s->pair = FR__NONE;
}

static void fr__train_merges(fr__train *t, fr_int most, uint64_t least)
{
  fr__bpe *b = &t->b;
  for (uint32_t at = 0, w = 0; w < (uint32_t)t->word_count; w++)
    for (fr_int i = 0; i < t->words[w].count; i++, at++) {
      t->places[at].id = b->byte_ids[(unsigned char)b->bytes[at]];
      t->places[at].before = i > 0 ? at - 1 : FR__NONE;
      t->places[at].after = i + 1 < t->words[w].count ? at + 1 : FR__NONE;
      t->places[at].word = w;
    }
  for (uint32_t at = 0; at < (uint32_t)t->symbol_count; at++) fr__couple_join(t, at);
  while (t->made.vocab < most && !b->crowded) {
    const fr__couple *p;
    fr__merge m;
    fr_int start, count;
    uint32_t top;
    for (; t->settled < t->pair_count; t->settled++)
      if (t->pairs[t->settled].count > 0) fr__couple_up(t, (uint32_t)t->settled);
    top = fr__couple_top(t);
    if (top == FR__NONE || t->pairs[top].count < least) break;
    p = t->pairs + top;
    m.left = p->left;
    m.right = p->right;
    m.rank = b->order[t->made.merge_count] = (uint32_t)t->made.merge_count;
    start = (fr_int)p->first;
    count = (fr_int)b->pieces[p->left].count + (fr_int)b->pieces[p->right].count;
    m.id = fr__name_id(b, b->bytes + start, count);
    if (m.id == FR__NONE) {
      m.id = (uint32_t)t->made.vocab;
      fr__set_token(&t->b, t->made.vocab++, start, count, FR__ORDINARY);
    }
    b->merges[t->made.merge_count++] = m;
    while (p->first != FR__NONE) {
      const uint32_t at = p->first;
      fr__place *s = t->places + at, *gone = t->places + s->after;
      fr__couple_leave(t, at);
      fr__couple_leave(t, s->after);
      if (s->before != FR__NONE) fr__couple_leave(t, s->before);
      s->id = m.id;
      s->after = gone->after;
      if (s->after != FR__NONE) t->places[s->after].before = at;
      if (s->before != FR__NONE) fr__couple_join(t, s->before);
      fr__couple_join(t, at);
    }
  }
}

FR_DEF fr_status fr_tokenizer_train(const fr_training *training, const fr_text *texts, fr_int text_count, void *memory,
                                    fr_int bytes, fr_text *trained, fr_int *needed, fr_reason *reason)
{
  static const char words[] = "training needs %d bytes, %d were given";
  static const char crowd[] = "more than %d pre-tokens or pairs crowd in one place of a table";
  fr__train train, *t = &train;
  fr__stream s;
  fr_special special;
  fr_reason name;
  fr_int total = 0, extras, extra_bytes = 0, want, at = 0;
  if (!training || text_count < 0 || (text_count && !texts) || bytes < 0 || (bytes && !memory) || !trained || !needed)
    return fr__fail(reason, FR_INVALID, "training, texts, memory, trained or needed is not usable");
  if (!fr__specials_good(training->specials, training->special_count, training->forks, training->split))
    return fr__fail(reason, FR_INVALID, "a field of the training options is out of range");
  extras = training->special_count + training->forks;
  if (training->vocab < 256 + extras || training->vocab > 1 << 28)
    return fr__fail(reason, FR_INVALID, "a vocabulary of %d is too small for 256 bytes and %d specials, or above 2^28",
                    training->vocab, extras);
  memset(t, 0, sizeof *t);
  t->made.split = training->split == FR_SPLIT_UNKNOWN ? FR_SPLIT_GPT2 : training->split;
  for (fr_int i = 0; i < text_count; i++) {
    if (!fr__text_good(texts[i])) return fr__fail(reason, FR_INVALID, "text %d is not usable", i);
    if (!fr__add(total, texts[i].count, &total)) return fr__fail(reason, FR_OVERFLOW, "the texts do not fit");
    t->b.seed = fr__seed(t->b.seed, texts[i]);
  }
  for (fr_int i = 0; i < extras; i++) {
    const fr_status status = fr__caller_special(training->specials, training->special_count, i, &name, &special, reason);
    if (status) return status;
    if (!fr__add(extra_bytes, special.text.count, &extra_bytes)) return fr__fail(reason, FR_OVERFLOW, "the specials do not fit");
  }

  t->arena.base = (char *)fr__align(memory);
  t->bytes = fr__max(0, bytes - (FR__ALIGN - 1));
  if (!fr__train_words(t, texts, text_count) && !t->b.crowded) {
    want = fr__max(total / 2 + (1 << 20), 2 * fr__min(bytes, FR__INT_MAX / 2));
    if (want <= bytes) return fr__fail(reason, FR_OVERFLOW, "training does not fit the address space");
    *needed = want;
    return fr__fail(reason, FR_MEMORY, "counting the pre-tokens needs more than %d bytes; try %d", bytes, want);
  }
  if (t->b.crowded) return fr__fail(reason, FR_LIMIT, crowd, (fr_int)FR__PROBES);
  if ((uint64_t)t->symbol_count >> 29)
    return fr__fail(reason, FR_LIMIT, "the distinct pre-tokens have %d bytes, 2^29 are too many", t->symbol_count);
  fr__train_layout(t, training->vocab, extra_bytes);
  if (t->arena.overflow || !fr__add(t->arena.used, FR__ALIGN - 1, &want))
    return fr__fail(reason, FR_OVERFLOW, "training does not fit the address space");
  if (want > bytes) { *needed = want; return fr__fail(reason, FR_MEMORY, words, want, bytes); }
  memset(t->buckets, 0, (size_t)t->slot_count * 4);
  memset(t->winners, 0xFF, (size_t)t->leaves * 8);  // FR__NONE everywhere
  memset(t->b.names, 0, (size_t)t->b.name_slots * 4);

  // Bytes: the words, then the 256 bytes, then the specials.
  for (fr_int w = 0; w < t->word_count; at += t->words[w++].count)
    memcpy(t->b.bytes + at, t->words[w].bytes, (size_t)t->words[w].count);
  for (int byte = 0; byte < 256; byte++) {
    t->b.bytes[at] = (char)byte;
    t->b.byte_ids[byte] = training->gpt2_bytes ? fr__gpt2_id(byte) : (uint32_t)byte;
    fr__set_token(&t->b, (fr_int)t->b.byte_ids[byte], at++, 1, FR__ORDINARY);
  }
  t->made.vocab = 256;
  t->made.body = &t->b;
  fr__train_merges(t, training->vocab - extras, (uint64_t)fr__max(1, training->min_count));
  if (t->b.crowded) return fr__fail(reason, FR_LIMIT, crowd, (fr_int)FR__PROBES);
  for (fr_int i = 0; i < extras; i++) {
    fr__caller_special(training->specials, training->special_count, i, &name, &special, reason);
    fr__set_token(&t->b, t->made.vocab++, at, special.text.count, FR__SPECIAL | (i < training->special_count ? 0 : FR__SHOWN));
    at = fr__append(t->b.bytes, at, special.text);
  }

  // The places are no longer needed; the result goes there.
  fr__stream_memory(&s, NULL, 0);
  fr__put_form(&s, &t->made);
  total = s.done;
  if (!fr__add((char *)t->places - t->arena.base + FR__ALIGN - 1, total, &want))
    return fr__fail(reason, FR_OVERFLOW, "the tokenizer does not fit");
  if (want > bytes) { *needed = want; return fr__fail(reason, FR_MEMORY, words, want, bytes); }
  fr__stream_memory(&s, t->places, total);
  fr__put_form(&s, &t->made);
  trained->bytes = (char *)t->places;
  trained->count = total;
  return fr__fine(reason);
}

#ifndef FR_NO_MALLOC
FR_DEF fr_status fr_tokenizer_train_new(fr_tokenizer *tokenizer, const fr_training *training, const fr_text *texts,
                                        fr_int text_count, fr_reason *reason)
{
  fr_tokenizer_source source;
  fr_int bytes = 1 << 20, needed = 0;
  fr_status status;
  if (!tokenizer) return fr__fail(reason, FR_INVALID, "tokenizer is NULL");
  memset(tokenizer, 0, sizeof *tokenizer);
  memset(&source, 0, sizeof source);
  for (fr_int i = 0; texts && i < text_count && bytes < FR__INT_MAX / 4; i++) bytes += fr__max(0, texts[i].count) / 2;
  for (;; bytes = needed) {
    void *memory = FR_MALLOC((size_t)bytes);
    if (!memory) return fr__fail(reason, FR_MEMORY, "no memory for training, %d bytes", bytes);
    needed = 0;
    status = fr_tokenizer_train(training, texts, text_count, memory, bytes, &source.file, &needed, reason);
    if (!status) status = fr_tokenizer_new(tokenizer, &source, reason);
    FR_FREE(memory);
    if (status != FR_MEMORY || needed == 0) return status;
  }
}
#endif

// ---- >>checkpoint -------------------------------------------------------------------------------------
// Little-endian everywhere, floats as their bits:
//
//   0    8 bytes  89 46 52 4B 0D 0A 1A 0A      48   u64 x 8  layers dim heads kv_heads head_dim ffn vocab rope_original
//   8    u32      version, 1                   112  u32 x 3  tied qkv_bias qk_norm
//   12   u32      1 with optimiser, else 0     124  f32 x 6  norm_eps rope_theta embed_scale rope_factor _low _high
//   16   u64      bytes of the whole file      148  f32 x 5  beta1 beta2 eps decay clip   (0 without optimiser)
//   24   u64      parameters                   168  u64 x 2  steps done, steps skipped    (0 without optimiser)
//   32   u64      bytes of yours               184  u64      0
//   40   u64      0                            192  f32[]    parameters, then m and v if there; your bytes; u64 checksum
enum { FR__CHECKPOINT_HEAD = 192 };
static const unsigned char fr__magic[8] = { 0x89, 'F', 'R', 'K', '\r', '\n', 0x1A, '\n' };

// Reads up to count bytes and returns how many there were.
static fr_int fr__stream_raw(fr__stream *s, unsigned char *out, fr_int count)
{
#ifndef FR_NO_STDIO
  if (s->file) count = (fr_int)fread(out, 1, (size_t)count, (FILE *)s->file);
#endif
  if (s->memory) count = fr__min(count, s->bytes - s->done);
  if (s->memory) memcpy(out, s->memory + s->done, (size_t)count);
  s->done += count;
  return count;
}

// Reads exactly count bytes, which may not reach beyond `limit` bytes from the start; they need not be wanted (out NULL).
static int fr__stream_get(fr__stream *s, void *out, fr_int count, fr_int limit)
{
  fr_int part;
  for (fr_int got = 0; got < count; got += part, s->used += part) {
    if (s->used == s->filled) {
      s->filled = fr__stream_raw(s, s->buffer, fr__min(FR__STREAM_BUFFER, limit - s->done));
      s->used = 0;
      if (s->filled < 1) return 0;
      s->hash = fr__hash(s->hash, s->buffer, s->filled);
    }
    part = fr__min(count - got, s->filled - s->used);
    if (out) memcpy((char *)out + got, s->buffer + s->used, (size_t)part);
  }
  return 1;
}

static int fr__stream_get_floats(fr__stream *s, float *x, fr_int count, fr_int limit)
{
  const int good = fr__stream_get(s, x, 4 * count, limit);
  for (fr_int i = 0; good && x && i < count; i++) {  // from its own bytes
    const unsigned char *p = (const unsigned char *)(x + i);
    const uint32_t bits = (uint32_t)fr__get_int(&p, 4);
    memcpy(x + i, &bits, 4);
  }
  return good;
}

// One list of fields for both ways: written to a stream, or read from memory. What is short or above its most is bad, and 0.
typedef struct fr__both {
  fr__stream          *out;  // NULL: reads
  const unsigned char *in;
  fr_int               left;
  int                  bad;
} fr__both;

static uint64_t fr__both_int(fr__both *x, uint64_t value, int bytes, uint64_t most)
{
  if (x->out) fr__put_int(x->out, value, bytes);
  else value = x->left < bytes ? 0 : fr__get_int(&x->in, bytes);
  if (!x->out) x->left -= bytes;
  if (x->left >= 0 && value <= most) return value;
  x->bad = 1;
  return 0;
}

static fr_int fr__both_size(fr__both *x, fr_int n) { return (fr_int)fr__both_int(x, (uint64_t)n, 8, (uint64_t)FR__INT_MAX); }

static fr_text fr__both_text(fr__both *x, fr_text text)
{
  const fr_int count = fr__both_size(x, text.count);
  if (x->out) fr__put(x->out, text.bytes, count);
  if (x->out) return text;
  if (count > x->left) x->bad = 1;
  text.bytes = (const char *)x->in;
  text.count = x->bad ? 0 : count;
  x->in += text.count;
  x->left -= text.count;
  return text;
}

static float fr__both_float(fr__both *x, float value)
{
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = (uint32_t)fr__both_int(x, bits, 4, UINT32_MAX);
  memcpy(&value, &bits, 4);
  return value;
}

// What the head tells, behind magic and version; and where the rest comes from, when it is written.
typedef struct fr__told {
  fr_config config;
  fr_adamw  adamw;
  uint64_t  has_adamw, bytes, count, user_bytes;
  int       empty;  // a size of the config is 0, or does not fit this machine
  const float *params;
  const void  *user;
} fr__told;

FR__SELDOM void fr__checkpoint_fields(fr__both *x, fr__told *t)
{
  fr_config *c = &t->config;
  fr_adamw *a = &t->adamw;
  fr_int *const sizes[8] = { &c->layers, &c->dim, &c->heads, &c->kv_heads, &c->head_dim, &c->ffn, &c->vocab, &c->rope_original };
  int *const flags[3] = { &c->tied, &c->qkv_bias, &c->qk_norm };
  float *const floats[11] = { &c->norm_eps, &c->rope_theta, &c->embed_scale, &c->rope_factor, &c->rope_low, &c->rope_high,
                              &a->beta1, &a->beta2, &a->eps, &a->decay, &a->clip };
  uint64_t *const words[3] = { &t->bytes, &t->count, &t->user_bytes };
  int64_t *const steps[2] = { &a->step, &a->skipped };
  t->has_adamw = fr__both_int(x, t->has_adamw, 4, 1);
  for (int i = 0; i < 3; i++) *words[i] = fr__both_int(x, *words[i], 8, UINT64_MAX);
  fr__both_int(x, 0, 8, 0);
  for (int i = 0; i < 8; i++) t->empty |= (*sizes[i] = fr__both_size(x, *sizes[i])) < 1;
  for (int i = 0; i < 3; i++) *flags[i] = (int)fr__both_int(x, (uint64_t)*flags[i], 4, 1);
  for (int i = 0; i < 11; i++) *floats[i] = fr__both_float(x, *floats[i]);
  for (int i = 0; i < 2; i++) *steps[i] = (int64_t)fr__both_int(x, (uint64_t)*steps[i], 8, INT64_MAX);
  fr__both_int(x, 0, 8, 0);
}

// Bytes of a whole file; 0 if they do not fit.
static fr_int fr__checkpoint_bytes(fr_int count, int has_adamw, uint64_t user_bytes)
{
  fr_int bytes;
  return user_bytes <= (uint64_t)FR__INT_MAX && fr__mul(count, has_adamw ? 12 : 4, &bytes) &&
         fr__add(bytes, FR__CHECKPOINT_HEAD + 8, &bytes) && fr__add(bytes, (fr_int)user_bytes, &bytes) ? bytes : 0;
}

FR__SELDOM void fr__checkpoint_put(fr__stream *s, const void *what)
{
  fr__told told = *(const fr__told *)what;
  const float *const floats[3] = { told.params, told.adamw.m, told.adamw.v };
  fr__both x = { s, NULL, 0, 0 };
  fr__put(s, fr__magic, 8);
  fr__put_int(s, FR_CHECKPOINT_VERSION, 4);
  fr__checkpoint_fields(&x, &told);
  for (int i = 0; i < (told.has_adamw ? 3 : 1); i++) fr__put_floats(s, floats[i], (fr_int)told.count);
  fr__put(s, told.user, (fr_int)told.user_bytes);
  fr__put_hash(s);
}

// Reads the head, then goes to the end and compares the checksum. Where model is given it has been checked before, and the
// numbers are stored on the way.
FR__SELDOM fr_status fr__checkpoint_scan(fr__stream *s, fr_checkpoint *info, fr_model *model, fr_adamw *adamw, void *user,
                                         fr_reason *reason)
{
  unsigned char head[FR__CHECKPOINT_HEAD], sum[8];
  const unsigned char *p = head + 8, *end = sum;
  const fr_int size = FR__CHECKPOINT_HEAD, got = fr__stream_raw(s, head, size);
  fr__both x = { NULL, head + 12, size - 12, 0 };
  fr__told told;
  fr_config resolved;
  fr_int count, bytes, version;
  fr_status status;
  int good = 1;
  if (got < 8) return fr__fail(reason, FR_FORMAT, "the file is shorter than the head of a checkpoint");
  if (memcmp(head, fr__magic, 8) != 0) return fr__fail(reason, FR_FORMAT, "this is not a checkpoint of this library");
  if (got < size) return fr__fail(reason, FR_FORMAT, "the file is shorter than the head of a checkpoint, %d bytes", size);
  version = (fr_int)fr__get_int(&p, 4);
  if (version != FR_CHECKPOINT_VERSION)
    return fr__fail(reason, FR_UNSUPPORTED, "the checkpoint has version %d; this library reads version %d",
                    version & 0x7fffffff, (fr_int)FR_CHECKPOINT_VERSION);
  memset(&told, 0, sizeof told);
  if (adamw) told.adamw = *adamw;
  fr__checkpoint_fields(&x, &told);
  if (told.empty) return fr__fail(reason, FR_CONFIG, "a size in the checkpoint's config is 0 or too large");
  if (x.bad) return fr__fail(reason, FR_FORMAT, "a field of the checkpoint's head is out of range");
  status = fr_config_check(&told.config, &resolved, reason);
  if (status) return status;
  count = fr__param_count(&resolved, NULL, 0);
  bytes = fr__checkpoint_bytes(count, (int)told.has_adamw, told.user_bytes);
  if (bytes == 0) return fr__fail(reason, FR_OVERFLOW, "the checkpoint does not fit this machine's address space");
  if (told.count != (uint64_t)count || told.bytes != (uint64_t)bytes)
    return fr__fail(reason, FR_FORMAT, "the head implies %d parameters and %d bytes, but tells other numbers", count, bytes);
  s->hash = fr__hash(0, head, size);
  for (int i = 0; good && i < (told.has_adamw ? 3 : 1); i++) {
    float *const floats[3] = { model ? model->params : NULL, told.adamw.m, told.adamw.v };
    good = fr__stream_get_floats(s, floats[i], count, bytes - 8);
  }
  if (!good || !fr__stream_get(s, user, (fr_int)told.user_bytes, bytes - 8) || fr__stream_raw(s, sum, 8) != 8)
    return fr__fail(reason, FR_FORMAT, "the file has %d bytes, its head implies %d", s->done, bytes);
  if (fr__stream_raw(s, head, 1) != 0)
    return fr__fail(reason, FR_FORMAT, "the file goes on after the %d bytes that its head implies", bytes);
  if (fr__get_int(&end, 8) != s->hash) return fr__fail(reason, FR_CHECKSUM, "%s", fr_status_text(FR_CHECKSUM));
  if (adamw) *adamw = told.adamw;
  info->config = resolved;
  info->count = count;
  info->has_adamw = (int)told.has_adamw;
  info->step = told.adamw.step;
  info->user_bytes = (fr_int)told.user_bytes;
  info->bytes = bytes;
  return fr__fine(reason);
}

FR__APART fr_status fr__checkpoint_arguments(const fr_model *model, const fr_adamw *adamw, fr_reason *reason)
{
  if (!model || !model->params || (adamw && (!adamw->m || !adamw->v || adamw->count != fr__trained(model))))
    return fr__fail(reason, FR_INVALID, "the model or its optimiser has no memory, or they do not belong together");
  if (model->stale)
    return fr__fail(reason, FR_INVALID, "a backend holds newer parameters of this model; fr_work_download brings them");
  if (model->views)
    return fr__fail(reason, FR_UNSUPPORTED, "of a model of views; fr_model_append_rows copies it into one of floats");
  if (adamw && adamw->count != model->count)
    return fr__fail(reason, FR_UNSUPPORTED, "tensors are frozen: the file has room for the moments of all or of none");
  return FR_OK;
}

FR__SELDOM fr_status fr__checkpoint_what(fr__told *t, const fr_model *model, const fr_adamw *adamw, const void *user,
                                         fr_int user_bytes, fr_reason *reason)
{
  const fr_status status = fr__checkpoint_arguments(model, adamw, reason);
  fr_int bytes;
  if (status) return status;
  if (!user) user_bytes = 0;
  if (user_bytes < 0) return fr__fail(reason, FR_INVALID, "user_bytes is negative");
  bytes = fr__checkpoint_bytes(model->count, adamw != NULL, (uint64_t)user_bytes);
  if (!bytes) return fr__fail(reason, FR_OVERFLOW, "%s", fr_status_text(FR_OVERFLOW));
  memset(t, 0, sizeof *t);
  t->params = model->params;
  t->user = user;
  t->config = model->config;
  if (adamw) t->adamw = *adamw;
  t->has_adamw = adamw != NULL;
  t->bytes = (uint64_t)bytes;
  t->count = (uint64_t)model->count;
  t->user_bytes = (uint64_t)user_bytes;
  return FR_OK;
}

FR_DEF fr_status fr_checkpoint_write(void *memory, fr_int bytes, fr_int *needed, const fr_model *model, const fr_adamw *adamw,
                                     const void *user, fr_int user_bytes, fr_reason *reason)
{
  fr__told told;
  fr__stream s;
  fr_int size;
  const fr_status status = fr__checkpoint_what(&told, model, adamw, user, user_bytes, reason);
  if (status) return status;
  size = (fr_int)told.bytes;
  if (!memory && !needed) return fr__fail(reason, FR_INVALID, "memory is NULL, and so is where to tell its size");
  if (needed) *needed = size;
  if (!memory) return fr__fine(reason);
  if (bytes < size) return fr__fail(reason, FR_MEMORY, "the checkpoint needs %d bytes, %d were given", size, bytes);
  fr__stream_memory(&s, memory, size);
  fr__checkpoint_put(&s, &told);
  return fr__fine(reason);
}

// From a file or from memory, which is only read. Numbers are stored in a second look, when all is known to be whole and to go
// where the caller wants it.
FR__SELDOM fr_status fr__checkpoint_get(const char *path, const void *memory, fr_int bytes, fr_checkpoint *info, fr_model *model,
                                        fr_adamw *adamw, void *user, fr_int user_bytes, fr_reason *reason)
{
  fr_checkpoint found;
  fr__stream s;
#ifndef FR_NO_STDIO
  FILE *file;
#endif
  fr_status status = model || !info ? fr__checkpoint_arguments(model, adamw, reason) : FR_OK;
  if (status) return status;
  if ((!path && !memory) || bytes < 0) return fr__fail(reason, FR_INVALID, "path or memory is NULL, or bytes is negative");
  for (int look = 0; look < (model ? 2 : 1); look++) {
    fr__stream_memory(&s, (void *)(uintptr_t)memory, bytes);
#ifndef FR_NO_STDIO
    if (path && (status = fr__open(&file, path, reason)) != FR_OK) return status;
    if (path) s.file = file;
#endif
    status = fr__checkpoint_scan(&s, &found, look ? model : NULL, look ? adamw : NULL, look ? user : NULL, reason);
#ifndef FR_NO_STDIO
    if (path && ferror(file)) status = fr__file_fail(reason, path, "read");
    if (path) fclose(file);
#endif
    if (status && look)
      return fr__fail(reason, FR_IO, "%s changed while it was read; the model is not usable", path ? path : "memory");
    if (status) return status;
    if (!model) break;
    if (fr__config_same(reason, "the checkpoint", &found.config, "the model", &model->config)) return FR_CONFIG;
    if (adamw && !found.has_adamw) return fr__fail(reason, FR_FORMAT, "the checkpoint has no optimiser");
    if (user && user_bytes != found.user_bytes)
      return fr__fail(reason, FR_FORMAT, "the checkpoint has %d bytes of the caller, %d were expected", found.user_bytes,
                      user_bytes);
  }
  if (info) *info = found;
  return FR_OK;
}

FR_DEF fr_status fr_checkpoint_read(const void *memory, fr_int bytes, fr_checkpoint *info, fr_model *model, fr_adamw *adamw,
                                    void *user, fr_int user_bytes, fr_reason *reason)
{
  return fr__checkpoint_get(NULL, memory, bytes, info, model, adamw, user, user_bytes, reason);
}

#ifndef FR_NO_STDIO
FR_DEF fr_status fr_checkpoint_save(const char *path, const fr_model *model, const fr_adamw *adamw, const void *user,
                                    fr_int user_bytes, fr_reason *reason)
{
  fr__told told;
  const fr_status status = fr__checkpoint_what(&told, model, adamw, user, user_bytes, reason);
  return status ? status : fr__save(path, fr__checkpoint_put, &told, reason);
}

FR_DEF fr_status fr_checkpoint_load(const char *path, fr_checkpoint *info, fr_model *model, fr_adamw *adamw, void *user,
                                    fr_int user_bytes, fr_reason *reason)
{
  return fr__checkpoint_get(path, NULL, 0, info, model, adamw, user, user_bytes, reason);
}
#endif  // FR_NO_STDIO

// ---- >>corpus -----------------------------------------------------------------------------------------
// From data to steps: the ids of all that can be trained on, in one block, and batches drawn from them. Whatever is random is a
// stream named by the seed with its purpose, and the question or the epoch, so that a batch is a function of seed and step.
struct fr__corpus {
  fr_int    *first;         // [count] the place of each question's first trace in source
  fr_int    *source;        // [traces]
  fr_int    *shuffled;      // [train] the questions as epoch number `epoch` has them
  int64_t    epoch;
  fr_tokens *traces;        // [batch + 1][most] of the drawn questions; the last one is that of fr_corpus_validate
  fr_int    *fork, *drawn;  //   drawn: their sources
  double    *cost;          // [batch + 1][N * most]
  fr_token  *fork_ids;
  fr_text   *texts;         // scratch: traces of one question
  char      *room;          // of the questions, and behind them for the next one while it is checked
  fr_int most, longest;     // traces drawn of a question at most; traces of a question at most
  fr_int fork_count, longest_fork, bytes;  // ids of all forks, of the longest; bytes of the room
  // Only while it is made:
  const fr_dataset *d;
  const fr_framing *framing;
  fr_encoder *encoder;
  fr_int p, used, size;     // the question at work, -1: the forks; bytes of the room taken before it, and by it
};

static fr_int fr__longest_trace(const fr_question *q)
{
  fr_int longest = 0;
  for (fr_int j = 0; j < q->trace_count; j++) longest = fr__max(longest, q->traces[j].count);
  return longest;
}

static fr_int fr__corpus_drawn(const fr_corpus *c, fr_int traces)
{
  if (c->fork_count > 1) traces = fr__min(traces, c->fork_count);
  return c->options.traces > 0 ? fr__min(traces, c->options.traces) : traces;
}

// How much room everything takes: forks and traces are encoded, of the rest the bytes are counted.
FR__SELDOM fr_status fr__corpus_measure(fr_corpus *c, struct fr__corpus *b)
{
  const fr__trusted nowhere = { NULL, 0 };
  fr__arena room = { NULL, 0, 0 };
  fr_int scratch = 0;
  fr_status status = fr_framing_forks(b->encoder, b->framing, NULL, 0, NULL, &b->fork_count);
  if (status) return status;
  for (b->p = 0; b->p < b->d->problem_count; b->p++) {
    const fr_problem *problem = &b->d->problems[b->p];
    fr_int ids, size = 0;
    fr__framed framed;
    fr_text all = problem->text;  // the traces as one: what fr_question_place asks for depends on their lengths alone
    framed.text = NULL;
    if (!fr__frame_question(&framed, b->framing, problem->text)) return FR_OVERFLOW;
    ids = framed.head + 1;
    for (fr_int t = problem->first; !status && t < problem->first + problem->count; t++) {
      const fr_text text = b->d->traces[t].text;
      fr__output out = { NULL, 0, 0, 0, 0 };
      status = fr__encode(b->encoder, text.bytes, text.count, 0, 0, nowhere, &out);
      ids += out.count + 1;
      all.count += text.count + 1 + (fr_int)(sizeof(fr_tokens) + sizeof(fr_int));
    }
    if (!status) status = fr_question_place(NULL, b->encoder, b->framing, problem->text, &all, 1, NULL, 0, &size);
    if (status) return status;
    scratch = fr__max(scratch, size);
    b->longest = fr__max(b->longest, problem->count);
    fr__take(&room, problem->count, (fr_int)sizeof(fr_tokens));
    fr__take(&room, problem->count, (fr_int)sizeof(fr_int));
    fr__take(&room, ids, (fr_int)sizeof(fr_token));
  }
  fr__take(&room, scratch, 1);
  b->bytes = room.overflow ? FR__INT_MAX : room.used;
  b->most = fr__corpus_drawn(c, b->longest);
  return FR_OK;
}

FR__SELDOM void fr__corpus_layout(fr__arena *arena, fr_corpus *c, struct fr__corpus *b)
{
  const fr_int integer = (fr_int)sizeof(fr_int), problems = b->d->problem_count, questions = c->options.batch + 1;
  fr_int drawn = 0, cells = 0;
  if (!fr__mul(questions, b->most, &drawn) || !fr__mul(drawn, c->fork_count, &cells)) arena->overflow = 1;
  c->body = (struct fr__corpus *)fr__take(arena, 1, (fr_int)sizeof *b);
  c->forks = (fr_tokens *)fr__take(arena, c->fork_count, (fr_int)sizeof(fr_tokens));
  c->questions = (fr_question *)fr__take(arena, problems, (fr_int)sizeof(fr_question));
  c->problem = (fr_int *)fr__take(arena, problems, integer);
  c->order = (fr_int *)fr__take(arena, problems, integer);
  c->batch = (fr_question *)fr__take(arena, questions, (fr_int)sizeof(fr_question));
  c->source = (fr_int **)fr__take(arena, questions, (fr_int)sizeof(fr_int *));
  b->first = (fr_int *)fr__take(arena, problems, integer);
  b->source = (fr_int *)fr__take(arena, b->d->trace_count, integer);
  b->shuffled = (fr_int *)fr__take(arena, problems, integer);
  b->traces = (fr_tokens *)fr__take(arena, drawn, (fr_int)sizeof(fr_tokens));
  b->fork = (fr_int *)fr__take(arena, drawn, integer);
  b->drawn = (fr_int *)fr__take(arena, drawn, integer);
  b->cost = (double *)fr__take(arena, cells, (fr_int)sizeof(double));
  b->fork_ids = (fr_token *)fr__take(arena, b->fork_count, (fr_int)sizeof(fr_token));
  b->texts = (fr_text *)fr__take(arena, b->longest, (fr_int)sizeof(fr_text));
  b->room = (char *)fr__take(arena, b->bytes, 1);
}

FR__SELDOM void fr__leave_out(fr_corpus *c, const struct fr__corpus *b, fr_left_out why, fr_int trace, fr_int tokens)
{
  static const char *const words[FR_LEFT_OUT_COUNT] = {
    "question %d, \"%s\": with trace %d it has %d tokens",
    "question %d, \"%s\": with trace %d it has %d tokens",
    "question %d, \"%s\": trace %d has other ids behind a fork than apart",
    "question %d, \"%s\": it has other ids before a fork than apart",
    "question %d, \"%s\": no trace is left" };
  const fr_text text = b->d->problems[b->p].text;
  char begin[40];
  fr_int count = fr__min(text.count, (fr_int)sizeof begin - 1);
  if (c->left_out[why]++) return;
  while (count < text.count && (text.bytes[count] & 0xC0) == 0x80) count--;  // whole characters
  memcpy(begin, text.bytes, (size_t)count);
  begin[count] = 0;
  fr__fail(&c->example[why], FR_OK, words[why], b->p, begin, trace, tokens);
}

// Lays the question out with those of its traces, *count of b->texts with their sources, that can be trained on. First with all
// of them; if that cannot be, without any and with each one alone, to see which, and then with those left.
FR__SELDOM fr_status fr__corpus_question(fr_corpus *c, struct fr__corpus *b, fr_question *q, fr_int *sources, fr_int *count)
{
  const fr_int most = c->options.length > 0 ? c->options.length : FR__INT_MAX, bytes = b->bytes - b->used;
  const fr_text text = b->d->problems[b->p].text;
  char *room = b->room + b->used;
  fr_int left = 0;
  fr_status status = fr_question_place(q, b->encoder, b->framing, text, b->texts, *count, room, bytes, &b->size);
  const fr_int head = status ? 0 : q->prompt.count + b->longest_fork;
  if (!status && head + fr__longest_trace(q) <= most) return FR_OK;
  for (fr_int j = 0; !status && c->options.truncate && head < most && j < *count; j++) {
    fr_tokens *trace = (fr_tokens *)(uintptr_t)&q->traces[j];
    if (head + trace->count > most) fr__leave_out(c, b, FR_TRACE_CUT, j, head + trace->count);
    trace->count = fr__min(trace->count, most - head);
    if (j == *count - 1) return FR_OK;
  }
  if (!status || status == FR_FORMAT)
    status = fr_question_place(q, b->encoder, b->framing, text, NULL, 0, room, bytes, &b->size);
  if (status == FR_FORMAT) fr__leave_out(c, b, FR_QUESTION_BOUNDARY, 0, 0);
  for (fr_int j = 0; !status && j < *count; j++) {
    const fr_status alone = fr_question_place(q, b->encoder, b->framing, text, &b->texts[j], 1, room, bytes, &b->size);
    const fr_int tokens = alone ? 0 : q->prompt.count + b->longest_fork + q->traces[0].count;
    if (alone == FR_FORMAT || tokens > most) {
      fr__leave_out(c, b, alone ? FR_TRACE_BOUNDARY : FR_TRACE_LONG, j, tokens);
    } else {
      b->texts[left] = b->texts[j];
      sources[left++] = sources[j];
      status = alone;
    }
  }
  if (!status && left == 0) fr__leave_out(c, b, FR_QUESTION_BARE, 0, 0);
  *count = status ? 0 : left;
  if (*count) status = fr_question_place(q, b->encoder, b->framing, text, b->texts, left, room, bytes, &b->size);
  return status == FR_FORMAT ? FR_OK : status;
}

FR__SELDOM fr_status fr__corpus_fill(fr_corpus *c, struct fr__corpus *b)
{
  const uint64_t seed = fr__hash(c->options.seed, "split", 5);
  fr_int n = 0;
  fr_status status = fr_framing_forks(b->encoder, b->framing, b->fork_ids, b->fork_count, c->forks, &b->size);
  for (fr_int i = 0; !status && i < c->fork_count; i++) b->longest_fork = fr__max(b->longest_fork, c->forks[i].count);
  for (b->p = 0; !status && b->p < b->d->problem_count; b->p++) {
    const fr_problem *problem = &b->d->problems[b->p];
    fr_question *q = &c->questions[c->count];
    fr_int *sources = b->source + c->traces, count = problem->count;
    for (fr_int j = 0; j < count; j++) {
      const fr_trace *trace = &b->d->traces[problem->first + j];
      b->texts[j] = trace->text;
      sources[j] = trace->source < 0 ? b->d->source_count : trace->source;
    }
    status = fr__corpus_question(c, b, q, sources, &count);
    if (status) return status;
    if (count == 0) continue;
    b->used += fr__round_up(b->size, FR__ALIGN);
    c->key ^= q->key;
    c->tokens += q->prompt.count;
    for (fr_int j = 0; j < count; j++) {
      c->key = fr__hash(c->key, b->texts[j].bytes, b->texts[j].count);
      c->tokens += q->traces[j].count;
    }
    c->problem[c->count] = b->p;
    b->first[c->count++] = c->traces;
    c->traces += count;
  }
  for (fr_int i = 0; i < 2 * c->count; i++) {  // first those to train on, then those held out
    fr_random random = fr_random_stream(seed, c->questions[i % c->count].key, 0);
    const int held_out = c->options.train_lines ? b->d->problems[c->problem[i % c->count]].line > c->options.train_lines
                                                : (double)fr_random_uniform(&random) < c->options.held_out;
    if (held_out == (i >= c->count)) c->order[n++] = i % c->count;
    if (!held_out && i < c->count) c->train++;
  }
  return status;
}

FR_DEF fr_status fr_corpus_place(fr_corpus *corpus, const fr_dataset *dataset, fr_encoder *encoder, const fr_framing *framing,
                                 const fr_corpus_options *options, void *memory, fr_int bytes, fr_int *needed, fr_reason *reason)
{
  fr__arena arena = { NULL, 0, 0 };
  fr_corpus c;
  struct fr__corpus b;
  fr_status status;
  if (!dataset || !encoder || !encoder->body || !framing || framing->fork_count < 1 || !options || (memory && !corpus))
    return fr__fail(reason, FR_INVALID, "corpus, data set, encoder, framing or options is NULL, or there is no fork");
  if (options->length < 0 || options->traces < 0 || options->train_lines < 0 || options->batch < 0 || options->batch >= FR__INT_MAX ||
      !(options->held_out >= 0.0 && options->held_out <= 1.0))
    return fr__fail(reason, FR_INVALID, "length, traces, batch or train_lines is negative or too large, or held_out is no fraction");
  memset(&c, 0, sizeof c);
  memset(&b, 0, sizeof b);
  b.d = dataset;
  b.encoder = encoder;
  b.framing = framing;
  c.options = *options;
  c.options.batch = fr__max(1, options->batch);
  c.fork_count = framing->fork_count;
  c.sources = dataset->source_count + 1;
  b.epoch = b.p = -1;
  status = fr__corpus_measure(&c, &b);
  if (!status) {
    fr__corpus_layout(&arena, &c, &b);
    status = fr__arena_open(&arena, memory, bytes, needed, reason);
    if (status || !memory) return status;
    fr__corpus_layout(&arena, &c, &b);
    memset(c.batch, 0, (size_t)c.options.batch * sizeof *c.batch);  // there is none yet
    status = fr__corpus_fill(&c, &b);
  }
  if (status) {
    const fr_reason why = encoder->reason;  // which `reason` may be
    if (b.p < 0) return fr__fail(reason, status, "framing: %s", why.text);
    return fr__fail(reason, status, "question %d: %s", b.p, why.text);
  }
  *c.body = b;
  *corpus = c;
  return fr__fine(reason);
}

FR_DEF fr_status fr_corpus_limits(const fr_corpus *corpus, const fr_ssft_options *options, fr_int questions, fr_limits *limits)
{
  fr_limits most, one;
  if (!corpus || !corpus->body || !options || !limits || questions < 1) return FR_INVALID;
  memset(&most, 0, sizeof most);
  for (fr_int i = 0; i < corpus->count; i++) {
    const fr_question *q = &corpus->questions[corpus->order[i]];
    const fr_int drawn = fr__corpus_drawn(corpus, q->trace_count), held_out = i >= corpus->train;
    fr_ssft_options o = *options;
    fr_status status;
    if (held_out) o.prefix = 0;
    status = fr_ssft_limits(&o, q->prompt.count, fr__longest_trace(q), drawn, held_out ? 1 : questions, &one);
    if (status) return status;
    if (held_out) one.grad_rows = 0;
    most = fr_limits_max(most, one);
  }
  *limits = most;
  return FR_OK;
}

// Question `number` with a draw of its traces, as question `slot` of the batch. Selection sampling: some of the traces still
// ahead are wanted, so each is taken with chance wanted / ahead.
FR__SELDOM fr_question *fr__corpus_draw(fr_corpus *c, fr_int slot, fr_int number, uint64_t seed, uint64_t draw)
{
  const struct fr__corpus *b = c->body;
  const fr_question *from = &c->questions[number];
  const fr_int at = slot * b->most;
  fr_question *q = &c->batch[slot];
  fr_random random = fr_random_stream(seed, from->key, draw);
  *q = *from;
  c->source[slot] = b->drawn + at;
  q->traces = b->traces + at;
  q->fork = b->fork + at;
  q->cost = c->options.costs || slot == c->options.batch ? b->cost + at * c->fork_count : NULL;
  q->trace_count = fr__corpus_drawn(c, from->trace_count);
  for (fr_int t = 0, taken = 0; taken < q->trace_count; t++)
    if (fr_random_below(&random, from->trace_count - t) < q->trace_count - taken) {
      c->source[slot][taken] = b->source[b->first[number] + t];
      b->fork[at + taken] = -1;
      b->traces[at + taken++] = from->traces[t];
    }
  return q;
}

FR_DEF fr_status fr_corpus_batch(fr_corpus *corpus, int64_t step)
{
  const fr_corpus *c = corpus;
  if (!c || !c->body || c->train < 1 || step < 0 || step >= INT64_MAX / c->options.batch) return FR_INVALID;
  for (fr_int i = 0; i < c->options.batch; i++) {
    const int64_t position = step * c->options.batch + i, epoch = position / c->train;
    fr_int *shuffled = c->body->shuffled;
    fr_random random = fr_random_stream(fr__hash(c->options.seed, "order", 5), (uint64_t)epoch, 0);
    for (fr_int k = 0; k < c->train && epoch != c->body->epoch; k++) {  // Fisher and Yates
      const fr_int j = fr_random_below(&random, k + 1);
      shuffled[k] = shuffled[j];
      shuffled[j] = c->order[k];
    }
    c->body->epoch = epoch;
    fr__corpus_draw(corpus, i, shuffled[position % c->train], fr__hash(c->options.seed, "draws", 5), (uint64_t)position);
  }
  return FR_OK;
}

FR_DEF fr_status fr_corpus_validate(fr_corpus *corpus, const fr_model *model, fr_work *work, const fr_ssft_options *options,
                                    fr_int questions, fr_diagnosis *diagnosis, fr_validation *validation)
{
  fr_validation sum = { 0.0, 0.0, 0, 0, 0 };
  fr_ssft_options o;
  fr_int held_out;
  if (!work || !corpus || !corpus->body || !options || !validation) return FR_INVALID;
  held_out = corpus->count - corpus->train;
  o = *options;
  o.prefix = 0;
  o.draw = UINT64_MAX;
  if (held_out < 1 || questions < 0 || o.fork_count > corpus->fork_count)
    return fr__fail(&work->reason, FR_INVALID, "%d of %d questions held out, %d forks of %d", questions, held_out, o.fork_count,
                    corpus->fork_count);
  sum.questions = questions > 0 ? fr__min(questions, held_out) : held_out;
  for (fr_int i = 0; i < sum.questions; i++) {
    const fr_int number = corpus->order[corpus->train + i], slot = corpus->options.batch;
    fr_question *q = fr__corpus_draw(corpus, slot, number, fr__hash(corpus->options.seed, "held out", 8), 0);
    const fr_int *sources = corpus->source[slot];
    const int mixed = o.method == FR_SFT_MIXED;
    fr_status status = fr_ssft_match(model, work, &o, q, 1);
    if (!status && diagnosis && !mixed) status = fr_diagnosis_add(diagnosis, q, sources, &work->reason);
    for (fr_int j = 0; !status && diagnosis && mixed && j < q->trace_count; j++)
      status = fr_diagnosis_note(diagnosis, q->fork[j], sources[j], q->traces[j].count, &work->reason);
    if (status) {
      const fr_reason why = work->reason;
      return fr__fail(&work->reason, status, "question %d, held out: %s", corpus->problem[number], why.text);
    }
    for (fr_int j = 0; j < q->trace_count; j++) {  // -log mean_i exp(-nll_i) = least - log( sum_i exp(least - nll_i) / N )
      const double length = (double)q->traces[j].count;  // the sum of nll is cost * length: undoes the cost formula
      double least = HUGE_VAL, mass = 0.0;
      for (fr_int k = j; k < o.fork_count * q->trace_count; k += q->trace_count)
        if (q->cost[k] * length < least) least = q->cost[k] * length;
      for (fr_int k = j; k < o.fork_count * q->trace_count; k += q->trace_count) mass += exp(least - q->cost[k] * length);
      sum.mixture += least - log(mass / (double)o.fork_count);
      sum.matched += q->cost[q->fork[j] * q->trace_count + j] * length;
      sum.tokens += q->traces[j].count;
    }
    sum.traces += q->trace_count;
  }
  sum.mixture /= (double)sum.tokens;
  sum.matched /= (double)sum.tokens;
  *validation = sum;
  return fr__fine(&work->reason);
}

// -- bundles. Numbers have 8 bytes, a float 4; a text is its length and its bytes.
//
//   0    8 bytes  89 46 52 42 0D 0A 1A 0A       24   what fr__bundle_fields lists, in its order
//   8    u64      version, 2                         the tokenizer in its own form
//   16   u64      bytes of the whole                 u64 checksum
enum { FR__BUNDLE_VERSION = 2 };
static const unsigned char fr__bundle_magic[8] = { 0x89, 'F', 'R', 'B', '\r', '\n', 0x1A, '\n' };

FR__SELDOM fr_text fr__turns_text(const fr_turns *t, int i) { return i < 3 ? t->before[i] : i < 6 ? t->after[i - 3] : t->begin[i - 6]; }

// forks[N] and turns, if not NULL, are set to the texts that are read.
FR__SELDOM void fr__bundle_fields(fr__both *x, fr_bundle *b, fr_text *forks, fr_turns *turns)
{
  const fr_text none = { NULL, 0 };
  fr_framing *f = &b->framing;
  fr_ssft_options *o = &b->options;
  fr_corpus_options *c = &b->corpus;
  uint64_t held_out;
  fr_int *const sizes[5] = { &o->fork_count, &o->prefix, &c->length, &c->traces, &c->batch };
  uint64_t *const words[5] = { &o->seed, &o->draw, &c->seed, &held_out, &b->key };
  memcpy(&held_out, &c->held_out, 8);
  f->before = fr__both_text(x, f->before);
  f->after = fr__both_text(x, f->after);
  f->end = (fr_token)fr__both_int(x, (uint64_t)f->end, 8, INT32_MAX);
  f->fork_count = fr__both_size(x, f->fork_count);
  for (fr_int i = 0; i < f->fork_count && !x->bad; i++) {
    const fr_text fork = fr__both_text(x, f->forks ? f->forks[i] : none);
    if (forks) forks[i] = fork;
  }
  o->method = (fr_method)fr__both_int(x, (uint64_t)o->method, 8, FR_SFT_MIXED);
  o->reduction = (fr_reduction)fr__both_int(x, (uint64_t)o->reduction, 8, FR_MEAN_TRACES);
  o->fork_target = (fr_fork_target)fr__both_int(x, (uint64_t)o->fork_target, 8, FR_FORK_MATCHED);
  o->fork_weight = fr__both_float(x, o->fork_weight);
  c->costs = (int)fr__both_int(x, (uint64_t)(c->costs != 0), 8, 1);
  for (int i = 0; i < 5; i++) *sizes[i] = fr__both_size(x, *sizes[i]);
  for (int i = 0; i < 5; i++) *words[i] = fr__both_int(x, *words[i], 8, UINT64_MAX);
  memcpy(&c->held_out, &held_out, 8);
  b->user = fr__both_text(x, b->user);
  c->truncate = (int)fr__both_int(x, (uint64_t)(c->truncate != 0), 8, 1);
  c->train_lines = fr__both_size(x, c->train_lines);
  if (!fr__both_int(x, (uint64_t)(f->turns != NULL), 8, 1)) return;
  for (int i = 0; i < 8; i++) {
    const fr_text text = fr__both_text(x, f->turns ? fr__turns_text(f->turns, i) : none);
    if (turns) *(i < 3 ? &turns->before[i] : i < 6 ? &turns->after[i - 3] : &turns->begin[i - 6]) = text;
  }
  if (turns) f->turns = turns;
}

// All but the checksum.
FR__SELDOM int fr__bundle_put(fr__stream *s, fr_bundle b, fr_int total)
{
  fr__both x = { s, NULL, 0, 0 };
  fr__put(s, fr__bundle_magic, 8);
  fr__put_int(s, FR__BUNDLE_VERSION, 8);
  fr__both_size(&x, total);
  fr__bundle_fields(&x, &b, NULL, NULL);
  fr__flush(s);
  s->hash = 0;  // the tokenizer's form has its own
  fr__put_form(s, b.tokenizer);
  return !x.bad && !s->failed;
}

FR_DEF fr_status fr_bundle_write(const fr_bundle *bundle, void *memory, fr_int capacity, fr_int *bytes, fr_reason *reason)
{
  fr__stream s;
  fr_int total;
  if (!bundle || !bytes || !bundle->tokenizer || !bundle->tokenizer->body || !fr__framing_good(&bundle->framing) ||
      !fr__text_good(bundle->user))
    return fr__fail(reason, FR_INVALID, "bundle, tokenizer or bytes is NULL, or the framing or your bytes are not usable");
  fr__stream_memory(&s, NULL, 0);
  if (!fr__bundle_put(&s, *bundle, 0) || !fr__add(s.done, 8, &total))
    return fr__fail(reason, FR_INVALID, "a field of the bundle is out of range, or all is too large");
  if (memory && capacity < total) return fr__fail(reason, FR_MEMORY, "the bundle needs %d bytes, %d were given", total, capacity);
  *bytes = total;
  if (!memory) return fr__fine(reason);
  fr__stream_memory(&s, memory, total);
  fr__bundle_put(&s, *bundle, total);
  fr__put_int(&s, fr__hash(0, memory, total - 8), 8);
  fr__flush(&s);
  return fr__fine(reason);
}

// What the caller has otherwise, or NULL. `file` is the tokenizer's own form.
FR__SELDOM const char *fr__bundle_differs(const fr_bundle *b, fr_text file, const fr_bundle *expected)
{
  const fr_framing *f = &b->framing, *e = &expected->framing;
  if (expected->tokenizer && expected->tokenizer->body) {
    fr__stream s;
    fr__stream_memory(&s, NULL, 0);
    fr__put_form(&s, expected->tokenizer);
    if (s.done != file.count || s.hash != fr__hash(fr__hash(0, file.bytes, file.count - 8), file.bytes + file.count - 8, 8))
      return "tokenizer";
  }
  if (expected->key && expected->key != b->key) return "corpus";
  if (!e->fork_count && !e->before.count && !e->after.count && !e->end) return NULL;
  if (fr__text_order(f->before, e->before) || fr__text_order(f->after, e->after)) return "text around the question";
  for (int i = 0; e->turns && i < 8; i++)
    if (!f->turns || fr__text_order(fr__turns_text(f->turns, i), fr__turns_text(e->turns, i))) return "text around turns";
  if (f->end != e->end) return "end of a trace";
  if (f->fork_count != e->fork_count) return "number of forks";
  for (fr_int i = 0; i < e->fork_count; i++)
    if (fr__text_order(f->forks[i], e->forks[i])) return "text of a fork";
  return NULL;
}

FR_DEF fr_status fr_bundle_place(fr_bundle *bundle, const fr_bundle *expected, const void *user, fr_int user_bytes, void *memory,
                                 fr_int bytes, fr_int *needed, fr_reason *reason)
{
  const unsigned char *from = (const unsigned char *)user, *sum;
  char *copy = NULL, *block = NULL;
  fr_tokenizer *tokenizer = NULL;
  fr_text *forks = NULL;
  fr_turns *turns = NULL;
  fr__arena arena = { NULL, 0, 0 };
  fr__both x = { NULL, NULL, 0, 0 };
  fr_tokenizer_source source;
  fr_bundle b;
  fr_int size = 0, texts;
  fr_status status;
  if (!user || (memory && !bundle) || (expected && !fr__framing_good(&expected->framing)))
    return fr__fail(reason, FR_INVALID, "there are no bytes, bundle is NULL, or a text or fork of the framing expected is not usable");
  if (user_bytes < 32 || memcmp(from, fr__bundle_magic, 8) != 0) return fr__fail(reason, FR_FORMAT, "these bytes are no bundle");
  x.in = from + 8;
  x.left = user_bytes - 32;
  sum = from + user_bytes - 8;
  if (fr__get_int(&x.in, 8) != FR__BUNDLE_VERSION)
    return fr__fail(reason, FR_UNSUPPORTED, "the bundle has another version than %d", (fr_int)FR__BUNDLE_VERSION);
  if (fr__get_int(&x.in, 8) != (uint64_t)user_bytes || fr__get_int(&sum, 8) != fr__hash(0, from, user_bytes - 8))
    return fr__fail(reason, FR_CHECKSUM, "the bundle is damaged: its length or its checksum differs");
  memset(&b, 0, sizeof b);
  memset(&source, 0, sizeof source);
  fr__bundle_fields(&x, &b, NULL, NULL);
  if (x.bad) return fr__fail(reason, FR_FORMAT, "a field of the bundle is out of range");
  texts = x.in - from;
  source.file.bytes = (const char *)x.in;
  source.file.count = x.left;
  status = fr_tokenizer_place(NULL, &source, NULL, 0, &size, reason);
  for (int placing = 0; !status && placing < 2; placing++) {
    tokenizer = (fr_tokenizer *)fr__take(&arena, 1, (fr_int)sizeof(fr_tokenizer));
    block = (char *)fr__take(&arena, size, 1);
    forks = (fr_text *)fr__take(&arena, b.framing.fork_count, (fr_int)sizeof(fr_text));
    turns = (fr_turns *)fr__take(&arena, 1, (fr_int)sizeof(fr_turns));
    copy = (char *)fr__take(&arena, texts, 1);
    if (placing == 0) status = fr__arena_open(&arena, memory, bytes, needed, reason);
    if (!memory) return status;
  }
  if (!status) status = fr_tokenizer_place(tokenizer, &source, block, size, NULL, reason);
  if (status) return status;
  memcpy(copy, from, (size_t)texts);  // the texts are parts of it
  x.in = (const unsigned char *)copy + 24;
  x.left = texts - 24;
  fr__bundle_fields(&x, &b, forks, turns);
  b.tokenizer = tokenizer;
  b.framing.forks = forks;
  if (!fr__framing_good(&b.framing) || !fr_tokenizer_token(tokenizer, b.framing.end).bytes)
    return fr__fail(reason, FR_FORMAT, "the bundle has an empty fork, or traces end with what is no token");
  if (expected && fr__bundle_differs(&b, source.file, expected))
    return fr__fail(reason, FR_FORMAT, "the model was trained with another %s", fr__bundle_differs(&b, source.file, expected));
  *bundle = b;
  return fr__fine(reason);
}

#if !defined(FR_NO_STDIO) && !defined(FR_NO_MALLOC)
FR_DEF fr_status fr_bundle_save(const char *path, const fr_bundle *bundle, const fr_model *model, const fr_adamw *adamw,
                                fr_reason *reason)
{
  void *memory;
  fr_int bytes;
  fr_status status = fr_bundle_write(bundle, NULL, 0, &bytes, reason);
  if (status) return status;
  memory = FR_MALLOC((size_t)bytes);
  if (!memory) return fr__fail(reason, FR_MEMORY, "no memory for a bundle of %d bytes", bytes);
  status = fr_bundle_write(bundle, memory, bytes, &bytes, reason);
  if (!status) status = fr_checkpoint_save(path, model, adamw, memory, bytes, reason);
  FR_FREE(memory);
  return status;
}

FR_DEF fr_status fr_bundle_load(const char *path, const fr_bundle *expected, fr_bundle *bundle, fr_model *model, fr_adamw *adamw,
                                fr_reason *reason)
{
  fr_checkpoint info;
  void *user, *memory = NULL;
  fr_int bytes = 0;
  fr_status status;
  if (!bundle || !model || bundle == expected)
    return fr__fail(reason, FR_INVALID, "bundle or model is NULL, or bundle is itself what is expected");
  memset(bundle, 0, sizeof *bundle);
  memset(model, 0, sizeof *model);
  if (adamw) memset(adamw, 0, sizeof *adamw);
  status = fr_checkpoint_load(path, &info, NULL, NULL, NULL, 0, reason);
  if (status) return status;
  user = FR_MALLOC((size_t)info.user_bytes + 1);
  if (!user || fr_model_new(model, &info.config) || (adamw && fr_adamw_new(adamw, model)))
    status = fr__fail(reason, FR_MEMORY, "no memory for the model in %s", path);
  if (!status) status = fr_checkpoint_load(path, NULL, model, adamw, user, info.user_bytes, reason);
  if (!status) status = fr_bundle_place(NULL, expected, user, info.user_bytes, NULL, 0, &bytes, reason);
  if (!status && !(memory = FR_MALLOC((size_t)bytes))) status = fr__fail(reason, FR_MEMORY, "no memory for %d bytes", bytes);
  if (!status) status = fr_bundle_place(bundle, expected, user, info.user_bytes, memory, bytes, NULL, reason);
  if (!status) bundle->owned = memory;
  else if (memory) FR_FREE(memory);
  if (user) FR_FREE(user);
  if (status) { fr_model_free(model); fr_adamw_free(adamw); }
  return status;
}
#endif

// ---- >>pretrained -------------------------------------------------------------------------------------
// Models that others made. A file is a list of named tensors. Each name is looked up in one table, which has the two ways to spell
// it and where it goes in our parameters; the readers differ only in how they come to that list and to the config.
//
//    part        Hugging Face                       GGUF                   goes to    rows  cols
#define FR__PARTS(P)                                                                              \
  P(NORM_ATT,   "input_layernorm.weight",          "attn_norm.weight",    norm_att,   1,  C)      \
  P(Q,          "self_attn.q_proj.weight",         "attn_q.weight",       w_qkv,      HD, C)      \
  P(K,          "self_attn.k_proj.weight",         "attn_k.weight",       w_qkv,      KD, C)      \
  P(V,          "self_attn.v_proj.weight",         "attn_v.weight",       w_qkv,      KD, C)      \
  P(Q_BIAS,     "self_attn.q_proj.bias",           "attn_q.bias",         b_qkv,      HD, 1)      \
  P(K_BIAS,     "self_attn.k_proj.bias",           "attn_k.bias",         b_qkv,      KD, 1)      \
  P(V_BIAS,     "self_attn.v_proj.bias",           "attn_v.bias",         b_qkv,      KD, 1)      \
  P(NORM_Q,     "self_attn.q_norm.weight",         "attn_q_norm.weight",  norm_q,     1,  D)      \
  P(NORM_K,     "self_attn.k_norm.weight",         "attn_k_norm.weight",  norm_k,     1,  D)      \
  P(OUT,        "self_attn.o_proj.weight",         "attn_output.weight",  w_out,      C,  HD)     \
  P(NORM_MLP,   "post_attention_layernorm.weight", "ffn_norm.weight",     norm_mlp,   1,  C)      \
  P(GATE,       "mlp.gate_proj.weight",            "ffn_gate.weight",     w_gate_up,  F,  C)      \
  P(UP,         "mlp.up_proj.weight",              "ffn_up.weight",       w_gate_up,  F,  C)      \
  P(DOWN,       "mlp.down_proj.weight",            "ffn_down.weight",     w_down,     C,  F)      \
  P(EMBEDDING,  "model.embed_tokens.weight",       "token_embd.weight",   tok_emb,    V,  C)      \
  P(NORM_FINAL, "model.norm.weight",               "output_norm.weight",  norm_final, 1,  C)      \
  P(HEAD,       "lm_head.weight",                  "output.weight",       head,       V,  C)
enum {
#define FR__INDEX(part, hf, gguf, tensor, rows, cols) FR__PART_##part,
  FR__PARTS(FR__INDEX)
#undef FR__INDEX
  FR__PART_COUNT, FR__LAYER_PARTS = FR__PART_EMBEDDING  // the others are the model's
};
typedef struct fr__part_row {
  const char *name[2];
  int    tensor, vector, there;  // there: the config has it
  fr_int rows, cols, before;  // floats of the tensor that stand before it
} fr__part_row;

FR__SELDOM void fr__part_rows(fr__part_row part[FR__PART_COUNT], const fr_config *c)
{
  const fr_int C = c->dim, D = c->head_dim, HD = c->heads * D, KD = c->kv_heads * D, F = c->ffn, V = c->vocab;
#define FR__SET(name_, hf, gguf, tensor_, rows_, cols_)                                                                     \
  part[FR__PART_##name_].name[0] = hf; part[FR__PART_##name_].name[1] = gguf; part[FR__PART_##name_].tensor = FR__AT_##tensor_; \
  part[FR__PART_##name_].rows = rows_; part[FR__PART_##name_].cols = cols_;
  FR__PARTS(FR__SET)
#undef FR__SET
  for (int i = 0; i < FR__PART_COUNT; i++) {
    const int same = i && part[i].tensor == part[i - 1].tensor;
    part[i].before = same ? part[i - 1].before + part[i - 1].rows * part[i - 1].cols : 0;
    part[i].vector = part[i].rows == 1 || part[i].cols == 1;
    part[i].there = part[i].tensor == FR__AT_b_qkv ? c->qkv_bias : part[i].tensor == FR__AT_head ? !c->tied :
                    part[i].tensor != FR__AT_norm_q && part[i].tensor != FR__AT_norm_k ? 1 : c->qk_norm;
  }
}

static const char *const fr__families[] = { "llama", "qwen2", "qwen3", NULL };

// A tensor of a file. slot: layer * FR__PART_COUNT + part, those of the model with layer 0; -1: it is none of the parts.
typedef struct fr__named {
  fr_text name;
  const unsigned char *at;
  fr_int bytes, rows, cols, slot;
  int type, rank, shard;  // rank 0, 1, 2 or more; rows and cols are those of rank 1 (one row) and 2
  fr_fit fit;
} fr__named;

enum { FR__SOME = 256 };  // values at a time, a multiple of every block
struct fr__pretrained {
  fr__part_row part[FR__PART_COUNT];
  fr__named *named;    // [count], room for limit
  fr_int *places_of;       // [slot_count] index of the tensor, or -1
  fr_int *missing;     // places_of that are to be filled and are not
  fr_int *names, *next;  // scratch: names of open objects and their links; to sort tensors
  char   *strings;
  fr_int  count, limit, slot_count, slot_limit, string_bytes, string_limit;
  int     spelling;    // 0 Hugging Face's, 1 GGUF's
  int     interleaved; // rows of q and k stand as for rope on neighbours: 2j, 2j+1 and not j, j + D/2
};

typedef struct fr__reading {
  const fr_pretrained_source *source;
  fr_pretrained         p;
  struct fr__pretrained b;
  fr_reason            *reason;
  fr_text               text;   // of the JSON file that is read,
  fr__json              json;   // where, with its first error,
  const char           *lacks;  // and what it does not have
} fr__reading;

// Puts the file before what has been said.
FR__SELDOM fr_status fr__said_of(fr__reading *r, fr_status status, const char *file)
{
  fr_reason said;
  if (!r->reason) return status;
  said = *r->reason;
  return fr__fail(r->reason, status, "%s: %s", file, said.text);
}

static int fr__open_name(const fr__reading *r, const char *name, fr_text *text)
{
  text->bytes = NULL;
  text->count = 0;
  return r->source->open && r->source->open(r->source->user, name, text) && text->bytes && text->count >= 0;
}

// The slot of a name, which may be any bytes; the number of a layer has no zeros before it.
FR__SELDOM fr_int fr__slot_of(const fr__reading *r, const char *name, fr_int count)
{
  const char *const before = r->b.spelling ? "blk." : "model.layers.";
  const fr_int length = (fr_int)strlen(before), layers = r->p.config.layers;
  fr_int at = length, layer = 0;
  const int inside = count > length && memcmp(name, before, (size_t)length) == 0;
  if (inside) {
    for (; at < count && name[at] >= '0' && name[at] <= '9' && layer < layers; at++) layer = 10 * layer + name[at] - '0';
    if (at == length || at == count || name[at] != '.' || layer >= layers || (name[length] == '0' && at > length + 1)) return -1;
    name += at + 1;
    count -= at + 1;
  }
  for (int i = inside ? 0 : FR__LAYER_PARTS; i < (inside ? FR__LAYER_PARTS : FR__PART_COUNT); i++) {
    const char *known = r->b.part[i].name[r->b.spelling];
    if ((fr_int)strlen(known) == count && memcmp(known, name, (size_t)count) == 0) return layer * FR__PART_COUNT + i;
  }
  return -1;
}

FR__SELDOM void fr__slot_name(const fr__part_row part[FR__PART_COUNT], int spelling, fr_int slot, fr_reason *name)
{
  const char *last = part[slot % FR__PART_COUNT].name[spelling];
  if (slot % FR__PART_COUNT >= FR__LAYER_PARTS) fr__fail(name, FR_OK, "%s", last);
  else fr__fail(name, FR_OK, "%s%d.%s", spelling ? "blk." : "model.layers.", slot / FR__PART_COUNT, last);
}

// Has the model something in this slot?
static int fr__slot_there(const fr__part_row part[FR__PART_COUNT], fr_int slot)
{
  return part[slot % FR__PART_COUNT].there && (slot < FR__PART_COUNT || slot % FR__PART_COUNT < FR__LAYER_PARTS);
}

// -- JSON of models
// A number as a double, exact for what configs hold.
FR__SELDOM double fr__json_real(const fr__json *json)
{
  const char *at = json->text + json->token.start, *end = at + json->token.count;
  const int negative = *at == '-';
  int exponent = 0, written = 0, fraction = 0, down;
  double value = 0.0;
  for (at += negative; at < end && (*at | 32) != 'e'; at++) {
    if (*at == '.') { fraction = 1; continue; }
    value = 10.0 * value + (double)(*at - '0');
    exponent -= fraction;
  }
  down = at < end && at[1] == '-';
  for (at++; at < end; at++) if (*at >= '0') written = written < 9999 ? 10 * written + (*at - '0') : written;
  exponent += down ? -written : written;
  value = exponent < 0 ? value / pow(10.0, -(double)exponent) : value * pow(10.0, (double)exponent);
  return negative ? -value : value;
}

// The value of a name in the object of a file, or in the object `outer` in it: its kind, 0 if there is none. The first error of a
// file stays in r->json, and ends all search in it.
FR__SELDOM char fr__find(fr__reading *r, const char *outer, const char *name)
{
  fr__json *json = &r->json;
  if (json->status) return 0;
  fr__json_start(json, r->text.bytes, 0, r->text.count, 1, r->b.names, r->b.limit);
  fr__json_next(json);
  while (fr__json_next(json) == 'k') {
    const int here = fr__json_is(json, json->token, outer ? outer : name);
    const char kind = fr__json_next(json);
    if (here && !outer) return kind;
    if (here && kind == '{') outer = NULL;
    else fr__json_skip(json);
  }
  return 0;
}

static void fr__find_wrong(fr__reading *r, fr_status status, const char *wrong)
{
  fr__json_wrong(&r->json, status, r->json.token.start, wrong);
}

// A whole number above 0; `otherwise` if there is none, or null, and -1: there has to be one.
FR__SELDOM fr_int fr__find_size(fr__reading *r, const char *outer, const char *name, fr_int otherwise)
{
  const char kind = fr__find(r, outer, name);
  const fr_int value = fr__json_whole(r->json.text, r->json.token);
  if (otherwise >= 0 && (!kind || kind == 'n')) return otherwise;
  if (!kind && !r->json.status) r->lacks = name;
  if (!kind || value < 1 || value > 0x7fffffff) fr__find_wrong(r, FR_FORMAT, "a whole number above 0, and below 2^31, was expected");
  return value;
}

FR__SELDOM float fr__find_real(fr__reading *r, const char *outer, const char *name, float otherwise)
{
  const char kind = fr__find(r, outer, name);
  const float value = kind == '0' ? (float)fr__json_real(&r->json) : 0.0f;
  if (!kind && otherwise > 0.0f) return otherwise;
  if (!kind && !r->json.status) r->lacks = name;
  if (!fr__positive(value)) fr__find_wrong(r, FR_FORMAT, "a number above 0 was expected");
  return value;
}

static int fr__find_flag(fr__reading *r, const char *name)
{
  const char kind = fr__find(r, NULL, name);
  if (kind && kind != 't' && kind != 'f') fr__find_wrong(r, FR_FORMAT, "true or false was expected");
  return kind == 't';
}

// Which of the words it is; -1: none of them, which is refused, or it is not there.
FR__SELDOM int fr__find_word(fr__reading *r, const char *outer, const char *name, const char *const *words, const char *complaint)
{
  const char kind = fr__find(r, outer, name);
  int i = 0;
  while (kind && words[i] && !(kind == '"' && fr__json_is(&r->json, r->json.token, words[i]))) i++;
  if (kind && words[i]) return i;
  if (kind) fr__find_wrong(r, FR_UNSUPPORTED, complaint);
  return -1;
}

// End tokens: one id, a list of them, or null.
FR__SELDOM void fr__find_ends(fr__reading *r)
{
  const int list = fr__find(r, NULL, "eos_token_id") == '[';
  fr_pretrained *p = &r->p;
  while (!r->json.status && strchr("[,0", r->json.token.kind) && (!list || fr__json_next(&r->json) != ']')) {
    const fr_int id = fr__json_whole(r->json.text, r->json.token);
    fr_int known = 0;
    while (known < p->end_count && p->ends[known] != id) known++;
    if (id < 0 || id > 0x7ffffffe) fr__find_wrong(r, FR_FORMAT, "a token id was expected");
    else if (known == FR_ENDS) fr__find_wrong(r, FR_LIMIT, "more than 8 end tokens");
    else p->ends[known] = (fr_token)id;
    if (known == p->end_count) p->end_count++;
    if (!list) break;
  }
}

FR__SELDOM void fr__find_config(fr__reading *r)
{
  static const char *const silu[] = { "silu", NULL };
  static const char *const ropes[] = { "default", "llama3", NULL };
  static const char rope[] = "a rope_type other than default and llama3 is not supported";
  const char *const renamed = fr__find(r, NULL, "rope_parameters") == '{' ? "rope_parameters" : NULL;
  const char *const scaling = renamed ? renamed : "rope_scaling";
  const int family = fr__find_word(r, NULL, "model_type", fr__families, "a model_type other than llama, qwen2 and qwen3 is not supported");
  fr_config *c = &r->p.config;
  int type;
  if (family < 0 && !r->json.status) r->lacks = "model_type";
  if (family < 0) fr__find_wrong(r, FR_FORMAT, "");
  else r->p.family = fr__families[family];
  c->layers = fr__find_size(r, NULL, "num_hidden_layers", -1);
  c->dim = fr__find_size(r, NULL, "hidden_size", -1);
  c->heads = fr__find_size(r, NULL, "num_attention_heads", -1);
  c->kv_heads = fr__find_size(r, NULL, "num_key_value_heads", 0);
  c->head_dim = fr__find_size(r, NULL, "head_dim", family == 2 ? 128 : 0);
  c->ffn = fr__find_size(r, NULL, "intermediate_size", -1);
  c->vocab = fr__find_size(r, NULL, "vocab_size", -1);
  c->norm_eps = fr__find_real(r, NULL, "rms_norm_eps", 1e-6f);
  c->rope_theta = fr__find_real(r, renamed, "rope_theta", fr__find_real(r, NULL, "rope_theta", 10000.0f));
  type = fr__find_word(r, scaling, "rope_type", ropes, rope);
  if (type < 0) type = fr__find_word(r, scaling, "type", ropes, rope);
  if (type < 0 && fr__find(r, scaling, "factor")) fr__find_wrong(r, FR_FORMAT, "a factor of rope without a rope_type");
  if (type == 1) {
    c->rope_factor = fr__find_real(r, scaling, "factor", -1.0f);
    c->rope_low = fr__find_real(r, scaling, "low_freq_factor", -1.0f);
    c->rope_high = fr__find_real(r, scaling, "high_freq_factor", -1.0f);
    c->rope_original = fr__find_size(r, scaling, "original_max_position_embeddings", -1);
  }
  c->tied = fr__find_flag(r, "tie_word_embeddings");
  c->qkv_bias = family == 1;
  c->qk_norm = family == 2;
  r->p.context = fr__find_size(r, NULL, "max_position_embeddings", 2048);
  fr__find_word(r, NULL, "hidden_act", silu, "a hidden_act other than silu is not supported");
  if (fr__find_flag(r, "use_sliding_window")) fr__find_wrong(r, FR_UNSUPPORTED, "a sliding window is not supported");
  if (fr__find_flag(r, "mlp_bias")) fr__find_wrong(r, FR_UNSUPPORTED, "biases in the MLP are not supported");
  if (family != 1 && fr__find_flag(r, "attention_bias"))
    fr__find_wrong(r, FR_UNSUPPORTED, "attention_bias, which puts one on o_proj, too, is not supported");
  if (fr__find(r, NULL, "quantization_config") == '{') fr__find_wrong(r, FR_UNSUPPORTED, "quantised weights are read from GGUF");
  if (fr__find(r, NULL, "layer_types") == '[')
    while (fr__json_next(&r->json) == '"')
      if (!fr__json_is(&r->json, r->json.token, "full_attention"))
        fr__find_wrong(r, FR_UNSUPPORTED, "a layer type other than full_attention is not supported");
  if (fr__find(r, NULL, "bos_token_id") == '0') {
    const fr_int id = fr__json_whole(r->json.text, r->json.token);
    if (id < 0 || id > 0x7ffffffe) fr__find_wrong(r, FR_FORMAT, "a token id was expected");
    else r->p.begin = (fr_token)id;
  }
}

// A string, decoded.
static fr_text fr__find_text(fr__reading *r, const char *outer, const char *name)
{
  fr_text text = { NULL, 0 };
  if (fr__find(r, outer, name) != '"') return text;
  text.bytes = r->b.strings + r->b.string_bytes;
  text.count = fr__json_copy(r->json.text, r->json.token, r->b.strings + r->b.string_bytes);
  r->b.string_bytes += text.count;
  return text;
}

// Opens a JSON file of a folder, an object, and checks all of it; then fr__find looks into it.
FR__SELDOM void fr__json_open(fr__reading *r, const char *name)
{
  fr__json *json = &r->json;
  const int there = fr__open_name(r, name, &r->text);
  r->lacks = there ? NULL : "file of this name";
  fr__json_start(json, r->text.bytes, 0, r->text.count, 1, r->b.names, r->b.limit);
  if (!there || fr__json_next(json) != '{') fr__json_wrong(json, FR_FORMAT, json->token.start, "an object was expected");
  while (!json->status && fr__json_next(json) != '$') {}
}

FR__SELDOM fr_status fr__json_done(fr__reading *r, const char *name)
{
  if (!r->json.status) return FR_OK;
  if (r->lacks) return fr__fail(r->reason, FR_FORMAT, "%s: there is no %s", name, r->lacks);
  return fr__said_of(r, fr__json_fail(&r->json, r->reason), name);
}

// -- the tensors of a file
static int fr__ends_with(fr_text text, const char *end)
{
  const fr_int count = (fr_int)strlen(end);
  return text.count >= count && !memcmp(text.bytes + text.count - count, end, (size_t)count);
}

// One more, found: where it goes, and whether it has the shape for it.
FR__SELDOM fr_status fr__take_tensor(fr__reading *r, const fr__named *found)
{
  struct fr__pretrained *b = &r->b;
  fr__named *t = b->named + b->count;
  fr_reason name;
  if (b->count == b->limit) return fr__fail(r->reason, FR_LIMIT, "more tensors than the files can hold");
  *t = *found;
  t->slot = fr__slot_of(r, t->name.bytes, t->name.count);
  t->fit = t->slot < 0 && !fr__ends_with(t->name, "rotary_emb.inv_freq") ? FR_LEFT_OVER : FR_FITS;  // a buffer of old files
  if (t->slot >= 0 && b->places_of[t->slot] >= 0) {
    fr__slot_name(b->part, b->spelling, t->slot, &name);
    return fr__fail(r->reason, FR_FORMAT, "%s is there twice", name.text);
  }
  if (t->slot >= 0) b->places_of[t->slot] = b->count;
  b->count++;
  return FR_OK;
}

static int fr__begins_later(const void *context, fr_int a, fr_int b)
{
  const fr__named *x = (const fr__named *)context + a, *y = (const fr__named *)context + b;
  return x->at != y->at ? (x->at > y->at ? 1 : -1) : x->bytes > y->bytes;
}

// What a safetensors file says of one tensor, whose '{' is next; its data are at most `most` bytes.
FR__SELDOM void fr__safetensor(fr__reading *r, fr__named *t, const unsigned char *data, fr_int most)
{
  static const char *const fields[] = { "dtype", "shape", "data_offsets" };
  static const int types[] = { FR__F32, FR__F16, FR__BF16 };
  fr__json *json = &r->json;
  fr_int place[2] = { -1, -1 }, count = 1, offsets = 0;
  if (fr__json_next(json) != '{') fr__find_wrong(r, FR_FORMAT, "an object was expected");
  while (fr__json_next(json) == 'k') {
    const fr__json_token name = json->token;
    const char kind = fr__json_next(json);
    int field = 0, type = 0;
    while (field < 3 && !fr__json_is(json, name, fields[field])) field++;
    if (field == 3 || kind != (field ? '[' : '"')) fr__find_wrong(r, FR_FORMAT, "a dtype, a shape or data_offsets was expected");
    while (field == 0 && type < 3 && !fr__json_is(json, json->token, fr__types[types[type]].name)) type++;
    if (type == 3) fr__find_wrong(r, FR_UNSUPPORTED, "a dtype other than F32, F16 and BF16 is not supported");
    else if (field == 0) t->type = types[type];
    for (fr_int i = 0; field && !json->status && fr__json_next(json) != ']'; i++) {
      const fr_int size = fr__json_whole(json->text, json->token);
      if (size < 0 || (field == 1 ? size == FR__INT_MAX || !fr__mul(count, size, &count) : i > 1 || size > most))
        fr__find_wrong(r, FR_FORMAT, "this is no size, or no place");
      else if (field == 2) { place[i] = size; offsets = i + 1; }
      else { t->rows = i ? t->cols : 1; t->cols = size; }
      if (field == 1) t->rank = (int)fr__min(i + 1, 9);
    }
    if (field == 1 && t->rank < 0) t->rank = 0;
  }
  json->token.start = t->name.bytes - json->text;
  if (t->type < 0 || t->rank < 0 || offsets != 2) fr__find_wrong(r, FR_FORMAT, "it has no dtype, no shape or no data_offsets");
  else if (place[0] > place[1] || !fr__mul(count, fr__types[t->type].bytes, &count) || place[1] - place[0] != count)
    fr__find_wrong(r, FR_FORMAT, "its data_offsets do not give the bytes of its shape");
  t->bytes = count;
  t->at = data + (json->status ? 0 : place[0]);
}

// safetensors: u64 N, N bytes of JSON, data. Tensors lie side by side up to the end of the file.
FR__SELDOM fr_status fr__safetensors(fr__reading *r, const char *file, fr_text text, int shard)
{
  const unsigned char *p = (const unsigned char *)text.bytes, *data;
  struct fr__pretrained *b = &r->b;
  const fr_int first = b->count;
  fr__json *json = &r->json;
  const uint64_t head = text.count >= 8 ? fr__get_int(&p, 8) : 0;
  fr_int left;
  if (text.count < 8 || head > 100000000 || head > (uint64_t)(text.count - 8))
    return fr__fail(r->reason, FR_FORMAT, "%s: no safetensors file: its head would be above 100,000,000 bytes, or longer than it", file);
  data = p + head;
  left = text.count - 8 - (fr_int)head;
  r->lacks = NULL;
  fr__json_start(json, text.bytes, 8, 8 + (fr_int)head, 1, b->names, b->limit);
  if (!head || text.bytes[8] != '{' || fr__json_next(json) != '{') fr__json_wrong(json, FR_FORMAT, 8, "'{' was expected");
  while (fr__json_next(json) == 'k') {
    fr__named t;
    memset(&t, 0, sizeof t);
    t.rank = t.type = -1;
    t.name.bytes = text.bytes + json->token.start;
    t.name.count = json->token.count;
    t.shard = shard;
    if (fr__json_is(json, json->token, "__metadata__")) {
      if (fr__json_next(json) != '{') fr__find_wrong(r, FR_FORMAT, "an object was expected");
      while (fr__json_next(json) == 'k')
        if (fr__json_next(json) != '"') fr__find_wrong(r, FR_FORMAT, "a string was expected");
      continue;
    }
    fr__safetensor(r, &t, data, left);
    if (!json->status && fr__take_tensor(r, &t)) return fr__said_of(r, FR_FORMAT, file);
  }
  fr__json_next(json);
  if (json->status) return fr__json_done(r, file);
  for (fr_int i = first; i < b->count; i++) b->next[i] = i + 1 < b->count ? i + 1 : -1;
  for (fr_int i = first < b->count ? fr__sort(first, b->next, fr__begins_later, b->named) : -1; i >= 0; i = b->next[i]) {
    if (b->named[i].at != data) return fr__fail(r->reason, FR_FORMAT, "%s: the data have a gap, or tensors overlap", file);
    data += b->named[i].bytes;
    left -= b->named[i].bytes;
  }
  return left ? fr__fail(r->reason, FR_FORMAT, "%s: %d bytes follow the last tensor", file, left) : FR_OK;
}

// A folder in shards: model.safetensors.index.json has under weight_map the file of each tensor.
FR__SELDOM fr_status fr__shards(fr__reading *r)
{
  enum { SHARDS = 128, NAME = 128 };
  static const char index[] = "model.safetensors.index.json";
  struct fr__pretrained *b = &r->b;
  fr__json *json = &r->json;
  fr_text shard[SHARDS];
  fr_int listed = 0;
  int count = 0;
  fr_status status = FR_OK;
  for (int look = 0; !status && look < 2; look++) {  // which files there are; then, when they are read, what is in which
    fr__json_open(r, index);
    if (fr__find(r, NULL, "weight_map") != '{') fr__find_wrong(r, FR_FORMAT, "there is no weight_map");
    while (!json->status && fr__json_next(json) == 'k') {
      const fr_int slot = look ? fr__slot_of(r, json->text + json->token.start, json->token.count) : -1;
      fr_text text = { NULL, 0 };
      char name[NAME];
      int which = 0;
      if (fr__json_next(json) == '"' && json->token.count < NAME) {
        name[fr__json_copy(json->text, json->token, name)] = 0;
        if (!strchr(name, '/') && !strchr(name, '\\') && !strchr(name, ':') && name[0] != '.') fr__open_name(r, name, &text);
      }
      while (which < count && shard[which].bytes != text.bytes) which++;
      listed += look;
      if (!text.bytes) fr__find_wrong(r, FR_FORMAT, "there is no such file in this folder");
      else if (which == SHARDS) fr__find_wrong(r, FR_LIMIT, "more than 128 files");
      else if (slot >= 0 && (b->places_of[slot] < 0 || b->named[b->places_of[slot]].shard != which))
        fr__find_wrong(r, FR_FORMAT, "the tensor is not in this file");
      else if (which == count) shard[count++] = text;
    }
    status = fr__json_done(r, index);
    for (int i = 0; !status && !look && i < count; i++) status = fr__safetensors(r, "a file of the index", shard[i], i);
  }
  if (!status && listed != b->count)
    status = fr__fail(r->reason, FR_FORMAT, "%s: it lists %d tensors, its files have %d", index, listed, b->count);
  return status;
}

// When the config is known: checks it, and makes room for its tensors, of which there are at least nine a layer.
FR__SELDOM fr_status fr__config_known(fr__reading *r, const char *file)
{
  struct fr__pretrained *b = &r->b;
  fr_config *c = &r->p.config;
  const fr_status status = fr_config_check(c, c, r->reason);
  if (status) return fr__said_of(r, status, file);
  if (c->layers > b->slot_limit / FR__PART_COUNT)
    return fr__fail(r->reason, FR_FORMAT, "%s: %d layers, but the weights have no more than %d tensors", file, c->layers, b->limit);
  b->slot_count = c->layers * FR__PART_COUNT;
  fr__part_rows(b->part, c);
  for (fr_int i = 0; i < b->slot_count; i++) b->places_of[i] = -1;
  return FR_OK;
}

FR__SELDOM fr_status fr__folder(fr__reading *r)
{
  static const char *const files[] = { "config.json", "generation_config.json", "tokenizer_config.json" };
  fr_text text;
  fr_status status;
  for (int i = 0; i < 3; i++) {
    if (!fr__open_name(r, files[i], &text) && i) continue;
    fr__json_open(r, files[i]);
    if (i == 0) fr__find_config(r);
    if (i < 2) fr__find_ends(r);
    if (i == 2) r->p.chat = fr__find_text(r, NULL, "chat_template");
    if (i == 2) r->p.end = fr__find_text(r, NULL, "eos_token");
    if (i == 2 && !r->p.end.count) r->p.end = fr__find_text(r, "eos_token", "content");
    status = fr__json_done(r, files[i]);
    if (!status && i == 0) status = fr__config_known(r, files[i]);
    if (status) return status;
  }
  if (fr__open_name(r, "chat_template.jinja", &text)) r->p.chat = text;
  if (fr__open_name(r, "model.safetensors", &text)) return fr__safetensors(r, "model.safetensors", text, 0);
  if (fr__open_name(r, "model.safetensors.index.json", &text)) return fr__shards(r);
  return fr__fail(r->reason, FR_FORMAT, "there is no model.safetensors, and no model.safetensors.index.json");
}

// -1: the tables of rope
static const signed char fr__llama2c_order[] = { FR__PART_EMBEDDING, FR__PART_NORM_ATT, FR__PART_Q, FR__PART_K, FR__PART_V,
  FR__PART_OUT, FR__PART_NORM_MLP, FR__PART_GATE, FR__PART_DOWN, FR__PART_UP, FR__PART_NORM_FINAL, -1, FR__PART_HEAD };

// llama2.c, version 0: seven int32, then floats, each tensor for all layers before the next. Rope turns neighbours; eps and theta
// are not in the file.
FR__SELDOM fr_status fr__llama2c(fr__reading *r)
{
  enum { TABLES = -1 };
  const signed char *const order = fr__llama2c_order;
  const fr_text file = r->source->file;
  const unsigned char *at = (const unsigned char *)file.bytes;
  struct fr__pretrained *b = &r->b;
  fr_config *c = &r->p.config;
  fr_int *const sizes[] = { &c->dim, &c->ffn, &c->layers, &c->heads, &c->kv_heads, &c->vocab, &r->p.context };
  fr_int left = (file.count - 28) / 4;
  fr_status status;
  int bad = file.count < 28 || file.count % 4;
  for (int i = 0; !bad && i < 7; i++) *sizes[i] = (fr_int)(int32_t)(uint32_t)fr__get_int(&at, 4);
  c->tied = c->vocab > 0;
  if (c->vocab < 0) c->vocab = -c->vocab;
  for (int i = 0; !bad && i < 7; i++) bad = *sizes[i] < 1;
  if (bad || c->dim % c->heads)
    return fr__fail(r->reason, FR_FORMAT, "the file is neither a GGUF nor a model of llama2.c, version 0");
  r->p.family = "llama";
  status = fr__config_known(r, "the model of llama2.c");
  if (status) return status;
  b->interleaved = 1;
  for (int i = 0; i < (c->tied ? 12 : 13); i++) {
    const fr__part_row *of = b->part + (order[i] == TABLES ? 0 : order[i]);
    const fr_int copies = order[i] == TABLES || order[i] >= FR__LAYER_PARTS ? 1 : c->layers;
    fr_int floats;
    if (!fr__mul(order[i] == TABLES ? r->p.context : of->rows, order[i] == TABLES ? c->head_dim : of->cols, &floats) ||
        floats > left / copies)
      return fr__fail(r->reason, FR_FORMAT, "the model of llama2.c ends too early for %d layers of %d channels", c->layers, c->dim);
    for (fr_int l = 0; l < copies; l++, at += 4 * floats, left -= floats) {
      fr__named *t = b->named + b->count;
      if (order[i] == TABLES) continue;
      memset(t, 0, sizeof *t);
      t->slot = l * FR__PART_COUNT + order[i];
      t->at = at;
      t->rank = of->vector ? 1 : 2;
      t->rows = of->rows;
      t->cols = of->cols;
      t->bytes = 4 * floats;
      b->places_of[t->slot] = b->count++;
    }
  }
  return left ? fr__fail(r->reason, FR_FORMAT, "%d bytes follow the last tensor of the model of llama2.c", 4 * left) : FR_OK;
}

// rope_freqs.weight divides the frequencies. llama3 scaling is what its formula explains: low 1, high 4 and an original context that
// is a power of two.
FR__SELDOM fr_status fr__gguf_rope(fr__reading *r, const fr__named *t)
{
  const fr_int count = t->cols;
  fr_config *c = &r->p.config, plain = *c;
  float divisor[FR__SOME], factor = 1.0f;
  if (count > FR__SOME || count != c->head_dim / 2 || t->rank != 1 || t->type != FR__F32)
    return fr__fail(r->reason, FR_FORMAT, "rope_freqs.weight does not have half a head of F32");
  fr__dequantize(FR__F32, t->at, count, divisor);
  for (fr_int j = 0; j < count; j++) factor = divisor[j] > factor ? divisor[j] : factor;
  if (factor == 1.0f) return FR_OK;
  c->rope_factor = factor;
  for (c->rope_original = 32; c->rope_original <= 1 << 20; c->rope_original *= 2) {
    fr_int j = 0;
    while (j < count && fabs(fr__rope_frequency(&plain, j) / fr__rope_frequency(c, j) / (double)divisor[j] - 1.0) < 1e-5) j++;
    if (j == count) return FR_OK;
  }
  return fr__fail(r->reason, FR_UNSUPPORTED, "rope_freqs.weight is no scaling as llama3's, with low 1 and high 4");
}

// A GGUF: keys under the name of the architecture, tensors side by side. Rope of llama turns neighbours there.
FR__SELDOM fr_status fr__gguf_model(fr__reading *r)
{
  static const char *const ends[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id" };
  struct fr__pretrained *b = &r->b;
  fr_pretrained *p = &r->p;
  fr_config *c = &p->config;
  fr__gguf g;
  fr__gguf_value v;
  fr_text text;
  fr__named t, freqs;
  const fr_text file = r->source->file;
  const unsigned char *infos;
  fr_int place = 0, data;
  fr_status status = fr__gguf_open(&g, file, r->reason);
  if (status) return status;
  infos = g.at;
  text = fr__gguf_string(&g, "general.architecture");
  for (int i = 0; i < 3; i++) if (text.count == 5 && !memcmp(text.bytes, fr__families[i], 5)) g.family = p->family = fr__families[i];
  if (!p->family) fr__gguf_wrong(&g, FR_UNSUPPORTED, "an architecture other than llama, qwen2 and qwen3 is not supported");
  if (g.status) return g.status;
  c->layers = fr__gguf_above(&g, ".block_count", -1);
  c->dim = fr__gguf_above(&g, ".embedding_length", -1);
  c->heads = fr__gguf_above(&g, ".attention.head_count", -1);
  c->kv_heads = fr__gguf_above(&g, ".attention.head_count_kv", c->heads);
  c->head_dim = fr__gguf_above(&g, ".attention.key_length", c->heads > 0 && c->dim % c->heads == 0 ? c->dim / c->heads : -1);
  c->ffn = fr__gguf_above(&g, ".feed_forward_length", -1);
  p->context = fr__gguf_above(&g, ".context_length", -1);
  c->norm_eps = fr__gguf_real(&g, ".attention.layer_norm_rms_epsilon", -1.0f);
  c->rope_theta = fr__gguf_real(&g, ".rope.freq_base", 10000.0f);
  c->vocab = fr__gguf_find(&g, "tokenizer.ggml.tokens", &v) ? v.count : fr__gguf_above(&g, ".vocab_size", -1);
  if (fr__gguf_size(&g, ".attention.value_length", c->head_dim) != c->head_dim ||
      fr__gguf_size(&g, ".rope.dimension_count", c->head_dim) != c->head_dim)
    fr__gguf_wrong(&g, FR_UNSUPPORTED, "a number other than key_length is not supported");
  if (fr__gguf_size(&g, ".expert_count", 0)) fr__gguf_wrong(&g, FR_UNSUPPORTED, "experts are not supported");
  if (fr__gguf_size(&g, ".attention.sliding_window", 0)) fr__gguf_wrong(&g, FR_UNSUPPORTED, "a sliding window is not supported");
  if (fr__gguf_real(&g, ".rope.scaling.factor", 1.0f) != 1.0f || fr__gguf_real(&g, ".rope.scale_linear", 1.0f) != 1.0f)
    fr__gguf_wrong(&g, FR_UNSUPPORTED, "only the scaling of llama3 is supported, and it stands in rope_freqs.weight");
  text = fr__gguf_string(&g, ".rope.scaling.type");
  if (text.count && (text.count != 4 || memcmp(text.bytes, "none", 4)))
    fr__gguf_wrong(&g, FR_UNSUPPORTED, "a type other than none is not supported; the scaling of llama3 stands in rope_freqs.weight");
  for (int i = 0; i < 2; i++) {
    p->ends[p->end_count] = (fr_token)fr__gguf_size(&g, ends[i], -1);
    if (p->ends[p->end_count] >= 0 && (!p->end_count || p->ends[0] != p->ends[1])) p->end_count++;
  }
  p->begin = (fr_token)fr__gguf_size(&g, "tokenizer.ggml.bos_token_id", -1);
  p->chat = fr__gguf_string(&g, "tokenizer.chat_template");
  if (g.status) return g.status;
  b->spelling = 1;
  b->interleaved = p->family == fr__families[0];
  c->qk_norm = p->family == fr__families[2];
  c->tied = 1;
  status = fr__config_known(r, "GGUF");
  memset(&freqs, 0, sizeof freqs);
  g.at = infos;
  for (fr_int i = 0; !status && i < g.tensors; i++) {
    fr_int size = 1, at;
    uint32_t id;
    memset(&t, 0, sizeof t);
    g.name = t.name = fr__gguf_text(&g);
    t.rank = (int)fr__gguf_int(&g, 4, 4);
    if (t.name.count > 64 || t.rank < 1) fr__gguf_wrong(&g, FR_FORMAT, "a name of more than 64 bytes, or no dimension");
    for (int k = 0; k < t.rank; k++) {  // the first is the one that varies fastest
      const fr_int n = (fr_int)fr__gguf_int(&g, 8, (uint64_t)FR__INT_MAX);
      if (n < 1 || !fr__mul(size, n, &size)) fr__gguf_wrong(&g, FR_FORMAT, "a dimension that is no size");
      if (k == 0) t.cols = n;
      t.rows = k == 1 ? n : 1;
    }
    id = (uint32_t)fr__gguf_int(&g, 4, UINT32_MAX);
    while (t.type < FR__TYPES && fr__types[t.type].id != id) t.type++;
    if (t.type == FR__TYPES) { fr__gguf_wrong(&g, FR_UNSUPPORTED, "a type other than those read here, F32 to Q6_K"); t.type = 0; }
    at = (fr_int)fr__gguf_int(&g, 8, (uint64_t)FR__INT_MAX);
    if (t.cols % fr__types[t.type].weights) fr__gguf_wrong(&g, FR_FORMAT, "rows that are not whole blocks of their type");
    if (!fr__mul(size / fr__types[t.type].weights, fr__types[t.type].bytes, &t.bytes) || at != place ||
        !fr__add(place, t.bytes, &place) || place > file.count)
      fr__gguf_wrong(&g, FR_FORMAT, "its data overlap others, have a gap, are not aligned, or are not in the file");
    if ((status = g.status) != FR_OK) break;
    place = fr__round_up(place, g.alignment);
    t.at = g.start + at;  // from where the data begin, which is known when all have been read
    if (t.name.count != 17 || memcmp(t.name.bytes, "rope_freqs.weight", 17)) status = fr__take_tensor(r, &t);
    else if (freqs.rank) fr__gguf_wrong(&g, FR_FORMAT, "it is there twice");
    else freqs = t;
  }
  data = fr__round_up(g.at - g.start, g.alignment);
  for (fr_int i = freqs.rank ? -1 : 0; !status && !g.status && i < b->count; i++) {
    fr__named *of = i < 0 ? &freqs : b->named + i;
    g.name = of->name;
    if (of->at - g.start > file.count - data - of->bytes) fr__gguf_wrong(&g, FR_FORMAT, "the file ends before or in its data");
    else of->at += data;
  }
  if (g.status) return g.status;
  if (!status && freqs.rank) status = fr__gguf_rope(r, &freqs);
  c->qkv_bias = b->places_of[FR__PART_Q_BIAS] >= 0;
  c->tied = b->places_of[FR__PART_HEAD] < 0;
  return status;
}

// -- values
// Row `row` of our tensor, as floats: 256 values from column `col`.
static void fr__some(const fr_pretrained *p, const fr__named *t, fr_int row, fr_int col, float out[FR__SOME])
{
  const int part = (int)(t->slot % FR__PART_COUNT);
  const int turned = part == FR__PART_Q || part == FR__PART_K || part == FR__PART_Q_BIAS || part == FR__PART_K_BIAS;
  const fr__type_row *type = &fr__types[t->type];
  const fr_int D = p->config.head_dim, j = row % D, count = fr__min(FR__SOME, t->cols - col);
  if (turned && p->body->interleaved) row += (j < D / 2 ? 2 * j : 2 * j + 1 - D) - j;
  fr__dequantize(t->type, t->at + (row * t->cols + col) / type->weights * type->bytes, count, out);
}

static int fr__stays(const fr_pretrained *p, const fr__named *t)
{
  const uint16_t one = 1;
  const int part = (int)(t->slot % FR__PART_COUNT), size = t->type == FR__F32 ? 4 : 2;
  return t->rank == 2 && (t->type == FR__F32 || t->type == FR__BF16) && (uintptr_t)t->at % (uintptr_t)size == 0 &&
         *(const unsigned char *)&one && !(p->body->interleaved && (part == FR__PART_Q || part == FR__PART_K));
}

// Copies a tensor to floats, or to bfloat16, nearest even.
FR__SELDOM void fr__widen(const fr_pretrained *p, const fr__named *t, fr_type type, void *out)
{
  float some[FR__SOME];
  char *to = (char *)out;
  for (fr_int row = 0; row < t->rows; row++)
    for (fr_int col = 0; col < t->cols; col += FR__SOME) {
      const fr_int count = fr__min(FR__SOME, t->cols - col);
      fr__some(p, t, row, col, some);
      for (fr_int i = 0; type == FR_BFLOAT16 && i < count; i++) {
        const uint16_t half = fr__to_bfloat16(some[i]);
        memcpy(to + 2 * i, &half, 2);
      }
      if (type == FR_FLOAT32) memcpy(to, some, (size_t)count * 4);
      to += count * fr__type_bytes(type);
    }
}

// Whether each part is there and has its shape; and a head beside a tied embedding its values.
FR__SELDOM fr_status fr__compare_parts(fr__reading *r)
{
  struct fr__pretrained *b = &r->b;
  const fr_config *c = &r->p.config;
  float some[2][FR__SOME];
  fr_int missing = 0;
  fr__part_rows(b->part, c);  // what a GGUF has is known now
  for (fr_int slot = 0; slot < b->slot_count; slot++) {
    const fr__part_row *of = &b->part[slot % FR__PART_COUNT];
    const int wanted = fr__slot_there(b->part, slot);
    fr__named *t = b->places_of[slot] < 0 ? NULL : b->named + b->places_of[slot];
    if (!t && wanted) b->missing[missing++] = slot;
    if (!t) continue;
    if (!wanted && slot != FR__PART_HEAD) t->fit = FR_LEFT_OVER;
    else if (of->vector ? t->rank != 1 || t->cols != of->rows * of->cols || fr__types[t->type].weights > 1
                        : t->rank != 2 || t->rows != of->rows || t->cols != of->cols) t->fit = FR_MISSHAPEN;
    else { t->rows = of->rows; t->cols = of->cols; }  // of a vector, too
  }
  r->p.tensor_count = b->count + missing;
  r->p.wrong = missing;
  for (fr_int i = 0; i < b->count; i++) r->p.wrong += b->named[i].fit != FR_FITS;
  if (!c->tied || r->p.wrong || b->places_of[FR__PART_HEAD] < 0) return FR_OK;
  for (fr_int row = 0; row < c->vocab; row++)
    for (fr_int col = 0; col < c->dim; col += FR__SOME) {
      fr__some(&r->p, b->named + b->places_of[FR__PART_EMBEDDING], row, col, some[0]);
      fr__some(&r->p, b->named + b->places_of[FR__PART_HEAD], row, col, some[1]);
      if (memcmp(some[0], some[1], (size_t)fr__min(FR__SOME, c->dim - col) * sizeof(float)))
        return fr__fail(r->reason, FR_FORMAT, "row %d of lm_head differs from the embedding, to which the config ties it", row);
    }
  return FR_OK;
}

// How many names, and so tensors, the files can hold, without reading them.
FR__SELDOM void fr__pretrained_limits(fr__reading *r)
{
  static const char *const files[] = { "config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json",
    "model.safetensors" };
  struct fr__pretrained *b = &r->b;
  fr_text text = r->source->file;
  const unsigned char *p;
  if (text.bytes && text.count >= 28) {  // counts of tensors and of layers stand at the same place
    p = (const unsigned char *)text.bytes + 8;
    b->limit = fr__is_gguf(text) ? text.count / 32 : text.count / 36;
    b->limit = fr__min((fr_int)(fr__get_int(&p, 4) & 0x7fffffff), b->limit) * (fr__is_gguf(text) ? 1 : 9) + 3;
  }
  for (int i = 0; !r->source->file.bytes && i < 5; i++) {
    fr_int names = 8;
    if (!fr__open_name(r, files[i], &text)) continue;
    p = (const unsigned char *)text.bytes;
    if (i == 4 && text.count >= 8) text.count = fr__min(text.count, (fr_int)(fr__get_int(&p, 8) & 0xfffffff) + 8);
    for (fr_int k = 0; k < text.count; k++) names += text.bytes[k] == ':';
    b->limit = fr__max(b->limit, names);
    if (i == 2) b->string_limit = text.count;
  }
}

FR_DEF fr_status fr_pretrained_place(fr_pretrained *pretrained, const fr_pretrained_source *source, void *memory, fr_int bytes,
                                     fr_int *needed, fr_reason *reason)
{
  fr__arena arena = { NULL, 0, 0 };
  const fr_int integer = (fr_int)sizeof(fr_int);
  fr__reading r;
  struct fr__pretrained *body = NULL;
  fr_status status = FR_OK;
  if (!source || (memory && !pretrained) || (!source->file.bytes && !source->open))
    return fr__fail(reason, FR_INVALID, "the source is NULL or empty, or there is memory for nothing");
  memset(&r, 0, sizeof r);
  r.source = source;
  r.reason = reason;
  r.p.begin = -1;
  r.p.body = &r.b;
  fr__pretrained_limits(&r);
  r.b.slot_limit = 2 * r.b.limit + FR__PART_COUNT;
  for (int pass = 0; pass < 2; pass++) {
    body = (struct fr__pretrained *)fr__take(&arena, 1, (fr_int)sizeof *body);
    r.b.named = (fr__named *)fr__take(&arena, r.b.limit, (fr_int)sizeof(fr__named));
    r.b.next = (fr_int *)fr__take(&arena, r.b.limit, integer);
    r.b.places_of = (fr_int *)fr__take(&arena, r.b.slot_limit, integer);
    r.b.missing = (fr_int *)fr__take(&arena, r.b.slot_limit, integer);
    r.b.names = (fr_int *)fr__take(&arena, r.b.limit, 2 * integer);
    r.b.strings = (char *)fr__take(&arena, r.b.string_limit, 1);
    if (pass == 0) {
      status = fr__arena_open(&arena, memory, bytes, needed, reason);
      if (status || !memory) return status;
    }
  }
  if (!source->file.bytes) status = fr__folder(&r);
  else if (fr__is_gguf(source->file)) status = fr__gguf_model(&r);
  else status = fr__llama2c(&r);
  r.p.form = !source->file.bytes ? FR_FOLDER : fr__is_gguf(source->file) ? FR_GGUF : FR_LLAMA2C;
  if (!status) status = fr__compare_parts(&r);
  if (status) return status;
  *body = r.b;
  r.p.body = body;
  *pretrained = r.p;
  return fr__fine(reason);
}

FR_DEF fr_status fr_pretrained_tensor(const fr_pretrained *pretrained, fr_int index, fr_found *found)
{
  const struct fr__pretrained *b = pretrained ? pretrained->body : NULL;
  const fr__named *t;
  fr_reason name;
  if (!b || !found) return FR_INVALID;
  if (index < 0 || index >= pretrained->tensor_count) return FR_RANGE;
  memset(found, 0, sizeof *found);
  found->type = "";
  found->fit = FR_MISSING;
  t = index < b->count ? b->named + index : NULL;
  if (!t || !t->name.count) {
    const fr_int slot = t ? t->slot : b->missing[index - b->count];
    fr__slot_name(b->part, b->spelling, slot, &name);
    found->rows = b->part[slot % FR__PART_COUNT].rows;
    found->cols = b->part[slot % FR__PART_COUNT].cols;
  }
  if (t && t->name.count) memcpy(found->name, t->name.bytes, (size_t)fr__min(127, t->name.count));
  else memcpy(found->name, name.text, 127);
  if (!t) return FR_OK;
  found->type = fr__types[t->type].name;
  found->rows = t->rows;
  found->cols = t->cols;
  found->bytes = t->bytes;
  found->fit = t->fit;
  found->stays = t->fit == FR_FITS && t->slot >= 0 && fr__stays(pretrained, t);
  return FR_OK;
}

// All that is wrong, as far as there is room.
FR__SELDOM fr_status fr__pretrained_wrong(const fr_pretrained *p, fr_reason *reason)
{
  static const char *const words[] = { "", "misshapen ", "left over ", "missing " };
  const char *before = " ";
  fr_reason list[2];
  fr_found found;
  int now = 0;
  fr__fail(&list[0], FR_OK, p->wrong == 1 ? "%d tensor does not fit:" : "%d tensors do not fit:", p->wrong);
  for (int fit = FR_MISSING, said = 0; fit > FR_FITS; fit--, said = 0)
    for (fr_int i = 0; strlen(list[now].text) < sizeof list[0].text - 1 && fr_pretrained_tensor(p, i, &found) == FR_OK; i++)
      if ((int)found.fit == fit) {
        fr__fail(&list[!now], FR_OK, "%s%s%s%s", list[now].text, said ? ", " : before, said ? "" : words[fit], found.name);
        now = !now;
        said = 1;
        before = "; ";
      }
  return fr__fail(reason, FR_FORMAT, "%s", list[now].text);
}

// Where the view of a part belongs; NULL: it has none.
FR__SELDOM fr_view *fr__view_of(fr_views *views, fr_layer_views *w, int part)
{
  fr_view *const at[FR__PART_COUNT] = { NULL, &w->q, &w->k, &w->v, NULL, NULL, NULL, NULL, NULL, &w->out, NULL, &w->gate, &w->up,
                                        &w->down, &views->embedding, NULL, &views->head };
  return at[part];
}

FR_DEF fr_status fr_pretrained_model(const fr_pretrained *pretrained, const fr_pretrained_options *options, fr_model *model,
                                     void *memory, fr_int bytes, fr_int *needed, fr_reason *reason)
{
  static const fr_pretrained_options none = { 0, FR_FLOAT32, 0 };
  const struct fr__pretrained *b = pretrained ? pretrained->body : NULL;
  fr__arena arena = { NULL, 0, 0 };
  fr_layer_views unknown, *layers = &unknown;
  fr_views views;
  fr_config config;
  fr_model made;
  fr_int own_bytes = 0;
  void *own = NULL;
  fr_status status;
  if (!options) options = &none;
  if (!b || (memory && !model)) return fr__fail(reason, FR_INVALID, "pretrained is NULL or was not placed, or the model is NULL");
  if (pretrained->wrong) return fr__pretrained_wrong(pretrained, reason);
  if ((int)options->type != FR_FLOAT32 && (int)options->type != FR_BFLOAT16)
    return fr__fail(reason, FR_UNSUPPORTED, "a type other than float32 and bfloat16");
  config = pretrained->config;
  if (options->vocab && options->vocab < config.vocab)
    return fr__fail(reason, FR_INVALID, "a vocabulary of %d, but the model has %d", options->vocab, config.vocab);
  config.vocab = fr__max(options->vocab, config.vocab);
  status = fr_config_check(&config, &config, reason);
  if (status) return status;
  memset(&views, 0, sizeof views);
  for (int pass = 0; pass < 2; pass++) {
    if (!options->whole) layers = (fr_layer_views *)fr__take(&arena, config.layers, (fr_int)sizeof *layers);
    if (!pass) layers = &unknown;
    for (fr_int slot = 0; !options->whole && slot < b->slot_count; slot++) {
      const fr__named *t = b->places_of[slot] < 0 ? NULL : b->named + b->places_of[slot];
      fr_view *view = fr__view_of(&views, layers + (pass ? slot / FR__PART_COUNT : 0), (int)(slot % FR__PART_COUNT));
      if (!t || !view || (config.tied && view == &views.head)) continue;
      view->rows = t->rows;
      view->type = t->type == FR__BF16 ? FR_BFLOAT16 : fr__stays(pretrained, t) ? FR_FLOAT32 : options->type;
      view->step = t->cols * fr__type_bytes(view->type);
      view->at = fr__stays(pretrained, t) ? t->at : (const unsigned char *)fr__take(&arena, t->rows, view->step);
      if (pass && view->at != t->at) fr__widen(pretrained, t, view->type, (void *)(uintptr_t)view->at);
    }
    views.layers = layers;
    if (!pass) status = fr__model_place(NULL, &config, options->whole ? NULL : &views, NULL, 0, &own_bytes, reason);
    own = fr__take(&arena, own_bytes, 1);
    if (!status && !pass) status = fr__arena_open(&arena, memory, bytes, needed, reason);
    if (status || !memory) return status;
  }
  status = fr__model_place(&made, &config, options->whole ? NULL : &views, own, own_bytes, NULL, reason);
  if (status) return status;
  for (fr_int slot = 0; slot < b->slot_count; slot++) {
    const int i = (int)(slot % FR__PART_COUNT);
    fr_tensor at;
    if (b->places_of[slot] < 0 || (config.tied && i == FR__PART_HEAD)) continue;
    if (!options->whole && fr__view_of(&views, layers, i)) continue;
    fr_model_tensor(&made, b->part[i].tensor, &at);
    at.offset += slot / FR__PART_COUNT * at.rows * at.cols + b->part[i].before;
    fr__widen(pretrained, b->named + b->places_of[slot], FR_FLOAT32, made.params + at.offset);
  }
  status = fr_model_set_rows(&made, pretrained->config.vocab, config.vocab - pretrained->config.vocab, 1, 0.0f, 0);
  if (!status) *model = made;
  return status;
}

// -- giving a model back
// The values in a slot, as they stand in files; turned: rows of q and k as for rope on neighbours.
FR__SELDOM void fr__put_slot(fr__stream *s, const fr_model *model, const fr__part_row part[FR__PART_COUNT], fr_int slot,
                             fr_export_type type, int turned)
{
  const fr_int D = model->config.head_dim, layer = slot / FR__PART_COUNT;
  const int i = (int)(slot % FR__PART_COUNT);
  const fr__part_row *of = &part[i];
  const fr__params p = fr__bind(model, model->params, 0);
  fr_view piece[3];
  fr_tensor own;
  int pieces = fr__pieces(model, &p, of->tensor, layer, piece);
  if (of->vector && fr_model_tensor(model, of->tensor, &own) == FR_OK) {  // a piece of one row
    piece[0] = fr__floats_view(model->params + own.offset + layer * own.cols + of->before, of->rows, of->cols);
    pieces = 1;
  }
  turned = turned && (i == FR__PART_Q || i == FR__PART_K || i == FR__PART_Q_BIAS || i == FR__PART_K_BIAS);
  for (fr_int r = 0; r < of->rows && !s->failed; r++) {
    const fr_int j = r % D;
    fr_int row = (turned ? r - j + j / 2 + j % 2 * (D / 2) : r) + (of->vector ? 0 : of->before / of->cols);
    int k = 0;
    for (; k < pieces - 1 && row >= piece[k].rows; k++) row -= piece[k].rows;
    for (fr_int col = 0; col < of->cols; col++) {
      const float x = fr__element(&piece[k], row, col);
      uint32_t bits;
      memcpy(&bits, &x, 4);
      if (type == FR_EXPORT_F16 && fabsf(x) >= 65520.0f && x - x == 0.0f && !s->failed) s->failed = 2;
      if (type == FR_EXPORT_F32) fr__put_int(s, bits, 4);
      else fr__put_int(s, type == FR_EXPORT_F16 ? fr__to_float16(x) : fr__to_bfloat16(x), 2);
    }
  }
}

FR__SELDOM void fr__put_safetensors(fr__stream *s, const fr_export *e)
{
  static const char *const types[] = { "F32", "F16", "BF16" };
  const fr_int size = e->type == FR_EXPORT_F32 ? 4 : 2, places_of = e->model->config.layers * FR__PART_COUNT;
  fr__part_row part[FR__PART_COUNT];
  fr_int head = 0;
  fr__part_rows(part, &e->model->config);
  for (int pass = 0; pass < 2; pass++) {  // the length of the head stands before it
    fr__stream counted, *out = pass ? s : &counted;
    fr_int at = 0;
    if (!pass) fr__stream_memory(out, NULL, 0);
    else fr__put_int(out, (uint64_t)fr__round_up(head, 8), 8);
    fr__put_text(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (fr_int slot = 0; slot < places_of; slot++) {
      const fr__part_row *of = &part[slot % FR__PART_COUNT];
      fr_reason name;
      if (!fr__slot_there(part, slot)) continue;
      fr__slot_name(part, 0, slot, &name);
      fr__put_format(out, ",%q:{\"dtype\":%q,\"shape\":[", name.text, types[e->type]);
      if (!of->vector) fr__put_format(out, "%d,", of->rows);
      fr__put_format(out, "%d],\"data_offsets\":[%d,", of->vector ? of->rows * of->cols : of->cols, at);
      fr__put_format(out, "%d]}", at += of->rows * of->cols * size);
    }
    fr__put_text(out, "}");
    fr__flush(out);
    if (!pass) head = out->done;
  }
  fr__put(s, "       ", fr__round_up(head, 8) - head);
  for (fr_int slot = 0; slot < places_of; slot++)
    if (fr__slot_there(part, slot)) fr__put_slot(s, e->model, part, slot, e->type, 0);
}

// What config.json and generation_config.json both have.
FR__SELDOM void fr__put_ends(fr__stream *s, const fr_export *e)
{
  const fr_int ids[] = { e->begin, e->pad };
  for (int i = 0; i < 2; i++)
    fr__put_format(s, ids[i] < 0 ? "%q:null,\n" : "%q:%d,\n", i ? "pad_token_id" : "bos_token_id", ids[i]);
  fr__put_text(s, e->end_count ? "\"eos_token_id\":[" : "\"eos_token_id\":null");
  for (fr_int i = 0; i < e->end_count; i++) fr__put_format(s, i + 1 < e->end_count ? "%d," : "%d]", (fr_int)e->ends[i]);
  fr__put_text(s, "}\n");
}

// Rope and the type by both of their names: readers of version 4 know the first of each, those of 5 the second.
FR__SELDOM void fr__put_config(fr__stream *s, const fr_export *e)
{
  static const char *const names[] = { "Llama", "Qwen2", "Qwen3" }, *const types[] = { "float32", "float16", "bfloat16" };
  const fr_config *c = &e->model->config;
  const int family = c->qk_norm ? 2 : c->qkv_bias, scaled = c->rope_factor > 0.0f;
  fr__put_format(s, "{\"architectures\":[\"%sForCausalLM\"],\n\"model_type\":%q,\n\"hidden_size\":%d,\n\"intermediate_size\":%d,\n"
                 "\"num_hidden_layers\":%d,\n\"num_attention_heads\":%d,\n\"num_key_value_heads\":%d,\n\"head_dim\":%d,\n\"vocab_size\":%d,\n"
                 "\"max_position_embeddings\":%d,\n\"rms_norm_eps\":%r,\n\"hidden_act\":\"silu\",\n\"tie_word_embeddings\":%s,\n",
                 names[family], fr__families[family], c->dim, c->ffn, c->layers, c->heads, c->kv_heads, c->head_dim, c->vocab, e->context,
                 (double)c->norm_eps, c->tied ? "true" : "false");
  if (family == 0) fr__put_text(s, "\"mlp_bias\":false,\n");
  if (family != 1) fr__put_text(s, "\"attention_bias\":false,\n");
  if (family != 0) fr__put_text(s, "\"use_sliding_window\":false,\n");
  fr__put_format(s, "\"rope_theta\":%r,\n", (double)c->rope_theta);
  for (int renamed = 0; renamed < 2; renamed++) {
    fr__put_format(s, renamed || scaled ? "%q:{\"rope_type\":%q" : "%q:null,\n", renamed ? "rope_parameters" : "rope_scaling",
                   scaled ? "llama3" : "default");
    if (renamed) fr__put_format(s, ",\"rope_theta\":%r", (double)c->rope_theta);
    if (scaled)
      fr__put_format(s, ",\"factor\":%r,\"low_freq_factor\":%r,\"high_freq_factor\":%r,\"original_max_position_embeddings\":%d",
                     (double)c->rope_factor, (double)c->rope_low, (double)c->rope_high, c->rope_original);
    if (renamed || scaled) fr__put_text(s, "},\n");
  }
  fr__put_format(s, "\"torch_dtype\":%q,\n\"dtype\":%q,\n", types[e->type], types[e->type]);
  fr__put_ends(s, e);
}

FR__SELDOM void fr__put_tokenizer_config(fr__stream *s, const fr_export *e)
{
  static const char *const names[] = { "bos_token", "eos_token", "pad_token" };
  const fr_token ids[] = { e->begin, e->end_count ? e->ends[0] : -1, e->pad };
  fr__put_text(s, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\n\"clean_up_tokenization_spaces\":false,\n");
  for (int i = 0; i < 3; i++) {
    const fr_text token = fr_tokenizer_token(e->tokenizer, ids[i]);
    fr__put_format(s, ids[i] < 0 ? "%q:null,\n" : "%q:%t,\n", names[i], &token);
  }
  if (e->chat.count) fr__put_format(s, "\"chat_template\":%t,\n", &e->chat);
  fr__put_format(s, "\"model_max_length\":%d}\n", e->context);
}

FR__SELDOM void fr__put_card(fr__stream *s, const fr_export *e)
{
  const char *const said[] = { e->license, e->base, e->data };
  static const char *const front[] = { "license: %q\n", "base_model: %q\n", "datasets: [%q]\n" };
  static const char *const lines[] = { "\nLicense: %s\n", "\nMade from: %s\n", "\nTrained on: %s\n" };
  const int forks = e->tokenizer && fr_tokenizer_find(e->tokenizer, fr__text_of("<think1>")) >= 0;
  fr__put_text(s, "---\nlibrary_name: transformers\n");
  for (int i = 0; i < 3; i++) if (said[i]) fr__put_format(s, front[i], said[i]);
  fr__put_format(s, "---\n# %s\n\nWritten by forkreason.h " FR_VERSION ".%s%s\n",
                 e->name ? e->name : forks ? "A model with global forking tokens" : "A language model",
                 forks ? " Its forks, such as `<think1>`, begin\ndifferent lines of thought: set supervised fine-tuning, arXiv 2510.05132." : "",
                 forks && e->chat.count ? " The chat template takes one as `fork`." : "");
  for (int i = 0; i < 3; i++) if (said[i]) fr__put_format(s, lines[i], said[i]);
}

FR__SELDOM void fr__put_llama2c(fr__stream *s, const fr_export *e)
{
  const fr_model *m = e->model;
  const fr_config *c = &m->config;
  const fr_int head[] = { c->dim, c->ffn, c->layers, c->heads, c->kv_heads, c->tied ? c->vocab : -c->vocab, e->context };
  fr__part_row part[FR__PART_COUNT];
  fr__part_rows(part, c);
  for (int i = 0; i < 7; i++) fr__put_int(s, (uint64_t)head[i], 4);
  for (int i = 0; i < (c->tied ? 12 : 13); i++) {
    const int which = fr__llama2c_order[i];
    for (fr_int l = 0; which >= 0 && l < (which < FR__LAYER_PARTS ? c->layers : 1); l++)
      fr__put_slot(s, m, part, l * FR__PART_COUNT + which, FR_EXPORT_F32, 1);
    for (fr_int k = 0; which < 0 && k < e->context * c->head_dim; k++) {  // cosines, then sines
      const fr_int half = c->head_dim / 2, at = k % (e->context * half);
      const double angle = (double)(at / half) * fr__rope_frequency(c, at % half);
      const float x = (float)(k == at ? cos(angle) : sin(angle));
      fr__put_floats(s, &x, 1);
    }
  }
}

// -- GGUF, written: its keys are counted first, then told
typedef struct fr__gguf_out { fr__stream *s; const char *family; fr_int keys; } fr__gguf_out;

static void fr__gguf_put_text(fr__stream *s, fr_text text)
{
  fr__put_int(s, (uint64_t)text.count, 8);
  fr__put(s, text.bytes, text.count);
}

// The name of a key, of the architecture where it has no part before a dot, and the type of its value.
FR__SELDOM fr__stream *fr__gguf_key(fr__gguf_out *g, const char *key, int type)
{
  fr_reason name;
  fr__fail(&name, FR_OK, strncmp(key, "general.", 8) && strncmp(key, "tokenizer.", 10) ? "%s.%s" : "%s%s",
           strncmp(key, "general.", 8) && strncmp(key, "tokenizer.", 10) ? g->family : "", key);
  fr__gguf_put_text(g->s, fr__text_of(name.text));
  fr__put_int(g->s, (uint64_t)type, 4);
  g->keys++;
  return g->s;
}

static void fr__gguf_put_string(fr__gguf_out *g, const char *key, const char *text)
{
  if (text) fr__gguf_put_text(fr__gguf_key(g, key, FR__GGUF_STRING), fr__text_of(text));
}

static void fr__gguf_put_list(fr__gguf_out *g, const char *key, int of, fr_int count)
{
  fr__stream *s = fr__gguf_key(g, key, FR__GGUF_ARRAY);
  fr__put_int(s, (uint64_t)of, 4);
  fr__put_int(s, (uint64_t)count, 8);
}

FR__SELDOM void fr__gguf_keys(fr__gguf_out *g, const fr_export *e)
{
  enum { CONTROL = 3, OWN = 4, UNUSED = 5 };
  static const char *const pre[] = { NULL, NULL, "gpt-2", "llama-bpe", "qwen2", "smollm" };
  static const char *const sizes[] = { "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count", "vocab_size" };
  static const char *const ids[] = { "bos", "eos", "eot", "padding" };
  static const int types[] = { 0, 1, 32 };
  const fr_config *c = &e->model->config;
  const fr_tokenizer *t = e->tokenizer;
  const fr__bpe *b = t->body;
  const fr_int values[] = { e->context, c->dim, c->layers, c->ffn, c->heads, c->kv_heads, c->head_dim, c->head_dim, c->head_dim, c->vocab };
  const fr_token tokens[] = { e->begin, e->end_count ? e->ends[0] : -1, e->end_count > 1 ? e->ends[1] : -1, e->pad };
  fr_reason name;
  g->keys = 0;
  fr__gguf_put_string(g, "general.architecture", g->family);
  fr__gguf_put_string(g, "general.type", "model");
  fr__gguf_put_string(g, "general.name", e->name);
  fr__gguf_put_string(g, "general.license", e->license);
  if (e->base) fr__put_int(fr__gguf_key(g, "general.base_model.count", FR__GGUF_U32), 1, 4);
  fr__gguf_put_string(g, "general.base_model.0.name", e->base);
  if (e->data) fr__put_int(fr__gguf_key(g, "general.dataset.count", FR__GGUF_U32), 1, 4);
  fr__gguf_put_string(g, "general.dataset.0.name", e->data);
  fr__put_int(fr__gguf_key(g, "general.file_type", FR__GGUF_U32), (uint64_t)types[e->type], 4);
  for (int i = 0; i < 10; i++) fr__put_int(fr__gguf_key(g, sizes[i], FR__GGUF_U32), (uint64_t)values[i], 4);
  fr__put_floats(fr__gguf_key(g, "attention.layer_norm_rms_epsilon", FR__GGUF_F32), &c->norm_eps, 1);
  fr__put_floats(fr__gguf_key(g, "rope.freq_base", FR__GGUF_F32), &c->rope_theta, 1);
  fr__gguf_put_string(g, "tokenizer.ggml.model", "gpt2");
  fr__gguf_put_string(g, "tokenizer.ggml.pre", pre[t->split]);
  fr__gguf_put_list(g, "tokenizer.ggml.tokens", FR__GGUF_STRING, c->vocab);
  for (fr_int id = 0; id < c->vocab; id++) {
    const int raw = id < t->vocab && !(b->kinds[id] & FR__ORDINARY);
    fr__fail(&name, FR_OK, "[PAD%d]", id);
    if (id >= t->vocab || !b->pieces[id].count) { fr__gguf_put_text(g->s, fr__text_of(name.text)); continue; }
    fr__put_int(g->s, (uint64_t)fr__put_spelled(NULL, b, (uint32_t)id, raw, 0), 8);
    fr__put_spelled(g->s, b, (uint32_t)id, raw, 0);
  }
  fr__gguf_put_list(g, "tokenizer.ggml.token_type", FR__GGUF_I32, c->vocab);
  for (fr_int id = 0; id < c->vocab; id++) {
    const int kind = id < t->vocab && b->pieces[id].count ? b->kinds[id] : 0;
    fr__put_int(g->s, !kind ? UNUSED : !(kind & FR__SPECIAL) ? 1 : kind & FR__SHOWN ? OWN : CONTROL, 4);
  }
  fr__gguf_put_list(g, "tokenizer.ggml.merges", FR__GGUF_STRING, t->merge_count);
  for (fr_int i = 0; i < t->merge_count; i++) {
    const fr__merge *m = b->merges + b->order[i];
    fr__put_int(g->s, (uint64_t)(fr__put_spelled(NULL, b, m->left, 0, 0) + 1 + fr__put_spelled(NULL, b, m->right, 0, 0)), 8);
    fr__put_spelled(g->s, b, m->left, 0, 0);
    fr__put(g->s, " ", 1);
    fr__put_spelled(g->s, b, m->right, 0, 0);
  }
  for (int i = 0; i < 4; i++) {
    fr__fail(&name, FR_OK, "tokenizer.ggml.%s_token_id", ids[i]);
    if (tokens[i] >= 0) fr__put_int(fr__gguf_key(g, name.text, FR__GGUF_U32), (uint64_t)tokens[i], 4);
  }
  fr__put_int(fr__gguf_key(g, "tokenizer.ggml.add_bos_token", FR__GGUF_BOOL), t->begins >= 0 && t->begins == e->begin, 1);
  if (e->chat.count) fr__gguf_put_text(fr__gguf_key(g, "tokenizer.chat_template", FR__GGUF_STRING), e->chat);
}

FR__SELDOM void fr__put_gguf(fr__stream *s, const fr_export *e)
{
  enum { ALIGNMENT = 32, ROPE = -1 };
  static const int types[] = { FR__F32, FR__F16, FR__BF16 };
  const fr_model *m = e->model;
  const fr_config *c = &m->config;
  const fr_int places_of = c->layers * FR__PART_COUNT;
  fr_config plain = *c;
  fr__part_row part[FR__PART_COUNT];
  fr__stream counted;
  fr__gguf_out g = { &counted, fr__families[c->qk_norm ? 2 : c->qkv_bias], 0 };
  fr_int tensors = c->rope_factor > 0.0f, at = 0;
  plain.rope_factor = 0.0f;
  fr__part_rows(part, c);
  for (fr_int slot = 0; slot < places_of; slot++) tensors += fr__slot_there(part, slot);
  fr__stream_memory(&counted, NULL, 0);
  fr__gguf_keys(&g, e);
  fr__put(s, "GGUF", 4);
  fr__put_int(s, 3, 4);
  fr__put_int(s, (uint64_t)tensors, 8);
  fr__put_int(s, (uint64_t)g.keys, 8);
  g.s = s;
  fr__gguf_keys(&g, e);
  for (int look = 0; look < 2; look++)  // what they are, then their values
    for (fr_int slot = c->rope_factor > 0.0f ? ROPE : 0; slot < places_of; slot++) {
      const fr__part_row *of = &part[slot < 0 ? 0 : slot % FR__PART_COUNT];
      const fr_int cols = slot < 0 ? c->head_dim / 2 : of->vector ? of->rows * of->cols : of->cols;
      const fr_int rows = slot < 0 || of->vector ? 1 : of->rows;
      const int type = slot < 0 || of->vector ? FR__F32 : types[e->type];
      fr_reason name;
      if (slot >= 0 && !fr__slot_there(part, slot)) continue;
      if (look == 0) {
        if (slot < 0) fr__fail(&name, FR_OK, "rope_freqs.weight");
        else fr__slot_name(part, 1, slot, &name);
        fr__gguf_put_text(s, fr__text_of(name.text));
        fr__put_int(s, rows > 1 || (slot >= 0 && !of->vector) ? 2 : 1, 4);
        fr__put_int(s, (uint64_t)cols, 8);
        if (slot >= 0 && !of->vector) fr__put_int(s, (uint64_t)rows, 8);
        fr__put_int(s, fr__types[type].id, 4);
        fr__put_int(s, (uint64_t)at, 8);
        at += fr__round_up(rows * cols * fr__types[type].bytes, ALIGNMENT);
        continue;
      }
      while ((s->done + s->filled) % ALIGNMENT && !s->failed) fr__put(s, "", 1);
      for (fr_int j = 0; slot < 0 && j < cols; j++) {
        const float divisor = (float)(fr__rope_frequency(&plain, j) / fr__rope_frequency(c, j));
        fr__put_floats(s, &divisor, 1);
      }
      if (slot >= 0) fr__put_slot(s, m, part, slot, type == FR__F32 ? FR_EXPORT_F32 : e->type, g.family == fr__families[0]);
    }
  while ((s->done + s->filled) % ALIGNMENT && !s->failed) fr__put(s, "", 1);
}

typedef struct fr__exporting { const fr_export *e; fr_export_file file; } fr__exporting;

FR__SELDOM void fr__export_put(fr__stream *s, const void *what)
{
  const fr_export *e = ((const fr__exporting *)what)->e;
  switch (((const fr__exporting *)what)->file) {
    case FR_EXPORT_CONFIG: fr__put_config(s, e); break;
    case FR_EXPORT_WEIGHTS: fr__put_safetensors(s, e); break;
    case FR_EXPORT_TOKENIZER: fr__put_json(s, e->tokenizer); break;
    case FR_EXPORT_TOKENIZER_CONFIG: fr__put_tokenizer_config(s, e); break;
    case FR_EXPORT_GENERATION: fr__put_text(s, "{"); fr__put_ends(s, e); break;
    case FR_EXPORT_CHAT: fr__put(s, e->chat.bytes, e->chat.count); break;
    case FR_EXPORT_CARD: fr__put_card(s, e); break;
    case FR_EXPORT_GGUF: fr__put_gguf(s, e); break;
    default: fr__put_llama2c(s, e); break;
  }
  fr__flush(s);
}

FR_DEF const char *fr_export_name(fr_export_file file)
{
  static const char *const names[] = { "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "generation_config.json", "chat_template.jinja", "README.md" };
  return (unsigned)file < 7 ? names[(unsigned)file] : NULL;
}

FR__SELDOM fr_status fr__export_check(const fr_export *e, fr_export_file file, fr_export *resolved, fr_reason *reason)
{
  const fr_model *m = e ? e->model : NULL;
  const fr_config *c = m ? &m->config : NULL;
  const char *no = file == FR_EXPORT_LLAMA2C && e && e->type != FR_EXPORT_F32 ? "weights other than float32" : NULL;
  const int words = file == FR_EXPORT_TOKENIZER || file == FR_EXPORT_TOKENIZER_CONFIG || file == FR_EXPORT_GGUF;
  if (!c || (!m->params && !m->views) || (unsigned)file > FR_EXPORT_LLAMA2C || (unsigned)e->type > FR_EXPORT_BF16 ||
      (words && !e->tokenizer) || e->context < 0 || e->end_count < 0 || (e->end_count && !e->ends))
    return fr__fail(reason, FR_INVALID, "there is no model, no tokenizer where one is written, or a number is out of range");
  if (m->stale) return fr__fail(reason, FR_INVALID, "a backend holds newer parameters of this model; fr_work_download brings them");
  if (c->embed_scale != 1.0f) return fr__fail(reason, FR_UNSUPPORTED, "no other program knows an embed_scale");
  if (c->qk_norm && c->qkv_bias) return fr__fail(reason, FR_UNSUPPORTED, "no family has both biases and norms of heads");
  if (file == FR_EXPORT_LLAMA2C && !no)
    no = c->qk_norm ? "norms of heads" : c->qkv_bias ? "biases" : c->rope_factor > 0.0f ? "a scaled rope" :
         c->heads * c->head_dim != c->dim ? "another size of heads than channels / heads" :
         c->rope_theta != 10000.0f ? "another theta of rope than 10000" : c->norm_eps != (float)1e-5 ? "another eps than 1e-5" : NULL;
  if (no) return fr__fail(reason, FR_UNSUPPORTED, "llama2.c does not have %s", no);
  if (words && file != FR_EXPORT_GGUF && fr__tokenizer_can(e->tokenizer, FR_TOKENIZER_JSON, reason)) return FR_UNSUPPORTED;
  if (words && e->tokenizer->vocab > c->vocab)
    return fr__fail(reason, FR_INVALID, "the tokenizer has ids up to %d, the model %d rows", e->tokenizer->vocab, c->vocab);
  for (fr_int i = -2; i < e->end_count; i++) {
    const fr_token id = i == -2 ? e->begin : i == -1 ? e->pad : e->ends[i];
    if (id >= c->vocab || (id < 0 && i >= 0) || (words && id >= 0 && !fr_tokenizer_token(e->tokenizer, id).bytes))
      return fr__fail(reason, FR_RANGE, "%d, which begins, ends or pads texts, is no token", (fr_int)id);
  }
  *resolved = *e;
  if (!e->context) resolved->context = 2048;
  return FR_OK;
}

FR_DEF fr_status fr_export_write(const fr_export *what, fr_export_file file, void *memory, fr_int capacity, fr_int *bytes,
                                 fr_reason *reason)
{
  fr_export resolved;
  fr__exporting x = { &resolved, file };
  const fr_status status = fr__export_check(what, file, &resolved, reason);
  return status ? status : fr__write(fr__export_put, &x, memory, capacity, bytes, reason);
}

#ifndef FR_NO_STDIO
FR_DEF fr_status fr_export_save(const char *path, const fr_export *what, fr_export_file file, fr_reason *reason)
{
  fr_export resolved;
  fr__exporting x = { &resolved, file };
  const fr_status status = fr__export_check(what, file, &resolved, reason);
  return status ? status : fr__save(path, fr__export_put, &x, reason);
}
#endif

// ---- >>new -------------------------------------------------------------------------------------------
// The malloc pairs. Each measures, asks for memory and places; `place` is a call with the object, memory and bytes in it, and
// `why` is where the reason goes.
#ifndef FR_NO_MALLOC
#define FR__RELEASE(object)                                                        \
  FR_DEF void fr_##object##_free(fr_##object *object)                              \
  {                                                                                \
    if (!object) return;                                                           \
    if (object->owned) FR_FREE(object->owned);                                     \
    memset(object, 0, sizeof *object);                                             \
  }
#define FR__NEW(object, parameters, place, why)                                    \
  FR__MAKE(fr_##object##_new, object, parameters, place, why)                      \
  FR__RELEASE(object)
#define FR__MAKE(function, object, parameters, place, why)                         \
  FR_DEF fr_status function parameters                                             \
  {                                                                                \
    void *memory = NULL;                                                           \
    fr_int bytes = 0;                                                              \
    fr_status status;                                                              \
    if (!object) return FR_INVALID;                                                \
    memset(object, 0, sizeof *object);                                             \
    status = place;                                                                \
    if (status) return status;                                                     \
    memory = FR_MALLOC((size_t)bytes);                                             \
    if (!memory) return fr__fail(why, FR_MEMORY, "no memory for %d bytes", bytes); \
    status = place;                                                                \
    if (status) FR_FREE(memory);                                                   \
    else object->owned = memory;                                                   \
    return status;                                                                 \
  }

FR__NEW(model, (fr_model *model, const fr_config *config), fr_model_place(model, config, memory, bytes, &bytes), NULL)
FR__NEW(adamw, (fr_adamw *adamw, const fr_model *model), fr_adamw_place(adamw, model, memory, bytes, &bytes), NULL)
FR__NEW(work, (fr_work *work, const fr_config *config, const fr_limits *limits),
        fr_work_place(work, config, limits, memory, bytes, &bytes), &work->reason)
FR__NEW(chooser, (fr_chooser *chooser, const fr_model *model, fr_int forks, fr_int positions),
        fr_chooser_place(chooser, model, forks, positions, memory, bytes, &bytes), NULL)
FR__NEW(rollouts, (fr_rollouts *rollouts, const fr_gfpo_options *options, fr_int questions),
        fr_rollouts_place(rollouts, options, questions, memory, bytes, &bytes), NULL)
FR__NEW(diagnosis, (fr_diagnosis *diagnosis, const fr_diagnosis_options *options, fr_reason *reason),
        fr_diagnosis_place(diagnosis, options, memory, bytes, &bytes, reason), reason)
FR__NEW(dataset, (fr_dataset *dataset, const char *text, fr_int text_bytes, fr_reason *reason),
        fr_dataset_place(dataset, text, text_bytes, memory, bytes, &bytes, reason), reason)
FR__NEW(tokenizer, (fr_tokenizer *tokenizer, const fr_tokenizer_source *source, fr_reason *reason),
        fr_tokenizer_place(tokenizer, source, memory, bytes, &bytes, reason), reason)
FR__NEW(encoder, (fr_encoder *encoder, const fr_tokenizer *tokenizer, fr_int longest, fr_int cache),
        fr_encoder_place(encoder, tokenizer, longest, cache, memory, bytes, &bytes), NULL)
FR__NEW(corpus, (fr_corpus *corpus, const fr_dataset *dataset, fr_encoder *encoder, const fr_framing *framing,
                 const fr_corpus_options *options, fr_reason *reason),
        fr_corpus_place(corpus, dataset, encoder, framing, options, memory, bytes, &bytes, reason), reason)
FR__NEW(pretrained, (fr_pretrained *pretrained, const fr_pretrained_source *source, fr_reason *reason),
        fr_pretrained_place(pretrained, source, memory, bytes, &bytes, reason), reason)
FR__MAKE(fr_pretrained_model_new, model, (const fr_pretrained *pretrained, const fr_pretrained_options *options, fr_model *model,
         fr_reason *reason), fr_pretrained_model(pretrained, options, model, memory, bytes, &bytes, reason), reason)
FR__RELEASE(bundle)  // fr_bundle_load makes one
#undef FR__NEW
#undef FR__PARTS
#undef FR__RECORD
#undef FR__ENTRY
#undef FR__MAKE
#undef FR__RELEASE

#ifndef FR_NO_STDIO
FR_DEF fr_status fr_dataset_load(fr_dataset *dataset, const char *path, fr_reason *reason)
{
  fr_text text;
  fr_status status;
  if (!dataset || !path) return fr__fail(reason, FR_INVALID, "dataset or path is NULL");
  memset(dataset, 0, sizeof *dataset);
  status = fr__read_file(path, &text, reason);
  if (status) return status;
  status = text.count ? fr_dataset_new(dataset, text.bytes, text.count, reason)
                      : fr__fail(reason, FR_FORMAT, "%s is empty", path);
  FR_FREE((void *)(uintptr_t)text.bytes);
  return status;
}
#endif  // FR_NO_STDIO
#endif  // FR_NO_MALLOC

// ---- >>machines ---------------------------------------------------------------------------------------
// SIMD needs function-level target attributes, so that the file compiles with plain -O2 and picks at run time. Not under nvcc, whose
// front end and these headers do not agree.
#if defined(__CUDACC__) && !defined(FR_NO_SIMD)
#define FR_NO_SIMD
#endif
#if !defined(FR_NO_SIMD) && (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define FR__AVX2 static __attribute__((target("avx2,fma")))
#define FR__AVX512 static __attribute__((target("avx512f")))
#ifdef __clang__
#include <immintrin.h>
#ifdef _MSC_VER  // in the place of Microsoft's compiler it leaves these out
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#include <avx512fintrin.h>
#endif
#else
#pragma GCC diagnostic push  // gcc warns of its own _mm512_undefined_ps (bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#include <cpuid.h>
// Has the processor what leaf 7 of cpuid tells in this bit of EBX, FMA too, and does the system keep those registers (XCR0)? Not
// __builtin_cpu_supports: it wants a library that clang in the place of Microsoft's compiler does not link.
static int fr__cpu_has(unsigned bit, unsigned registers)
{
  unsigned a, b, c, d, kept;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 12 & c >> 27 & 1) == 0) return 0;  // FMA, OSXSAVE
  __asm__("xgetbv" : "=a"(kept), "=d"(d) : "c"(0));
  if ((kept & registers) != registers || !__get_cpuid(0, &a, &b, &c, &d) || a < 7) return 0;
  __cpuid_count(7, 0, a, b, c, d);
  return b >> bit & 1;
}
#elif !defined(FR_NO_SIMD) && (defined(__GNUC__) || defined(__clang__)) && defined(__aarch64__)  // NEON is part of every AArch64
#define FR__NEON 1
#include <arm_neon.h>
#endif
#define FR__INLINE inline __attribute__((always_inline))  // for a block whose shape is a constant of its caller
#define FR__AHEAD 24576  // bytes that a stream of W is asked of memory ahead of its use

// -- The row primitives, written once; each instruction set hands in the names of its operations. V holds LANES floats and knows
// + - * /. EACH(work) does the work for i = 0, LANES, .. while a whole vector is left, so that a long loop holds loads, arithmetic
// and stores alone; then once more for the rest if READ and WRITE can mask, else the scalar twin does that. NEXT is the narrower
// row. A product to be rounded is no operand of + or -: compilers fuse them.
//   STATIC        `static`, for the instruction set     SUM(v)            over the lanes
//   LOAD, STORE   a whole vector                        ALL(x)            x in every lane
//   READ, WRITE   the same, or under a mask
//   FMA(a, b, c)  a b + c, rounded once                 TURN(x, c, y, d)  x c - y d, one of the products not rounded
//   ROUND(x)      to the nearest whole number           POWER(&p, &n)     p *= 2^n
#define FR__PRIMITIVES(isa, NEXT, STATIC, V, LANES, EACH, LOAD, STORE, READ, WRITE, ALL, FMA, TURN, SQRT, MIN, MAX, ROUND, POWER, \
                       SUM)                                                                                                       \
  STATIC void fr__stream_##isa(float *y, fr_int ldy, const float *x, fr_int ldx, const void *w, fr_int step, int type, fr_int m,  \
                               fr_int n, fr_int k, int add)                                                                       \
  {                                                                                                                               \
    const char *row = (const char *)w;                                                                                            \
    const fr_int whole = k / LANES * LANES;                                                                                       \
    if (type == FR_FLOAT32) fr__stream_type_##isa(FR_FLOAT32, y, ldy, x, ldx, row, step, m, n, whole, add);                       \
    else fr__stream_type_##isa(FR_BFLOAT16, y, ldy, x, ldx, row, step, m, n, whole, add);                                         \
    row += whole * (type == FR_FLOAT32 ? 4 : 2);                                                                                  \
    if (whole < k) fr__stream_##NEXT(y, ldy, x + whole, ldx, row, step, type, m, n, k - whole, 1);                                \
  }                                                                                                                               \
  STATIC float fr__dot_##isa(const float *x, const float *y, fr_int n)                                                            \
  {                                                                                                                               \
    V s = ALL(0.0f);                                                                                                              \
    EACH(s = FMA(READ(x + i), READ(y + i), s))                                                                                    \
    return SUM(s) + (i < n ? fr__dot_scalar(x + i, y + i, n - i) : 0.0f);                                                         \
  }                                                                                                                               \
  STATIC float fr__max_##isa(const float *x, fr_int n)                                                                            \
  {                                                                                                                               \
    float lane[LANES];                                                                                                            \
    V s;                                                                                                                          \
    if (n < LANES) return fr__max_##NEXT(x, n);                                                                                   \
    s = LOAD(x + n - LANES);  /* the last vector may overlap */                                                                   \
    for (fr_int i = 0; i + LANES <= n; i += LANES) s = MAX(s, LOAD(x + i));                                                       \
    STORE(lane, s);                                                                                                               \
    return fr__max_scalar(lane, LANES);                                                                                           \
  }                                                                                                                               \
  STATIC void fr__axpy_##isa(float *y, float a, const float *x, fr_int n)                                                         \
  {                                                                                                                               \
    EACH(WRITE(y + i, FMA(ALL(a), READ(x + i), READ(y + i))))                                                                     \
    if (i < n) fr__axpy_scalar(y + i, a, x + i, n - i);                                                                           \
  }                                                                                                                               \
  STATIC void fr__combine_##isa(float *y, const float *a, const float *x, fr_int ldx, fr_int m, fr_int n)                         \
  {                                                                                                                               \
    for (; n >= 4 * LANES; n -= 4 * LANES, y += 4 * LANES, x += 4 * LANES) {                                                      \
      V t[4];                                                                                                                     \
      FR__UNROLL(4) for (int r = 0; r < 4; r++) t[r] = LOAD(y + LANES * r);                                                       \
      for (fr_int j = 0; j < m; j++)                                                                                              \
        FR__UNROLL(4) for (int r = 0; r < 4; r++) t[r] = FMA(ALL(a[j]), LOAD(x + j * ldx + LANES * r), t[r]);                     \
      FR__UNROLL(4) for (int r = 0; r < 4; r++) STORE(y + LANES * r, t[r]);                                                       \
    }                                                                                                                             \
    EACH(                                                                                                                         \
      V t = READ(y + i);                                                                                                          \
      for (fr_int j = 0; j < m; j++) t = FMA(ALL(a[j]), READ(x + j * ldx + i), t);                                                \
      WRITE(y + i, t);                                                                                                            \
    )                                                                                                                             \
    if (i < n) fr__combine_scalar(y + i, a, x + i, ldx, m, n - i);                                                                \
  }                                                                                                                               \
  STATIC void fr__scale_##isa(float *y, float s, fr_int n)                                                                        \
  {                                                                                                                               \
    EACH(WRITE(y + i, ALL(s) * READ(y + i)))                                                                                      \
    if (i < n) fr__scale_scalar(y + i, s, n - i);                                                                                 \
  }                                                                                                                               \
  STATIC void fr__rotate_##isa(float *a, float *b, float s, const float *cosine, const float *sine, float turn, fr_int n)         \
  {                                                                                                                               \
    EACH(                                                                                                                         \
      const V x = ALL(s) * READ(a + i), y = ALL(s) * READ(b + i), c = READ(cosine + i), d = ALL(turn) * READ(sine + i);           \
      WRITE(a + i, TURN(x, c, y, d));                                                                                             \
      WRITE(b + i, FMA(x, d, y * c));                                                                                             \
    )                                                                                                                             \
    if (i < n) fr__rotate_scalar(a + i, b + i, s, cosine + i, sine + i, turn, n - i);                                             \
  }                                                                                                                               \
  STATIC void fr__mul_##isa(float *y, float s, const float *a, const float *b, fr_int n)                                          \
  {                                                                                                                               \
    EACH(WRITE(y + i, ALL(s) * READ(a + i) * READ(b + i)))                                                                        \
    if (i < n) fr__mul_scalar(y + i, s, a + i, b + i, n - i);                                                                     \
  }                                                                                                                               \
  STATIC void fr__mul_add_##isa(float *y, float s, const float *a, const float *b, fr_int n)                                      \
  {                                                                                                                               \
    EACH(WRITE(y + i, FMA(ALL(s) * READ(a + i), READ(b + i), READ(y + i))))                                                       \
    if (i < n) fr__mul_add_scalar(y + i, s, a + i, b + i, n - i);                                                                 \
  }                                                                                                                               \
  /* A NaN passes through the clamps. */                                                                                          \
  STATIC FR__INLINE void fr__exp_##isa(V *value)                                                                                  \
  {                                                                                                                               \
    const V x = MIN(ALL(FR__EXP_HIGH), MAX(ALL(FR__EXP_LOW), *value)), n = ROUND(x * ALL(FR__LOG2E));                             \
    const V r = FMA(n, ALL(-FR__LN2_LOW), FMA(n, ALL(-FR__LN2_HIGH), x));                                                         \
    V p = FMA(ALL(FR__EXP_P0), r, ALL(FR__EXP_P1));                                                                               \
    p = FMA(p, r, ALL(FR__EXP_P2));                                                                                               \
    p = FMA(p, r, ALL(FR__EXP_P3));                                                                                               \
    p = FMA(p, r, ALL(FR__EXP_P4));                                                                                               \
    p = FMA(p, r, ALL(FR__EXP_P5));                                                                                               \
    p = FMA(p, r * r, r + ALL(1.0f));                                                                                             \
    POWER(&p, &n);                                                                                                                \
    *value = p;                                                                                                                   \
  }                                                                                                                               \
  STATIC void fr__swiglu_##isa(float *y, const float *gate, const float *up, fr_int n)                                            \
  {                                                                                                                               \
    EACH(                                                                                                                         \
      V g = READ(gate + i), e = ALL(0.0f) - g;                                                                                    \
      fr__exp_##isa(&e);                                                                                                          \
      WRITE(y + i, g / (ALL(1.0f) + e) * READ(up + i));                                                                           \
    )                                                                                                                             \
    if (i < n) fr__swiglu_scalar(y + i, gate + i, up + i, n - i);                                                                 \
  }                                                                                                                               \
  STATIC void fr__swiglu_back_##isa(float *dgate, float *dup, float *y, const float *dy, const float *gate, const float *up,      \
                                    fr_int n)                                                                                     \
  {                                                                                                                               \
    EACH(                                                                                                                         \
      const V g = READ(gate + i), u = READ(up + i), d = READ(dy + i);                                                             \
      V e = ALL(0.0f) - g, s, silu;                                                                                               \
      fr__exp_##isa(&e);                                                                                                          \
      s = ALL(1.0f) / (ALL(1.0f) + e);                                                                                            \
      silu = g * s;                                                                                                               \
      WRITE(y + i, silu * u);                                                                                                     \
      WRITE(dup + i, d * silu);                                                                                                   \
      WRITE(dgate + i, d * u * FMA(silu, ALL(1.0f) - s, s));                                                                      \
    )                                                                                                                             \
    if (i < n) fr__swiglu_back_scalar(dgate + i, dup + i, y + i, dy + i, gate + i, up + i, n - i);                                \
  }                                                                                                                               \
  STATIC void fr__adamw_##isa(float *p, const float *g, float *m, float *v, fr_int n, const fr__adamw_factors *f)                 \
  {                                                                                                                               \
    const V mix1 = ALL(1.0f - f->beta1), mix2 = ALL(1.0f - f->beta2);                                                             \
    EACH(                                                                                                                         \
      const V d = READ(g + i) * ALL(f->scale), square = d * d, old = READ(p + i) * ALL(f->keep);                                  \
      const V m0 = READ(m + i), m1 = FMA(mix1, d - m0, m0), v0 = READ(v + i), v1 = FMA(mix2, square - v0, v0);                    \
      WRITE(m + i, m1);                                                                                                           \
      WRITE(v + i, v1);                                                                                                           \
      WRITE(p + i, old - ALL(f->rate) * m1 / FMA(SQRT(v1), ALL(f->unbias2), ALL(f->eps)));                                        \
    )                                                                                                                             \
    if (i < n) fr__adamw_scalar(p + i, g + i, m + i, v + i, n - i, f);                                                            \
  }

// ---- >>avx2 -------------------------------------------------------------------------------------------
#ifdef FR__AVX2
// -- AVX2: eight lanes.
static int fr__available_avx2(void) { return fr__cpu_has(5, 0x06); }

// 12 accumulators + 2 of b + 1 of a = 15 of 16 registers. Two pointers and one stride reach the six rows of A.
FR__AVX2 void fr__tile_avx2(float *c, fr_int ldc, const float *a, fr_int ai, fr_int ap, const float *b, fr_int bp, fr_int k,
                            fr_int m, fr_int n, int add)
{
  const float *a3 = a + 3 * ai;
  __m256 t[6][2];
  FR__UNROLL(6) for (int i = 0; i < 6; i++) t[i][0] = t[i][1] = _mm256_setzero_ps();
  for (; k > 0; k--, a += ap, a3 += ap, b += bp) {
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
    FR__UNROLL(6) for (int i = 0; i < 6; i++) {  // without it gcc keeps t in memory at -O2
      const __m256 x = _mm256_broadcast_ss((i < 3 ? a : a3) + i % 3 * ai);
      t[i][0] = _mm256_fmadd_ps(x, b0, t[i][0]);
      t[i][1] = _mm256_fmadd_ps(x, b1, t[i][1]);
    }
  }
  if (m == 6 && n == 16) {
    FR__UNROLL(6) for (int i = 0; i < 6; i++, c += ldc) {
      _mm256_storeu_ps(c, add ? _mm256_add_ps(_mm256_loadu_ps(c), t[i][0]) : t[i][0]);
      _mm256_storeu_ps(c + 8, add ? _mm256_add_ps(_mm256_loadu_ps(c + 8), t[i][1]) : t[i][1]);
    }
  } else {
    float whole[6][2][8];
    FR__UNROLL(6) for (int i = 0; i < 6; i++) {
      _mm256_storeu_ps(whole[i][0], t[i][0]);
      _mm256_storeu_ps(whole[i][1], t[i][1]);
    }
    fr__put_tile(c, ldc, whole[0][0], 16, m, n, add);
  }
}

// Eight values of a row of W from p on.
FR__AVX2 FR__INLINE void fr__load_avx2(__m256 *value, const void *row, fr_int p, const int type)
{
  const void *half = (const uint16_t *)row + p;
  if (type == FR_FLOAT32) *value = _mm256_loadu_ps((const float *)row + p);
  else *value = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)half)), 16));
}

// R rows of X against J rows of W: R*J accumulators. One or two rows of X run down W a row at a time, unless the rows are so
// short that adding up the lanes is most of the work; more take four rows of W together, so that they read X less often. An
// element is one chain of sums in each lane either way, and the lanes are added as (0+2)+(1+3) of four, then the fours: for J = 4
// two rounds of shuffles and adds do that for four rows of W at once. A processor foresees one stream of reads by itself; of
// four, FR__AHEAD bytes ahead are asked of memory, into the second-level cache since X needs the first.
enum { FR__SHORT_ROW = 256 };
FR__AVX2 FR__INLINE void fr__stream_block_avx2(const int R, const int J, const int type, float *y, fr_int ldy, const float *x,
                                               fr_int ldx, const char *w, fr_int step, fr_int k, int add)
{
  const fr_int line = type == FR_FLOAT32 ? 16 : 32, size = 64 / line;  // values in a line of the cache, bytes of one
  __m256 t[2][4], wj[4];
  FR__UNROLL(2) for (int i = 0; i < R; i++)
    FR__UNROLL(4) for (int j = 0; j < J; j++) t[i][j] = _mm256_setzero_ps();
  for (fr_int p = 0; p < k; p += 8) {
    FR__UNROLL(4) for (int j = 0; j < J; j++) {
      fr__load_avx2(&wj[j], w + j * step, p, type);
      if (J > 1 && p % line == 0) _mm_prefetch(w + j * step + p * size + FR__AHEAD, _MM_HINT_T1);
    }
    FR__UNROLL(2) for (int i = 0; i < R; i++) {
      const __m256 xi = _mm256_loadu_ps(x + i * ldx + p);
      FR__UNROLL(4) for (int j = 0; j < J; j++) t[i][j] = _mm256_fmadd_ps(xi, wj[j], t[i][j]);
    }
  }
  FR__UNROLL(2) for (int i = 0; i < R; i++, y += ldy) {
    __m256 a = t[i][0] + _mm256_shuffle_ps(t[i][0], t[i][0], 0x4e), s = a + _mm256_shuffle_ps(a, a, 0xb1);
    __m128 four;
    if (J == 4) {
      const __m256 b = _mm256_unpacklo_ps(t[i][2], t[i][3]) + _mm256_unpackhi_ps(t[i][2], t[i][3]);
      a = _mm256_unpacklo_ps(t[i][0], t[i][1]) + _mm256_unpackhi_ps(t[i][0], t[i][1]);
      s = _mm256_shuffle_ps(a, b, 0x44) + _mm256_shuffle_ps(a, b, 0xee);
    }
    four = _mm256_castps256_ps128(s) + _mm256_extractf128_ps(s, 1);
    if (J == 4) _mm_storeu_ps(y, add ? _mm_add_ps(_mm_loadu_ps(y), four) : four);
    else *y = add ? *y + four[0] : four[0];
  }
}

FR__AVX2 FR__INLINE void fr__stream_type_avx2(const int type, float *y, fr_int ldy, const float *x, fr_int ldx, const char *w,
                                              fr_int step, fr_int m, fr_int n, fr_int k, int add)
{
  for (fr_int j = 0, cols; j < n; j += cols, y += cols, w += cols * step) {
    fr_int i = 0;
    cols = (m > 2 || k <= FR__SHORT_ROW) && n - j >= 4 ? 4 : 1;
    for (; cols == 4 && m - i >= 2; i += 2)
      fr__stream_block_avx2(2, 4, type, y + i * ldy, ldy, x + i * ldx, ldx, w, step, k, add);
    for (; i < m; i++)
      for (fr_int c = 0; c < cols; c++)
        fr__stream_block_avx2(1, 1, type, y + i * ldy + c, ldy, x + i * ldx, ldx, w + c * step, step, k, add);
  }
}

FR__AVX2 void fr__widen_avx2(float *y, const uint16_t *x, fr_int n)
{
  fr_int i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 value;
    fr__load_avx2(&value, x, i, FR_BFLOAT16);
    _mm256_storeu_ps(y + i, value);
  }
  fr__widen_scalar(y + i, x + i, n - i);
}

// Pairs of rows are interleaved, then pairs of pairs, then the halves of registers.
FR__AVX2 void fr__transpose_avx2(float *dst, fr_int width, const float *src, fr_int step)
{
  __m256 x[8], y[8];
  FR__UNROLL(8) for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(src + i * step);
  FR__UNROLL(4) for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  FR__UNROLL(4) for (int i = 0; i < 4; i++) {
    const int at = i / 2 * 4 + i % 2;
    x[i / 2 * 4 + i % 2 * 2] = _mm256_shuffle_ps(y[at], y[at + 2], 0x44);
    x[i / 2 * 4 + i % 2 * 2 + 1] = _mm256_shuffle_ps(y[at], y[at + 2], 0xee);
  }
  FR__UNROLL(4) for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(dst + i * width, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * width, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
  }
}

// 2^n in two factors, since n may be -150 .. 128.
FR__AVX2 FR__INLINE void fr__power_avx2(__m256 *p, const __m256 *n)
{
  const __m256i whole = _mm256_cvtps_epi32(*n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  *p *= _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  *p *= _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23));
}

#define FR__ROUND_AVX2(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define FR__TURN_AVX2(x, c, y, d) _mm256_fmsub_ps(x, c, (y) * (d))
#define FR__SUM_AVX2(s) (((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7])))
#define FR__EACH_AVX2(...) fr_int i = 0; for (; i + 8 <= n; i += 8) { __VA_ARGS__; }
FR__PRIMITIVES(avx2, scalar, FR__AVX2, __m256, 8, FR__EACH_AVX2, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_loadu_ps,
               _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, FR__TURN_AVX2, _mm256_sqrt_ps, _mm256_min_ps, _mm256_max_ps,
               FR__ROUND_AVX2, fr__power_avx2, FR__SUM_AVX2)

FR__AVX2 double fr__exp_sum_avx2(float *y, const float *x, float shift, fr_int n)
{
  __m256d s = _mm256_setzero_pd();
  fr_int i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 e = _mm256_loadu_ps(x + i) - _mm256_set1_ps(shift);
    fr__exp_avx2(&e);
    _mm256_storeu_ps(y + i, e);
    s += _mm256_cvtps_pd(_mm256_castps256_ps128(e));
    s += _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1));
  }
  return (s[0] + s[2]) + (s[1] + s[3]) + fr__exp_sum_scalar(y + i, x + i, shift, n - i);
}

// ---- >>avx512 -----------------------------------------------------------------------------------------
// -- AVX-512: sixteen lanes.
static int fr__available_avx512(void) { return fr__cpu_has(16, 0xE6) && fr__available_avx2(); }

// 24 accumulators + 2 of b + 1 of a of 32 registers. Four pointers and one stride reach the twelve rows of A.
FR__AVX512 void fr__tile_avx512(float *c, fr_int ldc, const float *a, fr_int ai, fr_int ap, const float *b, fr_int bp, fr_int k,
                                fr_int m, fr_int n, int add)
{
  const float *a3 = a + 3 * ai, *a6 = a3 + 3 * ai, *a9 = a6 + 3 * ai;
  __m512 t[12][2];
  FR__UNROLL(12) for (int i = 0; i < 12; i++) t[i][0] = t[i][1] = _mm512_setzero_ps();
  for (; k > 0; k--, a += ap, a3 += ap, a6 += ap, a9 += ap, b += bp) {
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
    FR__UNROLL(12) for (int i = 0; i < 12; i++) {
      const __m512 x = _mm512_set1_ps((i < 3 ? a : i < 6 ? a3 : i < 9 ? a6 : a9)[i % 3 * ai]);
      t[i][0] = _mm512_fmadd_ps(x, b0, t[i][0]);
      t[i][1] = _mm512_fmadd_ps(x, b1, t[i][1]);
    }
  }
  if (m == 12 && n == 32) {
    FR__UNROLL(12) for (int i = 0; i < 12; i++, c += ldc) {
      _mm512_storeu_ps(c, add ? _mm512_add_ps(_mm512_loadu_ps(c), t[i][0]) : t[i][0]);
      _mm512_storeu_ps(c + 16, add ? _mm512_add_ps(_mm512_loadu_ps(c + 16), t[i][1]) : t[i][1]);
    }
  } else {
    float whole[12][2][16];
    FR__UNROLL(12) for (int i = 0; i < 12; i++) {
      _mm512_storeu_ps(whole[i][0], t[i][0]);
      _mm512_storeu_ps(whole[i][1], t[i][1]);
    }
    fr__put_tile(c, ldc, whole[0][0], 32, m, n, add);
  }
}

// Sixteen values of a row of W from p on.
FR__AVX512 FR__INLINE void fr__load_avx512(__m512 *value, const void *row, fr_int p, const int type)
{
  const void *half = (const uint16_t *)row + p;
  if (type == FR_FLOAT32) *value = _mm512_loadu_ps((const float *)row + p);
  else *value = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)half)), 16));
}

// As the AVX2 twin; 24 accumulators + 4 of W + 1 of X of 32 registers.
FR__AVX512 FR__INLINE void fr__stream_block_avx512(const int R, const int J, const int type, float *y, fr_int ldy, const float *x,
                                                   fr_int ldx, const char *w, fr_int step, fr_int k, int add)
{
  const fr_int line = type == FR_FLOAT32 ? 16 : 32, size = 64 / line;
  __m512 t[6][4], wj[4];
  FR__UNROLL(6) for (int i = 0; i < R; i++)
    FR__UNROLL(4) for (int j = 0; j < J; j++) t[i][j] = _mm512_setzero_ps();
  for (fr_int p = 0; p < k; p += 16) {
    FR__UNROLL(4) for (int j = 0; j < J; j++) {
      fr__load_avx512(&wj[j], w + j * step, p, type);
      if (J > 1 && p % line == 0) _mm_prefetch(w + j * step + p * size + FR__AHEAD, _MM_HINT_T1);
    }
    FR__UNROLL(6) for (int i = 0; i < R; i++) {
      const __m512 xi = _mm512_loadu_ps(x + i * ldx + p);
      FR__UNROLL(4) for (int j = 0; j < J; j++) t[i][j] = _mm512_fmadd_ps(xi, wj[j], t[i][j]);
    }
  }
  FR__UNROLL(6) for (int i = 0; i < R; i++, y += ldy) {
    __m512 a = t[i][0] + _mm512_shuffle_ps(t[i][0], t[i][0], 0x4e), s = a + _mm512_shuffle_ps(a, a, 0xb1);
    __m128 four;
    if (J == 4) {
      const __m512 b = _mm512_unpacklo_ps(t[i][2], t[i][3]) + _mm512_unpackhi_ps(t[i][2], t[i][3]);
      a = _mm512_unpacklo_ps(t[i][0], t[i][1]) + _mm512_unpackhi_ps(t[i][0], t[i][1]);
      s = _mm512_shuffle_ps(a, b, 0x44) + _mm512_shuffle_ps(a, b, 0xee);
    }
    s += _mm512_shuffle_f32x4(s, s, 0x4e);
    four = _mm512_castps512_ps128(s + _mm512_shuffle_f32x4(s, s, 0xb1));
    if (J == 4) _mm_storeu_ps(y, add ? _mm_add_ps(_mm_loadu_ps(y), four) : four);
    else *y = add ? *y + four[0] : four[0];
  }
}

FR__AVX512 FR__INLINE void fr__stream_type_avx512(const int type, float *y, fr_int ldy, const float *x, fr_int ldx, const char *w,
                                                  fr_int step, fr_int m, fr_int n, fr_int k, int add)
{
  for (fr_int j = 0, cols; j < n; j += cols, y += cols, w += cols * step) {
    fr_int i = 0;
    cols = (m > 2 || k <= FR__SHORT_ROW) && n - j >= 4 ? 4 : 1;
    for (; type == FR_FLOAT32 && cols == 4 && m - i >= 6; i += 6)  // fewer shapes for bfloat16: each costs the compiler
      fr__stream_block_avx512(6, 4, FR_FLOAT32, y + i * ldy, ldy, x + i * ldx, ldx, w, step, k, add);
    for (; type == FR_FLOAT32 && cols == 4 && m - i >= 4; i += 4)
      fr__stream_block_avx512(4, 4, FR_FLOAT32, y + i * ldy, ldy, x + i * ldx, ldx, w, step, k, add);
    for (; cols == 4 && m - i >= 2; i += 2)
      fr__stream_block_avx512(2, 4, type, y + i * ldy, ldy, x + i * ldx, ldx, w, step, k, add);
    for (; i < m; i++)
      for (fr_int c = 0; c < cols; c++)
        fr__stream_block_avx512(1, 1, type, y + i * ldy + c, ldy, x + i * ldx, ldx, w + c * step, step, k, add);
  }
}

#define FR__ROUND_AVX512(x) _mm512_cvtepi32_ps(_mm512_cvtps_epi32(x))
#define FR__POWER_AVX512(p, n) *(p) = _mm512_scalef_ps(*(p), *(n))
#define FR__TURN_AVX512(x, c, y, d) _mm512_fmsub_ps(x, c, (y) * (d))
#define FR__READ_AVX512(at) _mm512_maskz_loadu_ps(on, at)
#define FR__WRITE_AVX512(at, value) _mm512_mask_storeu_ps(at, on, value)
#define FR__EACH_AVX512(...)                                                                                     \
  fr_int i = 0;                                                                                                  \
  for (const __mmask16 on = 0xffff; i + 16 <= n; i += 16) { __VA_ARGS__; }  /* compilers drop a mask of ones */  \
  if (i < n) { const __mmask16 on = (__mmask16)((1 << (n - i)) - 1); __VA_ARGS__; i = n; }
FR__PRIMITIVES(avx512, avx2, FR__AVX512, __m512, 16, FR__EACH_AVX512, _mm512_loadu_ps, _mm512_storeu_ps, FR__READ_AVX512,
               FR__WRITE_AVX512, _mm512_set1_ps, _mm512_fmadd_ps, FR__TURN_AVX512, _mm512_sqrt_ps, _mm512_min_ps, _mm512_max_ps,
               FR__ROUND_AVX512, FR__POWER_AVX512, _mm512_reduce_add_ps)

FR__AVX512 double fr__exp_sum_avx512(float *y, const float *x, float shift, fr_int n)
{
  __m512d s = _mm512_setzero_pd();
  FR__EACH_AVX512(
    __m512 e = FR__READ_AVX512(x + i) - _mm512_set1_ps(shift);
    fr__exp_avx512(&e);
    e = _mm512_maskz_mov_ps(on, e);
    FR__WRITE_AVX512(y + i, e);
    s += _mm512_cvtps_pd(_mm512_castps512_ps256(e));
    s += _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(e), 1)));
  )
  return _mm512_reduce_add_pd(s);
}
#endif  // FR__AVX2

// ---- >>neon -------------------------------------------------------------------------------------------
#ifdef FR__NEON
// -- NEON: four lanes.
static int fr__available_neon(void) { return 1; }

// 24 accumulators + 2 of b + 1 of a of 32 registers.
static void fr__tile_neon(float *c, fr_int ldc, const float *a, fr_int ai, fr_int ap, const float *b, fr_int bp, fr_int k,
                          fr_int m, fr_int n, int add)
{
  float32x4_t t[12][2];
  FR__UNROLL(12) for (int i = 0; i < 12; i++) t[i][0] = t[i][1] = vdupq_n_f32(0.0f);
  for (; k > 0; k--, a += ap, b += bp) {
    const float32x4_t b0 = vld1q_f32(b), b1 = vld1q_f32(b + 4);
    FR__UNROLL(12) for (int i = 0; i < 12; i++) {
      const float32x4_t x = vld1q_dup_f32(a + i * ai);
      t[i][0] = vfmaq_f32(t[i][0], x, b0);
      t[i][1] = vfmaq_f32(t[i][1], x, b1);
    }
  }
  if (m == 12 && n == 8) {
    FR__UNROLL(12) for (int i = 0; i < 12; i++, c += ldc) {
      vst1q_f32(c, add ? vaddq_f32(vld1q_f32(c), t[i][0]) : t[i][0]);
      vst1q_f32(c + 4, add ? vaddq_f32(vld1q_f32(c + 4), t[i][1]) : t[i][1]);
    }
  } else {
    float whole[12][2][4];
    FR__UNROLL(12) for (int i = 0; i < 12; i++) {
      vst1q_f32(whole[i][0], t[i][0]);
      vst1q_f32(whole[i][1], t[i][1]);
    }
    fr__put_tile(c, ldc, whole[0][0], 8, m, n, add);
  }
}

// Four values of a row of W from p on.
static FR__INLINE float32x4_t fr__load_neon(const void *row, fr_int p, const int type)
{
  if (type == FR_FLOAT32) return vld1q_f32((const float *)row + p);
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)row + p), 16));
}

static void fr__widen_neon(float *y, const uint16_t *x, fr_int n)
{
  fr_int i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(y + i, fr__load_neon(x, i, FR_BFLOAT16));
  fr__widen_scalar(y + i, x + i, n - i);
}

// As the AVX2 twin: R rows of X against 4 rows of W. Two rounds of pairwise sums leave one value of each row of W.
static FR__INLINE void fr__stream_block_neon(const int R, const int type, float *y, fr_int ldy, const float *x, fr_int ldx,
                                             const char *const w[4], fr_int k, fr_int n, int add)
{
  const fr_int line = type == FR_FLOAT32 ? 16 : 32, size = 64 / line;
  float32x4_t t[4][4];
  FR__UNROLL(4) for (int i = 0; i < R; i++)
    FR__UNROLL(4) for (int j = 0; j < 4; j++) t[i][j] = vdupq_n_f32(0.0f);
  for (fr_int p = 0; p < k; p += 4) {
    float32x4_t wj[4];
    FR__UNROLL(4) for (int j = 0; j < 4; j++) {
      wj[j] = fr__load_neon(w[j], p, type);
      if (p % line == 0) __builtin_prefetch(w[j] + p * size + FR__AHEAD, 0, 2);
    }
    FR__UNROLL(4) for (int i = 0; i < R; i++) {
      const float32x4_t xi = vld1q_f32(x + i * ldx + p);
      FR__UNROLL(4) for (int j = 0; j < 4; j++) t[i][j] = vfmaq_f32(t[i][j], xi, wj[j]);
    }
  }
  FR__UNROLL(4) for (int i = 0; i < R; i++) {
    float sum[4];
    vst1q_f32(sum, vpaddq_f32(vpaddq_f32(t[i][0], t[i][1]), vpaddq_f32(t[i][2], t[i][3])));
    for (fr_int j = 0; j < n; j++) y[i * ldy + j] = add ? y[i * ldy + j] + sum[j] : sum[j];
  }
}

static FR__INLINE void fr__stream_type_neon(const int type, float *y, fr_int ldy, const float *x, fr_int ldx, const char *w,
                                            fr_int step, fr_int m, fr_int n, fr_int k, int add)
{
  for (fr_int j = 0; j < n; j += 4) {
    const char *rows[4];
    fr_int i = 0;
    FR__UNROLL(4) for (int r = 0; r < 4; r++) rows[r] = w + fr__min(j + r, n - 1) * step;
    for (; i + 4 <= m; i += 4)
      fr__stream_block_neon(4, type, y + i * ldy + j, ldy, x + i * ldx, ldx, rows, k, fr__min(n - j, 4), add);
    for (; i < m; i++) fr__stream_block_neon(1, type, y + i * ldy + j, ldy, x + i * ldx, ldx, rows, k, fr__min(n - j, 4), add);
  }
}

// 2^n in two factors, since n may be -150 .. 128; it is 0 for a NaN.
static FR__INLINE void fr__power_neon(float32x4_t *p, const float32x4_t *n)
{
  const int32x4_t whole = vcvtq_s32_f32(*n), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
  *p *= vreinterpretq_f32_s32(vshlq_n_s32(half + bias, 23));
  *p *= vreinterpretq_f32_s32(vshlq_n_s32(whole - half + bias, 23));
}

#define FR__FMA_NEON(a, b, c) vfmaq_f32(c, a, b)
#define FR__TURN_NEON(x, c, y, d) vfmsq_f32((x) * (c), y, d)
#define FR__EACH_NEON(...) fr_int i = 0; for (; i + 4 <= n; i += 4) { __VA_ARGS__; }
FR__PRIMITIVES(neon, scalar, static, float32x4_t, 4, FR__EACH_NEON, vld1q_f32, vst1q_f32, vld1q_f32, vst1q_f32, vdupq_n_f32,
               FR__FMA_NEON, FR__TURN_NEON, vsqrtq_f32, vminq_f32, vmaxq_f32, vrndnq_f32, fr__power_neon, vaddvq_f32)

static double fr__exp_sum_neon(float *y, const float *x, float shift, fr_int n)
{
  float64x2_t s = vdupq_n_f64(0.0);
  fr_int i = 0;
  for (; i + 4 <= n; i += 4) {
    float32x4_t e = vld1q_f32(x + i) - vdupq_n_f32(shift);
    fr__exp_neon(&e);
    vst1q_f32(y + i, e);
    s += vcvt_f64_f32(vget_low_f32(e)) + vcvt_high_f64_f32(e);
  }
  return vaddvq_f64(s) + fr__exp_sum_scalar(y + i, x + i, shift, n - i);
}
#endif  // FR__NEON

// Best first. fr_work_place takes the first row that this processor has.
#define FR__ROW(isa, mr, nr, widen, transpose)                                                                      \
  { #isa, mr, nr, fr__available_##isa, fr__tile_##isa, fr__stream_##isa, widen, transpose, fr__dot_##isa,            \
    fr__max_##isa, fr__exp_sum_##isa, fr__axpy_##isa, fr__combine_##isa, fr__scale_##isa, fr__rotate_##isa,          \
    fr__mul_##isa, fr__mul_add_##isa, fr__swiglu_##isa, fr__swiglu_back_##isa, fr__adamw_##isa }
static const fr__kernels fr__rows[] = {
#ifdef FR__AVX2
  FR__ROW(avx512, 12, 32, fr__widen_avx2, fr__transpose_avx2),
  FR__ROW(avx2, 6, 16, fr__widen_avx2, fr__transpose_avx2),
#elif defined(FR__NEON)
  FR__ROW(neon, 12, 8, fr__widen_neon, fr__transpose_scalar),
#endif
  FR__ROW(scalar, 4, 8, fr__widen_scalar, fr__transpose_scalar)
};
static const fr__kernels *fr__kernel_row(fr_int i)
{
  return i < (fr_int)(sizeof fr__rows / sizeof fr__rows[0]) ? &fr__rows[i] : NULL;
}

#endif  // FR__METHOD

// ---- >>cuda -------------------------------------------------------------------------------------------
// The backend of >>backend on an NVIDIA GPU. First the kernels, each beside its formula, then the host's side. What holds for all:
//   one stream, in order; nothing waits for the device but what the host asks for: losses, tokens, rows, norms
//   a sum has one order, which depends on its length alone: no atomics, so that bits are the same from run to run
//   no kernel returns before a barrier; a block is 128 or 256 threads in a row, warp w has threads 32 w .. 32 w + 31
#ifdef FR__CUDA
#ifdef FR_NO_MALLOC
#error "the CUDA unit keeps track of what the device holds with FR_MALLOC"
#endif
#ifndef FR__CUDA_EMULATED  // tests/cuda_host runs all that follows on a CPU, with its own words for what stands in this block
#include <cuda_runtime.h>
#ifdef FR_CUDA_CUBLAS
#include <cublasLt.h>
#endif
#define FR__LAUNCH(kernel, grid, threads, shared, stream, arguments) kernel<<<grid, threads, shared, stream>>> arguments
#define FR__DYNAMIC(type, name) extern __shared__ __align__(16) type name[]

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "compile for compute capability 8.0 or more: -arch=sm_80, or -arch=native where the card is"
#endif

// d (16,8) += a (16,k) b (k,8) by one warp. A word holds two bfloat16 that follow one another along k, or one TF32. With
// g = lane / 4 and t = lane % 4 a lane holds, counting words along k:
//   a: (g, t) (g+8, t) (g, t+4) (g+8, t+4)      b: (t, g) (t+4, g)      d: (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1)
__device__ static __forceinline__ void fr__mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ static __forceinline__ void fr__mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2])
{
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ static __forceinline__ uint32_t fr__to_tf32(float x)
{
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x));
  return word;
}
__device__ static __forceinline__ uint32_t fr__to_bf16x2(float low, float high)
{
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
#endif

#ifdef __CUDACC__
#define FR__CUDA_UNROLL _Pragma("unroll")
#else
#define FR__CUDA_UNROLL
#endif

// -- sums over a warp and over a block
#define FR__WARP 0xFFFFFFFFu  // all lanes take part, always
__device__ static __forceinline__ float fr__warp_sum(float x)
{
  for (int mask = 16; mask; mask /= 2) x += __shfl_xor_sync(FR__WARP, x, mask);
  return x;
}
__device__ static __forceinline__ float fr__warp_max(float x)
{
  for (int mask = 16; mask; mask /= 2) x = fmaxf(x, __shfl_xor_sync(FR__WARP, x, mask));
  return x;
}
// Of 256 threads; each of them gets the result. `room` is free again at the next barrier.
__device__ static double fr__block_sum(double x, double *room)
{
  for (int mask = 16; mask; mask /= 2) x += __shfl_xor_sync(FR__WARP, x, mask);
  __syncthreads();
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  return ((room[0] + room[1]) + (room[2] + room[3])) + ((room[4] + room[5]) + (room[6] + room[7]));
}
__device__ static double fr__block_max(double x, double *room)
{
  for (int mask = 16; mask; mask /= 2) { const double y = __shfl_xor_sync(FR__WARP, x, mask); x = y > x ? y : x; }
  __syncthreads();
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  for (int i = 0; i < 8; i++) x = room[i] > x ? room[i] : x;
  return x;
}

// -- the matrix product, as a ladder
//   y_ij = from_ij + sum_k a_ik b_jk          y, from (M,N), rows ldy apart; from NULL: 0, from == y: adds
// Strides make one formula of the three that training needs:
//   Y = X W'   a = X (N,in), b = W (out,in)       dX = dY W   k runs down W's columns       dW += dY' X   and down both
struct fr__cuda_product {
  float *y;
  const float *from, *a, *b;
  fr_int ldy, a_row, a_k, b_row, b_k;  // floats to the next row, and to the next k
  int M, N, K;
  int piece = 0;                       // of a long sum: k's of a piece, and where pieces of y (M,N) go
  float *part = NULL;
};
// dW sums over all rows and has few outputs, a few blocks' work. Sums of more than FR__LONG are cut into pieces of so many, which
// blockIdx.z counts and which are added up in order: the order of a sum still depends on its length alone.
enum { FR__LONG = 512, FR__FEW_OUTPUTS = 1 << 19 };
__device__ static __forceinline__ void fr__take_piece(fr__cuda_product *g)
{
  const int first = (int)blockIdx.z * g->piece;
  if (!g->piece) return;
  g->a += first * g->a_k;
  g->b += first * g->b_k;
  g->K = g->K - first < g->piece ? g->K - first : g->piece;
  g->y = g->part + (fr_int)blockIdx.z * g->M * g->N;
  g->ldy = g->N;
  g->from = NULL;
}
__global__ static void fr__product_gather(fr__cuda_product g, int pieces)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x, all = (fr_int)g.M * g.N, at = i / g.N * g.ldy + i % g.N;
  float sum = 0.0f;
  if (i >= all) return;
  for (int p = 0; p < pieces; p++) sum += g.part[p * all + i];
  g.y[at] = (g.from ? g.from[at] : 0.0f) + sum;
}

// First rung: a thread an output. Every a is read N times and every b M times, from memory or, with luck, from a cache.
__global__ static void fr__product_plain(fr__cuda_product g)
{
  const int i = (int)(blockIdx.x * 16 + threadIdx.x / 16), j = (int)(blockIdx.y * 16 + threadIdx.x % 16);
  float sum = 0.0f;
  if (i >= g.M || j >= g.N) return;
  for (int k = 0; k < g.K; k++) sum = fmaf(g.a[i * g.a_row + k * g.a_k], g.b[j * g.b_row + k * g.b_k], sum);
  g.y[i * g.ldy + j] = (g.from ? g.from[i * g.ldy + j] : 0.0f) + sum;
}

// Second rung: a block has 64 x 64 outputs and walks along k. The 64 rows of a and of b that it needs of 16 k are put into shared
// memory once, so that each number read from afar is used 64 times; a thread keeps 4 x 4 outputs in registers, reads four numbers
// of a and of b at once, and uses each 4 times.
// `ALONG`: neighbours along k lie side by side, else neighbours across rows: neighbouring threads read neighbouring numbers.
template <int ALONG>
__device__ static __forceinline__ void fr__fetch_tile(float (*to)[68], const float *x, fr_int x_row, fr_int x_k, int row, int rows,
                                                      int k0, int K)
{
  for (int e = (int)threadIdx.x; e < 64 * 16; e += 256) {
    const int k = ALONG ? e % 16 : e / 64, i = ALONG ? e / 16 : e % 64;
    to[k][i] = row + i < rows && k0 + k < K ? x[(row + i) * x_row + (k0 + k) * x_k] : 0.0f;
  }
}
template <int A_ALONG, int B_ALONG>
__global__ static void __launch_bounds__(256) fr__product_tiled(fr__cuda_product g)
{
  __shared__ __align__(16) float a[16][68], b[16][68];
  const int row = (int)blockIdx.x * 64, col = (int)blockIdx.y * 64, i0 = (int)threadIdx.x / 16 * 4, j0 = (int)threadIdx.x % 16 * 4;
  float sum[4][4] = { { 0.0f } };
  fr__take_piece(&g);
  for (int k0 = 0; k0 < g.K; k0 += 16) {
    fr__fetch_tile<A_ALONG>(a, g.a, g.a_row, g.a_k, row, g.M, k0, g.K);
    fr__fetch_tile<B_ALONG>(b, g.b, g.b_row, g.b_k, col, g.N, k0, g.K);
    __syncthreads();
    FR__CUDA_UNROLL
    for (int k = 0; k < 16; k++) {
      const float4 x4 = *(const float4 *)(const void *)&a[k][i0], w4 = *(const float4 *)(const void *)&b[k][j0];
      const float x[4] = { x4.x, x4.y, x4.z, x4.w }, w[4] = { w4.x, w4.y, w4.z, w4.w };
      FR__CUDA_UNROLL
      for (int i = 0; i < 4; i++)
        FR__CUDA_UNROLL
        for (int j = 0; j < 4; j++) sum[i][j] = fmaf(x[i], w[j], sum[i][j]);
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int at_i = row + i0 + i, at_j = col + j0 + j;
      if (at_i < g.M && at_j < g.N) g.y[at_i * g.ldy + at_j] = (g.from ? g.from[at_i * g.ldy + at_j] : 0.0f) + sum[i][j];
    }
}

// Third rung: tensor cores. A block has 128 x 64 outputs, each of its 8 warps 32 x 32 of them: 2 x 4 fragments of 16 x 8. Factors
// are rounded on their way into shared memory, 16 words of each row at a time: 32 k in bfloat16, 16 in TF32. The words of the next
// step are fetched into registers while this one is computed. Rows lie 20 words apart, so that the 32 words that a warp reads at
// once, (g, t) of the fragments, lie in 32 different banks.
// A thread's words of a (ROWS,16) piece are of one k and rows 16 apart, or of one row and several k.
template <int BF16, int ALONG, int ROWS>
struct fr__cuda_words {
  const float *at;     // its first number; then step by step along k
  fr_int apart, next;  // floats from word to word, and to the next k
  int row, k;          // rows from the first word's on; its k
  __device__ void begin(const float *x, fr_int x_row, fr_int x_k, int first, int rows)
  {
    const int e = (int)threadIdx.x, i = ALONG ? e / 16 : e % ROWS;
    k = (ALONG ? e % 16 : e / ROWS) * (BF16 ? 2 : 1);
    row = rows - first - i;
    next = ALONG ? 1 : x_k;
    apart = ALONG ? 16 * x_row : 256 / ROWS * (BF16 ? 2 : 1) * x_k;
    at = x + (first + i) * x_row + k * x_k;
  }
  __device__ __forceinline__ void fetch(uint32_t *word, int K)
  {
    const float *x = at;
    FR__CUDA_UNROLL
    for (int r = 0; r < ROWS / 16; r++, x += apart) {
      const int here = ALONG ? k : k + 256 / ROWS * (BF16 ? 2 : 1) * r, good = (ALONG ? 16 * r : 0) < row;
      const float low = good && here < K ? x[0] : 0.0f;
      word[r] = BF16 ? fr__to_bf16x2(low, good && here + 1 < K ? x[next] : 0.0f) : fr__to_tf32(low);
    }
    at += (BF16 ? 32 : 16) * next;
    k += BF16 ? 32 : 16;
  }
};
template <int ALONG, int ROWS>
__device__ static __forceinline__ void fr__put_words(uint32_t (*to)[20], const uint32_t *word)
{
  FR__CUDA_UNROLL
  for (int r = 0; r < ROWS / 16; r++) {
    const int e = (int)threadIdx.x + 256 * r;
    to[ALONG ? e / 16 : e % ROWS][ALONG ? e % 16 : e / ROWS] = word[r];
  }
}
template <int BF16, int A_ALONG, int B_ALONG>
__global__ static void __launch_bounds__(256) fr__product_tensor(fr__cuda_product g)
{
  __shared__ uint32_t a[128][20], b[64][20];
  const int row = (int)blockIdx.x * 128, col = (int)blockIdx.y * 64, step = BF16 ? 32 : 16;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, gr = lane / 4, t = lane % 4;
  const int i0 = warp / 2 * 32, j0 = warp % 2 * 32;
  uint32_t next_a[8], next_b[4];
  float d[2][4][4] = { { { 0.0f } } };
  fr__take_piece(&g);
  fr__cuda_words<BF16, A_ALONG, 128> from_a;
  fr__cuda_words<BF16, B_ALONG, 64> from_b;
  from_a.begin(g.a, g.a_row, g.a_k, row, g.M);
  from_b.begin(g.b, g.b_row, g.b_k, col, g.N);
  from_a.fetch(next_a, g.K);
  from_b.fetch(next_b, g.K);
  for (int k0 = 0; k0 < g.K; k0 += step) {
    fr__put_words<A_ALONG, 128>(a, next_a);
    fr__put_words<B_ALONG, 64>(b, next_b);
    __syncthreads();
    from_a.fetch(next_a, g.K);
    from_b.fetch(next_b, g.K);
    FR__CUDA_UNROLL
    for (int w = 0; w < 16; w += 8) {
      uint32_t x[2][4], y[4][2];
      FR__CUDA_UNROLL
      for (int i = 0; i < 2; i++) {
        const int at = i0 + 16 * i + gr;
        x[i][0] = a[at][w + t]; x[i][1] = a[at + 8][w + t]; x[i][2] = a[at][w + t + 4]; x[i][3] = a[at + 8][w + t + 4];
      }
      FR__CUDA_UNROLL
      for (int j = 0; j < 4; j++) { y[j][0] = b[j0 + 8 * j + gr][w + t]; y[j][1] = b[j0 + 8 * j + gr][w + t + 4]; }
      FR__CUDA_UNROLL
      for (int i = 0; i < 2; i++)
        FR__CUDA_UNROLL
        for (int j = 0; j < 4; j++) {
          if (BF16) fr__mma_bf16(d[i][j], x[i], y[j]);
          else fr__mma_tf32(d[i][j], x[i], y[j]);
        }
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int e = 0; e < 4; e++) {
        const int at_i = row + i0 + 16 * i + gr + e / 2 * 8, at_j = col + j0 + 8 * j + 2 * t + e % 2;
        if (at_i < g.M && at_j < g.N) g.y[at_i * g.ldy + at_j] = (g.from ? g.from[at_i * g.ldy + at_j] : 0.0f) + d[i][j][e];
      }
}

// Decoding has few rows and all of W to read: a warp takes 4 rows of W from end to end, lane by lane, for 8 rows of x at a time.
// It is chosen by what is done and never by the number of rows, so that a leaf's bits do not depend on the others.
__global__ static void __launch_bounds__(128) fr__product_stream(fr__cuda_product g)
{
  const int lane = (int)threadIdx.x % 32, col = (int)(blockIdx.x * 4 + threadIdx.x / 32) * 4;
  for (int row = 0; row < g.M; row += 8) {
    float sum[8][4] = { { 0.0f } };
    for (int k = lane; k < g.K; k += 32) {
      float w[4];
      FR__CUDA_UNROLL
      for (int j = 0; j < 4; j++) w[j] = col + j < g.N ? g.b[(col + j) * g.b_row + k * g.b_k] : 0.0f;
      FR__CUDA_UNROLL
      for (int i = 0; i < 8; i++) {
        const float x = row + i < g.M ? g.a[(row + i) * g.a_row + k * g.a_k] : 0.0f;
        FR__CUDA_UNROLL
        for (int j = 0; j < 4; j++) sum[i][j] = fmaf(x, w[j], sum[i][j]);
      }
    }
    FR__CUDA_UNROLL
    for (int i = 0; i < 8; i++)
      FR__CUDA_UNROLL
      for (int j = 0; j < 4; j++) {
        const float y = fr__warp_sum(sum[i][j]);
        const fr_int at = (row + i) * g.ldy + col + j;
        if (lane == 0 && row + i < g.M && col + j < g.N) g.y[at] = (g.from ? g.from[at] : 0.0f) + y;
      }
  }
}

// -- norms. A head of q or k is a row too: row i of a kernel is head i % per of token i / per, `ld` floats from token to token.
struct fr__cuda_shape { int count, per, width; };
__device__ static __forceinline__ fr_int fr__row_at(fr__cuda_shape r, int i, fr_int ld)
{
  return i / r.per * ld + i % r.per * r.width;
}

// y = x r g,   r = 1 / sqrt(mean(x^2) + eps)           a warp a row; y may be x, which then is kept in raw
//   list: the rows of x to take instead (NULL: all)     inverse: row i's r goes to i / per * ldi + i % per (NULL: nowhere)
struct fr__cuda_norm {
  fr__cuda_shape rows;
  float *y, *raw, *inverse;
  const float *x, *g;
  const int *list;
  fr_int ldy, ldr, ldi, ldx;
  int apart;  // ints from one of the list to the next
  float eps;
};
__global__ static void __launch_bounds__(128) fr__norm_kernel(fr__cuda_norm t)
{
  const int i = (int)(blockIdx.x * 4 + threadIdx.x / 32), lane = (int)threadIdx.x % 32, C = t.rows.width;
  const int good = i < t.rows.count, row = good ? i : 0;
  const float *x = t.x + (t.list ? t.list[row * t.apart] * t.ldx : fr__row_at(t.rows, row, t.ldx));
  float *y = t.y + fr__row_at(t.rows, row, t.ldy), *raw = t.raw ? t.raw + fr__row_at(t.rows, row, t.ldr) : NULL;
  float square = 0.0f, r;
  for (int c = lane; good && c < C; c += 32) square = fmaf(x[c], x[c], square);
  r = 1.0f / sqrtf(fr__warp_sum(square) / (float)C + t.eps);
  if (!good) return;
  if (lane == 0 && t.inverse) t.inverse[row / t.rows.per * t.ldi + row % t.rows.per] = r;
  for (int c = lane; c < C; c += 32) {
    const float v = x[c];
    if (raw) raw[c] = v;
    y[c] = r * v * t.g[c];
  }
}
// dx += r g dy - r^3 x mean(dy g x)      `sets`: dx = instead, and may be dy
struct fr__cuda_norm_back {
  fr__cuda_shape rows;
  float *dx;
  const float *dy, *x, *g, *inverse;
  const int *list;  // rows of dx and x
  fr_int ldd, lddy, ldx, ldi;
  int apart, sets;
};
__global__ static void __launch_bounds__(128) fr__norm_back_kernel(fr__cuda_norm_back t)
{
  const int i = (int)(blockIdx.x * 4 + threadIdx.x / 32), lane = (int)threadIdx.x % 32, C = t.rows.width;
  const int good = i < t.rows.count, row = good ? i : 0;
  const float *dy = t.dy + fr__row_at(t.rows, row, t.lddy);
  const float *x = t.x + (t.list ? t.list[row * t.apart] * t.ldx : fr__row_at(t.rows, row, t.ldx));
  float *dx = t.dx + (t.list ? t.list[row * t.apart] * t.ldd : fr__row_at(t.rows, row, t.ldd));
  const float r = t.inverse[row / t.rows.per * t.ldi + row % t.rows.per];
  float sum = 0.0f;
  for (int c = lane; good && c < C; c += 32) sum = fmaf(dy[c] * t.g[c], x[c], sum);
  sum = -r * r * r * fr__warp_sum(sum) / (float)C;
  if (!good) return;
  for (int c = lane; c < C; c += 32) dx[c] = fmaf(r, dy[c] * t.g[c], fmaf(sum, x[c], t.sets ? 0.0f : dx[c]));
}

// Sums over rows, for gains and biases:   out_c += sum_i dy_ic x_ic r_i,   or sum_i dy_ic where x is NULL
// In two steps: rows in pieces of FR__PIECE, each by a block for 32 channels; then the pieces of a channel, in order.
enum { FR__PIECE = 256 };
struct fr__cuda_sums {
  fr__cuda_shape rows;
  float *part, *out;  // part (pieces,width)
  const float *dy, *x, *inverse;
  const int *list;    // rows of x
  fr_int lddy, ldx, ldi;
  int apart;
};
__global__ static void __launch_bounds__(256) fr__sums_kernel(fr__cuda_sums t)
{
  __shared__ float part[8][33];
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, c = (int)blockIdx.y * 32 + lane;
  const int begin = (int)blockIdx.x * FR__PIECE, end = begin + FR__PIECE < t.rows.count ? begin + FR__PIECE : t.rows.count;
  float sum = 0.0f;
  if (c < t.rows.width)
    for (int i = begin + warp; i < end; i += 8) {
      const float dy = t.dy[fr__row_at(t.rows, i, t.lddy) + c];
      if (!t.x) sum += dy;
      else sum = fmaf(dy * t.inverse[i / t.rows.per * t.ldi + i % t.rows.per],
                      t.x[(t.list ? t.list[i * t.apart] * t.ldx : fr__row_at(t.rows, i, t.ldx)) + c], sum);
    }
  part[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && c < t.rows.width) {
    for (int w = 1; w < 8; w++) sum += part[w][lane];
    t.part[(fr_int)blockIdx.x * t.rows.width + c] = sum;
  }
}
__global__ static void fr__sums_gather(fr__cuda_sums t, int pieces)
{
  const int c = (int)(blockIdx.x * 256 + threadIdx.x);
  float sum = 0.0f;
  if (c >= t.rows.width) return;
  for (int i = 0; i < pieces; i++) sum += t.part[(fr_int)i * t.rows.width + c];
  t.out[c] += sum;
}

// -- what works value by value: 256 threads to a block, `count` values
__global__ static void fr__bias_kernel(float *qkv, const float *b, int W, fr_int count)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x;
  if (i < count) qkv[i] += b[i % W];
}
// (a, b) -> s (a cos - b sin, a sin + b cos)       of the first H + K heads of each row; s = 1/sqrt(D) for queries; sign -1: back
struct fr__cuda_turn {
  float *qkv;
  const float *cosine, *sine;
  const int *position;
  float scale, sign;
  int H, heads, D, W;
  fr_int count;
};
__global__ static void fr__turn_kernel(fr__cuda_turn t)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x;
  const int half = t.D / 2, j = (int)(i % half), h = (int)(i / half % t.heads);
  const fr_int n = i / half / t.heads;
  if (i < t.count) {
    float *x = t.qkv + n * t.W + h * t.D + j;
    const float s = h < t.H ? t.scale : 1.0f, a = x[0], b = x[half];
    const float cosine = t.cosine[(fr_int)t.position[n] * half + j], sine = t.sign * t.sine[(fr_int)t.position[n] * half + j];
    x[0] = s * (a * cosine - b * sine);
    x[half] = s * (a * sine + b * cosine);
  }
}
// k and v of the new rows into the cache (2K,rows,D) of the layer
__global__ static void fr__cache_kernel(float *cache, const float *kv, const int *row, fr_int rows, int W, int heads, int D,
                                        fr_int count)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x, n = i / D / heads;
  const int c = (int)(i % D), h = (int)(i / D % heads);
  if (i < count) cache[(h * rows + row[n]) * D + c] = kv[n * W + h * D + c];
}
// act = gate s up,   s = 1 / (1 + exp(-gate));   dup = dact gate s,   dgate = dact up (s + gate s (1 - s)),   act again
__global__ static void fr__swiglu_kernel(float *act, const float *gate_up, int F, fr_int ld, fr_int pair, fr_int count)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x, n = i / F, c = i % F;
  if (i < count) {
    const float gate = gate_up[n * pair + c], up = gate_up[n * pair + F + c];
    act[n * ld + c] = gate / (1.0f + expf(-gate)) * up;
  }
}
__global__ static void fr__swiglu_back_kernel(float *d, float *act, const float *dact, const float *gate_up, int F, fr_int ld,
                                              fr_int pair, fr_int count)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x, n = i / F, c = i % F;
  if (i < count) {
    const float gate = gate_up[n * pair + c], up = gate_up[n * pair + F + c], s = 1.0f / (1.0f + expf(-gate));
    const float dy = dact[n * ld + c];
    act[n * ld + c] = gate * s * up;
    d[n * pair + F + c] = dy * gate * s;
    d[n * pair + c] = dy * up * (s + gate * s * (1.0f - s));
  }
}
// x = scale table[token]; rows of the table below `held` lie in a piece of their own
__global__ static void fr__embed_kernel(float *x, const float *held_rows, const float *own, const int *token, int held, float scale,
                                        int C, fr_int count)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x, n = i / C, c = i % C;
  if (i < count) x[i] = scale * (token[n] < held ? held_rows + (fr_int)token[n] * C : own + (fr_int)(token[n] - held) * C)[c];
}
// dtable[token] += scale sum dx: a block a token, which adds up that token's rows, order[first .. first of the next - 1], in order
__global__ static void fr__embed_back_kernel(float *dtable, const float *dx, const int *token, const int *first, const int *order,
                                             int held, float scale, int C)
{
  const int id = token[blockIdx.x], end = first[blockIdx.x + 1];
  for (int c = (int)threadIdx.x; id >= held && c < C; c += 128) {
    float sum = 0.0f;
    for (int i = first[blockIdx.x]; i < end; i++) sum += dx[(fr_int)order[i] * C + c];
    dtable[(fr_int)(id - held) * C + c] += scale * sum;
  }
}
__global__ static void fr__adamw_kernel(float *p, const float *g, float *m, float *v, fr_int count, fr__adamw_factors f)
{
  const fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x;
  if (i < count) {
    const float gradient = g[i] * f.scale;
    m[i] += (1.0f - f.beta1) * (gradient - m[i]);
    v[i] += (1.0f - f.beta2) * (gradient * gradient - v[i]);
    p[i] = p[i] * f.keep - f.rate * m[i] / (sqrtf(v[i]) * f.unbias2 + f.eps);
  }
}
// part[b] = the squares of every gridDim-th piece of 256 gradients, in double
__global__ static void __launch_bounds__(256) fr__square_kernel(double *part, const float *g, fr_int count)
{
  __shared__ double room[8];
  double sum = 0.0;
  for (fr_int i = (fr_int)blockIdx.x * 256 + (fr_int)threadIdx.x; i < count; i += (fr_int)gridDim.x * 256)
    sum += (double)g[i] * (double)g[i];
  sum = fr__block_sum(sum, room);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

// -- attention over the tree
//   s_j = q k_j (q is scaled by rope),   p = softmax(s) over the keys on the query's path,   o = sum_j p_j v_j
// Tokens are numbered so that a subtree is an interval: `in` is a token's number, and `out` the first behind all that descend from
// it. A key is seen if in[key] <= in[query] < out[key]: on the path, and not later. Tokens of a span count up and share `out`, so
// that a tile of at most 32 keys of one span needs three numbers, and most tiles are left out at a glance.
// Tiles are cut span by span, from each span's first token: which tiles a query sees, and the order of its sums, depend on its own
// path alone, and not on what else is in the forest. A tile that it does not see leaves its sums as they are, bit for bit.
struct fr__cuda_tile { int row, count, in, out; };  // keys row .. row+count-1, numbered from `in` on
// A block has 16 items of one key/value head, a warp 4 of them. An item is a query and one of the query heads that share the head:
// number query * group + head. The 32 keys of a tile are the lanes of a warp for s and p, which shuffles bring to the lanes that
// add up the channels of o. Keys, then values pass through one buffer in shared memory, its rows so far apart that lanes
// reading down a column meet different banks. m and l are brought up to date from tile to tile (see >>ops).
enum { FR__ITEMS = 16, FR__LANES = 32 };
struct fr__cuda_attention {
  float *o, *lse;                            // (N,H,D), (N,H) may be NULL
  const float *q, *k, *v;                    // first element of head 0
  fr_int q_stride, kv_stride, kv_head, o_stride;  // floats from row to row, and from one key/value head to the next
  const int *in;                             // [N] of the queries
  const fr__cuda_tile *tiles;
  int tile_count, N, group, D, H;
  const float *d_o, *delta;                  // backward: (N,H,D), (N,H)
  float *dq, *dk, *dv;                       // rows q_stride apart
};

// Floats from row to row of the buffer: where rows are read four floats at a time, they begin at multiples of four
__host__ __device__ static __forceinline__ int fr__apart(int D) { return D % 4 ? D + 1 : D + 4; }
// Up to 32 rows of a tile, one behind the other from x on; what is missing is 0.
__device__ static __forceinline__ void fr__put_rows(float *to, const float *x, fr_int stride, int count, int D)
{
  const int lane = (int)threadIdx.x % 32;
  for (int j = (int)threadIdx.x / 32; j < FR__LANES; j += 4)
    for (int c = lane; c < D; c += 32) to[j * fr__apart(D) + c] = j < count ? x[j * stride + c] : 0.0f;
}
// s_r = x_r . row `lane` of the buffer, for this warp's 4 rows x (16,D)
__device__ static __forceinline__ void fr__dot_rows(float s[4], const float *x, const float *rows, int D)
{
  const float *row = rows + (int)threadIdx.x % 32 * fr__apart(D);
  s[0] = s[1] = s[2] = s[3] = 0.0f;
  for (int c = 0; D % 4 == 0 && c < D; c += 4) {
    const float4 y = *(const float4 *)(const void *)(row + c);
    FR__CUDA_UNROLL
    for (int r = 0; r < 4; r++) {
      const float4 z = *(const float4 *)(const void *)(x + r * D + c);
      s[r] = fmaf(z.w, y.w, fmaf(z.z, y.z, fmaf(z.y, y.y, fmaf(z.x, y.x, s[r]))));
    }
  }
  for (int c = 0; D % 4 && c < D; c++) {
    const float y = row[c];
    FR__CUDA_UNROLL
    for (int r = 0; r < 4; r++) s[r] = fmaf(x[r * D + c], y, s[r]);
  }
}
// o_r[c] += sum_j p_r[lane j] row_j[c]; a lane has the channels lane, lane + 32, ... What a row does not see weighs 0 and is left
// out, be it infinite: questions in one pass stay apart.
template <int PARTS>
__device__ static __forceinline__ void fr__weigh_rows(float o[4][PARTS], const float p[4], const float *rows, int D)
{
  const int lane = (int)threadIdx.x % 32;
  for (int j = 0; j < FR__LANES; j++) {
    float w[4];
    FR__CUDA_UNROLL
    for (int r = 0; r < 4; r++) w[r] = __shfl_sync(FR__WARP, p[r], j);
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) {
      const float y = lane + 32 * i < D ? rows[j * fr__apart(D) + lane + 32 * i] : 0.0f;
      FR__CUDA_UNROLL
      for (int r = 0; r < 4; r++) o[r][i] = w[r] != 0.0f ? fmaf(w[r], y, o[r][i]) : o[r][i];
    }
  }
}
// What a warp's items are: first of the block, this warp's numbers `in` (-1: none, which sees nothing), and the block's range
struct fr__cuda_items { int first, end, low, high, in[4]; };
__device__ static __forceinline__ fr__cuda_items fr__items_of(const fr__cuda_attention *t)
{
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, all = t->N * t->group;
  fr__cuda_items items;
  int in = -1, low, high;
  items.first = (int)blockIdx.x * FR__ITEMS;
  items.end = items.first + FR__ITEMS < all ? items.first + FR__ITEMS : all;
  if (lane < FR__ITEMS && items.first + lane < items.end) in = t->in[(items.first + lane) / t->group];
  low = in < 0 ? 0x7fffffff : in;
  high = in;
  for (int mask = 16; mask; mask /= 2) {
    const int l = __shfl_xor_sync(FR__WARP, low, mask), h = __shfl_xor_sync(FR__WARP, high, mask);
    low = l < low ? l : low;
    high = h > high ? h : high;
  }
  items.low = low;
  items.high = high;
  for (int r = 0; r < 4; r++) items.in[r] = __shfl_sync(FR__WARP, in, warp * 4 + r);
  return items;
}
// The place of item number `item` of this block in rows of H heads, for key/value head kv
__device__ static __forceinline__ fr_int fr__item_at(const fr__cuda_attention *t, int item, int kv, fr_int stride, int width)
{
  return item / t->group * stride + (kv * t->group + item % t->group) * width;
}
__device__ static __forceinline__ void fr__put_items(float *to, const fr__cuda_attention *t, const fr__cuda_items *items,
                                                     const float *x, fr_int stride)
{
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  for (int r = warp * 4; r < warp * 4 + 4; r++)
    for (int c = lane; c < t->D; c += 32)
      to[r * t->D + c] = items->first + r >= items->end ? 0.0f
                       : x[fr__item_at(t, items->first + r, (int)blockIdx.y, stride, t->D) + c];
}
__device__ static __forceinline__ int fr__sees(const fr__cuda_tile *tile, int in)
{
  const int lane = (int)threadIdx.x % 32;
  return lane < tile->count && tile->in + lane <= in && in < tile->out;
}

template <int PARTS>
__global__ static void __launch_bounds__(128) fr__attend_kernel(fr__cuda_attention t)
{
  FR__DYNAMIC(float, shared);  // (16,D) of q, (32,apart) of k or v
  float *q = shared, *rows = q + FR__ITEMS * t.D;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv = (int)blockIdx.y;
  const fr__cuda_items items = fr__items_of(&t);
  float m[4], l[4], p[4], o[4][PARTS];
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    m[r] = -HUGE_VALF;
    l[r] = 0.0f;
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) o[r][i] = 0.0f;
  }
  fr__put_items(q, &t, &items, t.q, t.q_stride);
  for (int i = 0; i < t.tile_count; i++) {
    const fr__cuda_tile tile = t.tiles[i];
    if (tile.in > items.high || tile.out <= items.low) continue;  // off all paths of this block: the same for all of its threads
    __syncthreads();
    fr__put_rows(rows, t.k + kv * t.kv_head + tile.row * t.kv_stride, t.kv_stride, tile.count, t.D);
    __syncthreads();
    fr__dot_rows(p, q + warp * 4 * t.D, rows, t.D);
    __syncthreads();
    fr__put_rows(rows, t.v + kv * t.kv_head + tile.row * t.kv_stride, t.kv_stride, tile.count, t.D);
    FR__CUDA_UNROLL
    for (int r = 0; r < 4; r++) {
      const int seen = fr__sees(&tile, items.in[r]);
      const float next = fmaxf(m[r], fr__warp_max(seen ? p[r] : -HUGE_VALF));
      const float shrink = m[r] < next ? expf(m[r] - next) : 1.0f;  // what was summed so far was relative to a smaller maximum
      p[r] = seen ? expf(p[r] - next) : 0.0f;
      l[r] = fmaf(l[r], shrink, fr__warp_sum(p[r]));
      m[r] = next;
      FR__CUDA_UNROLL
      for (int c = 0; c < PARTS; c++) o[r][c] *= shrink;
    }
    __syncthreads();
    fr__weigh_rows<PARTS>(o, p, rows, t.D);
  }
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    const int item = items.first + warp * 4 + r;
    const float inverse = 1.0f / l[r];
    if (item < items.end) {
      FR__CUDA_UNROLL
      for (int i = 0; i < PARTS; i++)
        if (lane + 32 * i < t.D) t.o[fr__item_at(&t, item, kv, t.o_stride, t.D) + lane + 32 * i] = o[r][i] * inverse;
      if (lane == 0 && t.lse) t.lse[fr__item_at(&t, item, kv, t.H, 1)] = m[r] + logf(l[r]);
    }
  }
}

// Decoding has few queries and long paths: a block has one query and up to 4 of its heads, and each of its warps every fourth tile
// of the path, by itself; then the four are put together. Lanes are channels, and keys follow one another, so nothing is shared.
template <int PARTS>
__global__ static void __launch_bounds__(128) fr__attend_few(fr__cuda_attention t)
{
  FR__DYNAMIC(float, shared);  // of each warp (4,D) of o, then (4) of m, then of l
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv = (int)blockIdx.y, some = (t.group + 3) / 4;
  const int first = (int)blockIdx.x / some * t.group + (int)blockIdx.x % some * 4, in = t.in[(int)blockIdx.x / some];
  const int heads = t.group - (int)blockIdx.x % some * 4 < 4 ? t.group - (int)blockIdx.x % some * 4 : 4;
  float *peaks = shared + 16 * t.D, *sums = peaks + 16;
  float q[4][PARTS], o[4][PARTS], m[4], l[4];
  int seen = 0;
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    m[r] = -HUGE_VALF;
    l[r] = 0.0f;
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) {
      const int c = lane + 32 * i;
      o[r][i] = 0.0f;
      q[r][i] = r < heads && c < t.D ? t.q[fr__item_at(&t, first + r, kv, t.q_stride, t.D) + c] : 0.0f;
    }
  }
  for (int base = 0; base < t.tile_count; base += FR__LANES) {
    const fr__cuda_tile none = { 0, 0, 1, 0 }, mine = base + lane < t.tile_count ? t.tiles[base + lane] : none;
    const uint32_t on_path = __ballot_sync(FR__WARP, mine.in <= in && in < mine.out);
    for (int b = 0; b < FR__LANES; b++) {
      float p[4];
      fr__cuda_tile tile;
      if (!(on_path >> b & 1) || seen++ % 4 != warp) continue;
      tile.row = __shfl_sync(FR__WARP, mine.row, b);
      tile.count = __shfl_sync(FR__WARP, mine.count, b);
      tile.in = __shfl_sync(FR__WARP, mine.in, b);
      tile.out = in + 1;
      for (int j = 0; j < tile.count; j++) {
        const float *k = t.k + kv * t.kv_head + (tile.row + j) * t.kv_stride;
        float s[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        FR__CUDA_UNROLL
        for (int i = 0; i < PARTS; i++) {
          const float y = lane + 32 * i < t.D ? k[lane + 32 * i] : 0.0f;
          FR__CUDA_UNROLL
          for (int r = 0; r < 4; r++) s[r] = fmaf(q[r][i], y, s[r]);
        }
        FR__CUDA_UNROLL
        for (int r = 0; r < 4; r++) {
          const float all = fr__warp_sum(s[r]);
          if (lane == j) p[r] = all;
        }
      }
      FR__CUDA_UNROLL
      for (int r = 0; r < 4; r++) {
        const int good = fr__sees(&tile, in);
        const float next = fmaxf(m[r], fr__warp_max(good ? p[r] : -HUGE_VALF)), shrink = m[r] < next ? expf(m[r] - next) : 1.0f;
        p[r] = good ? expf(p[r] - next) : 0.0f;
        l[r] = fmaf(l[r], shrink, fr__warp_sum(p[r]));
        m[r] = next;
        FR__CUDA_UNROLL
        for (int i = 0; i < PARTS; i++) o[r][i] *= shrink;
      }
      for (int j = 0; j < tile.count; j++) {
        const float *v = t.v + kv * t.kv_head + (tile.row + j) * t.kv_stride;
        float w[4];
        FR__CUDA_UNROLL
        for (int r = 0; r < 4; r++) w[r] = __shfl_sync(FR__WARP, p[r], j);
        FR__CUDA_UNROLL
        for (int i = 0; i < PARTS; i++) {
          const float y = lane + 32 * i < t.D ? v[lane + 32 * i] : 0.0f;
          FR__CUDA_UNROLL
          for (int r = 0; r < 4; r++) o[r][i] = fmaf(w[r], y, o[r][i]);
        }
      }
    }
  }
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) if (lane + 32 * i < t.D) shared[(warp * 4 + r) * t.D + lane + 32 * i] = o[r][i];
    if (lane == 0) peaks[warp * 4 + r] = m[r];
    if (lane == 0) sums[warp * 4 + r] = l[r];
  }
  __syncthreads();
  for (int r = 0; r < heads; r++) {
    const float peak = fmaxf(fmaxf(peaks[r], peaks[4 + r]), fmaxf(peaks[8 + r], peaks[12 + r]));
    float share[4], sum = 0.0f;
    for (int w = 0; w < 4; w++) {
      share[w] = expf(peaks[w * 4 + r] - peak);
      sum = fmaf(share[w], sums[w * 4 + r], sum);
    }
    for (int c = (int)threadIdx.x; c < t.D; c += 128) {
      float all = 0.0f;
      for (int w = 0; w < 4; w++) all = fmaf(share[w], shared[(w * 4 + r) * t.D + c], all);
      t.o[fr__item_at(&t, first + r, kv, t.o_stride, t.D) + c] = all / sum;
    }
  }
}

// Backward: p = exp(s - lse) again, and with delta = do . o = sum_j p_j dp_j
//   dp = do v'      dS = p (dp - delta)      dq += dS k      dk_j += dS_j q      dv_j += p_j do
// Once for the queries, a block 16 of them, and once for the keys, a block half a tile: so every sum has one owner.
__global__ static void __launch_bounds__(128) fr__delta_kernel(float *delta, const float *d_o, const float *o, int D, int count)
{
  const int i = (int)(blockIdx.x * 4 + threadIdx.x / 32), lane = (int)threadIdx.x % 32;
  float sum = 0.0f;
  for (int c = lane; i < count && c < D; c += 32) sum = fmaf(d_o[(fr_int)i * D + c], o[(fr_int)i * D + c], sum);
  sum = fr__warp_sum(sum);
  if (lane == 0 && i < count) delta[i] = sum;
}
template <int PARTS>
__global__ static void __launch_bounds__(128) fr__attend_back_queries(fr__cuda_attention t)
{
  FR__DYNAMIC(float, shared);  // (16,D) of q, of do, (32,apart) of k or v
  float *q = shared, *d_o = q + FR__ITEMS * t.D, *rows = d_o + FR__ITEMS * t.D;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv = (int)blockIdx.y;
  const fr__cuda_items items = fr__items_of(&t);
  float lse[4], delta[4], p[4], dp[4], dq[4][PARTS];
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    const int item = items.first + warp * 4 + r, good = item < items.end;
    lse[r] = good ? t.lse[fr__item_at(&t, item, kv, t.H, 1)] : 0.0f;
    delta[r] = good ? t.delta[fr__item_at(&t, item, kv, t.H, 1)] : 0.0f;
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) dq[r][i] = 0.0f;
  }
  fr__put_items(q, &t, &items, t.q, t.q_stride);
  fr__put_items(d_o, &t, &items, t.d_o, t.o_stride);
  for (int i = 0; i < t.tile_count; i++) {
    const fr__cuda_tile tile = t.tiles[i];
    const float *k = t.k + kv * t.kv_head + tile.row * t.kv_stride;
    if (tile.in > items.high || tile.out <= items.low) continue;
    __syncthreads();
    fr__put_rows(rows, t.v + (k - t.k), t.kv_stride, tile.count, t.D);
    __syncthreads();
    fr__dot_rows(dp, d_o + warp * 4 * t.D, rows, t.D);
    __syncthreads();
    fr__put_rows(rows, k, t.kv_stride, tile.count, t.D);
    __syncthreads();
    fr__dot_rows(p, q + warp * 4 * t.D, rows, t.D);
    FR__CUDA_UNROLL
    for (int r = 0; r < 4; r++) p[r] = fr__sees(&tile, items.in[r]) ? expf(p[r] - lse[r]) * (dp[r] - delta[r]) : 0.0f;
    fr__weigh_rows<PARTS>(dq, p, rows, t.D);
  }
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++)
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++)
      if (items.first + warp * 4 + r < items.end && lane + 32 * i < t.D)
        t.dq[fr__item_at(&t, items.first + warp * 4 + r, kv, t.q_stride, t.D) + lane + 32 * i] = dq[r][i];
}
template <int PARTS>
__global__ static void __launch_bounds__(128) fr__attend_back_keys(fr__cuda_attention t)
{
  FR__DYNAMIC(float, shared);  // (16,D) of k, of v, (32,apart) of q or do
  float *k = shared, *v = k + FR__ITEMS * t.D, *rows = v + FR__ITEMS * t.D;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv = (int)blockIdx.y;
  const fr__cuda_tile tile = t.tiles[blockIdx.x / 2];
  const int first = (int)(blockIdx.x % 2) * FR__ITEMS + warp * 4, all = t.N * t.group;  // of the tile's keys, this warp's first
  float p[4], dp[4], dk[4][PARTS], dv[4][PARTS];
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++) {
    const fr_int at = kv * t.kv_head + (tile.row + first + r) * t.kv_stride;
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++) dk[r][i] = dv[r][i] = 0.0f;
    for (int c = lane; c < t.D; c += 32) {
      k[(warp * 4 + r) * t.D + c] = first + r < tile.count ? t.k[at + c] : 0.0f;
      v[(warp * 4 + r) * t.D + c] = first + r < tile.count ? t.v[at + c] : 0.0f;
    }
  }
  for (int i = tile.row * t.group / FR__LANES * FR__LANES; i < all; i += FR__LANES) {  // no query stands before its keys
    const int item = i + lane < all ? i + lane : all - 1, in = i + lane < all ? t.in[item / t.group] : -1;
    const fr_int at = fr__item_at(&t, item, kv, t.H, 1);
    if (!__ballot_sync(FR__WARP, in >= tile.in && in < tile.out)) continue;  // the same for all warps
    const float lse = t.lse[at], delta = t.delta[at];
    for (int pass = 0; pass < 3; pass++) {  // q for s, do for dp and dv, q again for dk
      const float *x = pass == 1 ? t.d_o : t.q;
      const fr_int stride = pass == 1 ? t.o_stride : t.q_stride;
      __syncthreads();
      for (int j = warp; j < FR__LANES; j += 4)
        for (int c = lane; c < t.D; c += 32)
          rows[j * fr__apart(t.D) + c] = i + j < all ? x[fr__item_at(&t, i + j, kv, stride, t.D) + c] : 0.0f;
      __syncthreads();
      if (pass == 0) {
        fr__dot_rows(p, k + warp * 4 * t.D, rows, t.D);
        FR__CUDA_UNROLL
        for (int r = 0; r < 4; r++)
          p[r] = first + r < tile.count && tile.in + first + r <= in && in < tile.out ? expf(p[r] - lse) : 0.0f;
      } else if (pass == 1) {
        fr__dot_rows(dp, v + warp * 4 * t.D, rows, t.D);
        fr__weigh_rows<PARTS>(dv, p, rows, t.D);
        FR__CUDA_UNROLL
        for (int r = 0; r < 4; r++) p[r] *= dp[r] - delta;
      } else fr__weigh_rows<PARTS>(dk, p, rows, t.D);
    }
  }
  FR__CUDA_UNROLL
  for (int r = 0; r < 4; r++)
    FR__CUDA_UNROLL
    for (int i = 0; i < PARTS; i++)
      if (first + r < tile.count && lane + 32 * i < t.D) {
        const fr_int at = (tile.row + first + r) * t.q_stride + kv * t.D + lane + 32 * i;
        t.dk[at] = dk[r][i];
        t.dv[at] = dv[r][i];
      }
}

// -- the head: a chunk of rows' logits at a time, so that rows x vocabulary never exists
// nll_t = max - logit_t + log sum_v exp(logit_v - max),   logits become dlogits = (sum_t w_t) p - sum_t w_t onehot(t)
//   a block a row      row: three ints each - the row, its first target, how many
__global__ static void __launch_bounds__(256) fr__entropy_kernel(float *logits, int V, const int *row, const int *token,
                                                                 const float *weight, double *nll, int gradient)
{
  __shared__ double room[8];
  const int first = row[3 * blockIdx.x + 1], count = row[3 * blockIdx.x + 2];
  float *x = logits + (fr_int)blockIdx.x * V, peak = -HUGE_VALF, scale;
  double sum = 0.0, weights = 0.0;
  for (int v = (int)threadIdx.x; v < V; v += 256) peak = fmaxf(peak, x[v]);
  peak = (float)fr__block_max((double)peak, room);
  for (int v = (int)threadIdx.x; v < V; v += 256) sum += (double)expf(x[v] - peak);
  sum = fr__block_sum(sum, room);
  for (int t = (int)threadIdx.x; t < count; t += 256)
    nll[first + t] = (double)peak - (double)x[token[first + t]] + log(sum);
  if (gradient) for (int t = 0; t < count; t++) weights += (double)weight[first + t];
  scale = (float)(weights / sum);
  __syncthreads();
  if (gradient) for (int v = (int)threadIdx.x; v < V; v += 256) x[v] = scale * expf(x[v] - peak);
  __syncthreads();
  if (gradient && threadIdx.x == 0) for (int t = 0; t < count; t++) x[token[first + t]] -= weight[first + t];
}

// -- sampling: what fr__draw of >>ops means, with the same draw. The CPU takes tokens from a heap, likeliest first. Here each token
// has a key, and a block asks how much the tokens from a given key on weigh: top_k, top_p and the draw itself are each the largest
// key from which on there is enough, found by bisection, one bit at a time. Keys go by logit, then by the lower id; without top_k
// and top_p by the id alone, as there.
struct fr__cuda_draw { const float *x; float peak, inverse, min_p, penalty; int V, sorted; const uint32_t *path; double *room; };
__device__ static __forceinline__ float fr__logit(const fr__cuda_draw *d, int v)  // path: a bit says that v is on it; NULL: off
{
  const float x = d->x[v];
  return !d->path || !(d->path[v / 32] >> v % 32 & 1) ? x : x < 0.0f ? x * d->penalty : x / d->penalty;
}
__device__ static __forceinline__ uint64_t fr__key(const fr__cuda_draw *d, int v)
{
  const uint32_t bits = __float_as_uint(fr__logit(d, v) + 0.0f), rank = bits >> 31 ? ~bits : bits | 0x80000000u;  // -0 is 0
  return (d->sorted ? (uint64_t)rank << 32 : 0) | (uint32_t)(d->V - 1 - v);
}
// Of the tokens from this key on: their odds exp((logit - max) / temperature), if not below min_p, or how many they are
__device__ static double fr__mass(const fr__cuda_draw *d, uint64_t from, int counts)
{
  double sum = 0.0;
  for (int v = (int)threadIdx.x; v < d->V; v += 256)
    if (fr__key(d, v) >= from) {
      const float odds = counts ? 1.0f : expf((fr__logit(d, v) - d->peak) * d->inverse);
      if (!(odds < d->min_p)) sum += (double)odds;
    }
  return fr__block_sum(sum, d->room);
}
// The largest key from which on there is at least `bound`, or more than it if `above`; and at least `least`.
__device__ static uint64_t fr__reach(const fr__cuda_draw *d, uint64_t least, double bound, int above, int counts)
{
  uint64_t key = 0;
  for (int bit = d->sorted ? 63 : 31; bit >= 0; bit--) {
    const uint64_t next = key | (uint64_t)1 << bit;
    double mass = HUGE_VAL;
    if (bit < 32 && (d->V - 1) >> bit == 0) continue;  // no id has it
    if (next > least) mass = fr__mass(d, next, counts);
    if (above ? mass > bound : mass >= bound) key = next;
  }
  return key;
}
__global__ static void __launch_bounds__(256) fr__sample_kernel(const float *logits, int V, const float *draw, fr_sampling o,
                                                                const uint32_t *path, int *token, double *logp)
{
  __shared__ double room[8];
  const int cut_k = o.top_k > 0 && o.top_k < V, cut_p = o.top_p > 0.0f && o.top_p < 1.0f;
  fr__cuda_draw d = { logits + (fr_int)blockIdx.x * V, 0.0f, 1.0f, 0.0f, o.repeat_penalty, V, 0, NULL, room };
  double peak = -HUGE_VAL, top = -HUGE_VAL, sum = 0.0, best = 0.0;
  int id = 0;
  if (path) d.path = path + (fr_int)blockIdx.x * ((V + 31) / 32);
  for (int v = (int)threadIdx.x; v < V; v += 256) peak = (double)fmaxf((float)peak, d.x[v]);
  peak = fr__block_max(peak, room);
  for (int v = (int)threadIdx.x; v < V; v += 256) sum += (double)expf(d.x[v] - (float)peak);
  sum = fr__block_sum(sum, room);
  for (int v = (int)threadIdx.x; path && v < V; v += 256) top = (double)fmaxf((float)top, fr__logit(&d, v));
  top = path ? fr__block_max(top, room) : peak;
  d.peak = (float)top;
  if (!(o.temperature > 0.0f) || !(top - top == 0.0)) {  // the first of the likeliest; of infinite logits: they have no odds
    for (int v = (int)threadIdx.x; v < V; v += 256) if (fr__logit(&d, v) >= d.peak) best = fmax(best, (double)(V - v));
    best = fr__block_max(best, room);
    if (best > 0.0) id = V - (int)best;
  } else {
    uint64_t least = 0;
    d.inverse = 1.0f / o.temperature < 3e38f ? 1.0f / o.temperature : 3e38f;
    d.sorted = cut_k || cut_p;
    if (cut_k) least = fr__reach(&d, 0, (double)o.top_k, 0, 1);
    if (cut_p) least = fr__reach(&d, least, (double)o.top_p * fr__mass(&d, least, 0), 0, 0);
    d.min_p = o.min_p;
    least = fr__reach(&d, least, (double)draw[blockIdx.x] * fr__mass(&d, least, 0), 1, 0);
    id = V - 1 - (int)(uint32_t)least;
    if (id < 0) id = 0;
  }
  if (threadIdx.x == 0) {
    token[blockIdx.x] = id;
    logp[blockIdx.x] = (double)d.x[id] - peak - log(sum);
  }
}

// -- the host's side: what the device holds
struct fr__cuda_model {
  const float *key, *grads;        // the host's params; its gradients, if they and the moments are here
  fr_model like;                   // the rest of the model as it was attached
  float *block;                    // one allocation: the host's block of parameters, what views hold, gradients, moments
  fr_int floats, count, trained;   // of the block, of the parameters, of the gradients
  float *p[FR__TENSORS], *d[FR__TENSORS], *m[FR__TENSORS], *v[FR__TENSORS];  // NULL: not there, or not trained
  fr_int each[FR__TENSORS], own[FR__TENSORS];  // floats of a layer's copy; floats in the block
  const float *held[2];            // rows of embedding and head that views hold,
  fr_int held_rows[2];             // and how many
  fr__cuda_model *next;
};
// What the host and the device each have a copy of
struct fr__cuda_mirror {
  int *tables, *goals, *groups;    // for forward, for the head, for the embedding's backward
  int *list, *token;               // rows of a chunk to read; tokens drawn
  uint32_t *path;                  // (chunk, (V+31)/32) bits: tokens that are on the row's path
  float *draw;
  double *nll, *logp, *squares;
};
struct fr__cuda_room {             // a workspace, found again by its body
  const struct fr__body *key;
  char *device, *host;             // one allocation each; the host's is pinned, so that copies need not wait
  fr__cuda_mirror here, there;
  float *activations, *cosine, *sine, *cache, *delta, *part;
  const float *final_x;            // (N,C) of the last pass, behind the last layer
  float *logits, *hidden, *dhidden, *inverse;  // a chunk of head rows
  fr_int chunk;
  int *span_in, *span_out, *next, *seen;       // the host's alone: [span] thrice, [V]
  const int *token, *position, *in, *cache_row;  // of the last forward pass, [row]
  const fr__cuda_tile *tiles;
  int tile_count;
  int sending, grouping;           // 1: the tables, or the groups, may still be on their way
  fr__cuda_room *next_room;
};
struct fr_cuda {
  fr_backend backend;
  int device, shared_most;         // shared_most: bytes a block can have
  fr_cuda_math math;
  cudaStream_t stream;
  fr__cuda_model *models;
  fr__cuda_room *rooms;
  int64_t to_device, to_host;
#ifdef FR_CUDA_CUBLAS
  cublasLtHandle_t blas;
  void *blas_room;
  int blas_failed;                 // the first status that was none of success, until it is told
#endif
};
enum { FR__SQUARES = 256, FR__LOGITS = 1 << 24 };  // parts of the norm; logits at a time

static fr_status fr__cuda_said(fr_reason *reason, cudaError_t error, const char *what)
{
  if (error == cudaSuccess) return FR_OK;
  (void)cudaGetLastError();  // it would be told again at the next call
  return fr__fail(reason, error == cudaErrorMemoryAllocation ? FR_MEMORY : FR_IO, "CUDA, %s: %s", what, cudaGetErrorString(error));
}
static fr_status fr__cuda_ran(fr_cuda *t, fr_work *work)
{
#ifdef FR_CUDA_CUBLAS
  const int failed = t->blas_failed;
  t->blas_failed = 0;
  if (failed) return fr__fail(&work->reason, FR_IO, "CUDA, a product: cuBLASLt says %d", (fr_int)failed);
#endif
  (void)t;
  return fr__cuda_said(&work->reason, cudaGetLastError(), "starting a kernel");
}
static fr_status fr__cuda_wait(fr_cuda *t, fr_work *work)
{
  for (fr__cuda_room *room = t->rooms; room; room = room->next_room) room->sending = room->grouping = 0;
  return fr__cuda_said(&work->reason, cudaStreamSynchronize(t->stream), "waiting for the device");
}
static fr_status fr__cuda_send(fr_cuda *t, fr_work *work, void *to, const void *from, fr_int bytes)
{
  if (!bytes) return FR_OK;
  t->to_device += bytes;
  return fr__cuda_said(&work->reason, cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyHostToDevice, t->stream),
                       "copying to the device");
}
static fr_status fr__cuda_bring(fr_cuda *t, fr_work *work, void *to, const void *from, fr_int bytes)
{
  if (!bytes) return FR_OK;
  t->to_host += bytes;
  return fr__cuda_said(&work->reason, cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToHost, t->stream),
                       "copying to the host");
}
static fr_status fr__cuda_use(const fr_cuda *t, fr_work *work)
{
  return fr__cuda_said(&work->reason, cudaSetDevice(t->device), "choosing the device");
}

// -- models
static void fr__cuda_forget_model(fr_cuda *t, const float *key)
{
  for (fr__cuda_model **at = &t->models; *at; at = &(*at)->next)
    if ((*at)->key == key) {
      fr__cuda_model *gone = *at;
      *at = gone->next;
      (void)cudaFree(gone->block);
      FR_FREE(gone);
      return;
    }
}

// The model's tensors in its block, and with block NULL only what they take.
static void fr__cuda_model_layout(fr__cuda_model *m, const fr_model *model, const fr_adamw *adamw, float *block)
{
  const fr_config *c = &model->config;
  const fr_views *views = model->views;
  fr_int used = 0, next = 0;
  float *grads;
#define FR__CUDA_SIZE(name, copies, rows, cols, start, decay)       \
  m->each[FR__AT_##name] = (rows) * (cols);                         \
  m->own[FR__AT_##name] = (copies) * (rows) * (cols);
  FR__PARAMS(FR__CUDA_SIZE)
#undef FR__CUDA_SIZE
  m->held_rows[0] = views ? views->embedding.rows : 0;
  m->held_rows[1] = views && !c->tied ? views->head.rows : 0;
  m->own[FR__AT_tok_emb] -= m->held_rows[0] * c->dim;
  m->own[FR__AT_head] -= m->held_rows[1] * c->dim;
  for (int i = 0; i < FR__TENSORS; i++) {
    const int layered = i == FR__AT_w_qkv || i == FR__AT_w_out || i == FR__AT_w_gate_up || i == FR__AT_w_down;
    if (layered && views && views->layers) m->own[i] = 0;
    m->p[i] = fr__cut(block, &used, m->own[i]);
    if (!m->own[i]) m->p[i] = NULL;
  }
  m->count = used;
  used = fr__round_up(used, FR__ALIGN);
  for (int i = 0; i < 2; i++) m->held[i] = m->held_rows[i] ? fr__cut(block, &used, m->held_rows[i] * c->dim) : NULL;
  if (views && views->layers) {
    m->p[FR__AT_w_qkv] = fr__cut(block, &used, c->layers * m->each[FR__AT_w_qkv]);
    m->p[FR__AT_w_out] = fr__cut(block, &used, c->layers * m->each[FR__AT_w_out]);
    m->p[FR__AT_w_gate_up] = fr__cut(block, &used, c->layers * m->each[FR__AT_w_gate_up]);
    m->p[FR__AT_w_down] = fr__cut(block, &used, c->layers * m->each[FR__AT_w_down]);
  }
  used = fr__round_up(used, FR__ALIGN);
  m->trained = 0;
  for (int i = 0; i < FR__TENSORS; i++) if (!(model->frozen >> i & 1)) m->trained += m->own[i];
  grads = fr__cut(block, &used, adamw ? 3 * m->trained : 0);
  for (int i = 0; i < FR__TENSORS; i++) {
    const int trained = block && adamw && m->own[i] && !(model->frozen >> i & 1);
    m->d[i] = trained ? grads + next : NULL;
    m->m[i] = trained ? grads + m->trained + next : NULL;
    m->v[i] = trained ? grads + 2 * m->trained + next : NULL;
    if (trained) next += m->own[i];
  }
  m->floats = used;
}

// One view as floats, by way of a piece of memory of the host's. *to moves on.
static fr_status fr__cuda_send_view(fr_cuda *t, fr_work *work, float **to, const fr_view *view, fr_int cols, float *piece,
                                    fr_int room)
{
  fr_status status = FR_OK;
  fr_int filled = 0;
  for (fr_int i = 0; !status && i < view->rows * cols; i++) {
    const char *row = (const char *)view->at + i / cols * view->step;
    if (view->type == FR_FLOAT32) piece[filled++] = ((const float *)(const void *)row)[i % cols];
    else {  // a bfloat16 is the upper half of a float
      const uint32_t bits = (uint32_t)((const uint16_t *)(const void *)row)[i % cols] << 16;
      memcpy(&piece[filled++], &bits, sizeof bits);
    }
    if (filled < room && i + 1 < view->rows * cols) continue;
    status = fr__cuda_send(t, work, *to, piece, filled * (fr_int)sizeof(float));
    if (!status) status = fr__cuda_wait(t, work);
    *to += filled;
    filled = 0;
  }
  return status;
}
static fr_status fr__cuda_send_views(fr_cuda *t, fr_work *work, const fr__cuda_model *m, const fr_model *model)
{
  enum { PIECE = 4096 };
  const fr_config *c = &model->config;
  const fr_views *views = model->views;
  const fr_int HD = c->heads * c->head_dim;
  float piece[PIECE], *at[2] = { (float *)m->held[0], (float *)m->held[1] }, *to[4] = { m->p[FR__AT_w_qkv], m->p[FR__AT_w_out],
    m->p[FR__AT_w_gate_up], m->p[FR__AT_w_down] };
  fr_status status = fr__cuda_send_view(t, work, &at[0], &views->embedding, c->dim, piece, PIECE);
  if (!status && !c->tied) status = fr__cuda_send_view(t, work, &at[1], &views->head, c->dim, piece, PIECE);
  for (fr_int l = 0; views->layers && !status && l < c->layers; l++) {
    const fr_layer_views *w = &views->layers[l];
    const fr_view *const all[] = { &w->q, &w->k, &w->v, &w->out, &w->gate, &w->up, &w->down };
    static const int of[] = { 0, 0, 0, 1, 2, 2, 3 };
    for (int i = 0; !status && i < 7; i++)
      status = fr__cuda_send_view(t, work, &to[of[i]], all[i], of[i] == 1 ? HD : of[i] == 3 ? c->ffn : c->dim, piece, PIECE);
  }
  return status;
}

// Gradients of all that is trained, then both moments
static float *fr__cuda_grads(const fr__cuda_model *m) { return m->block + m->floats - 3 * m->trained; }

static fr_status fr__cuda_attach(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw)
{
  fr_cuda *t = (fr_cuda *)self;
  const fr_int bytes = (fr_int)sizeof(float);
  fr__cuda_model measured, *m;
  fr_status status = fr__cuda_use(t, work);
  if (status) return status;
  fr__cuda_forget_model(t, model->params);
  memset(&measured, 0, sizeof measured);
  fr__cuda_model_layout(&measured, model, adamw, NULL);
  m = (fr__cuda_model *)FR_MALLOC(sizeof *m);
  if (!m) return fr__fail(&work->reason, FR_MEMORY, "no memory for %d bytes", (fr_int)sizeof *m);
  *m = measured;
  status = fr__cuda_said(&work->reason, cudaMalloc((void **)&m->block, (size_t)fr__max(m->floats, 1) * sizeof(float)),
                         "memory for a model");
  if (status) { FR_FREE(m); return status; }
  fr__cuda_model_layout(m, model, adamw, m->block);
  m->key = model->params;
  m->like = *model;
  m->grads = adamw ? adamw->grads : NULL;
  m->next = t->models;
  t->models = m;
  status = fr__cuda_send(t, work, m->block, model->params, m->count * bytes);
  if (!status && model->views) status = fr__cuda_send_views(t, work, m, model);
  if (adamw) {
    float *grads = fr__cuda_grads(m);
    if (!status) status = fr__cuda_send(t, work, grads, adamw->grads, m->trained * bytes);
    if (!status) status = fr__cuda_send(t, work, grads + m->trained, adamw->m, m->trained * bytes);
    if (!status) status = fr__cuda_send(t, work, grads + 2 * m->trained, adamw->v, m->trained * bytes);
  }
  if (!status) status = fr__cuda_wait(t, work);  // the host may change its own as soon as this returns
  if (status) fr__cuda_forget_model(t, model->params);
  return status;
}

// The copy to work with, or NULL with the reason; `grads`: NULL, or the host's gradients, which stand for those that are here.
static fr__cuda_model *fr__cuda_copy_of(fr_cuda *t, fr_work *work, const fr_model *model, const float *grads)
{
  fr__cuda_model *m = t->models;
  int same;
  while (m && m->key != model->params) m = m->next;
  same = m && m->like.count == model->count && m->like.frozen == model->frozen && m->like.views == model->views &&
         m->like.config.dim == model->config.dim && m->like.config.layers == model->config.layers &&
         m->like.config.ffn == model->config.ffn && m->like.config.heads == model->config.heads &&
         m->like.config.head_dim == model->config.head_dim && m->like.config.kv_heads == model->config.kv_heads;
  if (same && (!grads || grads == m->grads)) return m;
  fr__fail(&work->reason, FR_INVALID, "%s", !m ? "the model was not attached to this device"
           : !same ? "another model was attached with parameters at this address"
           : !m->grads ? "the model was attached without an optimiser"
           : "the gradients are not those of the optimiser that the model was attached with");
  return NULL;
}

static fr_status fr__cuda_download(void *self, fr_work *work, fr_model *model, fr_adamw *adamw)
{
  fr_cuda *t = (fr_cuda *)self;
  const fr__cuda_model *m = fr__cuda_copy_of(t, work, model, adamw ? adamw->grads : NULL);
  const fr_int bytes = (fr_int)sizeof(float);
  fr_status status = m ? fr__cuda_use(t, work) : FR_INVALID;
  if (!status) status = fr__cuda_bring(t, work, model->params, m->block, m->count * bytes);
  if (adamw && !status) {
    const float *grads = fr__cuda_grads(m);
    status = fr__cuda_bring(t, work, adamw->grads, grads, m->trained * bytes);
    if (!status) status = fr__cuda_bring(t, work, adamw->m, grads + m->trained, m->trained * bytes);
    if (!status) status = fr__cuda_bring(t, work, adamw->v, grads + 2 * m->trained, m->trained * bytes);
  }
  return status ? status : fr__cuda_wait(t, work);
}

// -- workspaces
static void fr__cuda_forget_room(fr_cuda *t, const struct fr__body *key)
{
  for (fr__cuda_room **at = &t->rooms; *at; at = &(*at)->next_room)
    if ((*at)->key == key) {
      fr__cuda_room *gone = *at;
      *at = gone->next_room;
      if (gone->device) (void)cudaFree(gone->device);
      if (gone->host) (void)cudaFreeHost(gone->host);
      FR_FREE(gone);
      return;
    }
}

static void fr__cuda_mirror_layout(fr__arena *arena, const fr_config *c, const fr_limits *limits, fr_int chunk, fr__cuda_mirror *m)
{
  const fr_int rows = fr__max(limits->rows, limits->grad_rows), keys = fr__max(rows, limits->cache_rows);
  const fr_int integer = (fr_int)sizeof(int);
  m->tables = (int *)fr__take(arena, 4 * (rows + limits->spans + keys / FR__LANES + 1), integer);
  m->goals = (int *)fr__take(arena, 5 * limits->targets, integer);
  m->groups = (int *)fr__take(arena, 3 * limits->grad_rows + 1, integer);
  m->list = (int *)fr__take(arena, chunk, integer);
  m->token = (int *)fr__take(arena, chunk, integer);
  m->path = (uint32_t *)fr__take(arena, chunk, (c->vocab + 31) / 32 * 4);
  m->draw = (float *)fr__take(arena, chunk, (fr_int)sizeof(float));
  m->nll = (double *)fr__take(arena, limits->targets, (fr_int)sizeof(double));
  m->logp = (double *)fr__take(arena, chunk, (fr_int)sizeof(double));
  m->squares = (double *)fr__take(arena, FR__SQUARES, (fr_int)sizeof(double));
}
static fr_int fr__pieces(fr_int rows) { return (rows + FR__PIECE - 1) / FR__PIECE; }
static void fr__cuda_device_layout(fr__arena *arena, const fr_config *c, const fr_limits *limits, fr__cuda_room *r)
{
  const fr_int rows = fr__max(limits->rows, limits->grad_rows), pairs = c->head_dim / 2, F4 = (fr_int)sizeof(float);
  const fr_int widest = c->dim * fr__max(fr__max(fr__qkv(c), 2 * c->ffn), fr__max(c->heads * c->head_dim, c->vocab));  // of W
  fr_int plain = 0, trained = 0, floats = 0;
  fr__layer a;
  fr__shared s;
  fr__cuda_mirror_layout(arena, c, limits, r->chunk, &r->there);
  if (!fr__mul(limits->rows, fr__activations(c, NULL, 1, 0, 0, &a, &s), &plain) ||
      !fr__mul(limits->grad_rows, fr__activations(c, NULL, 1, 0, 1, &a, &s), &trained) ||
      !fr__mul(limits->cache_rows, 2 * c->kv_heads * c->head_dim * F4, &floats))
    arena->overflow = 1;
  r->activations = (float *)fr__take(arena, fr__max(plain, trained), F4);
  r->cache = (float *)fr__take(arena, c->layers, floats);
  r->cosine = (float *)fr__take(arena, limits->depth, pairs * F4);
  r->sine = (float *)fr__take(arena, limits->depth, pairs * F4);
  r->delta = (float *)fr__take(arena, limits->grad_rows, c->heads * F4);
  if (limits->grad_rows > FR__LONG) floats = (limits->grad_rows + FR__LONG - 1) / FR__LONG * fr__min(FR__FEW_OUTPUTS, widest);
  else floats = 0;
  floats = fr__max(floats, fr__pieces(rows) * fr__max(fr__qkv(c), c->dim));
  r->part = (float *)fr__take(arena, fr__max(floats, fr__pieces(rows * c->heads) * c->head_dim), F4);
  r->logits = (float *)fr__take(arena, r->chunk, c->vocab * F4);
  r->hidden = (float *)fr__take(arena, r->chunk, c->dim * F4);
  r->dhidden = (float *)fr__take(arena, r->chunk, c->dim * F4);
  r->inverse = (float *)fr__take(arena, r->chunk, F4);
}
static void fr__cuda_host_layout(fr__arena *arena, const fr_config *c, const fr_limits *limits, fr__cuda_room *r)
{
  const fr_int integer = (fr_int)sizeof(int);
  fr__cuda_mirror_layout(arena, c, limits, r->chunk, &r->here);
  r->span_in = (int *)fr__take(arena, limits->spans, integer);
  r->span_out = (int *)fr__take(arena, limits->spans, integer);
  r->next = (int *)fr__take(arena, limits->spans, integer);
  r->seen = (int *)fr__take(arena, c->vocab, integer);
}

// Shared memory of attention, forward and backward
static fr_int fr__cuda_shared(fr_int D, int back)
{
  return ((back ? 2 : 1) * FR__ITEMS * D + FR__LANES * fr__apart((int)D)) * (fr_int)sizeof(float);
}
#define FR__CUDA_PARTS(D, P)                                                                      \
  if ((D) <= 32) { P(1) } else if ((D) <= 64) { P(2) } else if ((D) <= 128) { P(4) } else if ((D) <= 256) { P(8) } else { P(16) }
// What this backend can do: sizes that its grids, its integers and a block's shared memory hold. NULL, or why not.
static const char *fr__cuda_refuses(const fr_cuda *t, const fr_config *c, const fr_limits *limits)
{
  const fr_int most = (fr_int)1 << 30, rows = fr__max(fr__max(limits->rows, limits->grad_rows), limits->cache_rows);
  const fr_int widest = fr__max(fr__max(fr__qkv(c), 2 * c->ffn), fr__max(c->dim, c->vocab));
  return c->head_dim > 512 || fr__cuda_shared(c->head_dim, limits->grad_rows > 0) > t->shared_most
           ? "a head size that its shared memory does not hold"
       : c->kv_heads > 65535 || widest > 65535 * (t->math == FR_CUDA_PLAIN ? 16 : 32) ? "layers or a vocabulary as wide as that"
       : rows > most / c->heads || limits->spans > most / 4 || limits->targets > most / 8 || limits->depth > most
           ? "so many rows" : NULL;
}

// All the shared memory that attention may need, asked for once: a kernel has one such setting, whoever uses it. Where the program
// has no code for this device, this is the call that says so.
static cudaError_t fr__cuda_widen(int bytes)
{
  cudaError_t error = cudaSuccess;
#define FR__CUDA_ATTRIBUTE(kernel) \
  if (!error) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
#define FR__CUDA_WIDEN(P)                                                                     \
  FR__CUDA_ATTRIBUTE(fr__attend_kernel<P>) FR__CUDA_ATTRIBUTE(fr__attend_back_queries<P>)     \
  FR__CUDA_ATTRIBUTE(fr__attend_back_keys<P>)
  FR__CUDA_WIDEN(1) FR__CUDA_WIDEN(2) FR__CUDA_WIDEN(4) FR__CUDA_WIDEN(8) FR__CUDA_WIDEN(16)
#undef FR__CUDA_WIDEN
#undef FR__CUDA_ATTRIBUTE
  return error;
}

static fr_status fr__cuda_place(void *self, fr_work *work)
{
  fr_cuda *t = (fr_cuda *)self;
  const fr_config *c = &work->config;
  const fr_limits *limits = &work->limits;
  const char *wrong = fr__cuda_refuses(t, c, limits);
  const fr_int pairs = c->head_dim / 2;
  fr__arena device = { NULL, 0, 0 }, host = { NULL, 0, 0 };
  fr__cuda_room *r;
  float *table = NULL;
  fr_int bytes = 0, more = 0;
  fr_status status = fr__cuda_use(t, work);
  if (status) return status;
  if (wrong) return fr__fail(&work->reason, FR_UNSUPPORTED, "the CUDA backend does not take %s", wrong);
  fr__cuda_forget_room(t, work->body);
  r = (fr__cuda_room *)FR_MALLOC(sizeof *r);
  if (!r) return fr__fail(&work->reason, FR_MEMORY, "no memory for %d bytes", (fr_int)sizeof *r);
  memset(r, 0, sizeof *r);
  r->key = work->body;
  r->next_room = t->rooms;
  t->rooms = r;
  r->chunk = fr__min(fr__max(16, fr__min(4096, FR__LOGITS / c->vocab / 16 * 16)),  // by V alone, as sums over rows follow it
                     fr__max(16, fr__max(limits->targets, limits->leaves)));
  fr__cuda_device_layout(&device, c, limits, r);
  fr__cuda_host_layout(&host, c, limits, r);
  status = fr__arena_open(&device, NULL, 0, &bytes, &work->reason);
  if (!status) status = fr__arena_open(&host, NULL, 0, &more, &work->reason);
  if (!status) status = fr__cuda_said(&work->reason, cudaMalloc((void **)&r->device, (size_t)bytes), "memory for a workspace");
  if (!status) status = fr__cuda_said(&work->reason, cudaMallocHost((void **)&r->host, (size_t)more), "pinned memory of the host");
  if (!status) status = fr__arena_open(&device, r->device, bytes, NULL, &work->reason);
  if (!status) status = fr__arena_open(&host, r->host, more, NULL, &work->reason);
  if (!status) {
    fr__cuda_device_layout(&device, c, limits, r);
    fr__cuda_host_layout(&host, c, limits, r);
    for (fr_int v = 0; v < c->vocab; v++) r->seen[v] = -1;
    table = (float *)FR_MALLOC((size_t)(2 * limits->depth * pairs + 1) * sizeof(float));
    if (!table) status = fr__fail(&work->reason, FR_MEMORY, "no memory for the angles of rope");
  }
  if (!status) fr__rope_tables(c, limits->depth, table, table + limits->depth * pairs);
  bytes = limits->depth * pairs * (fr_int)sizeof(float);
  if (!status) status = fr__cuda_send(t, work, r->cosine, table, bytes);
  if (!status) status = fr__cuda_send(t, work, r->sine, table + limits->depth * pairs, bytes);
  if (!status) status = fr__cuda_wait(t, work);
  FR_FREE(table);
  if (status) fr__cuda_forget_room(t, work->body);
  return status;
}

// -- one call: what it works on
struct fr__cuda_call {
  fr_cuda *t;
  const fr__cuda_model *m;
  fr__cuda_room *r;
  fr__pass *s;
  const fr_config *c;
  fr__layer a;
  fr__shared h;
  fr_int N, layer;
};
static fr_status fr__cuda_begin(fr__cuda_call *w, void *self, fr__pass *s)
{
  fr_cuda *t = (fr_cuda *)self;
  memset(w, 0, sizeof *w);
  w->t = t;
  w->s = s;
  w->c = s->c;
  w->N = s->N;
  w->layer = s->layer;
  w->m = fr__cuda_copy_of(t, s->work, s->model, s->grads);
  if (!w->m) return FR_INVALID;
  for (w->r = t->rooms; w->r && w->r->key != s->work->body; w->r = w->r->next_room) continue;
  if (!w->r) return fr__fail(&s->work->reason, FR_INVALID, "the workspace is not of this device");
  fr__activations(w->c, w->r->activations, w->N, w->layer < 0 ? 0 : w->layer, s->gradient, &w->a, &w->h);
  return fr__cuda_use(t, s->work);
}
static float *fr__cuda_p(const fr__cuda_call *w, int tensor) { return w->m->p[tensor] + w->layer * w->m->each[tensor]; }
static float *fr__cuda_d(const fr__cuda_call *w, int tensor)  // NULL: not trained
{
  return w->m->d[tensor] ? w->m->d[tensor] + w->layer * w->m->each[tensor] : NULL;
}
static unsigned fr__blocks(fr_int count, fr_int each) { return (unsigned)((count + each - 1) / each); }

#ifdef FR_CUDA_CUBLAS
// NVIDIA's library instead: it counts columns first, so this is y' (N,M) = b a'. It may choose by the number of rows, and then a
// leaf's bits depend on how many there are. What it needs besides is asked for once, at open.
enum { FR__BLAS_ROOM = 32 << 20 };
static cublasStatus_t fr__blas_layout(cublasLtMatrixLayout_t *layout, const float *x, fr_int x_row, fr_int x_k, int rows, int K,
                                      cublasOperation_t along, cublasOperation_t across, cublasOperation_t *op, uint32_t *align)
{
  const int lies = x_k == 1 && x_row >= K;  // rows of K side by side
  const uintptr_t bytes = (uintptr_t)x;
  *op = lies ? along : across;
  for (*align = 4; *align < 256 && bytes % (2 * *align) == 0; *align *= 2) continue;
  return lies ? cublasLtMatrixLayoutCreate(layout, CUDA_R_32F, (uint64_t)K, (uint64_t)rows, x_row)
              : cublasLtMatrixLayoutCreate(layout, CUDA_R_32F, (uint64_t)rows, (uint64_t)K, x_k);
}
static void fr__cuda_multiply(fr_cuda *t, fr__cuda_product g, int decodes)
{
  const cublasComputeType_t compute = t->math == FR_CUDA_BFLOAT16 ? CUBLAS_COMPUTE_32F_FAST_16BF
                                    : t->math == FR_CUDA_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  const float one = 1.0f, beta = g.from ? 1.0f : 0.0f, *from = g.from ? g.from : g.y;
  const size_t room = FR__BLAS_ROOM;
  cublasLtMatmulDesc_t product = NULL;
  cublasLtMatrixLayout_t a = NULL, b = NULL, y = NULL;
  cublasLtMatmulPreference_t wish = NULL;
  cublasLtMatmulHeuristicResult_t way;
  cublasOperation_t op_a, op_b, op_y;
  uint32_t align_a, align_b, align_y, align_from;
  int found = 0;
  cublasStatus_t s;
  (void)decodes;
  if (g.M < 1 || g.N < 1) return;
#define FR__TRY(call) if (s == CUBLAS_STATUS_SUCCESS) s = call
  s = cublasLtMatmulDescCreate(&product, compute, CUDA_R_32F);
  FR__TRY(fr__blas_layout(&b, g.b, g.b_row, g.b_k, g.N, g.K, CUBLAS_OP_T, CUBLAS_OP_N, &op_b, &align_b));
  FR__TRY(fr__blas_layout(&a, g.a, g.a_row, g.a_k, g.M, g.K, CUBLAS_OP_N, CUBLAS_OP_T, &op_a, &align_a));
  FR__TRY(fr__blas_layout(&y, g.y, 1, g.ldy, g.N, g.M, CUBLAS_OP_N, CUBLAS_OP_N, &op_y, &align_y));
  for (align_from = 4; align_from < 256 && (uintptr_t)from % (2 * align_from) == 0; align_from *= 2) continue;
  FR__TRY(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b));
  FR__TRY(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a));
  FR__TRY(cublasLtMatmulPreferenceCreate(&wish));
  FR__TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
  FR__TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align_b, sizeof align_b));
  FR__TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align_a, sizeof align_a));
  FR__TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align_from, sizeof align_from));
  FR__TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align_y, sizeof align_y));
  FR__TRY(cublasLtMatmulAlgoGetHeuristic(t->blas, product, b, a, y, y, wish, 1, &way, &found));
  if (s == CUBLAS_STATUS_SUCCESS && !found) s = CUBLAS_STATUS_NOT_SUPPORTED;
  FR__TRY(cublasLtMatmul(t->blas, product, &one, g.b, b, g.a, a, &beta, from, y, g.y, y, &way.algo, t->blas_room, room, t->stream));
#undef FR__TRY
  if (wish) (void)cublasLtMatmulPreferenceDestroy(wish);
  if (y) (void)cublasLtMatrixLayoutDestroy(y);
  if (a) (void)cublasLtMatrixLayoutDestroy(a);
  if (b) (void)cublasLtMatrixLayoutDestroy(b);
  if (product) (void)cublasLtMatmulDescDestroy(product);
  if (s != CUBLAS_STATUS_SUCCESS && !t->blas_failed) t->blas_failed = (int)s;
}
#else
static void fr__cuda_multiply(fr_cuda *t, fr__cuda_product g, int decodes)
{
  const int along = (g.a_k == 1) + (g.a_k == 1 && g.b_k == 1);  // ALONG says in which order numbers are fetched, not what they are
  const unsigned pieces = g.part && !decodes && t->math != FR_CUDA_PLAIN ? fr__blocks(g.K, FR__LONG) : 1;
  if (g.M < 1 || g.N < 1) return;
  if (pieces > 1) g.piece = FR__LONG;
  if (decodes) {
    FR__LAUNCH(fr__product_stream, dim3(fr__blocks(g.N, 16)), 128, 0, t->stream, (g));
  } else if (t->math == FR_CUDA_PLAIN) {
    FR__LAUNCH(fr__product_plain, dim3(fr__blocks(g.M, 16), fr__blocks(g.N, 16)), 256, 0, t->stream, (g));
  } else if (t->math == FR_CUDA_FLOAT32) {
    const dim3 grid(fr__blocks(g.M, 64), fr__blocks(g.N, 64), pieces);
    if (along == 2) FR__LAUNCH((fr__product_tiled<1, 1>), grid, 256, 0, t->stream, (g));
    else if (along == 1) FR__LAUNCH((fr__product_tiled<1, 0>), grid, 256, 0, t->stream, (g));
    else FR__LAUNCH((fr__product_tiled<0, 0>), grid, 256, 0, t->stream, (g));
  } else {
    const dim3 grid(fr__blocks(g.M, 128), fr__blocks(g.N, 64), pieces);
    const int which = along + (t->math == FR_CUDA_BFLOAT16 ? 3 : 0);
    if (which == 0) FR__LAUNCH((fr__product_tensor<0, 0, 0>), grid, 256, 0, t->stream, (g));
    else if (which == 1) FR__LAUNCH((fr__product_tensor<0, 1, 0>), grid, 256, 0, t->stream, (g));
    else if (which == 2) FR__LAUNCH((fr__product_tensor<0, 1, 1>), grid, 256, 0, t->stream, (g));
    else if (which == 3) FR__LAUNCH((fr__product_tensor<1, 0, 0>), grid, 256, 0, t->stream, (g));
    else if (which == 4) FR__LAUNCH((fr__product_tensor<1, 1, 0>), grid, 256, 0, t->stream, (g));
    else FR__LAUNCH((fr__product_tensor<1, 1, 1>), grid, 256, 0, t->stream, (g));
  }
  if (pieces > 1)
    FR__LAUNCH(fr__product_gather, dim3(fr__blocks((fr_int)g.M * g.N, 256)), 256, 0, t->stream, (g, (int)pieces));
}
#endif
// Y = from + X W'       y, from (N,out)      x (N,in)      w (out,in)
static void fr__cuda_linear(const fr__cuda_call *w, float *y, fr_int ldy, const float *from, const float *x, fr_int ldx,
                            const float *weight, fr_int N, fr_int in, fr_int out, int decodes)
{
  const fr__cuda_product g = { y, from, x, weight, ldy, ldx, 1, in, 1, (int)N, (int)out, (int)in };
  fr__cuda_multiply(w->t, g, decodes);
}
// dX = from + dY W
static void fr__cuda_linear_back(const fr__cuda_call *w, float *dx, fr_int ldx, const float *from, const float *dy, fr_int ldy,
                                 const float *weight, fr_int N, fr_int in, fr_int out)
{
  const fr__cuda_product g = { dx, from, dy, weight, ldx, ldy, 1, 1, in, (int)N, (int)in, (int)out };
  fr__cuda_multiply(w->t, g, 0);
}
// dW += dY' X         NULL: not trained
static void fr__cuda_linear_sums(const fr__cuda_call *w, float *dw, const float *dy, fr_int ldy, const float *x, fr_int ldx,
                                 fr_int N, fr_int in, fr_int out)
{
  fr__cuda_product g = { dw, dw, dy, x, in, 1, ldy, 1, ldx, (int)out, (int)in, (int)N };
  if (out * in <= FR__FEW_OUTPUTS) g.part = w->r->part;
  if (dw) fr__cuda_multiply(w->t, g, 0);
}

static void fr__cuda_sum_rows(const fr__cuda_call *w, fr__cuda_sums g)
{
  const fr_int pieces = fr__pieces(g.rows.count);
  g.part = w->r->part;
  if (!g.out) return;
  FR__LAUNCH(fr__sums_kernel, dim3((unsigned)pieces, fr__blocks(g.rows.width, 32)), 256, 0, w->t->stream, (g));
  FR__LAUNCH(fr__sums_gather, dim3(fr__blocks(g.rows.width, 256)), 256, 0, w->t->stream, (g, (int)pieces));
}

// -- the steps of a layer, in the order of >>backend
static void fr__cuda_norm_step(const fr__cuda_call *w, int step, int way)
{
  const int C = (int)w->c->dim, att = step == FR__NORM_ATT, tensor = att ? FR__AT_norm_att : FR__AT_norm_mlp;
  const fr__cuda_shape rows = { (int)w->N, 1, C };
  const float *x = att ? w->a.x : w->a.x_mid;
  float *inverse = att ? w->a.inverse_att : w->a.inverse_mlp;  // NULL without gradient
  if (way == FR__FORWARD) {
    const fr__cuda_norm g = { rows, w->h.h, NULL, inverse, x, fr__cuda_p(w, tensor), NULL, C, 0, 1, C, 0, w->c->norm_eps };
    FR__LAUNCH(fr__norm_kernel, dim3(fr__blocks(w->N, 4)), 128, 0, w->t->stream, (g));
  } else if (way == FR__BACKWARD) {
    const fr__cuda_norm_back g = { rows, w->h.dx, w->h.dh, x, fr__cuda_p(w, tensor), inverse, NULL, C, C, C, 1, 0, 0 };
    FR__LAUNCH(fr__norm_back_kernel, dim3(fr__blocks(w->N, 4)), 128, 0, w->t->stream, (g));
  } else {
    const fr__cuda_sums g = { rows, NULL, fr__cuda_d(w, tensor), w->h.dh, x, inverse, NULL, C, C, 1, 0 };
    fr__cuda_sum_rows(w, g);
  }
}

// The four products; where X is the normed stream, backward makes it again for the sums.
static void fr__cuda_matrix_step(const fr__cuda_call *w, int step, int way)
{
  const fr_int C = w->c->dim, HD = w->c->heads * w->c->head_dim, W = fr__qkv(w->c), F = w->c->ffn, pair = 2 * fr__stride(F);
  const fr__layer *a = &w->a;
  const fr__shared *h = &w->h;
  const struct { int tensor; float *x, *dx, *from, *y, *dy; fr_int in, ldx, out, ldy; } all[] = {
    { FR__AT_w_qkv, h->h, h->dh, NULL, a->qkv, h->dqkv, C, C, W, W },
    { FR__AT_w_out, a->att, h->datt, a->x, a->x_mid, h->dx, HD, HD, C, C },
    { FR__AT_w_gate_up, h->h, h->dh, NULL, a->gate_up, h->dgate_up, C, C, 2 * F, pair },
    { FR__AT_w_down, h->act, h->dact, a->x_mid, a->x_next, h->dx, F, h->act_stride, C, C }
  }, *g = &all[step == FR__QKV ? 0 : step == FR__OUT ? 1 : step == FR__GATE_UP ? 2 : 3];
  if (way == FR__FORWARD)
    fr__cuda_linear(w, g->y, g->ldy, g->from, g->x, g->ldx, fr__cuda_p(w, g->tensor), w->N, g->in, g->out, w->s->decodes);
  else if (way == FR__SUMS) fr__cuda_linear_sums(w, fr__cuda_d(w, g->tensor), g->dy, g->ldy, g->x, g->ldx, w->N, g->in, g->out);
  else fr__cuda_linear_back(w, g->dx, g->ldx, NULL, g->dy, g->ldy, fr__cuda_p(w, g->tensor), w->N, g->in, g->out);
  if (way == FR__BACKWARD && g->x == h->h) fr__cuda_norm_step(w, step == FR__QKV ? FR__NORM_ATT : FR__NORM_MLP, FR__FORWARD);
}

static void fr__cuda_bias_step(const fr__cuda_call *w, int way)
{
  const int W = (int)fr__qkv(w->c);
  if (way == FR__FORWARD) {
    FR__LAUNCH(fr__bias_kernel, dim3(fr__blocks(w->N * W, 256)), 256, 0, w->t->stream,
               (w->a.qkv, fr__cuda_p(w, FR__AT_b_qkv), W, w->N * W));
  } else {
    const fr__cuda_sums g = { { (int)w->N, 1, W }, NULL, fr__cuda_d(w, FR__AT_b_qkv), w->h.dqkv, NULL, NULL, NULL, W, 0, 0, 0 };
    fr__cuda_sum_rows(w, g);
  }
}

static void fr__cuda_head_norm_step(const fr__cuda_call *w, int way)
{
  const int H = (int)w->c->heads, K = (int)w->c->kv_heads, D = (int)w->c->head_dim, W = (int)fr__qkv(w->c), R = (H + K) * D;
  for (int k = 0; k < 2; k++) {  // the heads of q, then those of k
    const int heads = k ? K : H, at = k ? H * D : 0, tensor = k ? FR__AT_norm_k : FR__AT_norm_q;
    const fr__cuda_shape rows = { (int)w->N * heads, heads, D };
    float *raw = w->a.raw ? w->a.raw + at : NULL, *inverse = w->a.raw_inverse ? w->a.raw_inverse + (k ? H : 0) : NULL;
    float *qkv = w->a.qkv + at, *d = w->h.dqkv + (w->h.dqkv ? at : 0);
    const dim3 grid(fr__blocks(w->N * heads, 4));
    if (way == FR__FORWARD) {
      const fr__cuda_norm g = { rows, qkv, raw, inverse, qkv, fr__cuda_p(w, tensor), NULL, W, R, H + K, W, 0, w->c->norm_eps };
      FR__LAUNCH(fr__norm_kernel, grid, 128, 0, w->t->stream, (g));
    } else if (way == FR__BACKWARD) {
      const fr__cuda_norm_back g = { rows, d, d, raw, fr__cuda_p(w, tensor), inverse, NULL, W, W, R, H + K, 0, 1 };
      FR__LAUNCH(fr__norm_back_kernel, grid, 128, 0, w->t->stream, (g));
    } else {
      const fr__cuda_sums g = { rows, NULL, fr__cuda_d(w, tensor), d, raw, inverse, NULL, W, R, H + K, 0 };
      fr__cuda_sum_rows(w, g);
    }
  }
}

static void fr__cuda_rotate_step(const fr__cuda_call *w, int way)
{
  const int H = (int)w->c->heads, K = (int)w->c->kv_heads, D = (int)w->c->head_dim, W = (int)fr__qkv(w->c);
  const fr_int pairs = w->N * (H + K) * (D / 2), cached = w->N * 2 * K * D, rows = w->s->work->limits.cache_rows;
  const fr__cuda_turn g = { way == FR__FORWARD ? w->a.qkv : w->h.dqkv, w->r->cosine, w->r->sine, w->r->position,
                            1.0f / sqrtf((float)D), way == FR__FORWARD ? 1.0f : -1.0f, H, H + K, D, W, pairs };
  FR__LAUNCH(fr__turn_kernel, dim3(fr__blocks(pairs, 256)), 256, 0, w->t->stream, (g));
  if (w->s->cached)
    FR__LAUNCH(fr__cache_kernel, dim3(fr__blocks(cached, 256)), 256, 0, w->t->stream,
               (w->r->cache + w->layer * 2 * K * rows * D, w->a.qkv + H * D, w->r->cache_row, rows, W, 2 * K, D, cached));
}

static void fr__cuda_attend_step(const fr__cuda_call *w, int way)
{
  const fr_int H = w->c->heads, K = w->c->kv_heads, D = w->c->head_dim, W = fr__qkv(w->c), rows = w->s->work->limits.cache_rows;
  const int group = (int)(H / K), cached = w->s->cached;
  const float *k = cached ? w->r->cache + w->layer * 2 * K * rows * D : w->a.qkv + H * D;
  float *d = w->h.dqkv;
  const fr__cuda_attention g = {
    w->a.att, w->a.lse, w->a.qkv, k, k + K * (cached ? rows * D : D), W, cached ? D : W, cached ? rows * D : D, H * D, w->r->in,
    w->r->tiles, w->r->tile_count, (int)w->N, group, (int)D, (int)H, w->h.datt, w->r->delta, d, d ? d + H * D : NULL,
    d ? d + (H + K) * D : NULL };
  const dim3 queries(fr__blocks(w->N * group, FR__ITEMS), (unsigned)K), few((unsigned)(w->N * ((group + 3) / 4)), (unsigned)K);
  const dim3 keys((unsigned)w->r->tile_count * 2, (unsigned)K);
  const size_t shared = (size_t)fr__cuda_shared(D, way == FR__BACKWARD);
  if (way == FR__FORWARD && w->s->decodes) {
#define FR__CUDA_RUN(P) FR__LAUNCH(fr__attend_few<P>, few, 128, (size_t)(16 * D + 32) * sizeof(float), w->t->stream, (g));
    FR__CUDA_PARTS(D, FR__CUDA_RUN)
#undef FR__CUDA_RUN
  } else if (way == FR__FORWARD) {
#define FR__CUDA_RUN(P) FR__LAUNCH(fr__attend_kernel<P>, queries, 128, shared, w->t->stream, (g));
    FR__CUDA_PARTS(D, FR__CUDA_RUN)
#undef FR__CUDA_RUN
  } else {
    FR__LAUNCH(fr__delta_kernel, dim3(fr__blocks(w->N * H, 4)), 128, 0, w->t->stream,
               (w->r->delta, w->h.datt, w->a.att, (int)D, (int)(w->N * H)));
#define FR__CUDA_RUN(P)                                                                     \
    FR__LAUNCH(fr__attend_back_queries<P>, queries, 128, shared, w->t->stream, (g));        \
    FR__LAUNCH(fr__attend_back_keys<P>, keys, 128, shared, w->t->stream, (g));
    FR__CUDA_PARTS(D, FR__CUDA_RUN)
#undef FR__CUDA_RUN
  }
}

static void fr__cuda_swiglu_step(const fr__cuda_call *w, int way)
{
  const fr_int F = w->c->ffn, pair = 2 * fr__stride(F), count = w->N * F;
  if (way == FR__FORWARD)
    FR__LAUNCH(fr__swiglu_kernel, dim3(fr__blocks(count, 256)), 256, 0, w->t->stream,
               (w->h.act, w->a.gate_up, (int)F, w->h.act_stride, pair, count));
  else
    FR__LAUNCH(fr__swiglu_back_kernel, dim3(fr__blocks(count, 256)), 256, 0, w->t->stream,
               (w->h.dgate_up, w->h.act, w->h.dact, w->a.gate_up, (int)F, w->h.act_stride, pair, count));
}

static fr_status fr__cuda_step(void *self, fr__pass *s, const fr__act *list, fr_int count, fr_int *done)
{
  fr__cuda_call w;
  const fr_status status = fr__cuda_begin(&w, self, s);
  if (status) return status;
  for (fr_int i = 0; w.N && i < count; i++)
    switch (list[i].step) {
      case FR__NORM_ATT: case FR__NORM_MLP: fr__cuda_norm_step(&w, list[i].step, list[i].way); break;
      case FR__BIAS: fr__cuda_bias_step(&w, list[i].way); break;
      case FR__HEAD_NORM: fr__cuda_head_norm_step(&w, list[i].way); break;
      case FR__ROTATE: fr__cuda_rotate_step(&w, list[i].way); break;
      case FR__ATTEND: fr__cuda_attend_step(&w, list[i].way); break;
      case FR__SWIGLU: fr__cuda_swiglu_step(&w, list[i].way); break;
      default: fr__cuda_matrix_step(&w, list[i].step, list[i].way); break;
    }
  *done = count;
  return fr__cuda_ran(w.t, s->work);
}

// -- what goes over before a pass: token, position, number and cache row of each row, and the tiles of keys
static fr_int fr__cuda_fill(fr__cuda_room *r, const fr__pass *s)
{
  const struct fr__body *b = s->work->body;
  const fr_int N = s->N;
  int *token = r->here.tables, *position = token + N, *in = position + N, *row = in + N, used = 0;
  fr__cuda_tile *tile = (fr__cuda_tile *)(void *)(row + N), *first = tile;
  fr_int spans = b->span_count_used;
  for (fr_int i = 0; i < b->block_count; i++) spans = fr__max(spans, b->blocks[i].span + 1);  // leaves stand behind the tree
  for (fr_int i = 0; i < spans; i++) r->span_out[i] = (int)b->span_count[i];
  for (fr_int i = spans - 1; i >= 0; i--)  // the size of each subtree
    if (b->span_parent[i] >= 0) r->span_out[b->span_parent[i]] += r->span_out[i];
  for (fr_int i = 0; i < spans; i++) {
    int *at = b->span_parent[i] < 0 ? &used : &r->next[b->span_parent[i]];
    r->span_in[i] = *at;
    r->next[i] = *at + (int)b->span_count[i];
    *at += r->span_out[i];
    r->span_out[i] += r->span_in[i];
    for (fr_int j = 0; j < b->span_count[i]; j += FR__LANES) {
      const fr__cuda_tile next = { (int)(b->span_row[i] + j), (int)fr__min(FR__LANES, b->span_count[i] - j), r->span_in[i] + (int)j,
                                   r->span_out[i] };
      *tile++ = next;
    }
  }
  for (fr_int n = 0; n < N; n++) {
    token[n] = (int)b->token[n];
    position[n] = (int)b->position[n];
    row[n] = s->cached ? (int)b->cache_row[n] : 0;
  }
  for (fr_int i = 0; i < b->block_count; i++)
    for (fr_int j = 0; j < b->blocks[i].count; j++)
      in[b->blocks[i].row + j] = r->span_in[b->blocks[i].span] + (int)(b->blocks[i].before - b->span_depth[b->blocks[i].span] + j);
  r->token = r->there.tables;
  r->position = r->token + N;
  r->in = r->position + N;
  r->cache_row = r->in + N;
  r->tiles = (const fr__cuda_tile *)(const void *)(r->cache_row + N);
  r->tile_count = (int)(tile - first);
  return 4 * (N + r->tile_count);
}
// Before the embedding's backward: each different token, where its rows begin in the list of rows that follows, in order
static fr_int fr__cuda_group(fr__cuda_room *r, const fr_token *token, fr_int N, fr_int *groups)
{
  int *id = r->here.groups, *first = id + N, *order = first + N + 1, count = 0, at = 0;
  for (fr_int n = 0; n < N; n++) {
    if (r->seen[token[n]] < 0) {
      r->seen[token[n]] = count;
      id[count] = (int)token[n];
      first[count++] = 0;
    }
    first[r->seen[token[n]]]++;
  }
  for (int g = 0; g < count; g++) { const int rows = first[g]; first[g] = at; at += rows; }
  for (fr_int n = 0; n < N; n++) order[first[r->seen[token[n]]]++] = (int)n;
  for (int g = count; g > 0; g--) first[g] = first[g - 1];  // each was moved to its end, where the next begins
  first[0] = 0;
  for (int g = 0; g < count; g++) r->seen[id[g]] = -1;
  *groups = count;
  return 3 * N + 1;
}
static fr_status fr__cuda_embed(void *self, fr__pass *s, int way)
{
  fr__cuda_call w;
  fr_int ints, groups = 0, N = s->N;
  fr_status status = fr__cuda_begin(&w, self, s);
  const int C = (int)w.c->dim, held = w.m ? (int)w.m->held_rows[0] : 0;
  if (status || !N) return status;
  if (way == FR__FORWARD) {
    fr__activations(w.c, w.r->activations, N, w.c->layers - 1, s->gradient, &w.a, &w.h);
    w.r->final_x = w.a.x_next;
  }
  fr__activations(w.c, w.r->activations, N, 0, s->gradient, &w.a, &w.h);
  if (way == FR__FORWARD) {
    if (w.r->sending) status = fr__cuda_wait(w.t, s->work);
    if (status) return status;
    ints = fr__cuda_fill(w.r, s);
    status = fr__cuda_send(w.t, s->work, w.r->there.tables, w.r->here.tables, ints * (fr_int)sizeof(int));
    if (status) return status;
    w.r->sending = 1;
    FR__LAUNCH(fr__embed_kernel, dim3(fr__blocks(N * C, 256)), 256, 0, w.t->stream,
               (w.a.x, w.m->held[0], w.m->p[FR__AT_tok_emb], w.r->token, held, w.c->embed_scale, C, N * C));
  } else if (w.m->d[FR__AT_tok_emb]) {
    const int *there = w.r->there.groups;
    if (w.r->grouping) status = fr__cuda_wait(w.t, s->work);  // the head has waited already, if there were targets
    if (status) return status;
    ints = fr__cuda_group(w.r, s->work->body->token, N, &groups);
    status = fr__cuda_send(w.t, s->work, w.r->there.groups, w.r->here.groups, ints * (fr_int)sizeof(int));
    if (status) return status;
    w.r->grouping = 1;
    FR__LAUNCH(fr__embed_back_kernel, dim3((unsigned)groups), 128, 0, w.t->stream,
               (w.m->d[FR__AT_tok_emb], w.h.dx, there, there + N, there + 2 * N + 1, held, w.c->embed_scale, C));
  }
  return fr__cuda_ran(w.t, s->work);
}

// -- the head
// The vocabulary's matrix stands in up to two pieces: what a view holds, and the model's own rows.
struct fr__cuda_table { const float *at[2]; fr_int first[2], rows[2]; float *d; };
static fr__cuda_table fr__cuda_table_of(const fr__cuda_call *w)
{
  const int own = !w->c->tied, tensor = own ? FR__AT_head : FR__AT_tok_emb;
  const fr_int held = w->m->held_rows[own];
  const fr__cuda_table table = { { w->m->held[own], w->m->p[tensor] }, { 0, held }, { held, w->c->vocab - held }, w->m->d[tensor] };
  return table;
}
// hidden = norm(x[row]),   logits = hidden W'       of `count` rows of the list on the device, `apart` ints from one to the next
static void fr__cuda_logits(const fr__cuda_call *w, const int *list, int apart, fr_int count, int vocabulary, int decodes)
{
  const int C = (int)w->c->dim;
  const fr__cuda_table table = fr__cuda_table_of(w);
  const fr__cuda_norm g = { { (int)count, 1, C }, w->r->hidden, NULL, w->r->inverse, w->r->final_x, w->m->p[FR__AT_norm_final],
                            list, C, 0, 1, C, apart, w->c->norm_eps };
  FR__LAUNCH(fr__norm_kernel, dim3(fr__blocks(count, 4)), 128, 0, w->t->stream, (g));
  for (int i = 0; vocabulary && i < 2; i++)
    if (table.rows[i])
      fr__cuda_linear(w, w->r->logits + table.first[i], w->c->vocab, NULL, w->r->hidden, C, table.at[i], count, C, table.rows[i],
                      decodes);
}
static void fr__cuda_head_back(const fr__cuda_call *w, const int *list, fr_int count)
{
  const int C = (int)w->c->dim;
  const fr_int V = w->c->vocab;
  const fr__cuda_table table = fr__cuda_table_of(w);
  const float *from = NULL, *x = w->r->final_x, *gain = w->m->p[FR__AT_norm_final];
  const fr__cuda_shape rows = { (int)count, 1, C };
  const fr__cuda_norm_back back = { rows, w->h.dx, w->r->dhidden, x, gain, w->r->inverse, list, C, C, C, 1, 3, 0 };
  const fr__cuda_sums sums = { rows, NULL, w->m->d[FR__AT_norm_final], w->r->dhidden, x, w->r->inverse, list, C, C, 1, 3 };
  for (int i = 0; i < 2; i++)
    if (table.rows[i]) {
      fr__cuda_linear_back(w, w->r->dhidden, C, from, w->r->logits + table.first[i], V, table.at[i], count, C, table.rows[i]);
      from = w->r->dhidden;
    }
  FR__LAUNCH(fr__norm_back_kernel, dim3(fr__blocks(count, 4)), 128, 0, w->t->stream, (back));
  fr__cuda_linear_sums(w, table.d, w->r->logits + table.first[1], V, w->r->hidden, C, count, C, table.rows[1]);
  fr__cuda_sum_rows(w, sums);
}
static fr_status fr__cuda_head(void *self, fr__pass *s)
{
  struct fr__body *b = s->work->body;
  const fr_int R = b->head_row_count;
  fr__cuda_call w;
  fr_int targets = 0;
  int *row, *token;
  fr_status status = fr__cuda_begin(&w, self, s);
  if (status) return status;
  if (s->grads && w.N)
    status = fr__cuda_said(&s->work->reason, cudaMemsetAsync(w.h.dx, 0, (size_t)(w.N * w.c->dim) * sizeof(float), w.t->stream),
                           "clearing gradients");
  if (status || !R) return status;
  for (fr_int i = 0; i < R; i++) targets += b->head_rows[i].count;
  row = w.r->here.goals;
  token = row + 3 * R;
  for (fr_int i = 0; i < R; i++) {
    row[3 * i] = (int)b->head_rows[i].row;
    row[3 * i + 1] = (int)b->head_rows[i].first;
    row[3 * i + 2] = (int)(b->head_rows[i].count);
  }
  for (fr_int i = 0; i < targets; i++) {
    token[i] = (int)b->goals[i].token;
    memcpy(token + targets + i, &b->goals[i].weight, sizeof(float));
  }
  status = fr__cuda_send(w.t, s->work, w.r->there.goals, row, (3 * R + 2 * targets) * (fr_int)sizeof(int));
  for (fr_int first = 0; !status && first < R; first += w.r->chunk) {
    const fr_int count = fr__min(w.r->chunk, R - first);
    const int *list = w.r->there.goals + 3 * first, *ids = w.r->there.goals + 3 * R;
    const float *weights = (const float *)(const void *)(ids + targets);
    fr__cuda_logits(&w, list, 3, count, 1, 0);
    FR__LAUNCH(fr__entropy_kernel, dim3((unsigned)count), 256, 0, w.t->stream,
               (w.r->logits, (int)w.c->vocab, list, ids, weights, w.r->there.nll, s->grads != NULL));
    if (s->grads) fr__cuda_head_back(&w, list, count);
    status = fr__cuda_ran(w.t, s->work);
  }
  if (!status) status = fr__cuda_bring(w.t, s->work, w.r->here.nll, w.r->there.nll, targets * (fr_int)sizeof(double));
  if (!status) status = fr__cuda_wait(w.t, s->work);
  for (fr_int i = 0; !status && i < targets; i++) b->goals[i].nll = w.r->here.nll[i];
  return status;
}

static fr_status fr__cuda_rows(void *self, fr__pass *s, const fr_int *list, fr_int count, int vocabulary, float *out)
{
  const fr_int width = vocabulary ? s->c->vocab : s->c->dim;
  fr__cuda_call w;
  fr_status status = fr__cuda_begin(&w, self, s);
  for (fr_int first = 0; !status && first < count; first += w.r->chunk) {
    const fr_int rows = fr__min(w.r->chunk, count - first);
    for (fr_int i = 0; i < rows; i++) w.r->here.list[i] = (int)list[first + i];
    status = fr__cuda_send(w.t, s->work, w.r->there.list, w.r->here.list, rows * (fr_int)sizeof(int));
    if (status) break;
    fr__cuda_logits(&w, w.r->there.list, 1, rows, vocabulary, 1);
    status = fr__cuda_ran(w.t, s->work);
    if (!status) status = fr__cuda_bring(w.t, s->work, out + first * width, vocabulary ? w.r->logits : w.r->hidden,
                                         rows * width * (fr_int)sizeof(float));
    if (!status) status = fr__cuda_wait(w.t, s->work);
  }
  return status;
}

static fr_status fr__cuda_sample(void *self, fr__pass *s, const fr_int *list, fr_int count, const fr_sampling *sampling,
                                 const float *draw, fr_token *token, double *logp)
{
  fr__cuda_call w;
  fr_status status = fr__cuda_begin(&w, self, s);
  fr_int words = fr__penalises(sampling) ? (s->c->vocab + 31) / 32 : 0, *path = s->work->body->path_rows;
  for (fr_int first = 0; !status && first < count; first += w.r->chunk) {
    const fr_int rows = fr__min(w.r->chunk, count - first);
    for (fr_int i = 0; i < rows; i++) w.r->here.list[i] = (int)list[first + i];
    memcpy(w.r->here.draw, draw + first, (size_t)rows * sizeof(float));
    status = fr__cuda_send(w.t, s->work, w.r->there.list, w.r->here.list, rows * (fr_int)sizeof(int));
    if (!status) status = fr__cuda_send(w.t, s->work, w.r->there.draw, w.r->here.draw, rows * (fr_int)sizeof(float));
    memset(w.r->here.path, 0, (size_t)(rows * words) * sizeof(uint32_t));
    for (fr_int i = 0; words && i < rows; i++)
      for (fr_int t = fr__path_tokens(s, first + i, path); t-- > 0;)
        w.r->here.path[i * words + path[t] / 32] |= (uint32_t)1 << path[t] % 32;
    if (!status && words) status = fr__cuda_send(w.t, s->work, w.r->there.path, w.r->here.path, rows * words * 4);
    if (status) break;
    fr__cuda_logits(&w, w.r->there.list, 1, rows, 1, 1);
    FR__LAUNCH(fr__sample_kernel, dim3((unsigned)rows), 256, 0, w.t->stream,
               (w.r->logits, (int)s->c->vocab, w.r->there.draw, *sampling, words ? w.r->there.path : NULL, w.r->there.token,
                w.r->there.logp));
    status = fr__cuda_ran(w.t, s->work);
    if (!status) status = fr__cuda_bring(w.t, s->work, w.r->here.token, w.r->there.token, rows * (fr_int)sizeof(int));
    if (!status) status = fr__cuda_bring(w.t, s->work, w.r->here.logp, w.r->there.logp, rows * (fr_int)sizeof(double));
    if (!status) status = fr__cuda_wait(w.t, s->work);
    for (fr_int i = 0; !status && i < rows; i++) {
      token[first + i] = (fr_token)w.r->here.token[i];
      logp[first + i] = w.r->here.logp[i];
    }
  }
  return status;
}

// -- the optimiser: gradients of all trained tensors lie side by side
static fr_status fr__cuda_norm_of(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw, double *norm)
{
  fr_cuda *t = (fr_cuda *)self;
  const fr__cuda_model *m = fr__cuda_copy_of(t, work, model, adamw->grads);
  fr__cuda_room *r = t->rooms;
  double sum = 0.0;
  fr_status status = m ? fr__cuda_use(t, work) : FR_INVALID;
  if (status) return status;
  while (r && r->key != work->body) r = r->next_room;
  if (!r) return fr__fail(&work->reason, FR_INVALID, "the workspace is not of this device");
  FR__LAUNCH(fr__square_kernel, dim3(FR__SQUARES), 256, 0, t->stream, (r->there.squares, fr__cuda_grads(m), m->trained));
  status = fr__cuda_ran(t, work);
  if (!status) status = fr__cuda_bring(t, work, r->here.squares, r->there.squares, FR__SQUARES * (fr_int)sizeof(double));
  if (!status) status = fr__cuda_wait(t, work);
  if (status) return status;
  for (int i = 0; i < FR__SQUARES; i++) sum += r->here.squares[i];
  *norm = sqrt(sum);
  return FR_OK;
}
static fr_status fr__cuda_adamw(void *self, fr_work *work, fr_model *model, fr_adamw *adamw, const fr__adamw_factors *factors,
                                float keep_decayed)
{
#define FR__CUDA_DECAY(name, copies, rows, cols, start, decay) decay,
  static const int decays[FR__TENSORS] = { FR__PARAMS(FR__CUDA_DECAY) };
#undef FR__CUDA_DECAY
  fr_cuda *t = (fr_cuda *)self;
  const fr__cuda_model *m = fr__cuda_copy_of(t, work, model, adamw->grads);
  const fr_status status = m ? fr__cuda_use(t, work) : FR_INVALID;
  if (status) return status;
  for (int i = 0; i < FR__TENSORS; i++) {
    fr__adamw_factors f = *factors;
    if (decays[i]) f.keep = keep_decayed;
    if (m->d[i])
      FR__LAUNCH(fr__adamw_kernel, dim3(fr__blocks(m->own[i], 256)), 256, 0, t->stream,
                 (m->p[i], m->d[i], m->m[i], m->v[i], m->own[i], f));
  }
  return fr__cuda_ran(t, work);
}
static fr_status fr__cuda_zero(void *self, fr_work *work, const fr_model *model, fr_adamw *adamw)
{
  fr_cuda *t = (fr_cuda *)self;
  const fr__cuda_model *m = fr__cuda_copy_of(t, work, model, adamw->grads);
  const fr_status status = m ? fr__cuda_use(t, work) : FR_INVALID;
  if (status || !m->trained) return status;
  return fr__cuda_said(&work->reason, cudaMemsetAsync(fr__cuda_grads(m), 0, (size_t)m->trained * sizeof(float), t->stream),
                       "clearing gradients");
}

// -- open and close
FR_DEF fr_status fr_cuda_open(fr_cuda **cuda, int device, fr_cuda_math math, fr_reason *reason)
{
  const fr_backend backend = { NULL, "cuda", fr__cuda_place, fr__cuda_attach, fr__cuda_download, fr__cuda_embed, fr__cuda_step,
                               fr__cuda_head, fr__cuda_rows, fr__cuda_sample, fr__cuda_norm_of, fr__cuda_adamw, fr__cuda_zero };
  int count = 0, capability = 0;
  cudaError_t error;
  fr_cuda *t;
  fr_status status;
  if (!cuda || device < 0 || !fr__among((int)math, FR_CUDA_PLAIN))
    return fr__fail(reason, FR_INVALID, "cuda is NULL, the device is negative, or the math is none");
  error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count < 1) {
    (void)cudaGetLastError();
    return fr__fail(reason, FR_UNSUPPORTED, "no CUDA device: %s", error ? cudaGetErrorString(error) : "there is none");
  }
  if (device >= count) return fr__fail(reason, FR_UNSUPPORTED, "CUDA device %d of %d", (fr_int)device, (fr_int)count);
  t = (fr_cuda *)FR_MALLOC(sizeof *t);
  if (!t) return fr__fail(reason, FR_MEMORY, "no memory for %d bytes", (fr_int)sizeof *t);
  memset(t, 0, sizeof *t);
  t->backend = backend;
  t->backend.self = t;
  t->device = device;
  t->math = math;
  error = cudaSetDevice(device);
  if (!error) error = cudaDeviceGetAttribute(&t->shared_most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (!error) error = cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, device);
  status = fr__cuda_said(reason, error, "asking the device");
  if (!status && capability < 8)
    status = fr__fail(reason, FR_UNSUPPORTED, "CUDA device %d has compute capability %d, 8.0 is needed", (fr_int)device,
                      (fr_int)capability);
  if (!status) {
    error = fr__cuda_widen(t->shared_most);
    if (error) {
      (void)cudaGetLastError();
      status = fr__fail(reason, FR_UNSUPPORTED, "CUDA device %d cannot run this program's kernels: %s", (fr_int)device,
                        cudaGetErrorString(error));
    }
  }
  if (!status) status = fr__cuda_said(reason, cudaStreamCreate(&t->stream), "making a stream");
#ifdef FR_CUDA_CUBLAS
  if (!status && cublasLtCreate(&t->blas) != CUBLAS_STATUS_SUCCESS)
    status = fr__fail(reason, FR_UNSUPPORTED, "cuBLASLt does not start");
  if (!status) status = fr__cuda_said(reason, cudaMalloc(&t->blas_room, FR__BLAS_ROOM), "memory for cuBLASLt");
#endif
  if (status) { fr_cuda_close(t); return status; }
  *cuda = t;
  return fr__fine(reason);
}
FR_DEF const fr_backend *fr_cuda_backend(const fr_cuda *cuda) { return cuda ? &cuda->backend : NULL; }
FR_DEF void fr_cuda_traffic(const fr_cuda *cuda, int64_t *to_device, int64_t *to_host)
{
  if (to_device) *to_device = cuda ? cuda->to_device : 0;
  if (to_host) *to_host = cuda ? cuda->to_host : 0;
}
FR_DEF void fr_cuda_release(fr_cuda *cuda, const fr_work *work, const fr_model *model)
{
  if (!cuda) return;
  (void)cudaSetDevice(cuda->device);
  if (work) fr__cuda_forget_room(cuda, work->body);
  if (model) fr__cuda_forget_model(cuda, model->params);
}
FR_DEF void fr_cuda_close(fr_cuda *cuda)
{
  if (!cuda) return;
  (void)cudaSetDevice(cuda->device);
  if (cuda->stream) (void)cudaStreamSynchronize(cuda->stream);
  while (cuda->models) fr__cuda_forget_model(cuda, cuda->models->key);
  while (cuda->rooms) fr__cuda_forget_room(cuda, cuda->rooms->key);
#ifdef FR_CUDA_CUBLAS
  if (cuda->blas_room) (void)cudaFree(cuda->blas_room);
  if (cuda->blas) (void)cublasLtDestroy(cuda->blas);
#endif
  if (cuda->stream) (void)cudaStreamDestroy(cuda->stream);
  FR_FREE(cuda);
}
#undef FR__CUDA_PARTS
#undef FR__CUDA_UNROLL
#undef FR__WARP
#ifndef FR__CUDA_EMULATED
#undef FR__DYNAMIC
#undef FR__LAUNCH
#endif
#endif  // FR__CUDA
#if defined(FR__METHOD) || defined(FR__CUDA)
// Nothing private outlives the file but functions and types of its own.
#undef FR__AHEAD
#undef FR__APART
#undef FR__SELDOM
#undef FR__SMALL
#undef FR__AVX2
#undef FR__AVX512
#undef FR__CUDA
#undef FR__EACH_AVX2
#undef FR__EACH_AVX512
#undef FR__EACH_NEON
#undef FR__EXP_HIGH
#undef FR__EXP_LOW
#undef FR__EXP_P0
#undef FR__EXP_P1
#undef FR__EXP_P2
#undef FR__EXP_P3
#undef FR__EXP_P4
#undef FR__EXP_P5
#undef FR__FMA_NEON
#undef FR__INLINE
#undef FR__INT_MAX
#undef FR__LN2_HIGH
#undef FR__LN2_LOW
#undef FR__LOG2E
#undef FR__METHOD
#undef FR__NEON
#undef FR__NONE
#undef FR__PARAMS
#undef FR__POWER_AVX512
#undef FR__PRAGMA
#undef FR__PRIMITIVES
#undef FR__PROBES
#undef FR__READ_AVX512
#undef FR__REGEX
#undef FR__ROUND_AVX2
#undef FR__ROUND_AVX512
#undef FR__ROW
#undef FR__SUM_AVX2
#undef FR__TURN_AVX2
#undef FR__TURN_AVX512
#undef FR__TURN_NEON
#undef FR__UNROLL
#undef FR__WRITE_AVX512
#endif

// ---- >>license ----------------------------------------------------------------------------------------
// MIT License, Copyright (c) 2026 The forkreason.h authors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
// documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
// rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
// persons to whom the Software is furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
// WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
// COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
// OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
