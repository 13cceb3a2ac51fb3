// step.c - how long one training step takes, and what share of the processor's multiply-add peak that is.
//
//     cc -O2 -I. bench/step.c -o step -lm && ./step            (or: make bench)
//
// Two models, every kernel row that this processor has, one thread, best of several steps. A step counts 6 operations a
// token and weight of the products, and 12 a token, channel and layer for each key that attention sees on average.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// The register tile on operands that stay in the first-level cache: the most that products can reach with this row.
static double tile_peak(const fr__kernels *kernels)
{
  static float a[FR__MR_MAX * 64], b[FR__NR_MAX * 64], c[FR__MR_MAX * FR__NR_MAX];
  double best = 1e9;
  for (int repeat = 0; repeat < 30; repeat++) {
    const double began = now();
    for (int i = 0; i < 2000; i++) kernels->tile(c, kernels->nr, a, 1, kernels->mr, b, kernels->nr, 64, kernels->mr, kernels->nr, 1);
    if (now() - began < best) best = now() - began;
  }
  return 2000.0 * 64.0 * 2.0 * (double)(kernels->mr * kernels->nr) / best;
}

static int measure(const char *row, const fr_config *shape, fr_int sequences, fr_int length, int steps)
{
  const fr_int rows = sequences * length;
  const fr_limits limits = { 0, rows, sequences, rows, sequences, length, 1, 0 };
  fr_token *ids = (fr_token *)malloc((size_t)rows * sizeof *ids);
  fr_span *spans = (fr_span *)malloc((size_t)sequences * sizeof *spans);
  fr_target *targets = (fr_target *)malloc((size_t)rows * sizeof *targets);
  fr_tree tree = { spans, sequences, targets, 0 };
  fr_random random = fr_random_stream(1, 0, 0);
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_sum sum;
  double best = 1e9;
  if (!ids || !spans || !targets || fr_model_new(&model, shape) || fr_adamw_new(&adamw, &model) ||
      fr_work_new(&work, shape, &limits))
    return fprintf(stderr, "out of memory\n"), 1;
  if (fr_work_select(&work, row)) goto done;  // this processor does not have it
  fr_model_init(&model, 1);
  for (fr_int i = 0; i < rows; i++) ids[i] = (fr_token)fr_random_below(&random, shape->vocab);
  for (fr_int s = 0; s < sequences; s++) {
    spans[s].parent = -1;
    spans[s].tokens.ids = ids + s * length;
    spans[s].tokens.count = length;
    for (fr_int t = 0; t + 1 < length; t++) {
      fr_target *target = &targets[tree.target_count++];
      target->row = s * length + t;
      target->token = ids[target->row + 1];
      target->weight = 1.0f / (float)rows;
      target->group = 0;
    }
  }
  for (int step = 0; step < steps; step++) {
    const double began = now();
    if (fr_backward(&model, &work, &tree, adamw.grads, &sum, 1) ||
        fr_adamw_step(&adamw, &model, &work, sum.weighted, 1e-3f, NULL))
      return fprintf(stderr, "%s\n", work.reason.text), 1;
    if (now() - began < best) best = now() - began;
  }
  {
    const double weights = (double)(model.count - (model.config.tied ? 0 : shape->vocab * shape->dim));
    const double keys = 0.5 * (double)(length + 1);
    const double work_done = (double)rows * (6.0 * weights + 12.0 * (double)(shape->layers * shape->dim) * keys);
    const double peak = tile_peak(work.kernels);
    printf("%-8s %2d layers, dim %3d, %2d x %3d tokens   %8.1f ms   %7.0f tokens/s   %6.1f GFLOP/s   %3.0f %% of %.0f\n",
           row, (int)shape->layers, (int)shape->dim, (int)sequences, (int)length, 1e3 * best, (double)rows / best,
           1e-9 * work_done / best, 100.0 * work_done / best / peak, 1e-9 * peak);
  }
done:
  fr_work_free(&work);
  fr_adamw_free(&adamw);
  fr_model_free(&model);
  free(targets);
  free(spans);
  free(ids);
  return 0;
}

int main(void)
{
  static const char *const rows[] = { "avx512", "avx2", "scalar" };
  const fr_config four_ways = { 3, 96, 4, 0, 0, 256, 32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
  const fr_config larger = { 6, 384, 6, 0, 0, 1024, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
#ifdef __VERSION__
  printf("forkreason %s, compiler %s\n", fr_version(), __VERSION__);
#endif
  for (int i = 0; i < 3; i++)
    if (measure(rows[i], &four_ways, 58, 60, i < 2 ? 12 : 4) || measure(rows[i], &larger, 4, 256, i < 2 ? 4 : 1)) return 1;
  return 0;
}
