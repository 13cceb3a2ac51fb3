// A small program that uses most of the header: trains with SSFT for some steps, decodes and votes. It is built with
// every option, standard and compiler in turn, as C and as C++.
// With PLAIN_HEADER the implementation comes from another unit. With FORKREASON_CUDA it runs on a GPU, or says why it does not.
#ifndef PLAIN_HEADER
#define FORKREASON_IMPLEMENTATION
#endif
#include "forkreason.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../tiny.h"

static int same_answer(void *user, fr_int a, fr_int b)
{
  const fr_leaf *leaves = (const fr_leaf *)user;
  return leaves[a].count == leaves[b].count &&
         !memcmp(leaves[a].tokens, leaves[b].tokens, (size_t)leaves[a].count * sizeof(fr_token));
}

#define TRY(call)                                                                           \
  do {                                                                                      \
    const fr_status got = (call);                                                           \
    if (got != FR_OK) { printf("line %d: %s\n", __LINE__, fr_status_text(got)); return 1; } \
  } while (0)

int main(void)
{
  static tiny t;
  const fr_config config = tiny_config(1, 24);
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  tiny_fill(&t, 0);
  fr_limits limits = tiny_limits(&t, 2, TINY_FORKS, 2);
#ifdef FORKREASON_CUDA
  fr_cuda *cuda = NULL;
  fr_reason reason;
  const fr_status opened = fr_cuda_open(&cuda, 0, FR_CUDA_FLOAT32, &reason);
  if (opened == FR_OK) limits.backend = fr_cuda_backend(cuda);
  else if (opened == FR_UNSUPPORTED) printf("on the CPU: %s\n", reason.text);
  else TRY(opened);
#endif

#ifdef FR_NO_MALLOC
  fr_int bytes = 0;
  TRY(fr_model_place(NULL, &config, NULL, 0, &bytes));
  void *model_memory = malloc((size_t)bytes);
  TRY(fr_model_place(&model, &config, model_memory, bytes, NULL));
  TRY(fr_adamw_place(NULL, &model, NULL, 0, &bytes));
  void *adamw_memory = malloc((size_t)bytes);
  TRY(fr_adamw_place(&adamw, &model, adamw_memory, bytes, NULL));
  TRY(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes));
  void *work_memory = malloc((size_t)bytes);
  TRY(fr_work_place(&work, &config, &limits, work_memory, bytes, NULL));
#else
  TRY(fr_model_new(&model, &config));
  TRY(fr_adamw_new(&adamw, &model));
  TRY(fr_work_new(&work, &config, &limits));
#endif
  fr_model_init(&model, 3);
#ifdef FORKREASON_CUDA
  TRY(fr_work_attach(&work, &model, &adamw));
#endif

  double first = 0, last = 0;
  for (int step = 0; step < 40; step++) {
    fr_ssft_report report;
    memset(&report, 0, sizeof report);
    tiny_fill(&t, (uint64_t)step);
    TRY(fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-2f, &report));
    if (step == 0) first = report.loss;
    last = report.loss;
  }

  fr_span spans[1 + TINY_FORKS];
  fr_token texts[TINY_FORKS][TINY_TRACE];
  fr_leaf leaves[TINY_FORKS];
  fr_sampling sampling;
  fr_vote_result vote;
  const fr_token stop = TINY_END;
  memset(&sampling, 0, sizeof sampling);
  memset(leaves, 0, sizeof leaves);
  sampling.max_tokens = TINY_TRACE;
  sampling.stops = &stop;
  sampling.stop_count = 1;
  const fr_tree tree = tiny_tree(&t, 0, spans);
  for (int i = 0; i < TINY_FORKS; i++) {
    leaves[i].span = 1 + i;
    leaves[i].leaf = (uint64_t)i;
    leaves[i].tokens = texts[i];
  }
  TRY(fr_generate(&model, &work, &tree, &sampling, leaves, TINY_FORKS));
  TRY(fr_vote(TINY_FORKS, same_answer, leaves, NULL, &vote, NULL));
#ifdef FORKREASON_CUDA
  TRY(fr_work_download(&work, &model, &adamw));
#endif
  const int good = last < 0.8 * first && vote.valid == TINY_FORKS && vote.winner >= 0;
  uint64_t hash = 14695981039346656037u;  // FNV-1a over the trained parameters: the same bits print the same number
  for (size_t i = 0; i < (size_t)model.count * sizeof(float); i++)
    hash = (hash ^ ((const unsigned char *)model.params)[i]) * 1099511628211u;
  printf("%s kernels, loss %.3f -> %.3f, %ld of 4 forks agree, parameters %08lx\n", work.kernel, first, last,
         (long)vote.votes, (unsigned long)(hash >> 32));

#ifdef FR_NO_MALLOC
  free(work_memory);
  free(adamw_memory);
  free(model_memory);
#else
  fr_work_free(&work);
  fr_adamw_free(&adamw);
  fr_model_free(&model);
#endif
#ifdef FORKREASON_CUDA
  fr_cuda_close(cuda);
#endif
  return !good;
}
