# Sourced after packages.sh, with $root set, by what must be root: the demo and the benchmark.

# become_root "$@": goes on as root, through sudo where that is needed.
become_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  if ! command -v sudo >/dev/null; then
    echo "error: this needs root (userfaultfd, ptrace, network namespaces) and there is no sudo; run it as root" >&2
    exit 2
  fi
  echo "this needs root: going on with sudo" >&2
  # What sudo leaves out, and what is started there looks at.
  local name kept=
  for name in CI JAVA_HOME MAVEN_OPTS NO_COLOR POSTCOPY_TEST_RUN SOURCE_DATE_EPOCH http_proxy; do
    [ -z "${!name+set}" ] || kept+=,$name
  done
  exec sudo ${kept:+--preserve-env="${kept#,}"} "$root/scripts/$(basename "$0")" "$@"
}

# Runs a command as whoever owns this folder: what root builds, others could not build again.
as_owner() {
  local owner
  owner=$(stat -c %U "$root")
  if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then
    "$@"
  else
    runuser -u "$owner" -- env ${JAVA_HOME:+JAVA_HOME="$JAVA_HOME"} "$@"
  fi
}

# Builds the agents, where a source, or the flags that their caches are made under, is newer than they are.
build_agents() {
  need_jdk
  need_maven
  local agent=$root/dest-agent/target/dest-agent.jar
  if [ -s "$agent" ] && [ -s "$root/source-agent/target/source-agent.jar" ] &&
    [ -z "$(find "$root"/{pom.xml,scripts/lib/jvm.sh} "$root"/{common,native,source-agent,dest-agent}/{pom.xml,src/main} -type f -newer "$agent" -print -quit)" ]; then
    return 0
  fi
  echo "building the agents" >&2
  as_owner "$root/scripts/build" >&2
  # What maven finds unchanged it does not write again.
  touch "$agent"
}

# get_qemu_and_guest NAME: the QEMU build of this name and the Linux guest, below target/.
get_qemu_and_guest() {
  as_owner mkdir -p "$root/target"
  exec 9>"$root/target/fetch.lock"
  flock 9
  local result=0
  get_qemu "$1" || result=$?
  case $result in
    0) ;;
    3) echo "error: $reason; take another with --qemu installed" >&2 && exit 2 ;;
    4) echo "error: $reason" >&2 && exit 2 ;;
    *) exit "$result" ;;
  esac
  get_guest
  exec 9>&-
}
