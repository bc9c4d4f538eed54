# Compile flags per instruction set. Each ISA file has its own namespace and calls nothing inline from outside it.
file(GLOB avx2_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cpu/avx2*.cc)
file(GLOB avx512_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cpu/avx512*.cc)
set_source_files_properties(${avx2_sources} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
# g++ 12's avx512fintrin.h makes undefined vectors by reading an uninitialised one, and warns of itself (GCC 105593).
set_source_files_properties(${avx512_sources} PROPERTIES COMPILE_OPTIONS
  "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx512bf16;-mprefer-vector-width=512;-O3;-Wno-maybe-uninitialized;-Wno-uninitialized")
