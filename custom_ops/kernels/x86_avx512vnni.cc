#define DELTAPORT_ISA avx512vnni
#define DELTAPORT_SIMD_AVX512
#define DELTAPORT_SIMD_VNNI
#include "kernels/quantized_table.inc"
