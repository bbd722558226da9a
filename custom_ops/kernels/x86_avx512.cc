#define DELTAPORT_ISA avx512
#define DELTAPORT_SIMD_AVX512
#include "kernels/isa_table.inc"
