# Sourced by scripts/build, the launchers, and the installed package: the flags of an agent's JVM. A cache that was made
# under other flags is not used, so they are in one place.

# FFM and Netty's native transport; a small young generation, because pages are in direct buffers and in QEMU's own
# memory. The old one may grow to what the bitmaps of the largest guest need (8 TiB: seven of 256 MiB), direct memory to
# what the buffers of many migrations need; what is not used of either is only address space. Only the quick compiler: the
# other one takes more processor time than it saves in a run of seconds, and takes it from the guest (docs/decisions.md has
# the figures). Netty looks for buffers that were not given back in the tests, and not here: for one of 128 it would write down
# who calls, while a guest waits for a page.
jvm_flags=(
  --enable-native-access=ALL-UNNAMED
  --sun-misc-unsafe-memory-access=allow
  -XX:+UseSerialGC
  -XX:+ExitOnOutOfMemoryError
  -XX:TieredStopAtLevel=1
  -Dio.netty.leakDetection.level=disabled
  -Xms48m
  -Xmn24m
  -Xmx2g
  -XX:MaxDirectMemorySize=512m
)

# use_cache FILE: takes the ahead-of-time cache in FILE along where there is one. What was loaded and profiled in a training
# run need not be found out again (JEP 483, 514, 515). A cache that does not fit this JVM or these jars is ignored.
use_cache() {
  [ ! -r "$1" ] || jvm_flags+=("-XX:AOTCache=$1" -Xlog:aot=off -Xlog:cds=off)
}

# make_cache JAVA JAR FILE LOG: such a cache for the agent in JAR. Without it an agent works, but starts slower and is slow
# for longer: so a failure is a warning.
make_cache() {
  if ! timeout 120 "$1" "${jvm_flags[@]}" "-XX:AOTCacheOutput=$3" -jar "$2" warm-up >"$4" 2>&1; then
    echo "warning: no ahead-of-time cache for $2; $4 says why" >&2
    rm -f "$3"
  fi
}

# Runs the agent $1 (source-agent, dest-agent) of the folder $root with the remaining arguments; does not return.
run_agent() {
  local agent=$root/$1/target/$1
  shift
  if [ ! -r "$agent.jar" ]; then
    echo "error: $agent.jar is not there; run scripts/build first" >&2
    exit 2
  fi
  use_cache "$agent.aot"
  exec "$JAVA_HOME/bin/java" "${jvm_flags[@]}" -jar "$agent.jar" "$@"
}
