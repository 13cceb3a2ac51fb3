// A backend in a unit of its own, as one in another language is: the header without its implementation, and the table filled.
#include "../twin.h"
const fr_backend *backend(void);
const fr_backend *backend(void)
{
  static twin device;
  twin_begin(&device);
  return &device.backend;
}
