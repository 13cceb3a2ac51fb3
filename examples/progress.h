// progress.h - one progress bar for a whole run of several phases: what is being done, the loss, tokens per second and
// the time left. On a terminal it is one line of stderr that redraws itself; elsewhere a phase gets three plain lines.
//
//     progress bar;
//     progress_start(&bar, work_of_all_phases);            // in any unit that costs about equal time
//     progress_phase(&bar, "training", work_of_this_phase);
//     ... progress_add(&bar, work, tokens, loss); ...
//     progress_done(&bar);
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdio.h>
#include <time.h>
#include <unistd.h>

typedef struct progress {
  double began, drawn;         // seconds
  double all, done, before;    // work: of the run, so far, before this phase
  double part, tokens, since;  // of this phase: work, tokens, when it began
  int terminal, lines;
  struct { char name[40]; double seconds; } phases[32];
  int count;                   // phases begun
} progress;

static inline double progress_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void progress_start(progress *bar, double all)
{
  bar->began = bar->since = progress_now();
  bar->drawn = bar->done = bar->before = bar->part = 0.0;
  bar->all = all;
  bar->terminal = isatty(STDERR_FILENO);
  bar->count = 0;
}

// Clears the line of a terminal, for other output.
static inline void progress_clear(const progress *bar)
{
  if (bar->terminal) fprintf(stderr, "\r\033[K");
}

// The seconds of the phase are known from here on.
static inline void progress_done(progress *bar)
{
  progress_clear(bar);
  if (bar->count) bar->phases[bar->count - 1].seconds = progress_now() - bar->since;
}

static inline void progress_phase(progress *bar, const char *name, double work)
{
  progress_done(bar);
  if (bar->count < 32) bar->count++;
  snprintf(bar->phases[bar->count - 1].name, sizeof bar->phases[0].name, "%s", name);
  bar->done = bar->before += bar->part;
  bar->part = work;
  bar->tokens = 0.0;
  bar->since = progress_now();
  bar->lines = 0;
}

// Work and tokens since the last call. loss < 0: there is none to show.
static inline void progress_add(progress *bar, double work, double tokens, double loss)
{
  char drawn[21], text[24] = "";
  bar->done += work;
  bar->tokens += tokens;
  const double now = progress_now(), part = (bar->done - bar->before) / bar->part, share = bar->done / bar->all;
  const int lines = (int)(3.0 * part + 1e-6), left = (int)((now - bar->began) * (1.0 / share - 1.0) + 0.5);
  if (bar->terminal ? now - bar->drawn < 0.1 : lines <= bar->lines) return;
  bar->drawn = now;
  bar->lines = lines;
  for (int i = 0; i < 20; i++) drawn[i] = share * 20.0 > i + 0.5 ? '#' : '.';
  drawn[20] = '\0';
  if (loss >= 0.0) snprintf(text, sizeof text, "loss %.3f", loss);
  fprintf(stderr, "%s[%s] %3.0f %%  %-22s %3.0f %%  %-10s  %6.0f tokens/s  %d:%02d left%s", bar->terminal ? "\r" : "",
          drawn, 100.0 * share, bar->phases[bar->count - 1].name, 100.0 * part, text,
          bar->tokens / (now - bar->since + 1e-9), left / 60, left % 60, bar->terminal ? "\033[K" : "\n");
  fflush(stderr);
}

#endif
