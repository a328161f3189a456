#!/bin/sh
# Installs what the service tests need: PostgreSQL, Redis, Prometheus, Slurm with its accounting, Chromium and a font. Quiet; does nothing where all is there.
# Debian and Ubuntu as root; elsewhere it says what is skipped. The tests start the services themselves.
set -eu
wanted=""
have() { command -v "$1" >/dev/null 2>&1; }
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb || wanted="$wanted postgresql"
have redis-server || wanted="$wanted redis-server"
have promtool || wanted="$wanted prometheus"
{ have slurmctld && have slurmd && have munged && have sbatch; } || wanted="$wanted slurmctld slurmd slurm-client munge"
{ have slurmdbd && have mariadbd; } || wanted="$wanted slurmdbd mariadb-server-core mariadb-client-core"
have chromium || have chromium-browser || have google-chrome || wanted="$wanted chromium"
ls /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf >/dev/null 2>&1 || wanted="$wanted fonts-dejavu-core"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "services.sh: missing$wanted; tests that need them are skipped (as root on Debian: apt-get install$wanted)" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Debian would create and start a cluster of its own; ours are private ones.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
fi
# shellcheck disable=SC2086
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $wanted; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "services.sh: cannot install$wanted" >&2
    exit 1
fi
