# FATHOM_KERNELS_ONLY: the tables of kernels/ and their test, with what they need of base/ and tensor/ and without any
# library but GoogleTest, from source: all that another processor's cross compiler has to build (preset neon).
include(cmake/flags.cmake)
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
find_package(Threads REQUIRED)
set(FATHOM_GTEST_SOURCE /usr/src/googletest CACHE PATH "GoogleTest's sources (Debian's libgtest-dev has them)")
add_subdirectory(${FATHOM_GTEST_SOURCE} googletest EXCLUDE_FROM_ALL)

set(sources src/base/error.cc src/base/log.cc src/base/mapped_file.cc src/base/thread_pool.cc)
file(GLOB tensor CONFIGURE_DEPENDS src/tensor/*.cc)
list(FILTER tensor EXCLUDE REGEX "_test\\.cc$")
file(GLOB_RECURSE kernels CONFIGURE_DEPENDS src/kernels/*.cc)
add_executable(kernels_test ${sources} ${tensor} ${kernels} tests/testing.cc)
include(src/kernels/isa.cmake)
target_compile_definitions(kernels_test PRIVATE FATHOM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
target_include_directories(kernels_test PRIVATE src .)
target_link_libraries(kernels_test PRIVATE gmock gtest_main Threads::Threads)
