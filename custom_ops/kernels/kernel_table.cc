#include "kernels/kernel_table.h"

#include <stdexcept>

namespace deltaport {

#if defined(__x86_64__)
namespace avx512vnni {
extern const QuantizedKernels kQuantized;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
#endif
namespace portable {
extern const KernelTable kTable;
}

namespace {

std::vector<const KernelTable*> supported_tables() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
#if defined(DELTAPORT_EMULATE_AVX512)
  const bool has_avx512 = avx2, has_vnni = avx2;
#else
  const bool has_vnni = __builtin_cpu_supports("avx512vnni");
  const bool has_avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  // VNNI is of use to quantized weights alone.
  static const KernelTable with_vnni = [] {
    KernelTable table = avx512::kTable;
    table.isa = "avx512vnni";
    table.quantized = avx512vnni::kQuantized;
    return table;
  }();
  if (has_avx512 && has_vnni) tables.push_back(&with_vnni);
  if (has_avx512) tables.push_back(&avx512::kTable);
  if (avx2) tables.push_back(&avx2::kTable);
#endif
  tables.push_back(&portable::kTable);
  return tables;
}

}  // namespace

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : supported_tables()) names.emplace_back(table->isa);
  return names;
}

const KernelTable& kernels_for(const std::string& isa) {
  const std::vector<const KernelTable*> tables = supported_tables();
  std::string names;
  for (const KernelTable* table : tables) {
    if (isa.empty() || isa == table->isa) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  throw std::invalid_argument("DELTAPORT_ISA is '" + isa + "', but this machine runs: " + names +
                              "; unset it to have the first");
}

}  // namespace deltaport
