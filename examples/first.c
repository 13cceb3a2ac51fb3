#include <stdio.h>
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"

// Tokens: the digits, 10 ends a trace, 11 and 12 are forks. From any digit one may count on upwards or downwards.
int main(void)
{
  fr_token digit[10], think[2] = { 11, 12 }, way[10][2][5], text[2][5];
  fr_tokens forks[2] = { { &think[0], 1 }, { &think[1], 1 } }, traces[10][2];
  fr_int matched[10][2];
  fr_question questions[10] = { { { 0, 0 }, 0, 0, 0, 0, 0, 0 } };
  for (int d = 0; d < 10; d++) {
    digit[d] = d;
    for (int j = 0; j < 2; j++) {                       // even digits list the way up first, odd ones the way down
      for (int t = 0; t < 4; t++) way[d][j][t] = (d + (t + 1) * ((d + j) % 2 ? 9 : 1)) % 10;
      way[d][j][4] = 10;
      traces[d][j] = (fr_tokens){ way[d][j], 5 };
    }
    questions[d] = (fr_question){ { &digit[d], 1 }, traces[d], 2, (uint64_t)d, matched[d], 0, 0 };
  }
  fr_config config = { .layers = 2, .dim = 32, .heads = 2, .ffn = 64, .vocab = 13 };
  fr_ssft_options options = { .forks = forks, .fork_count = 2, .method = FR_SSFT };
  fr_sampling greedy = { .max_tokens = 5, .stops = (fr_token[]){ 10 }, .stop_count = 1 };
  fr_span prompt[3] = { { -1, { &digit[7], 1 } }, { 0, forks[0] }, { 0, forks[1] } };
  fr_tree tree = { .spans = prompt, .span_count = 3 };
  fr_leaf leaf[2] = { { .span = 1, .tokens = text[0] }, { .span = 2, .tokens = text[1] } };
  fr_limits train, decode;
  fr_model model; fr_adamw adamw; fr_work work; fr_ssft_report report;
  fr_ssft_limits(&options, 1, 5, 2, 10, &train);        // prompt, trace, traces, questions
  fr_generate_limits(&tree, &greedy, 2, &decode);
  train = fr_limits_max(train, decode);
  if (fr_model_new(&model, &config) || fr_adamw_new(&adamw, &model) || fr_work_new(&work, &config, &train)) return 1;
  fr_model_init(&model, 1);
  for (int step = 0; step <= 150; step++) {
    if (fr_ssft_step(&model, &work, &adamw, &options, questions, 10, 3e-3f, &report)) return puts(work.reason.text), 1;
    if (step % 50 == 0) printf("step %3d  loss %.3f\n", step, report.loss);
  }
  if (fr_generate(&model, &work, &tree, &greedy, leaf, 2)) return puts(work.reason.text), 1;
  for (int i = 0; i < 2; i++) printf("7 <think%d> %d %d %d %d\n", i + 1, text[i][0], text[i][1], text[i][2], text[i][3]);
  fr_work_free(&work); fr_adamw_free(&adamw); fr_model_free(&model);
}
