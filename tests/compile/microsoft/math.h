// What the header needs of math.h, for a compiler that has the language of Microsoft's and none of its library.
double sin(double), cos(double), exp(double), log(double), sqrt(double), fabs(double), floor(double), pow(double, double);
double ldexp(double, int);
float sinf(float), cosf(float), expf(float), logf(float), sqrtf(float), fabsf(float), powf(float, float), floorf(float);
float ldexpf(float, int);
#define HUGE_VAL __builtin_inf()
#define HUGE_VALF __builtin_inff()
