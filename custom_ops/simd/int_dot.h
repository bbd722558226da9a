// Integer products of quantized weights, of the instruction set a kernel is being compiled for.
//
// Each set has, for kStrips<bits, tokens> strips of Vec::width rows of a tile and a group of 32 inputs:
//
//     IntVec                              an int32 for each row of a strip
//     Vec to_floats(IntVec)
//     kDotTokens                          tokens whose sums registers hold
//     dot_group<bits>(codes, x, dots)
//         dots[m][s] = for each row of strip s, the sum over the group of code * x[32 * m + k]
//     kZeroLeft<bits>                     codes that dot_group multiplies are by so much too large: 0, or
//                                         all of zero, 8 or 128
//     largest_magnitude(values)           of 32; more than any float where one is NaN
//     round_to_int8(values, factor, out)  codes[i] = values[i] * factor, to the nearest, ties to even,
//                                         and their sum
#pragma once

#include "simd/vec.h"

#if defined(DELTAPORT_SIMD_AVX512)
#include "simd/int_dot_avx512.h"
#elif defined(DELTAPORT_SIMD_AVX2)
#include "simd/int_dot_avx2.h"
#else
#include "simd/int_dot_portable.h"
#endif
