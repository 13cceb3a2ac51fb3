// device.h - what test_cuda.cpp is compiled with by nvcc (make cuda-test): the real device instead of emulation.h. Of the emulation only
// the names are here, so that the same tests compile: nothing is counted, no order is shuffled, nothing fails when told to.
#ifndef DEVICE_H
#define DEVICE_H
#include <cuda_runtime.h>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>
struct emu_state {
  int devices, show, major;
  long fail_malloc, fail_call, calls, mallocs, live, streams, pinned;
  uint64_t seed;
};
static emu_state emu;
static inline void emu_reset() {}
static inline long emu_errors() { return 0; }
#endif
