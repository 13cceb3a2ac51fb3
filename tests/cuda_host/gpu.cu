#define FORKREASON_CUDA_IMPLEMENTATION
#include "../../forkreason.h"
