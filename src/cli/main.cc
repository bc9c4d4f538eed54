#include <cstdio>

int main() {
  std::puts("fathom");
  return 0;
}
