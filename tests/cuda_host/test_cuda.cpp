// The CUDA unit under emulation: what tests/backend.h checks of every backend, against the CPU and the float64 references, in
// float32, TF32 and bfloat16.
#include "emulation.h"
#define FORKREASON_IMPLEMENTATION
#define FORKREASON_CUDA_IMPLEMENTATION
#include "../../forkreason.h"
#include "../backend.h"

static fr_cuda *device;

static fr_int device_end(void)
{
  while (device->models) fr__cuda_forget_model(device, device->models->key);
  while (device->rooms) fr__cuda_forget_room(device, device->rooms->key);
  return (fr_int)emu.live + (fr_int)emu.pinned;
}

static void begin(fr_cuda_math math)
{
  fr_reason reason;
  emu_reset();
  if (!CHECK(fr_cuda_open(&device, 0, math, &reason) == FR_OK)) exit(2);
  checked.backend = fr_cuda_backend(device);
  checked.end = device_end;
  checked.floats = 1;
  checked.factors = math == FR_CUDA_TF32 ? ldexp(1.0, -11) : math == FR_CUDA_BFLOAT16 ? ldexp(1.0, -8) : 0.0;
}

static void end(void)
{
  fr_cuda_close(device);
  CHECK(emu.live == 0 && emu.pinned == 0 && emu.streams == 0);
  CHECK(emu_errors() == 0);
}

int main(void)
{
  static const char *const plain[] = { "llama_a", "qwen2_a", "qwen3_a" };
  static const fr_cuda_math kinds[] = { FR_CUDA_FLOAT32, FR_CUDA_PLAIN, FR_CUDA_TF32, FR_CUDA_BFLOAT16 };
  for (int k = 0; k < 4; k++) {
    begin(kinds[k]);
    for (int i = 0; i < 3; i++) {
      whole_model(plain[i]);
      CHECK(device_end() == 0);
    }
    set_loss_and_choice("llama_ssft");
    CHECK(device_end() == 0);
    set_loss_and_choice("qwen3_ssft");
    CHECK(device_end() == 0);
    end();
  }
  begin(FR_CUDA_FLOAT32);
  for (int which = 0; which < FIXTURE_CONFIGS; which++) against_cpu(which);
  training();
  end();
  return test_done("cuda");
}
