# Compile flags per instruction set. Each ISA file has its own namespace and calls nothing inline from outside it.
file(GLOB avx2_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cpu/avx2*.cc)
file(GLOB avx512_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cpu/avx512*.cc)
set(avx2_flags -mavx2 -mfma -mf16c)
# g++ 12's avx512fintrin.h makes undefined vectors by reading an uninitialised one, and warns of itself (GCC 105593).
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16
                 -mprefer-vector-width=512 -Wno-maybe-uninitialized -Wno-uninitialized)
if(NOT FATHOM_SANITIZE)  # with sanitizers the unrolled tiles take minutes to compile at -O3
  list(APPEND avx2_flags -O3)
  list(APPEND avx512_flags -O3)
elseif(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # And minutes at -O1, with checks in line at each access: addresses are checked by calls, and arithmetic is left to the
  # plain twins, which must give the same bits.
  set(fewer_checks -fno-sanitize=undefined,float-cast-overflow)
  if(FATHOM_SANITIZE MATCHES address)
    list(APPEND fewer_checks -mllvm -asan-instrumentation-with-call-threshold=0)
  endif()
  list(APPEND avx2_flags ${fewer_checks})
  list(APPEND avx512_flags ${fewer_checks})
endif()
file(GLOB neon_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cpu/neon*.cc)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set_source_files_properties(${avx2_sources} ${avx512_sources} PROPERTIES HEADER_FILE_ONLY ON)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/cpu/neon_dotprod.cc PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
  return()
endif()
set_source_files_properties(${neon_sources} PROPERTIES HEADER_FILE_ONLY ON)
set_source_files_properties(${avx2_sources} ${avx512_sources} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)  # other flags
set_source_files_properties(${avx2_sources} PROPERTIES COMPILE_OPTIONS "${avx2_flags}")
set_source_files_properties(${avx512_sources} PROPERTIES COMPILE_OPTIONS "${avx512_flags}")
# g++ 12 computes the terms of a sum where the sum is, not where they stand: the registers do not hold them all.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set_property(SOURCE ${CMAKE_CURRENT_LIST_DIR}/cpu/avx2_int8.cc APPEND PROPERTY COMPILE_OPTIONS -fno-tree-ter)
endif()
