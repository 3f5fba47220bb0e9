#!/bin/sh
# Installs the Hostler agent on this host and joins it to @ADDRESS@.
#
#   curl -fk --pinnedpubkey @PIN@ https://@ADDRESS@/install | sh -s -- CODE
#
# CODE is what `hostlerctl token create` prints. Options:
#   --policy watch|operate|full   what the control plane may do here (default operate)
#   --name NAME                   the node's name (default: the host's)
#
# It makes: the user hostler, /usr/bin/hostler-agent, /usr/bin/hostler-executor and
# /usr/bin/hostler-plugin, /etc/hostler/agent.toml, /var/lib/hostler-agent, and the
# unit hostler-agent.service.
# Run again, it brings the programs and the unit up to date and joins nothing twice.
# `hostler-agent uninstall` undoes it.
#
# All is in functions, called by the last line: half a download does nothing.
set -eu

ADDRESS='@ADDRESS@'
PIN='@PIN@'
VERSION='@VERSION@'
SHA256_AGENT='@SHA256_AGENT@'
SHA256_EXECUTOR='@SHA256_EXECUTOR@'
SHA256_PLUGIN='@SHA256_PLUGIN@'

BIN=/usr/bin
CONFIG=/etc/hostler/agent.toml
STATE=/var/lib/hostler-agent
UNIT=/etc/systemd/system/hostler-agent.service
ACCOUNT=hostler
# A joined agent dials at once; a slow handshake takes a second.
CONNECT_SECONDS=15

say() { printf '%s\n' "hostler: $*" >&2; }
fail() {
  say "$1"
  [ $# -lt 2 ] || say "  $2"
  exit 1
}

usage() {
  say "$1"
  say "  usage: sh -s -- CODE [--policy watch|operate|full] [--name NAME]"
  exit 2
}

read_arguments() {
  code='' policy=operate name=''
  while [ $# -gt 0 ]; do
    case $1 in
      --policy | --name)
        [ $# -ge 2 ] || usage "$1 needs a value"
        case $1 in
          --policy) policy=$2 ;;
          --name) name=$2 ;;
        esac
        shift 2
        ;;
      -*) usage "no such option: $1" ;;
      *)
        [ -z "$code" ] || usage "one join code, not two: $1"
        code=$1
        shift
        ;;
    esac
  done
  case $policy in
    watch | operate | full) ;;
    *) usage "--policy $policy: it is one of watch, operate, full" ;;
  esac
  [ -n "$code" ] || joined || usage "a join code is needed: 'hostlerctl token create' prints one"
}

# The identity is the first thing that a join leaves behind.
joined() { [ -f "$CONFIG" ] && [ -n "$(ls -A "$STATE" 2>/dev/null)" ]; }

check_host() {
  [ "$(id -u)" = 0 ] || fail "this needs root" "run it as root, or end the line in: | sudo sh -s -- CODE"
  [ "$(uname -s)" = Linux ] || fail "the agent runs on Linux, and this is $(uname -s)"
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "the agent is built for x86_64 and aarch64, and this is $(uname -m)" ;;
  esac
  [ -d /run/systemd/system ] || fail "systemd does not run here" \
    "copy $BIN/hostler-agent by hand and start 'hostler-agent run' from what does start your services"
  if command -v curl >/dev/null 2>&1; then
    fetcher=curl
  elif command -v wget >/dev/null 2>&1; then
    fetcher=wget
  else
    fail "neither curl nor wget is installed" "install one of them and run this again"
  fi
  command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is not installed" "it comes with coreutils"
}

# The checksums came with this script, and this script over the pinned key: so a
# program is known by its checksum, whichever way it was fetched.
fetch() {
  url="https://$ADDRESS/download/$1"
  case $fetcher in
    curl) curl -fsSk --pinnedpubkey "$PIN" --connect-timeout 10 --retry 2 -o "$2" "$url" ;;
    wget) wget -q --no-check-certificate -T 10 -t 3 -O "$2" "$url" ;;
  esac || fail "could not fetch $url" "is $ADDRESS reachable from here? Is a proxy in between?"
  got=$(sha256sum "$2" | cut -d ' ' -f 1)
  [ "$got" = "$3" ] || fail "$url is not what it should be (sha256 $got, not $3)" \
    "the control plane may have been updated just now: fetch this installer again"
}

# Beside its place, then renamed into it: never half a program, and a running one
# is not disturbed.
install_program() {
  fetch "$1" "$work/$1" "$2"
  chmod 0755 "$work/$1"
  "$work/$1" --help >/dev/null 2>&1 || fail "$1 does not run here" \
    "is this host's processor ($(uname -m)) the control plane's? It serves programs for its own"
  cp "$work/$1" "$BIN/.$1.new"
  chmod 0755 "$BIN/.$1.new"
  mv -f "$BIN/.$1.new" "$BIN/$1"
}

make_account() {
  id "$ACCOUNT" >/dev/null 2>&1 && return
  useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$ACCOUNT" ||
    fail "could not make the user $ACCOUNT" "make it by hand (a system user without a login) and run this again"
}

# /etc/hostler is root's: the policy in it has the last word over the control plane.
make_folders() {
  mkdir -p /etc/hostler "$STATE"
  chmod 0755 /etc/hostler
  chmod 0700 "$STATE"
  chown "$ACCOUNT:$ACCOUNT" "$STATE"
}

write_unit() {
  cat >"$UNIT.new" <<'END_OF_UNIT'
@UNIT@
END_OF_UNIT
  chmod 0644 "$UNIT.new"
  mv -f "$UNIT.new" "$UNIT"
  systemctl daemon-reload || fail "systemd did not take the unit" "see: systemctl status"
}

join_node() {
  if joined; then
    say "this host has joined already; to join it anew, first run: hostler-agent uninstall"
    return
  fi
  had_config=no
  [ ! -f "$CONFIG" ] || had_config=yes
  set -- "$code" --policy "$policy" --config "$CONFIG" --state-dir "$STATE"
  [ -z "$name" ] || set -- "$@" --name "$name"
  if ! "$BIN/hostler-agent" join "$@"; then
    # What a failed join left would pass for a join the next time.
    find "$STATE" -mindepth 1 -delete
    [ "$had_config" = yes ] || rm -f "$CONFIG"
    fail "the host did not join; the reason is above" "a code works once and for a while: 'hostlerctl token create' makes another"
  fi
  chown -R "$ACCOUNT:$ACCOUNT" "$STATE"
  chown "root:$ACCOUNT" "$CONFIG"
  chmod 0640 "$CONFIG"
}

start() {
  systemctl enable --quiet hostler-agent || fail "could not enable hostler-agent" "see: systemctl status hostler-agent"
  systemctl restart hostler-agent || fail "could not start hostler-agent" "see: journalctl -u hostler-agent"
  waited=0
  until connected; do
    waited=$((waited + 1))
    [ "$waited" -le "$CONNECT_SECONDS" ] || fail "installed and started, but not connected within $CONNECT_SECONDS s" \
      "it goes on trying; see: hostler-agent status, journalctl -u hostler-agent"
    sleep 1
  done
}

connected() { hostler-agent status 2>/dev/null | grep -w connected | grep -qvw not; }

main() {
  read_arguments "$@"
  check_host
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' INT TERM HUP
  install_program hostler-agent "$SHA256_AGENT"
  install_program hostler-executor "$SHA256_EXECUTOR"
  install_program hostler-plugin "$SHA256_PLUGIN"
  make_account
  make_folders
  write_unit
  join_node
  start
  say "agent $VERSION runs here and is connected to $ADDRESS; see: hostler-agent status"
}

main "$@"
