#define DELTAPORT_ISA portable
#define DELTAPORT_SIMD_PORTABLE
#include "kernels/isa_table.inc"
