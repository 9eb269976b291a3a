#!/bin/sh
# Unpacks ONNX Runtime's headers out of Debian's libonnxruntime-dev into the folder $1, without installing anything.
# Uses a private sources list and the mirror that this machine is already set up with, because the package is newer
# than Debian 12. Exits non-zero, with nothing left behind but the folder, where that is not possible.
set -eu
folder=$1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || { echo "no Debian keyring"; exit 1; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
[ -n "$mirror" ] || { echo "no Debian mirror is configured; run apt-get update first"; exit 1; }

mkdir -p "$folder/lists/partial"
cd "$folder"
echo "deb [signed-by=$keyring] $mirror trixie main" > sources.list
private_apt() {
  apt-get -q -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder" -o APT::Sandbox::User=root "$@"
}
private_apt update
private_apt download libonnxruntime-dev
dpkg -x libonnxruntime-dev_*.deb unpacked
rm -rf lists
