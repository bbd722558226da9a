#define DELTAPORT_ISA avx2
#define DELTAPORT_SIMD_AVX2
#include "kernels/isa_table.inc"
