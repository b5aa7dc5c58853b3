# Sourced by what needs the jars; make_jars is for the project's folder.

# make_jars [ARGUMENT of Maven]...: all modules' jars, without running tests. What is in a jar has the permissions of its
# file, and those are by the umask of whoever checked it out: they are made the same for everybody. Touched, because Maven is
# to take such a file again.
make_jars() {
  find ./*/pom.xml ./*/src/main -type f -not -perm 644 -exec chmod 644 {} + -exec touch {} +
  mvn -B -q -ntp package -DskipTests "$@"
}
