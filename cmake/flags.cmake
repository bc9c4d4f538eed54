# What every build compiles with.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()
# spec/numerics.md 1: no contraction, no fast-math, in every file.
# Off: designated initialisers that leave defaults out, and g++ 12's false alarms about std::string's own code.
add_compile_options(-Wall -Wextra -Wshadow -Wno-psabi -Wno-missing-field-initializers -Wno-array-bounds -Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow -ffp-contract=off -fno-fast-math)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fpch-preprocess)
else()
  add_compile_options(-Wno-unknown-warning-option)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
