# shellcheck shell=bash
# An apt of the project's own under .cache/apt: other Debian suites than the machine's are looked
# into without a line in /etc/apt, and nothing of theirs can ever be installed by accident.
# Sourced; the caller has set ROOT, the top of the repository.

APT_HOME="$ROOT/.cache/apt"
DEBIAN_SUITES="bookworm trixie sid"

# The machine's own mirror, so that proxies and local mirrors keep working. A machine that is not
# Debian has none for Debian's suites: then debootstrap's built-in one.
debian_mirror() {
    local mirror
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        echo "$DEBIAN_MIRROR"
        return
    fi
    # shellcheck source=/dev/null
    if [ "$(. /etc/os-release && echo "$ID")" = debian ]; then
        mirror=$(apt-get indextargets --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Identifier: Packages' |
            awk -v suite="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == suite && $3 == "main" { print $1; exit }')
    else
        mirror=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' "$(command -v debootstrap)")
        case "$mirror" in *debian*) ;; *) mirror="" ;; esac
    fi
    if [ -z "$mirror" ]; then
        echo "no mirror of Debian's archive is known on this machine; set DEBIAN_MIRROR to the URL of one" >&2
        return 1
    fi
    echo "$mirror"
}

debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -e "$file" ]; then
            echo "$file"
            return
        fi
    done
    echo "the package debian-archive-keyring is missing: its keys verify what is downloaded" >&2
    return 1
}

# Make the tree of a minimal Debian, saying on stderr how far it is; the log lies beside the tree.
# Usage: debian_tree SUITE DIRECTORY PACKAGE,PACKAGE...
debian_tree() {
    local log
    log="$(dirname "$2")/debootstrap.log"
    echo "making a minimal Debian of the suite $1 in $2; the log is $log" >&2
    set -- --variant=minbase --include="$3" --keyring="$(debian_keyring)" "$1" "$2" "$(debian_mirror)"
    debootstrap "$@" 2>&1 | tee "$log" | awk '
        /^I: (Retrieving|Extracting|Unpacking|Configuring) / {
            if ($2 != phase) { printf "%s%s ", phase ? "\n" : "", phase = $2; fflush() }
            if (++count % 10 == 0) { printf "."; fflush() }
        }
        END { if (phase) print "" }' >&2 || {
        tail -n 20 "$log" >&2
        return 1
    }
}

private_apt() {
    apt-get -qq -c "$APT_HOME/apt.conf" "$@"
}

# Write the configuration, and fetch the indices unless they are less than an hour old.
private_apt_ready() {
    local mirror keyring
    if [ -n "$(find "$APT_HOME/updated" -mmin -60 2>/dev/null)" ]; then
        return
    fi
    mirror=$(debian_mirror)
    keyring=$(debian_keyring)
    mkdir -p "$APT_HOME"/{sources,lists/partial,cache/archives/partial}
    cat >"$APT_HOME/sources/debian.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $DEBIAN_SUITES
Components: main
Signed-By: $keyring
SOURCES
    cat >"$APT_HOME/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$APT_HOME/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "$APT_HOME/lists";
Dir::Cache "$APT_HOME/cache";
APT::Sandbox::User "root";
APT::Default-Release "";
# A mirror that stands still has releases past their date; nothing of it is installed here.
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
    echo "fetching the package lists of Debian's suites $DEBIAN_SUITES" >&2
    private_apt update >/dev/null
    touch "$APT_HOME/updated"
}
