# Sourced by every script: sets JAVA_HOME to a JDK of 25 or later, or says what to install and exits 2.

# Prints the feature release of the JDK in folder $1 (25), or nothing where there is none.
jdk_release() {
  [ -x "$1/bin/javac" ] && [ -r "$1/release" ] || return 0
  sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release"
}

find_jdk() {
  local candidate release best='' best_release=0
  for candidate in "${JAVA_HOME:-}" /usr/lib/jvm/*; do
    [ -n "$candidate" ] || continue
    release=$(jdk_release "$candidate")
    [ -n "$release" ] && [ "$release" -ge 25 ] || continue
    # JAVA_HOME is tried first and wins; below /usr/lib/jvm the oldest that suffices does.
    if [ -n "${JAVA_HOME:-}" ] && [ "$candidate" = "$JAVA_HOME" ]; then best=$candidate; break; fi
    if [ -z "$best" ] || [ "$release" -lt "$best_release" ]; then best=$candidate; best_release=$release; fi
  done
  if [ -z "$best" ]; then
    echo "error: no JDK of 25 or later in JAVA_HOME or /usr/lib/jvm; install one (Debian 13 and Ubuntu: apt install openjdk-25-jdk-headless; elsewhere Temurin 25)" >&2
    exit 2
  fi
  JAVA_HOME=$best
  export JAVA_HOME
}

find_jdk

# Maven's own libraries use methods that newer JDKs warn of.
export MAVEN_OPTS="${MAVEN_OPTS:-} --sun-misc-unsafe-memory-access=allow"
