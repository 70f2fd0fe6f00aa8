// The table of the kernels of one type.

#include "rows.h"
#include "vectors.h"

extern "C" {

#ifdef RLHF_KERNELS

int64_t NAMED(room)(const Matrix *);
void NAMED(pack)(const Matrix *, uint32_t *, float *, int);
void NAMED(product)(const Product *, const Out *, int);
int NAMED(attention)(const Attention *, int);
int NAMED(attention_backward)(const Attention *, int);
int NAMED(decode)(const Decode *, int);

const Kernels NAMED(kernels) = {PER, TILE, INSTRUCTIONS, NAMED(room), NAMED(pack), NAMED(product), NAMED(attention), NAMED(attention_backward), NAMED(decode)};

#else

const Kernels NAMED(kernels) = {};

#endif

} // extern "C"
