#!/bin/sh
# The container's entry point: waits for the driver where an operator says when it is ready, takes
# over what it says about the driver, and becomes the daemon.
set -eu

directory="${TOOLKIT_VALIDATIONS_DIR:-/run/nvidia/validations}"
ready="$directory/driver-ready"
waiting=

# The shell is PID 1 here and would ignore SIGTERM: the pod would hang for its whole grace period.
stop() {
	set +eu
	if [ -n "$waiting" ] && [ -n "$!" ]; then
		# Not TERM: a child that was forked just now would still have this very trap, and lose it.
		kill -KILL "$!" 2>/dev/null
		wait "$!" 2>/dev/null
	fi
	exit 0
}
# Until the exec: a PID 1 without a trap never sees the signal at all.
trap stop TERM INT

# As the program reads it: the flag wins over the variable.
log_format="${TOOLKIT_LOG_FORMAT:-text}"
before=
for argument in "$@"; do
	case "$before $argument" in
	*" --log-format="* | *" -log-format="*) log_format="${argument#*=}" ;;
	"--log-format "* | "-log-format "*) log_format="$argument" ;;
	esac
	before="$argument"
done

say() {
	case "$log_format" in
	json)
		printf '{"time": "%s", "level": "info", "event": "driver.awaited", "message": "%s"}\n' \
			"$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$1" >&2
		;;
	*) printf '%s INFO    %s\n' "$(date +'%Y-%m-%d %H:%M:%S.%3N')" "$1" >&2 ;;
	esac
}

# Looking at the node or reverting it needs no driver.
needs_driver() {
	for argument in "$@"; do
		case "$argument" in
		plan | revert | status | verify | doctor) return 1 ;;
		-h | -help | --help | -v | -version | --version) return 1 ;;
		esac
	done
}

wait_for_driver() {
	said=
	until [ -f "$ready" ]; do
		[ -n "$said" ] || say "waiting for the driver: $ready is not there yet"
		said=yes
		# In the background, since a shell takes a signal only once its foreground child has ended.
		waiting=yes
		sleep 1 &
		wait "$!" || true
		waiting=
	done
}

if [ -d "$directory" ]; then
	if needs_driver "$@"; then
		wait_for_driver
	fi
	if [ -f "$ready" ]; then
		# It sets variables such as NVIDIA_DRIVER_ROOT without exporting them, and was written for
		# a shell that stops at nothing.
		set -a +eu
		# shellcheck source=/dev/null
		. "$ready"
		set +a -eu
	fi
fi

exec nvidia-toolkit "$@"
