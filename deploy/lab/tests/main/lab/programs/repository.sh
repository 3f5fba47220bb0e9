#!/bin/sh
# repository.sh VERSION: adds a version of the package `shelf` to a repository for apt.
#
# Its postinst asks for a reboot on a host that has /etc/shelf.reboot, and leaves the
# package broken on one that has /etc/shelf.breaks.
set -eu
version=$1 repository=/srv/repository build=$(mktemp -d)
chmod 755 "$build"
mkdir -p "$repository" "$build/DEBIAN" "$build/usr/share/shelf" "$build/etc/shelf"
echo "$version" >"$build/usr/share/shelf/version.txt"
echo "made for $version" >"$build/etc/shelf/shelf.conf"
echo /etc/shelf/shelf.conf >"$build/DEBIAN/conffiles"
cat >"$build/DEBIAN/control" <<CONTROL
Package: shelf
Version: $version
Architecture: all
Maintainer: Lab <lab@localhost>
Description: what a shelf shows
CONTROL
cat >"$build/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ -e /etc/shelf.reboot ] && [ -n "${2:-}" ]; then
  touch /run/reboot-required
  echo shelf >>/run/reboot-required.pkgs
fi
if [ -e /etc/shelf.breaks ]; then rm /usr/share/shelf/version.txt; fi
POSTINST
chmod 755 "$build/DEBIAN/postinst"
dpkg-deb --root-owner-group --build "$build" "$repository/shelf_$version.deb" >/dev/null
rm -r "$build"
cd "$repository"
for deb in *.deb; do
  dpkg-deb -f "$deb"
  echo "Filename: ./$deb"
  echo "Size: $(stat -c %s "$deb")"
  echo "SHA256: $(sha256sum "$deb" | cut -d ' ' -f 1)"
  echo
done >Packages
