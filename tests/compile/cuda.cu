// The CUDA unit of a program: these three lines and a comment, compiled by nvcc.
#define FORKREASON_CUDA_IMPLEMENTATION
#include "forkreason.h"
