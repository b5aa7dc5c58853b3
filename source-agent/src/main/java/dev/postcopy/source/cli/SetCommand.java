package dev.postcopy.source.cli;

import picocli.CommandLine.Command;

/** {@code source-agent set}: what can be changed while a migration is under way. */
@Command(
    name = "set",
    description = "Changes a migration that is under way.",
    mixinStandardHelpOptions = true,
    subcommands = MaxBandwidthCommand.class)
final class SetCommand {}
