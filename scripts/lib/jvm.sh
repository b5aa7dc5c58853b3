# Sourced by scripts/build and the launchers: the flags of an agent's JVM. A cache that was made under other flags is not
# used, so they are in one place.

# FFM and Netty's native transport; a small young generation, because pages are in direct buffers and in QEMU's own
# memory. The old one may grow to what the bitmaps of the largest guest need (8 TiB: three of 256 MiB), direct memory to
# what the buffers of many migrations need; what is not used of either is only address space. Only the quick compiler: the
# other one takes more processor time than it saves in a run of seconds, and takes it from the guest (docs/decisions.md has
# the figures).
jvm_flags=(
  --enable-native-access=ALL-UNNAMED
  --sun-misc-unsafe-memory-access=allow
  -XX:+UseSerialGC
  -XX:+ExitOnOutOfMemoryError
  -XX:TieredStopAtLevel=1
  -Xms48m
  -Xmn24m
  -Xmx1g
  -XX:MaxDirectMemorySize=512m
)

# Runs the agent $1 (source-agent, dest-agent) with the remaining arguments; does not return.
run_agent() {
  local jar=$root/$1/target/$1.jar cache=$root/$1/target/$1.aot
  shift
  if [ ! -r "$jar" ]; then
    echo "error: $jar is not there; run scripts/build first" >&2
    exit 2
  fi
  # What was loaded and profiled in a training run need not be found out again (JEP 483, 514, 515). A cache that does not
  # fit this JVM or these jars is ignored.
  if [ -r "$cache" ]; then
    jvm_flags+=("-XX:AOTCache=$cache" -Xlog:aot=off -Xlog:cds=off)
  fi
  exec "$JAVA_HOME/bin/java" "${jvm_flags[@]}" -jar "$jar" "$@"
}
