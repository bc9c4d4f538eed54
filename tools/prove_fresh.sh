#!/bin/bash
# Proves that ./run and ./test set up a bare system by themselves: makes an empty Debian 12 or Ubuntu 24.04 root folder,
# puts a clone of this repository's HEAD in it, and runs both there without a terminal. Needs root, mmdebstrap, git.
# Usage: tools/prove_fresh.sh bookworm|noble [FOLDER] [TEST PART...]    FOLDER: default /tmp/fathom-fresh; kept
# FATHOM_COMMIT proves another commit than HEAD. The second ./run has to install nothing, and this script checks that.
set -euo pipefail
suite=${1:?bookworm or noble}
folder=${2:-/tmp/fathom-fresh}
shift $(($# > 2 ? 2 : $#))
parts=("${@:-quick}")
root=$folder/$suite
source_tree=$(cd "$(dirname "$0")/.." && pwd)

make_root() {
  mkdir -p "$folder"
  case $suite in
    bookworm) mmdebstrap --quiet --variant=minbase bookworm "$root" ;;
    noble)
      : "${UBUNTU_MIRROR:?noble needs UBUNTU_MIRROR, the address of a mirror of the Ubuntu archive}"
      # Debian 12 has no package of Ubuntu's keys; the one of Ubuntu 24.04, pinned by its SHA-256.
      local package=ubuntu-keyring_2023.11.28.1_all.deb keys=$folder/ubuntu-keys
      curl -fsS -o "$folder/$package" "$UBUNTU_MIRROR/pool/main/u/ubuntu-keyring/$package"
      echo "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8  $folder/$package" | sha256sum --check --quiet
      dpkg-deb -x "$folder/$package" "$keys"
      mmdebstrap --quiet --variant=minbase --include=apt --components=main,universe \
        --keyring="$keys/usr/share/keyrings/ubuntu-archive-keyring.gpg" noble "$root" "$UBUNTU_MIRROR"
      ;;
    *) echo "unknown system $suite" >&2 && exit 2 ;;
  esac
}

# pip trusts what this machine trusts: networks that inspect traffic have certificates of their own.
inside() {
  chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PIP_CERT=/root/host.crt \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

unmount() { umount "$root/proc" "$root/dev" 2>/dev/null || true; }

[ -d "$root/usr" ] || make_root
trap unmount EXIT
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev" || mount --bind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/root/host.crt"
rm -rf "$root/root/fathom"
git clone --quiet "file://$source_tree" "$root/root/fathom"
[ -z "${FATHOM_COMMIT:-}" ] || git -C "$root/root/fathom" checkout --quiet "$FATHOM_COMMIT"

for command in "./run" "./run" "./test ${parts[*]}"; do
  echo "==== $suite: $command"
  started=$SECONDS
  inside bash -c "cd /root/fathom && $command" </dev/null 2>&1 | tee "$folder/$suite.log"
  echo "==== $suite: $command: done in $((SECONDS - started)) s"
done
echo "==== $suite: ./run again"
inside bash -c "cd /root/fathom && ./run" </dev/null >"$folder/$suite.log" 2>&1
if grep -q Installing "$folder/$suite.log"; then echo "a later ./run installs again" >&2 && exit 1; fi
echo "==== $suite: proven"
