# FATHOM_KERNELS_ONLY: the tables of kernels/ and their test, with what they need of base/ and tensor/ and without any
# library but GoogleTest, from source: all that another processor's cross compiler has to build (preset neon).
include(cmake/flags.cmake)
set(CMAKE_CXX_FLAGS_RELEASE "-O2")  # no debug information: a fifth of the time
find_package(Threads REQUIRED)
set(FATHOM_GTEST_SOURCE /usr/src/googletest CACHE PATH "GoogleTest's sources (Debian's libgtest-dev has them)")
add_subdirectory(${FATHOM_GTEST_SOURCE} googletest EXCLUDE_FROM_ALL)

# A test of base/ or tensor/, and what needs libsodium or Boost, is not part of it.
file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/base/*.cc src/tensor/*.cc)
list(FILTER sources EXCLUDE REGEX "_test\\.cc$|/base/(hash|json)\\.cc$")
file(GLOB_RECURSE kernels CONFIGURE_DEPENDS src/kernels/*.cc)
add_executable(kernels_test ${sources} ${kernels} tests/testing.cc)
include(src/kernels/isa.cmake)
target_compile_definitions(kernels_test PRIVATE FATHOM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
target_include_directories(kernels_test PRIVATE src .)
target_link_libraries(kernels_test PRIVATE gmock gtest_main Threads::Threads)
